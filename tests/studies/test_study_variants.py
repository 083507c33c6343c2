"""The recorded runs of chapter 15: first steps repeat, and a sweep goes on where it stopped."""

import itertools
import json
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reference import refuses
from scratch.language_model import LanguageModelConfig
from scratch.plumbing.training.run import read_log
from scratch.training import TrainingConfig
from studies import variants as study
from studies.variants import (
    MORE_SEEDS,
    RATES,
    SEEDS,
    SETTINGS,
    VariantRun,
    best_rate,
    planned,
    times,
)

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = Path(__file__).parents[2] / "book/runs/variants"
HEAD, *LINES = read_log(RUNS / "rates.jsonl")


def test_the_sweep_belongs_to_the_settings_as_they_stand() -> None:
    run = VariantRun("2017", RATES[0], SEEDS[0])
    assert {**run.settings(), "switches": SETTINGS} == HEAD
    assert LanguageModelConfig(**HEAD["model"]) == run.model.config
    assert TrainingConfig(**HEAD["training"]) == run.training


def test_every_name_has_a_best_rate_with_others_on_both_sides_and_five_seeds_there() -> None:
    assert planned(LINES) == []
    runs = Counter((line["name"], line["rate"], line["seed"]) for line in LINES)
    assert max(runs.values()) == 1
    for name in SETTINGS:
        best = best_rate(LINES, name)
        tried = {rate for n, rate, _ in runs if n == name}
        assert tried.issuperset({*RATES, times(best, -1), times(best, 1)})
        for rate in tried:
            seeds = {seed for n, r, seed in runs if (n, r) == (name, rate)}
            assert seeds >= {*SEEDS, *(MORE_SEEDS if rate == best else ())}


def test_losses_are_those_of_runs_that_learned() -> None:
    for line in LINES:
        assert list(line["validation"]) == ["100", "200", "300", "400", "500"]
        first, *_, last = line["validation"].values()
        assert 2.5 > first > last > 0.7 and len(line["first"]) == 20


@pytest.mark.parametrize("name", SETTINGS)
def test_the_first_steps_repeat_the_recorded_run(name: str) -> None:
    line = next(x for x in LINES if (x["name"], x["rate"], x["seed"]) == (name, 0.006, 1))
    run = VariantRun(name, 0.006, 1)
    for key, value in run.sizes().items():
        assert line[key] == value
    losses = [record.loss for record in itertools.islice(run.steps(), 20)]
    # other processors round differently, and twenty steps of Adam enlarge that a little
    assert losses == pytest.approx(line["first"], rel=2e-3)
    assert losses[-1] < losses[0] - 1


def test_the_writer_is_the_model_with_all_switches_trained_longer() -> None:
    header, start, *entries = read_log(RUNS / "writer-1.jsonl")
    run = VariantRun("all", study.WRITER_RATE, 1, steps=study.WRITER_STEPS)
    assert header["model"] == run.settings()["model"]
    assert header["training"] == run.settings()["training"]
    losses = [record.loss for record in itertools.islice(run.steps(), 20)]
    logged = [entry["loss"] for entry in entries[:20]]
    assert losses == pytest.approx(logged, rel=2e-3)
    assert {len(lines) for lines in entries[-1]["written"].values()} == {100}
    assert start["validation"] > 4 > 1 > entries[-2]["validation"]


def test_nothing_held_out_is_trained_on() -> None:
    train, validation = study.french_texts()
    assert (len(train), len(validation)) == (8_000, 1_000)
    assert len({*train, *validation}) == 9_000


# -- what is run next


def lines_of(name: str, losses: dict[float, float], seeds: tuple[int, ...] = SEEDS) -> Any:
    return [
        {"name": name, "rate": rate, "seed": seed, "validation": {"500": loss + seed / 100}}
        for rate, loss in losses.items()
        for seed in seeds
    ]


def left_of(name: str, losses: dict[float, float]) -> set[tuple[float, int]]:
    return {(rate, seed) for n, rate, seed in planned(lines_of(name, losses)) if n == name}


