"""The recorded runs of chapter 15: each repeats its first 20 steps, and the runner's manners."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reference import refuses
from scratch.language_model import LanguageModelConfig
from scratch.plumbing.training.run import read_log
from scratch.training import TrainingConfig
from studies import recording
from studies import variants as variants_run
from studies.variants import SETTINGS, VariantRun, french_texts, record, validation_loss

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = Path(__file__).parents[2] / "book/runs/variants"
SEEDS = {name: (1,) if name == "writer" else (1, 2, 3) for name in SETTINGS}
LOGS = [(name, seed) for name, seeds in SEEDS.items() for seed in seeds]


def log_of(name: str, seed: int) -> list[dict[str, Any]]:
    return read_log(RUNS / f"{name}-{seed}.jsonl")


def test_every_log_belongs_to_a_run() -> None:
    assert {path.name for path in RUNS.glob("*.jsonl")} == {f"{n}-{s}.jsonl" for n, s in LOGS}


@pytest.mark.parametrize(("name", "seed"), LOGS)
def test_the_log_belongs_to_the_settings_as_they_stand(name: str, seed: int) -> None:
    header, start, *entries = log_of(name, seed)
    assert header["name"] == name
    assert header["command"] == f"python -m studies.variants {name} --seed {seed}"
    assert TrainingConfig(**header["training"]) == variants_run.training_config(name, seed)
    config = LanguageModelConfig(**header["model"])
    for key, value in {**variants_run.SIZES, **SETTINGS[name]}.items():
        assert getattr(config, key) == value
    assert config.positions == SETTINGS[name].get("positions", "sinusoidal")
    assert start["step"] == 0
    assert entries[-1]["step"] == header["training"]["steps"]
    assert {len(lines) for lines in entries[-1]["written"].values()} == {100}
    losses = [start["validation"], *(e["validation"] for e in entries if "validation" in e)]
    assert losses[0] > 4 > 1.2 > losses[-1]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_first_steps_repeat_the_log(name: str) -> None:
    header, start, *entries = log_of(name, 1)
    logged = [entry["loss"] for entry in entries if "loss" in entry and entry["step"] <= 20]
    run = VariantRun(name, 1)
    assert run.header()["parameters"] == header["parameters"]
    assert run.header()["cache_bytes_per_token"] == header["cache_bytes_per_token"]
    first = validation_loss(run.model, run.validation[:1])
    assert first == pytest.approx(start["validation"], rel=0.1)  # of one batch, not of all
    losses = [record.loss for record in itertools.islice(run.steps(), 20)]
    assert len(logged) == 20
    # other processors round differently, and twenty steps of Adam enlarge that a little
    assert losses == pytest.approx(logged, rel=2e-3)
    assert losses[-1] < losses[0] - 1


def test_nothing_held_out_is_trained_on() -> None:
    train, validation = french_texts()
    assert (len(train), len(validation)) == (8_000, 1_000)
    assert len({*train, *validation}) == 9_000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of three steps on few sentences, which writes two."""
    train, validation = french_texts()
    texts = (train, validation[:20])
    monkeypatch.setattr(variants_run, "french_texts", lambda: texts)
    monkeypatch.setattr(variants_run, "WRITTEN", 2)
    monkeypatch.setitem(variants_run.STEPS, "all", 3)


def main(words: list[str]) -> int:
    return recording.main("variants", SETTINGS, record, words)


@pytest.mark.usefixtures("small")
def test_a_run_writes_its_log_at_the_end_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["all", "--seed", "5", "--out", str(tmp_path / "runs")]
    assert main(words) == 0
    path = tmp_path / "runs/all-5.jsonl"
    assert list(path.parent.iterdir()) == [path]
    header, *lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert header["command"] == "python -m studies.variants all --seed 5"
    assert [line["step"] for line in lines] == [0, 1, 2, 3, 3]
    assert "validation" in lines[3]
    assert {t: len(x) for t, x in lines[-1]["written"].items()} == {"1.0": 2, "0.5": 2}
    assert "3/3" in capsys.readouterr().err  # the progress bar
    assert main(words) == 2
    assert capsys.readouterr().err.strip() == f"{path} already holds a run; choose another --out"


def test_help_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    for words, code in (["--help"], 0), (["gelu"], 2), (["all", "--seed", "-1"], 2):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == code
    out, err = capsys.readouterr()
    assert "what to train" in out and "--seed" in out
    assert "invalid choice: 'gelu'" in err and "-1" in err
    refuses(lambda: VariantRun("gelu", 1), "name is 'gelu'")


@pytest.mark.parametrize("study", ["finetuning", "variants", "corpora", "stacks"])
def test_a_study_is_a_command(study: str) -> None:
    words = [sys.executable, "-m", f"studies.{study}", "--help"]
    assert "usage: " in subprocess.run(words, capture_output=True, text=True, check=True).stdout
