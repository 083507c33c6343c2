"""Long runs: watched; killed at any instant, they end the same."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reference import refuses
from scratch.plumbing.data.corpora import checksums_of, dev_sets, load_pairs
from scratch.plumbing.fast.step import Dropout
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.training import run as trainer
from scratch.plumbing.training import stream
from scratch.plumbing.training.engine import Engine, Machine
from scratch.plumbing.training.log import Journal
from scratch.plumbing.training.recipes import RECIPES, Extras, Recipe, changed
from scratch.plumbing.training.run import Run, read_log, start_run
from scratch.plumbing.training.watch import Watch, corpus_bleu, dev_loss, save_curve
from scratch.training import TrainingConfig, make_optimizer
from scratch.transformer import Transformer, count_parameters
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 14
LONG = Recipe(
    corpus="long",
    vocab_size=300,
    training=TrainingConfig(steps=STEPS, max_tokens=60, warmup_steps=5, accumulate=2, seed=3),
    model={
        "d_model": 16,
        "n_heads": 2,
        "d_ff": 24,
        "n_encoder_layers": 1,
        "n_decoder_layers": 1,
        "max_len": 64,
        "norm": "pre",
    },
    extras=Extras(Dropout(0.3, 0.1, 0.1), noise=True),
)
FILES = ("config.json", "curve.svg", "log.jsonl", "model.safetensors", "tokenizer.json")
DEV = {"a": [("I see him.", ["Je le vois.", "Je le vois !"]), ("He ate.", ["Il a mangé."])]}


@pytest.fixture(autouse=True)
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that takes a second or so, saved every third step."""
    monkeypatch.setitem(RECIPES, "long", LONG)
    monkeypatch.setattr(trainer, "load_pairs", lambda corpus: PAIRS)
    monkeypatch.setattr(trainer, "dev_sets", lambda corpus: DEV)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 3)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "long", LONG)
        patch.setattr(trainer, "load_pairs", lambda corpus: PAIRS)
        patch.setattr(trainer, "dev_sets", lambda corpus: DEV)
        folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
        start_run("long", folder)
        yield folder


def without_times(folder: Path) -> list[dict[str, Any]]:
    log = [line for line in read_log(folder / "log.jsonl")[1:] if "resumed" not in line]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in log]


def assert_same_run(left: Path, right: Path) -> None:
    a, b = (load_file(folder / "model.safetensors") for folder in (left, right))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert without_times(left) == without_times(right)
    for folder in (left, right):  # and no unfinished or temporary file
        assert {p.name for p in folder.iterdir()} == set(FILES)


def test_a_long_run_leaves_a_model_and_every_loss(uninterrupted: Path) -> None:
    header, *entries = read_log(uninterrupted / "log.jsonl")
    steps = [e["step"] for e in entries if "loss" in e]
    assert steps == list(range(1, STEPS + 1))
    *looks, at_the_end = [e for e in entries if "dev_bleu" in e]
    assert [e["epoch"] for e in looks] == list(range(1, len(looks) + 1))
    assert len(looks) >= 3
    assert all(e["dev_loss"]["a"] > 0 <= e["dev_bleu"]["a"] for e in looks)
    assert header["extras"]["noise"] is True
    # what the run dropped, in the log and in the configuration of its model alike
    places = {"residual": 0.3, "attention": 0.1, "hidden": 0.1}
    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["dropout"] == header["model"]["dropout"] == places
    assert header["extras"]["dropout"] == places
    assert header["processes"] == 1
    assert header["computed_on"]["device"] == "cpu"
    assert len(header["vocabulary"]) == 64
    found = Watch(DEV, 0).measure(*load_pretrained(uninterrupted))
    assert at_the_end == entries[-1] == {"step": STEPS, "ended": True} | found


class Stopped(Exception):
    """Stands for a machine that was switched off."""


