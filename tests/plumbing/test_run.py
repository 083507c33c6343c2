"""Runs: what they log and save, and that one which was stopped ends as if it had not been."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from disk import FULL, full_disk
from reference import refuses
from scratch.plumbing import cli
from scratch.plumbing.fast.step import Dropout
from scratch.plumbing.models.storage import load_pretrained, read_tensors
from scratch.plumbing.training import run as trainer
from scratch.plumbing.training.log import locked
from scratch.plumbing.training.recipes import RECIPES, Extras, Recipe
from scratch.plumbing.training.run import Run, read_log, start_run
from scratch.tokens import train_tokenizer
from scratch.training import TrainingConfig
from small import PAIRS

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 25
FILES = ["config.json", "curve.svg", "log.jsonl", "model.safetensors", "tokenizer.json"]
SIZES = {"d_model": 16, "n_heads": 2, "d_ff": 24, "n_encoder_layers": 1, "n_decoder_layers": 1}
TINY = Recipe(
    corpus="tiny",
    vocab_size=300,
    training=TrainingConfig(steps=STEPS, max_tokens=60, warmup_steps=5, seed=3),
    model={**SIZES, "max_len": 64},
    extras=Extras(Dropout(0.1, 0.1, 0.1)),
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


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "tiny", TINY)
        patch.setattr(trainer, "load_pairs", lambda corpus: PAIRS)
        start_run("tiny", folder, command="python -m scratch train tiny")
        yield folder


def test_a_run_leaves_a_model_and_a_log(uninterrupted: Path) -> None:
    assert sorted(p.name for p in uninterrupted.iterdir()) == FILES
    header, *entries = read_log(uninterrupted / "log.jsonl")
    assert header["command"] == "python -m scratch train tiny"
    assert header["recipe"] == "tiny"
    assert header["training"]["seed"] == 3
    assert header["model"]["d_model"] == 16
    assert header["examples"] == len(PAIRS)
    steps = [e for e in entries if "loss" in e]
    assert [e["step"] for e in steps] == list(range(1, STEPS + 1))
    assert all(e["loss"] > 0 and e["rate"] > 0 and e["seconds"] >= 0 for e in steps)
    assert (header["processes"], header["threads"]) == (1, 1)
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
    assert sorted(p.name for p in folder.iterdir()) == FILES


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


def test_ctrl_c_in_the_last_step_ends_the_run(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to go on with."""
    steps = Run.steps

    def some(self: Run, *ready: Any) -> Iterator[Any]:
        for record in steps(self, *ready):
            if record.step == STEPS:
                os.kill(os.getpid(), signal.SIGINT)
            yield record

    monkeypatch.setattr(Run, "steps", some)
    assert start_run("tiny", tmp_path / "stopped").step == STEPS
    assert same(whole(uninterrupted), whole(tmp_path / "stopped"))


def test_no_two_steps_of_any_two_runs_draw_the_same_dropout() -> None:
    states = set()
    for seed in range(4):
        changes = replace(TINY.training, seed=seed, steps=4)
        for _ in Run(replace(TINY, training=changes)).steps():
            states.add(torch.initial_seed())
    assert len(states) == 16


