"""The recorded runs of chapter 7: the first steps repeat, and the five forms are their formulas."""

from pathlib import Path

import pytest
import torch

from reference import refuses
from scratch.plumbing.files import read_log
from scratch.residual import Residual
from studies import recording
from studies import stacks as study
from studies.stacks import FORMS, RATES, WARMUP, WITHOUT_WARMUP, Stack, record, train

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = Path(__file__).parents[2] / "book/runs/stacks"
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_log_holds_every_run_once(seed: int) -> None:
    header, *runs = read_log(RUNS / f"reversal-{seed}.jsonl")
    assert header["command"] == f"python -m studies.stacks reversal --seed {seed}"
    wanted = [(form, rate, WARMUP) for form in FORMS for rate in RATES]
    wanted += [(form, rate, 1) for form in WITHOUT_WARMUP for rate in RATES]
    assert [(run["form"], run["rate"], run["warmup"]) for run in runs] == wanted
    assert {len(run["losses"]) for run in runs} == {header["steps"] // study.EVERY}


@pytest.mark.parametrize("form", FORMS)
def test_the_first_steps_repeat_the_log(form: str) -> None:
    run = next(r for r in read_log(RUNS / "reversal-1.jsonl")[1:] if r["form"] == form)
    losses, _ = train(form, run["rate"], run["warmup"], 1, steps=study.EVERY)
    # other processors round differently, and twenty steps of Adam enlarge that a little
    assert sum(losses) / len(losses) == pytest.approx(run["losses"][0], rel=5e-3)


@pytest.mark.parametrize(("form", "norm"), [("post-norm", "post"), ("pre-norm", "pre")])
def test_a_form_is_the_taught_residual(form: str, norm: str) -> None:
    torch.manual_seed(0)
    stack, x = Stack(form, 2), torch.randn(3, 6, study.D)
    expected = x
    for part, layer_norm in zip(stack.parts, stack.norms, strict=True):
        residual = Residual(study.D, norm=norm)
        residual.norm = layer_norm  # type: ignore[assignment]
        expected = residual.after(expected, part(residual.before(expected)))
    assert torch.equal(stack(x), stack.last(expected))


def test_one_layer_of_both_learns_the_task() -> None:
    losses, right = train("pre-norm", 5e-3, 20, 1, depth=1, steps=200)
    assert len(losses) == 200
    assert losses[0] > 1.5 > 0.3 > losses[-1]
    assert right > 500


def test_a_run_writes_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": study.EVERY, "RATES": (1e-3,), "TESTED": 5}.items():
        monkeypatch.setattr(study, name, value)
    words = ["reversal", "--seed", "3", "--out", str(tmp_path)]
    assert recording.main("stacks", ("reversal",), record, words) == 0
    header, *runs = read_log(tmp_path / "reversal-3.jsonl")
    assert header["seed"] == 3
    assert len(runs) == len(FORMS) + len(WITHOUT_WARMUP)
    assert all(0 <= run["right"] <= 5 for run in runs)


def test_a_form_that_there_is_not() -> None:
    refuses(lambda: Stack("neither norm", 1), "form is 'neither norm'")