@pytest.mark.parametrize("step", [1, 2, 4, 6, 9, 11, 13])
def test_a_long_run_that_died_goes_on_as_if_it_had_not(
    step: int, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Run.steps

    def some(self: Run, *ready: Any) -> Iterator[Any]:
        for record in steps(self, *ready):
            yield record
            if record.step == step:
                raise Stopped

    folder = tmp_path / "died"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "steps", some)
        with pytest.raises(Stopped):
            start_run("long", folder)
    torch.manual_seed(0)
    start_run("long", folder, resume=True)
    assert_same_run(uninterrupted, folder)


def kill_in_save(number: int, torn: bool, folder: Path) -> None:
    """Go on with the run in another process; kill -9 it at a save, by its number.

    The save has got half way, as on a slow disk, or is just over.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        write, saves = trainer.write_whole, itertools.count(1)

        def slow(path: Path, content: bytes | str) -> None:
            now = path.name == "checkpoint.safetensors" and next(saves) == number
            if now and torn:
                path.with_name(f"{path.name}.part").write_bytes(content[: len(content) // 2])  # type: ignore[arg-type]
            else:
                write(path, content)
            if now:
                os.write(writer, b"x")
                time.sleep(10**6)

        trainer.write_whole = slow
        try:
            start_run("long", folder, resume=(folder / "checkpoint.safetensors").exists())
        finally:
            os._exit(0)  # no test goes on in the child, whatever happens
    os.close(writer)
    assert os.read(reader, 1) == b"x", "the run ended before it could be killed"
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def kill_again_and_again(folder: Path) -> int:
    """Kill the run of ``folder`` four times; return how often half a checkpoint was left there.

    Forks, so it needs a process whose libraries have not started any thread.
    """
    RECIPES["long"] = LONG
    trainer.load_pairs = lambda corpus: PAIRS
    trainer.dev_sets = lambda corpus: DEV
    trainer.SAVE_EVERY = 1
    warm_up = make_optimizer(torch.nn.Linear(1, 1))  # loads much of PyTorch: not in every fork
    warm_up.zero_grad()
    torn = 0
    for number, half in ((2, True), (2, True), (2, False), (3, True)):
        kill_in_save(number, half, folder)
        torn += (folder / "checkpoint.safetensors.part").exists()
    return torn


def test_a_long_run_killed_again_and_again_ends_the_same(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "killed"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == 3, "half a checkpoint is left by each kill inside a save"
    assert (folder / "checkpoint.safetensors").exists()
    assert not (folder / "model.safetensors").exists(), "the run was over before it was killed"
    monkeypatch.setattr(trainer, "SAVE_EVERY", 1)
    start_run("long", folder, resume=True)
    assert_same_run(uninterrupted, folder)


def test_ctrl_c_saves_a_long_run(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Run.steps

    def some(self: Run, *ready: Any) -> Iterator[Any]:
        for record in steps(self, *ready):
            if record.step == 7:
                os.kill(os.getpid(), signal.SIGINT)
            yield record

    with monkeypatch.context() as patch:
        patch.setattr(Run, "steps", some)
        with pytest.raises(KeyboardInterrupt, match="stopped at step 7; go on with --resume"):
            start_run("long", tmp_path / "stopped")
    start_run("long", tmp_path / "stopped", resume=True)
    assert_same_run(uninterrupted, tmp_path / "stopped")


def test_a_run_that_diverges_leaves_its_checkpoint_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Run.steps

    def some(self: Run, *ready: Any) -> Iterator[Any]:
        for record in steps(self, *ready):
            if record.step == 8:
                with torch.no_grad():
                    self.model.output.weight.fill_(torch.nan)
            yield record

    monkeypatch.setattr(Run, "steps", some)
    monkeypatch.setattr(trainer, "SAVE_EVERY", 7)
    monkeypatch.setattr(Watch, "look", lambda self, model, tokenizer: {})  # no epoch ends here
    monkeypatch.setattr(trainer.Stream, "finished", lambda self: 0)
    refuses(
        lambda: start_run("long", tmp_path), "step 9, epoch", "batch (", "loss is nan", "peak_rate"
    )
    saved = load_file(tmp_path / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in saved.values())
    assert not (tmp_path / "model.safetensors").exists()


# -- what the command line may change


def test_changes_are_made_and_nothing_else() -> None:
    found = changed(LONG, tsv="a.tsv", batch_size=99, steps=7, seed=5)
    assert found.corpus == "tsv:a.tsv"
    assert (found.training.max_tokens, found.training.steps, found.training.seed) == (99, 7, 5)
    assert found.training.peak_rate == LONG.training.peak_rate
    more = changed(LONG, accumulate=4, peak_rate=0.5, patience=3)
    assert (more.training.accumulate, more.training.peak_rate) == (4, 0.5)
    assert more.extras == replace(LONG.extras, patience=3)
    assert changed(LONG) == changed(LONG, tsv=None, seed=None, patience=None) == LONG
    refuses(lambda: changed(LONG, steps=0), "steps is 0")
    refuses(lambda: changed(LONG, batch_size=-1), "max_tokens is -1")
    refuses(lambda: changed(LONG, seed=-1), "seed is -1")
    refuses(lambda: changed(LONG, accumulate=0), "accumulate is 0")
    refuses(lambda: changed(LONG, patience=-1), "patience is -1")
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        refuses(lambda r=rate: changed(LONG, peak_rate=r), f"peak_rate is {rate}")  # type: ignore[misc]


def younger_with(**fields: Any) -> str:
    return json.dumps(json.loads(LONG.to_json()) | fields)


def test_recipes_come_back_from_json() -> None:
    for recipe in (*RECIPES.values(), LONG):
        assert Recipe.from_json(recipe.to_json()) == recipe
    younger = json.loads(LONG.to_json())
    del younger["training"]["accumulate"], younger["extras"]["patience"]
    assert Recipe.from_json(json.dumps(younger)).extras == LONG.extras
    for text in (
        "", "5", "[]", "[" * 100_000, "{}", "null", '{"training": {"steps": 0}}', '{"training": 3}',
        younger_with(extras=None), younger_with(extras={"dropout": 0.1}), younger_with(more=1),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            Recipe.from_json(text)


def test_a_file_of_two_columns_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{a[:-1]} {n}.\t{b[:-1]} {n}.\n" for n in range(9) for a, b in PAIRS))
    corpus = f"tsv:{path}"
    train, dev = load_pairs(corpus), dev_sets(corpus)["dev"]
    assert len(dev) == 72 // 20
    assert len(train) == 72 - len(dev)
    assert not {s for s, _ in train} & {s for s, _ in dev}
    assert list(checksums_of(corpus)) == [corpus]
    monkeypatch.setattr(trainer, "load_pairs", load_pairs)
    monkeypatch.setattr(trainer, "dev_sets", dev_sets)
    run = start_run("long", tmp_path / "run", tsv=str(path), steps=2)
    assert run.step == 2
    header = read_log(tmp_path / "run" / "log.jsonl")[0]
    assert header["changes"]["tsv"] == str(path)
    assert header["examples"] == len(train)
    refuses(lambda: start_run("long", tmp_path / "b", tsv="none"), "none")
    assert not (tmp_path / "b").exists()


def numbered(count: int) -> list[tuple[str, str]]:
    return [(f"{n} {PAIRS[n % 8][0]}", f"{n} {PAIRS[n % 8][1]}") for n in range(count)]


@pytest.mark.parametrize(
    ("pairs", "trained_on"),
    [
        (numbered(19), 19),
        ([(a, "La même chose.") for a, _ in numbered(40)], 40),
        ([(f"{'?' * n}", f"{'!' * n}") for n in range(1, 41)], 40),
        ([("?", b) if n < 30 else (a, b) for n, (a, b) in enumerate(numbered(40))], 40),
        ([*numbered(60), *((s * 20, t * 20) for s, t in numbered(20))], None),
    ],
    ids=["few", "one target", "no letters", "few with letters", "some are long"],
)
def test_files_that_leave_nothing_to_hold_out_are_trained_on_whole(
    pairs: list[tuple[str, str]],
    trained_on: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    monkeypatch.setattr(trainer, "load_pairs", load_pairs)
    monkeypatch.setattr(trainer, "dev_sets", dev_sets)
    monkeypatch.setitem(
        RECIPES, "long", replace(LONG, training=replace(LONG.training, max_tokens=999))
    )
    assert bool(dev_sets(f"tsv:{path}")) is (trained_on is None)
    run = start_run("long", tmp_path / "run", tsv=str(path), steps=3)
    assert run.step == 3
    assert run.watch.epochs > 0
    assert len(run.pairs) == trained_on or trained_on is None
    assert bool(run.watch.dev) is (trained_on is None)


def test_dev_sentences_that_are_all_too_long_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [(source * 20, target * 20) for source, target in PAIRS]
    monkeypatch.setattr(trainer, "dev_sets", lambda corpus: {"a": [(a, [b]) for a, b in long]})
    run = start_run("long", tmp_path / "run", steps=5)
    assert (run.watch.dev, run.watch.epochs > 0) == ({}, True)
    refuses(
        lambda: start_run("long", tmp_path / "b", patience=2),
        "patience is 2", "expected 0", "no dev sentences",
    )  # fmt: skip
    monkeypatch.setattr(trainer, "load_pairs", lambda corpus: long)
    refuses(lambda: start_run("long", tmp_path / "b"), "long", "no pair of at most 64 tokens")
    assert not (tmp_path / "b").exists()


def test_a_stage_begins_with_the_weights_of_the_one_before(
    uninterrupted: Path, tmp_path: Path
) -> None:
    run = Run(LONG, str(uninterrupted))
    before, words = load_pretrained(uninterrupted)
    for a, b in zip(run.model.parameters(), before.parameters(), strict=True):
        assert torch.equal(a, b)
    assert run.tokenizer.backend.to_str() == words.backend.to_str()
    other = changed(LONG, seed=5)
    wider = Recipe("long", 300, other.training, LONG.model | {"d_ff": 32}, extras=LONG.extras)
    refuses(lambda: Run(wider, str(uninterrupted)), str(uninterrupted), "d_ff=32")
    refuses(lambda: Run(LONG, str(tmp_path)), str(tmp_path))


def test_machines_that_are_not_there_are_refused() -> None:
    refuses(lambda: Machine(device="tpu"), "device is 'tpu'")
    if not torch.cuda.is_available():
        refuses(lambda: Machine(device="cuda"), "device is 'cuda'", "no GPU")


# -- watching


def test_a_run_is_drawn(uninterrupted: Path, tmp_path: Path) -> None:
    assert "<svg" in (uninterrupted / "curve.svg").read_text()[:500]
    log = tmp_path / "log.jsonl"
    log.write_text('{"recipe": "x"}\n')
    refuses(lambda: save_curve(log, tmp_path / "a.svg"), str(log), "no loss")
    log.write_text('{"recipe": "x"}\n{"step": 1, "loss": 2.0}\n')  # never looked at a dev set
    save_curve(log, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    whole = (uninterrupted / "log.jsonl").read_text()
    *lines, last = whole.splitlines(keepends=True)
    assert "ended" in last  # what the whole run scores is no point of the curve
    log.write_text("".join(lines))
    save_curve(log, tmp_path / "a.png")
    log.write_text(whole)
    save_curve(log, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_translator_is_as_small_as_it_must_be() -> None:
    recipe = RECIPES["en-fr"]
    with torch.device("meta"):
        config = recipe.config(recipe.vocab_size)
        assert count_parameters(Transformer(config)) <= 10_000_000


def test_bleu_counts_every_reference() -> None:
    found = ["the cat sat on the mat", "a dog barks at the old man"]
    references = [["a cat sits there", found[0], "x"], [found[1]]]
    assert corpus_bleu(found, references) == pytest.approx(100.0)
    assert corpus_bleu(found, [references[0][:1], references[1]]) < 90


def test_the_dev_loss_is_the_mean_over_all_tokens() -> None:
    from scratch.datasets import collate, encode_pairs
    from scratch.training import batch_loss

    m = model(vocab_size=len(tokenizer()), max_len=64)
    whole = batch_loss(m, collate(encode_pairs(PAIRS, tokenizer()), 0), 0.0)
    found = dev_loss(m, tokenizer(), [(a, [b, "another"]) for a, b in PAIRS])
    assert found == pytest.approx(whole.item(), abs=1e-5)


def test_patience_counts_epochs_without_a_better_score(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(DEV, patience=2)
    scores = iter([1.0, 3.0, 2.0, 3.0])
    monkeypatch.setattr("scratch.plumbing.training.watch._greedy_bleu", lambda *_: next(scores))
    enough = []
    m = model(vocab_size=len(tokenizer()), max_len=64).train()
    for _ in range(4):
        watch.look(m, tokenizer())
        enough.append(watch.has_seen_enough())
    assert enough == [False, False, False, True]
    assert m.training
    again = Watch(DEV, patience=2)
    again.go_to(watch.position())
    assert again.has_seen_enough()
    assert again.epochs == 4
    assert not Watch({}, patience=1).has_seen_enough()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no epoch be better than the first: the run ends with the second."""
    monkeypatch.setattr("scratch.plumbing.training.watch._greedy_bleu", lambda *_: 0.0)
    monkeypatch.setitem(RECIPES, "long", replace(LONG, extras=Extras(patience=1)))