def test_a_folder_is_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is refused before it does anything, new or resumed."""
    folder, refused = tmp_path / "run", list[bool]()

    def second() -> None:
        for resume in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(trainer, "load_pairs", lambda corpus: switched_off())
                refuses(
                    lambda: start_run("tiny", folder, resume=resume),  # noqa: B023
                    f"{folder} is in use by another run",
                )
            refused.append(resume)

    with locked(folder):
        second()
    assert not folder.exists()  # it was made for the lock
    stop_after(3, monkeypatch, second)
    start_run("tiny", folder)
    assert refused == [False, True, False, True]
    assert sorted(p.name for p in folder.iterdir()) == FILES


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from scratch.plumbing.training.log import locked
with locked(Path({str(tmp_path)!r})):
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    with locked(tmp_path):
        refuses(lambda: locked(tmp_path).__enter__(), str(tmp_path), "in use by another run")
    with locked(tmp_path):
        pass


def saved_step(folder: Path) -> int:
    return int(read_tensors(folder / "checkpoint.safetensors")[1]["step"])


def test_the_log_says_where_and_on_what_a_run_went_on(
    died: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = saved_step(died)
    with monkeypatch.context() as patch:
        stop_after(20, patch, switched_off)
        with pytest.raises(Stopped):
            start_run("tiny", died, resume=True)
    second = saved_step(died)
    start_run("tiny", died, resume=True)
    lines = read_log(died / "log.jsonl")
    assert [line["step"] for line in lines[1:] if "resumed" in line] == [first, second]
    steps = [line["step"] for line in lines[1:] if "loss" in line or "resumed" in line]
    again = [first, *range(first + 1, second + 1), second, *range(second + 1, STEPS + 1)]
    assert steps == [*range(1, first + 1), *again]
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


def test_a_killed_process_can_be_resumed(uninterrupted: Path, tmp_path: Path) -> None:
    """The same as above with a real kill -9, after the third step."""
    folder = tmp_path / "killed"
    here = Path(__file__).parent
    code = f"""
