"""The recorded runs of chapter 12: the logs are whole, and the first steps repeat them."""

from pathlib import Path

import pytest
import torch

from scratch.plumbing.files import read_log
from studies import recording
from studies import training as study
from studies.training import CONDITIONS, FAULTS, data, fault, mean_loss, overfitting, record, warmup

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = Path(__file__).parents[2] / "book/runs/training"
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["warmup", "overfitting"])
def test_the_log_holds_every_run_once(name: str, seed: int) -> None:
    header, *runs = read_log(RUNS / f"{name}-{seed}.jsonl")
    assert header["command"] == f"python -m studies.training {name} --seed {seed}"
    if name == "overfitting":
        assert [run["condition"] for run in runs] == [*CONDITIONS]
        assert {len(run["looks"]) for run in runs} == {study.LONG // study.LOOK_EVERY}
    else:
        wanted = [(n, r, w) for n in study.NORMS for r in study.RATES for w in study.WARMUPS]
        assert [(run["norm"], run["rate"], run["warmup"]) for run in runs] == wanted
        assert {len(run["losses"]) for run in runs} == {study.STEPS // study.EVERY}


@pytest.mark.parametrize("norm", study.NORMS)
def test_the_first_steps_repeat_the_log(norm: str) -> None:
    run = next(r for r in read_log(RUNS / "warmup-1.jsonl")[1:] if r["norm"] == norm)
    losses, _ = warmup(norm, run["rate"], run["warmup"], 1, steps=study.EVERY)
    # a shorter run falls faster from its peak, but not within the warm-up
    # other processors round differently, and ten steps of Adam enlarge that a little
    assert sum(losses) / len(losses) == pytest.approx(run["losses"][0], rel=5e-3)


def test_the_first_look_repeats_the_log() -> None:
    run = read_log(RUNS / "overfitting-1.jsonl")[1]
    (look,) = overfitting(*CONDITIONS["400 pairs"], 1, steps=study.LOOK_EVERY)
    assert look == pytest.approx(run["looks"][0], rel=5e-3)


def test_a_look_changes_no_weight_and_weighs_by_tokens() -> None:
    size, _, held_out = data()
    model = study.new_model(1, "pre", 0.5, 0)
    before = [p.clone() for p in model.parameters()]
    all_, parts = mean_loss(model, held_out), [mean_loss(model, [e]) for e in held_out]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    tokens = [len(e.target) - 1 for e in held_out]
    assert size == 800
    assert all_ == pytest.approx(
        sum(t * loss for t, loss in zip(tokens, parts, strict=True)) / sum(tokens), rel=1e-4
    )


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_steps_of_a_fault_repeat_the_log(name: str) -> None:
    runs = {run["run"]: run for run in read_log(RUNS / "faults-1.jsonl")[1:]}
    losses, _ = fault(name, 1, steps=5)
    assert losses == pytest.approx(runs[name]["losses"][:5], rel=5e-3)
    assert len(runs[name]["losses"]) == study.FAULTY


def test_a_run_writes_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 10, "RATES": (1e-3,), "LONG": 20, "FAULTY": 2}.items():
        monkeypatch.setattr(study, name, value)
    for name, count in (("warmup", 4), ("overfitting", 3), ("faults", 4)):
        words = [name, "--seed", "3", "--out", str(tmp_path)]
        assert recording.main("training", (name,), record, words) == 0
        assert len(read_log(tmp_path / f"{name}-3.jsonl")) == 1 + count