@pytest.mark.usefixtures("patient")
def test_a_run_that_sees_no_progress_ends(tmp_path: Path) -> None:
    run = start_run("long", tmp_path)
    assert run.step < STEPS
    assert run.watch.epochs == 2
    assert (tmp_path / "model.safetensors").exists()
    last = read_log(tmp_path / "log.jsonl")[-1]
    assert (last["step"], last["ended"]) == (run.step, True)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("how", ["ctrl-c", "killed"])
def test_a_run_that_has_seen_enough_makes_no_step_more_if_it_is_interrupted_then(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = start_run("long", tmp_path / "whole").step
    save = Run.save

    def stop(self: Run, path: Path) -> None:
        save(self, path)
        if self.step == last and how == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)
        elif self.step == last:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", stop)
        try:  # after Ctrl-C as well the run is over: there is nothing to go on with
            assert start_run("long", tmp_path / "stopped").step == last
        except KeyboardInterrupt as asked:
            pytest.fail(str(asked))
        except Stopped:
            assert how == "killed"
            assert start_run("long", tmp_path / "stopped", resume=True).step == last
    a, b = (load_file(tmp_path / r / "model.safetensors") for r in ("whole", "stopped"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "stopped")


@pytest.mark.usefixtures("patient")
def test_all_processes_agree_on_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has seen enough after an epoch, this one has not: it ends all the same."""
    asked: list[int] = []

    def seen(self: Watch) -> bool:
        asked.append(self.epochs)
        return False

    monkeypatch.setattr(Watch, "has_seen_enough", seen)
    monkeypatch.setattr(Engine, "any", lambda self, mine: bool(asked) and asked.pop() > 0)
    try:
        run = start_run("long", tmp_path)
    except KeyboardInterrupt as asked:
        pytest.fail(str(asked))
    assert run.watch.epochs == 1
    assert run.step < STEPS


def test_the_clock_of_a_run_starts_with_its_first_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def spy(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def call(*what: Any, **how: Any) -> Any:
            found = real(*what, **how)
            events.append(name)
            return found

        monkeypatch.setattr(owner, name, call)

    spy(stream, "encode_pairs")
    spy(Journal, "start")
    spy(Journal, "write")
    start_run("long", tmp_path, steps=2, accumulate=1)
    assert events == ["encode_pairs", "start", "write", "write"]


def test_the_model_is_there_before_its_curve_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no pencil")

    monkeypatch.setattr("scratch.plumbing.training.run.save_curve", fail)
    with pytest.raises(OSError, match="no pencil"):
        start_run("long", tmp_path)
    load_pretrained(tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()


if __name__ == "__main__":
    print(kill_again_and_again(Path(sys.argv[1])))
