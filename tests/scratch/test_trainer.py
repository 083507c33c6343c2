"""Runs: what they log and save, and that one which was stopped ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reference import refuses
from scratch.plumbing import trainer
from scratch.plumbing.checkpoint import load_pretrained
from scratch.plumbing.recipes import RECIPES, Recipe
from scratch.plumbing.trainer import Run, read_log, start_run
from scratch.training import TrainingConfig
from small import PAIRS

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 25
SIZES = {"d_model": 16, "n_heads": 2, "d_ff": 24, "n_encoder_layers": 1, "n_decoder_layers": 1}
TINY = Recipe(
    corpus="tiny",
    vocab_size=300,
    training=TrainingConfig(steps=STEPS, max_tokens=60, warmup_steps=5, seed=3),
    model={**SIZES, "dropout": 0.1, "max_len": 64},
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that takes a fraction of a second, saved every ten steps."""
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    monkeypatch.setattr(trainer, "load_pairs", lambda corpus: PAIRS)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 10)


def whole(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def without_times(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in log]


class Stopped(Exception):
    """Stands for a machine that was switched off."""


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Let ``act`` happen when the step after ``step`` begins."""
    steps = Run.steps

    def some(self: Run) -> Iterator[Any]:
        for record in steps(self):
            yield record
            if record.step == step:
                act()

    monkeypatch.setattr(Run, "steps", some)


def switched_off() -> None:
    raise Stopped


@pytest.fixture
def uninterrupted(tmp_path: Path) -> Path:
    folder = tmp_path / "uninterrupted"
    start_run("tiny", folder, command="python -m scratch train tiny")
    return folder


def test_a_run_leaves_a_model_and_a_log(uninterrupted: Path) -> None:
    names = sorted(p.name for p in uninterrupted.iterdir())
    assert names == ["config.json", "log.jsonl", "model.safetensors", "tokenizer.json"]
    header, *entries = read_log(uninterrupted / "log.jsonl")
    assert header["command"] == "python -m scratch train tiny"
    assert header["recipe"] == "tiny"
    assert header["training"]["seed"] == 3
    assert header["model"]["d_model"] == 16
    assert header["examples"] == len(PAIRS)
    assert [e["step"] for e in entries] == [*range(1, 21), STEPS]
    assert all(e["loss"] > 0 and e["rate"] > 0 and e["seconds"] >= 0 for e in entries)
    model, words = load_pretrained(uninterrupted)
    assert len(words) == model.config.vocab_size


def test_a_run_can_be_repeated(uninterrupted: Path, tmp_path: Path) -> None:
    start_run("tiny", tmp_path / "again")
    assert same(whole(uninterrupted), whole(tmp_path / "again"))


@pytest.mark.parametrize("step", [3, 10, 17, 20, 24])
def test_a_run_that_died_goes_on_as_if_it_had_not(
    step: int, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "died"
    with monkeypatch.context() as patch:
        stop_after(step, patch, switched_off)
        with pytest.raises(Stopped):
            start_run("tiny", folder, command="python -m scratch train tiny")
    assert (folder / "checkpoint.safetensors").exists() is (step >= 10)
    torch.manual_seed(0)
    run = start_run("tiny", folder, resume=True, command="python -m scratch train tiny")
    assert run.step == STEPS
    assert same(whole(uninterrupted), whole(folder))
    logs = [without_times(read_log(f / "log.jsonl")) for f in (uninterrupted, folder)]
    assert logs[0] == logs[1]
    assert not list(folder.glob("*.part"))
    assert not (folder / "checkpoint.safetensors").exists()


def test_ctrl_c_saves_and_says_how_to_go_on(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_after(13, patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="step 14; go on with --resume"):
            start_run("tiny", folder)
    assert signal.getsignal(signal.SIGINT) is before
    assert (folder / "checkpoint.safetensors").exists()
    assert not (folder / "model.safetensors").exists()
    start_run("tiny", folder, resume=True)
    assert same(whole(uninterrupted), whole(folder))


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    stop_after(13, monkeypatch, twice)
    with pytest.raises(KeyboardInterrupt) as caught:
        start_run("tiny", tmp_path / "stopped")
    assert str(caught.value) == ""


def test_a_run_works_in_another_thread(uninterrupted: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    thread = threading.Thread(target=start_run, args=("tiny", tmp_path / "thread"))
    thread.start()
    thread.join()
    assert threads == torch.get_num_threads()
    assert same(whole(uninterrupted), whole(tmp_path / "thread"))


def test_a_killed_process_can_be_resumed(uninterrupted: Path, tmp_path: Path) -> None:
    """The same as above with a real kill -9, wherever it happens to strike."""
    folder = tmp_path / "killed"
    here = Path(__file__).parent
    code = f"""
import sys, time; sys.path.insert(0, {str(here)!r})
from pathlib import Path
import torch; torch.set_num_threads({torch.get_num_threads()})
import test_trainer as t
from scratch.plumbing import trainer
t.RECIPES["tiny"] = t.TINY
trainer.load_pairs = lambda corpus: t.PAIRS
trainer.SAVE_EVERY = 1
save = trainer.Run.save
trainer.Run.save = lambda run, path: (save(run, path), time.sleep(0.1))
trainer.start_run("tiny", Path({str(folder)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 50
        while not (folder / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
    assert (folder / "checkpoint.safetensors").exists()
    assert not (folder / "model.safetensors").exists(), "the run was over before it was killed"
    start_run("tiny", folder, resume=True)
    assert same(whole(uninterrupted), whole(folder))


# -- what is refused


def test_a_folder_that_holds_a_run_is_not_written_over(uninterrupted: Path) -> None:
    before = {p.name: p.read_bytes() for p in uninterrupted.iterdir()}
    with pytest.raises(ValueError, match=r"already holds a run; add --resume"):
        start_run("tiny", uninterrupted)
    with pytest.raises(ValueError, match="already holds a finished model"):
        start_run("tiny", uninterrupted, resume=True)
    (uninterrupted / "log.jsonl").unlink()
    with pytest.raises(ValueError, match="already holds a finished model"):
        start_run("tiny", uninterrupted)
    before.pop("log.jsonl")
    assert before == {p.name: p.read_bytes() for p in uninterrupted.iterdir()}


def test_bad_recipes_and_folders_are_named(tmp_path: Path) -> None:
    refuses(
        lambda: start_run("grammer", tmp_path), "recipe is 'grammer'", "'grammar'", "'multi30k'"
    )
    (tmp_path / "file").write_text("")
    refuses(lambda: start_run("tiny", tmp_path / "file"), "file is a file", "folder")


@pytest.fixture
def died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after its checkpoint of step 10."""
    with monkeypatch.context() as patch:
        stop_after(12, patch, switched_off)
        with pytest.raises(Stopped):
            start_run("tiny", tmp_path / "died")
    return tmp_path / "died"


def refuses_to_resume(folder: Path, *parts: str) -> None:
    log = (folder / "log.jsonl").read_bytes()
    with pytest.raises(ValueError) as caught:
        start_run("tiny", folder, resume=True)
    for part in ("checkpoint.safetensors", *parts):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (folder / "log.jsonl").read_bytes() == log


def test_damaged_checkpoints_are_refused(died: Path) -> None:
    path = died / "checkpoint.safetensors"
    content = path.read_bytes()
    for damaged in (b"", content[:5], content[: len(content) // 2], content[:-1], b"\x80\x04N."):
        path.write_bytes(damaged)
        refuses_to_resume(died, "cut short")
    path.unlink()
    path.mkdir()
    refuses_to_resume(died, "cut short")


def test_checkpoints_of_other_runs_are_refused(died: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = died / "checkpoint.safetensors"
    tensors = load_file(path)
    save_file(tensors, path)
    refuses_to_resume(died, "another recipe")
    metadata = {"step": "10", "recipe": TINY.to_json()}
    missing = dict(tensors)
    missing.pop("optimizer.source_embedding.weight/exp_avg")
    for wrong in (
        missing,
        {},
        {**tensors, "model.more": torch.zeros(1)},
        {**tensors, "model.source_embedding.weight": torch.zeros(1, 16)},
    ):
        save_file(wrong, path, metadata=metadata)
        refuses_to_resume(died, "does not fit")
    save_file(tensors, path, metadata=metadata)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "load_pairs", lambda corpus: [("a", "b")])
        refuses_to_resume(died, "does not fit")
    start_run("tiny", died, resume=True)


def test_a_damaged_log_does_not_stop_a_run(died: Path, uninterrupted: Path, tmp_path: Path) -> None:
    log = died / "log.jsonl"
    log.write_text(log.read_text()[:-20])
    start_run("tiny", died, resume=True)
    assert [e["step"] for e in read_log(log)[1:]] == [*range(1, 21), STEPS]
    assert same(whole(uninterrupted), whole(died))


def test_a_lost_log_begins_anew(died: Path) -> None:
    (died / "log.jsonl").unlink()
    start_run("tiny", died, resume=True)
    header, *entries = read_log(died / "log.jsonl")
    assert header["recipe"] == "tiny"
    assert [e["step"] for e in entries] == [*range(11, 21), STEPS]


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    refuses(lambda: read_log(path), str(path))
    path.write_text(json.dumps({"a": 1}) + "\nnonsense\n")
    refuses(lambda: read_log(path), str(path))


def test_the_shipped_recipes_make_models() -> None:
    from scratch.transformer import TransformerConfig

    for recipe in (RECIPES["grammar"], RECIPES["multi30k"]):
        config = TransformerConfig(vocab_size=recipe.vocab_size, **recipe.model)
        assert config.d_model % config.n_heads == 0
        assert recipe.training.steps > recipe.training.warmup_steps
