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
from scratch.plumbing import cli
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.training import run as trainer
from scratch.plumbing.training.changes import Changes
from scratch.plumbing.training.recipes import RECIPES, Recipe
from scratch.plumbing.training.run import Run, read_log, start_run
from scratch.plumbing.training.state import read_state
from scratch.tokens import train_tokenizer
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
    """Return what a run that was resumed has in common with one that was not."""
    lines = [line for line in log if "resumed" not in line]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


class Stopped(Exception):
    """Stands for a machine that was switched off."""


def stop_after(step: int, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Let ``act`` happen when the step after ``step`` begins."""
    steps = Run.steps

    def some(self: Run, *ready: Any) -> Iterator[Any]:
        for record in steps(self, *ready):
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
    assert not (folder / "model.safetensors").exists()
    torch.manual_seed(0)
    run = start_run("tiny", folder, resume=True, command="python -m scratch train tiny")
    assert run.step == STEPS
    assert same(whole(uninterrupted), whole(folder))
    logs = [without_times(read_log(f / "log.jsonl")) for f in (uninterrupted, folder)]
    assert logs[0] == logs[1]
    files = ["config.json", "log.jsonl", "model.safetensors", "tokenizer.json"]
    assert sorted(p.name for p in folder.iterdir()) == files


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(
    number: signal.Signals, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_after(13, patch, lambda: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt, match="step 14; go on with --resume"):
            start_run("tiny", folder)
    assert signal.getsignal(number) is before
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


def test_the_first_line_after_a_resume_is_a_mean_of_all_steps_since_the_line_before(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps from 21 on have one line, and the run is stopped after two of them."""
    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_after(21, patch, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="step 22"):
            start_run("tiny", folder)
    assert read_log(folder / "log.jsonl")[-1]["step"] == 20
    start_run("tiny", folder, resume=True)
    whole_run, resumed = (read_log(f / "log.jsonl")[-1]["loss"] for f in (uninterrupted, folder))
    assert resumed == whole_run
    losses = [record.loss for record in Run(TINY).steps()]
    assert resumed == round(sum(losses[20:]) / len(losses[20:]), 5)


def test_the_log_says_where_and_on_what_a_run_went_on(
    died: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(20, patch, switched_off)
        with pytest.raises(Stopped):
            start_run("tiny", died, resume=True)
    start_run("tiny", died, resume=True)
    lines = read_log(died / "log.jsonl")
    assert [line["step"] for line in lines[1:] if "resumed" in line] == [10, 20]
    assert [line["step"] for line in lines[1:]] == [*range(1, 11), 10, *range(11, 21), 20, STEPS]
    found = next(line["resumed"] for line in lines if "resumed" in line)
    assert (found["processes"], found["threads"], found["device"]) == (1, 1, "cpu")
    assert found["torch"] == torch.__version__
    assert {"machine", "kernels", "bf16", "compile"} <= set(found)


def test_a_run_works_in_another_thread(uninterrupted: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    thread = threading.Thread(target=start_run, args=("tiny", tmp_path / "thread"))
    thread.start()
    thread.join()
    assert threads == torch.get_num_threads()
    assert same(whole(uninterrupted), whole(tmp_path / "thread"))


def log_has(folder: Path, text: str) -> bool:
    return (folder / "log.jsonl").exists() and text in (folder / "log.jsonl").read_text()


def test_a_killed_process_can_be_resumed(uninterrupted: Path, tmp_path: Path) -> None:
    """The same as above with a real kill -9, wherever it happens to strike."""
    folder = tmp_path / "killed"
    here = Path(__file__).parent
    code = f"""
import sys, time; sys.path.insert(0, {str(here)!r})
from pathlib import Path
import torch; torch.set_num_threads({torch.get_num_threads()})
import test_run as t
from scratch.plumbing.training import run as trainer
t.RECIPES["tiny"] = t.TINY
trainer.load_pairs = lambda corpus: t.PAIRS
trainer.SAVE_EVERY = 1
save = trainer.Run.save
trainer.Run.save = lambda run, path: (save(run, path), time.sleep(0.1))
trainer.start_run("tiny", Path({str(folder)!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 50
        while not log_has(folder, '"step": 2,') and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
    assert (folder / "checkpoint.safetensors").exists()
    assert not (folder / "model.safetensors").exists(), "the run was over before it was killed"
    start_run("tiny", folder, resume=True)
    assert same(whole(uninterrupted), whole(folder))


# -- what is refused


def test_a_folder_that_holds_a_run_is_not_written_over(uninterrupted: Path) -> None:
    before = {p.name: p.read_bytes() for p in uninterrupted.iterdir()}
    for resume in (False, True):
        refuses(lambda r=resume: start_run("tiny", uninterrupted, resume=r), "finished model")  # type: ignore[misc]
    (uninterrupted / "log.jsonl").unlink()
    refuses(lambda: start_run("tiny", uninterrupted), "already holds a finished model")
    before.pop("log.jsonl")
    assert before == {p.name: p.read_bytes() for p in uninterrupted.iterdir()}


@pytest.mark.parametrize(
    "name", ["log.jsonl", "model.safetensors", "epoch-0007.safetensors", "checkpoint.safetensors"]
)
def test_what_another_run_has_left_is_neither_used_nor_written_over(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("left")
    if name.startswith("checkpoint"):
        refuses(lambda: start_run("tiny", tmp_path), "already holds a run", "--resume")
    else:
        words = "finished model" if name.startswith("model") else name
        refuses(lambda: start_run("tiny", tmp_path), "already holds", words, "another --out")
        refuses(lambda: start_run("tiny", tmp_path, resume=True), "holds", words)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "left")]


def test_where_nothing_was_begun_nothing_is_resumed(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "new"):
        refuses(
            lambda f=folder: start_run("tiny", f, resume=True),
            str(folder),
            "holds nothing to resume",
        )  # type: ignore[misc]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_died_before_its_first_step_can_be_resumed(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_fit", lambda *_: switched_off())
        with pytest.raises(Stopped):
            start_run("tiny", tmp_path / "died")
    start_run("tiny", tmp_path / "died", resume=True)
    assert same(whole(uninterrupted), whole(tmp_path / "died"))


def test_bad_recipes_and_folders_are_named(tmp_path: Path) -> None:
    refuses(lambda: start_run("grammer", tmp_path), "recipe is 'grammer'", "'grammar'", "'en-fr-1'")
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


def test_checkpoints_of_other_models_are_refused(died: Path) -> None:
    path = died / "checkpoint.safetensors"
    tensors, metadata = read_state(path)
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
    save_file(tensors, path)
    refuses_to_resume(died, "no checkpoint of a run")
    for name in metadata:
        save_file(tensors, path, metadata={k: v for k, v in metadata.items() if k != name})
        refuses_to_resume(died)
    save_file(tensors, path, metadata=metadata)
    start_run("tiny", died, resume=True)


def test_other_options_are_named(died: Path) -> None:
    for changes, parts in (
        (Changes(steps=30), ("steps 25 and not 30",)),
        (Changes(steps=30, seed=4), ("steps 25 and not 30", "seed 3 and not 4")),
        (
            Changes(accumulate=2, peak_rate=0.5),
            ("accumulate 1 and not 2", "rate 0.001 and not 0.5"),
        ),
        (Changes(tsv="a.tsv"), ("corpus 'tiny' and not 'tsv:a.tsv'",)),
        (Changes(begin_with="else"), ("begin_with '' and not 'else'",)),
    ):
        refuses(
            lambda c=changes: start_run("tiny", died, resume=True, changes=c),  # type: ignore[misc]
            "checkpoint.safetensors was begun with",
            *parts,
            "--resume",
        )


def test_other_pairs_and_vocabularies_are_refused(
    died: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "load_pairs", lambda corpus: [*PAIRS[1:], PAIRS[0]])
        refuses_to_resume(died, "other pairs")
    vocabulary = died / "tokenizer.json"
    kept = vocabulary.read_text()
    train_tokenizer([french for _, french in PAIRS], 300).save(vocabulary)
    refuses_to_resume(died, "other vocabulary")
    vocabulary.unlink()
    refuses(lambda: start_run("tiny", died, resume=True), "tokenizer.json")
    vocabulary.write_text(kept)
    start_run("tiny", died, resume=True)


def test_the_vocabulary_is_not_trained_again(
    died: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "train_tokenizer", lambda *_: switched_off())
    start_run("tiny", died, resume=True)
    assert same(whole(uninterrupted), whole(died))


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "model.safetensors"])
def test_a_full_disk_ends_a_run_in_one_line(
    name: str,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    folder = tmp_path / "full"
    with monkeypatch.context() as patch:
        stop_after(12, patch, lambda: (folder / f"{name}.part").symlink_to("/dev/full"))
        assert cli.main(["train", "tiny", "--out", str(folder), "--threads", "1"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("scratch train: ") and "No space left" in said and name in said
    assert sorted(p.name for p in folder.glob("*.safetensors*")) == ["checkpoint.safetensors"]
    start_run("tiny", folder, resume=True)
    assert same(whole(uninterrupted), whole(folder))


def test_a_damaged_log_does_not_stop_a_run(died: Path, uninterrupted: Path, tmp_path: Path) -> None:
    log = died / "log.jsonl"
    log.write_text(log.read_text()[:-20])
    start_run("tiny", died, resume=True)
    assert [e["step"] for e in without_times(read_log(log))[1:]] == [*range(1, 21), STEPS]
    assert same(whole(uninterrupted), whole(died))


def test_a_lost_log_begins_anew(died: Path) -> None:
    (died / "log.jsonl").unlink()
    start_run("tiny", died, resume=True)
    header, resumed, *entries = read_log(died / "log.jsonl")
    assert header["recipe"] == "tiny"
    assert (resumed["step"], "resumed" in resumed) == (10, True)
    assert [e["step"] for e in entries] == [*range(11, 21), STEPS]


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    refuses(lambda: read_log(path), str(path))
    path.write_text(json.dumps({"a": 1}) + "\nnonsense\n")
    refuses(lambda: read_log(path), str(path))


def test_the_shipped_recipes_make_models() -> None:
    from scratch.transformer import TransformerConfig

    for recipe in RECIPES.values():
        config = TransformerConfig(vocab_size=recipe.vocab_size, **recipe.model)
        assert config.d_model % config.n_heads == 0
        assert recipe.training.steps > recipe.training.warmup_steps