import sys, time; sys.path.insert(0, {str(here)!r})
from pathlib import Path
import test_run as t
from scratch.plumbing.training import run as trainer
t.RECIPES["tiny"] = t.TINY
trainer.load_pairs = lambda corpus: t.PAIRS
trainer.SAVE_EVERY = 1
write = trainer.Journal.write
trainer.Journal.write = lambda self, record: (
    write(self, record), record.step == 3 and (print(flush=True), time.sleep(10**6))
)
trainer.start_run("tiny", Path({str(folder)!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        process.kill()
    assert saved_step(folder) == 2
    assert not (folder / "model.safetensors").exists()
    start_run("tiny", folder, resume=True)
    assert same(whole(uninterrupted), whole(folder))


# -- what is refused


def test_a_folder_that_holds_a_run_is_not_written_over(uninterrupted: Path, tmp_path: Path) -> None:
    uninterrupted = Path(shutil.copytree(uninterrupted, tmp_path / "copy"))
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
        refuses(partial(start_run, "tiny", folder, resume=True), str(folder), "nothing to resume")
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
    refuses(lambda: start_run("grammer", tmp_path), "recipe is 'grammer'", "'grammar'", "'en-fr'")
    (tmp_path / "file").write_text("")
    refuses(lambda: start_run("tiny", tmp_path / "file"), "file is a file", "folder")


@pytest.fixture
def died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after twelve steps; its checkpoint is older."""
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
    tensors, metadata = read_tensors(path)
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
    for name, text in itertools.product(
        ("recipe", "step", "stream", "watch"),
        ("5", "[]", "[" * 100_000, "{}", "null", '{"epoch": "1", "done": [], "state": 5}'),
    ):
        if (name, text) != ("step", "5"):
            save_file(tensors, path, metadata=metadata | {name: text})
            refuses_to_resume(died)
    save_file(tensors, path, metadata=metadata | {"step": "-1"})
    refuses_to_resume(died, "step is -1")
    save_file(tensors, path, metadata=metadata)
    start_run("tiny", died, resume=True)


def test_a_checkpoint_that_was_changed_on_the_disk_is_noticed(died: Path) -> None:
    path = died / "checkpoint.safetensors"
    content = path.read_bytes()
    for at in (len(content) // 2, len(content) - 9, content.index(b'\\"seed\\": 3') + 10):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        refuses_to_resume(died, "damaged")
    path.write_bytes(content)
    start_run("tiny", died, resume=True)


def test_what_a_run_began_with_is_remembered_by_every_checkpoint(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not be said when the run goes on, and may be said again later."""
    folder, begin_with = tmp_path / "died", str(uninterrupted)
    stops: list[tuple[int, dict[str, Any]]] = [
        (12, {"begin_with": begin_with}),
        (15, {"resume": True}),
        (17, {"resume": True, "begin_with": begin_with}),
    ]
    for step, how in stops:
        with monkeypatch.context() as patch:
            stop_after(step, patch, lambda: os.kill(os.getpid(), signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                start_run("tiny", folder, **how)
        _, kept = read_tensors(folder / "checkpoint.safetensors")
        assert kept["begun_with"] == "uninterrupted"


def test_other_options_are_named(died: Path) -> None:
    for changes, parts in (
        ({"steps": 30}, ("steps 25 and not 30",)),
        ({"steps": 30, "seed": 4}, ("steps 25 and not 30", "seed 3 and not 4")),
        ({"accumulate": 2, "peak_rate": 0.5}, ("accumulate 1 and not 2", "0.001 and not 0.5")),
        ({"tsv": "a.tsv"}, ("corpus 'tiny' and not 'tsv:a.tsv'",)),
        ({"begin_with": "else"}, ("begin_with '' and not 'else'",)),
    ):
        refuses(
            lambda c=changes: start_run("tiny", died, resume=True, **c),  # type: ignore[misc]
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


@pytest.mark.parametrize(("step", "name"), [(12, "checkpoint"), (STEPS, "model")])
def test_a_full_disk_ends_a_run_in_one_line(
    step: int,
    name: str,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No file may become longer than 20,000 bytes, which a log is not by then."""
    folder, file = tmp_path / "full", f"{name}.safetensors"
    with monkeypatch.context() as patch, ExitStack() as stack:
        stop_after(step, patch, lambda: stack.enter_context(full_disk(20_000)))
        assert cli.main(["train", "tiny", "--out", str(folder)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("scratch train: ") and FULL in said and file in said
    assert sorted(p.name for p in folder.glob("*.safetensors*")) == ["checkpoint.safetensors"]
    start_run("tiny", folder, resume=True)
    assert same(whole(uninterrupted), whole(folder))


def test_a_damaged_log_does_not_stop_a_run(died: Path, uninterrupted: Path, tmp_path: Path) -> None:
    log = died / "log.jsonl"
    checkpoint, text = (died / "checkpoint.safetensors").read_bytes(), log.read_text()
    first = saved_step(died) + 1
    start_of, _, _ = text.partition('{"step": 4')
    for damaged in (
        text[:-20],
        *(start_of + bad for bad in ("5", "[]", "[" * 100_000, '{"step": "x"}')),
    ):
        for path in died.iterdir():
            if path.name != "tokenizer.json":
                path.unlink()
        (died / "checkpoint.safetensors").write_bytes(checkpoint)
        log.write_text(damaged)
        start_run("tiny", died, resume=True)
        steps = [e["step"] for e in without_times(read_log(log))[1:] if "loss" in e]
        assert steps[first - STEPS - 1 :] == list(range(first, STEPS + 1))
        assert same(whole(uninterrupted), whole(died))


def test_a_lost_log_begins_anew(died: Path) -> None:
    (died / "log.jsonl").unlink()
    step = saved_step(died)
    start_run("tiny", died, resume=True)
    header, resumed, *entries = read_log(died / "log.jsonl")
    assert header["recipe"] == "tiny"
    assert (resumed["step"], "resumed" in resumed) == (step, True)
    assert [e["step"] for e in entries if "loss" in e] == list(range(step + 1, STEPS + 1))


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    refuses(lambda: read_log(path), str(path))
    path.write_text(json.dumps({"a": 1}) + "\nnonsense\n")
    refuses(lambda: read_log(path), str(path))


def test_the_shipped_recipes_make_models() -> None:
    for recipe in RECIPES.values():
        config = recipe.config(recipe.vocab_size)
        assert config.d_model % config.n_heads == 0
        assert recipe.training.steps > recipe.training.warmup_steps