def test_rates_are_added_where_the_best_is() -> None:
    assert left_of("rotary", {}) == {(rate, seed) for rate in RATES for seed in SEEDS}
    low = {0.003: 1.0, 0.006: 2.0, 0.012: 3.0, 0.024: 4.0}
    assert left_of("rotary", low) == {(0.0015, seed) for seed in SEEDS}
    high = {0.003: 4.0, 0.006: 3.0, 0.012: 2.0, 0.024: 1.0}
    assert left_of("rotary", high) == {(0.048, seed) for seed in SEEDS}
    inside = {0.003: 4.0, 0.006: 1.0, 0.012: 2.0, 0.024: 3.0}
    assert left_of("rotary", inside) == {(rate, s) for rate in (0.0042, 0.0085) for s in SEEDS}
    ended = inside | {0.0042: 2.0, 0.0085: 0.9}
    assert left_of("rotary", ended) == {(0.0085, seed) for seed in MORE_SEEDS}


def test_the_best_rate_is_that_of_the_lowest_mean_over_the_first_seeds() -> None:
    lines = lines_of("rotary", {0.003: 1.0, 0.006: 0.9}) + lines_of("2017", {0.012: 0.1})
    lines += lines_of("rotary", {0.003: 0.0}, MORE_SEEDS)  # are not counted
    assert best_rate(lines, "rotary") == 0.006
    assert statistics.fmean(x["validation"]["500"] for x in lines[3:6]) == pytest.approx(0.92)


# -- the command


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of three steps on few sentences, of two names with one seed; the writer writes two."""
    train, validation = study.french_texts()
    texts = (train, validation[:20])
    monkeypatch.setattr(study, "french_texts", lambda: texts)
    monkeypatch.setattr(study, "WRITTEN", 2)
    monkeypatch.setattr(study, "STEPS", 3)
    monkeypatch.setattr(study, "WRITER_STEPS", 3)
    monkeypatch.setattr(study, "SEEDS", (1,))
    monkeypatch.setattr(study, "MORE_SEEDS", ())
    monkeypatch.setattr(study, "RATES", (0.003, 0.006, 0.012))
    monkeypatch.setattr(study, "SETTINGS", {"2017": {}, "rotary": {"positions": "rotary"}})


@pytest.mark.usefixtures("small")
def test_a_sweep_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure, words, made = study.measure, ["sweep", "--out", str(tmp_path / "runs")], 0

    def stops(name: str, rate: float, seed: int) -> dict[str, Any]:
        nonlocal made
        made += 1
        if made == 3:
            raise KeyboardInterrupt
        return measure(name, rate, seed)

    monkeypatch.setattr(study, "measure", stops)
    assert study.main(words) == 130
    path = tmp_path / "runs/rates.jsonl"
    stopped = path.read_text("utf-8")
    assert stopped.count("\n") == 3  # the head and two runs
    path.write_text(stopped + '{"name": "20', "utf-8")  # a line that a power cut left
    assert study.main(words) == 0
    lines = read_log(path)[1:]
    assert path.read_text("utf-8").startswith(stopped)
    assert planned(lines) == [] and made == len(lines) + 1
    assert lines[0]["rate"] == 0.003 and set(lines[0]["validation"]) == {"3"}
    assert "goes on from here" in capsys.readouterr().err
    head, *rest = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([json.dumps(json.loads(head) | {"examples": 1}), *rest, ""]), "utf-8")
    with pytest.raises(SystemExit):
        study.main(words)
    assert "runs of other settings" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_the_writer_writes_its_log_at_the_end_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "SETTINGS", {"all": study.ALL})
    words = ["writer", "--out", str(tmp_path)]
    assert study.main(words) == 0
    header, *lines = read_log(tmp_path / "writer-1.jsonl")
    assert header["name"] == "writer"
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 3]
    assert {t: len(x) for t, x in lines[-1]["written"].items()} == {"1.0": 2, "0.5": 2}
    assert "3/3" in capsys.readouterr().err  # the progress bar
    assert study.main(words) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_names() -> None:
    refuses(lambda: VariantRun("gelu", 0.006, 1), "name is 'gelu'")


@pytest.mark.parametrize("study", ["finetuning", "variants", "corpora", "stacks"])
def test_a_study_is_a_command(study: str) -> None:
    words = [sys.executable, "-m", f"studies.{study}", "--help"]
    assert "usage: " in subprocess.run(words, capture_output=True, text=True, check=True).stdout
