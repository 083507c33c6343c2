"""A training run on disk: a progress bar, a log, a checkpoint that Ctrl-C cannot break.

The folder of a run holds ``log.jsonl`` (a first line that says what ran, then losses),
``checkpoint.safetensors`` while it is under way, and the model once it has ended; a run with
extras also the weights of its last epochs.
"""

import hashlib
import itertools
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from scratch.datasets import encode_pairs
from scratch.plumbing import checks
from scratch.plumbing.average import average_snapshots, save_snapshot
from scratch.plumbing.checkpoint import WEIGHTS, load_pretrained, save_pretrained
from scratch.plumbing.corpora import TSV, checksums_of, dev_sets, load_pairs
from scratch.plumbing.engine import Engine, Machine, processes
from scratch.plumbing.fast import FastLoss
from scratch.plumbing.journal import Journal, begin_log, read_log
from scratch.plumbing.recipes import RECIPES, Extras, Recipe
from scratch.plumbing.state import read_state, restore, save_state
from scratch.plumbing.stream import Stream
from scratch.plumbing.watch import Watch
from scratch.tokens import Tokenizer, train_tokenizer
from scratch.training import StepRecord, make_optimizer, numbered_step, train
from scratch.transformer import Transformer, TransformerConfig, count_parameters

__all__ = ["Changes", "Run", "read_log", "start_run"]

LOG, CHECKPOINT, CURVE = "log.jsonl", "checkpoint.safetensors", "curve.svg"
LOG_EVERY, SAVE_EVERY, SAVE_SECONDS = 20, 200, 120.0  # steps, steps, and at least so often


@dataclass(frozen=True)
class Changes:
    """What the command line may change in a recipe; what is None stays as it is.

    ``tsv`` is a file to train on instead of the recipe's corpus; ``begin_with`` the folder of a
    finished run whose weights and vocabulary this one begins with.
    """

    tsv: str | None = None
    batch_size: int | None = None
    steps: int | None = None
    seed: int | None = None
    begin_with: str | None = None

    def apply(self, recipe: Recipe) -> Recipe:
        """Return ``recipe`` with the changes made.  Raises ValueError for impossible ones."""
        wanted = {"max_tokens": self.batch_size, "steps": self.steps, "seed": self.seed}
        made: dict[str, Any] = {name: n for name, n in wanted.items() if n is not None}
        corpus = recipe.corpus if self.tsv is None else TSV + self.tsv
        return replace(recipe, corpus=corpus, training=replace(recipe.training, **made))


class Run:
    """One training run of ``recipe``, with everything it needs, ready to be stepped."""

    def __init__(
        self, recipe: Recipe, begin_with: str | None = None, machine: Machine | None = None
    ) -> None:
        _check_machine(recipe, machine or Machine())
        self.recipe, self.extras = recipe, recipe.extras or Extras()
        self.pairs = load_pairs(recipe.corpus)
        torch.manual_seed(recipe.training.seed)
        self.model, self.tokenizer = _beginning(recipe, self.pairs, begin_with)
        loss_of = FastLoss(self.extras.dropout)
        self.engine = Engine(self.model, loss_of, machine or Machine())
        self.optimizer = make_optimizer(self.model)
        dev = dev_sets(recipe.corpus) if recipe.extras else {}
        self.watch = Watch(dev, self.extras.patience)
        self.stream = Stream(self.tokenizer, recipe.training, self.extras.bpe_dropout)
        self.step = 0

    def steps(self) -> Iterator[StepRecord]:
        """Train from the step the run stands at to the end; one record per step."""
        for record in self._fast_steps() if self.recipe.extras else self._taught_steps():
            self.step = record.step
            yield record

    def _taught_steps(self) -> Iterator[StepRecord]:
        max_len, config = self.model.config.max_len, self.recipe.training
        examples = encode_pairs(self.pairs, self.tokenizer, max_len=max_len)
        yield from train(self.model, examples, config, optimizer=self.optimizer, start=self.step)

    def _fast_steps(self) -> Iterator[StepRecord]:
        config = self.recipe.training
        stream = self.stream.batches(self.pairs, self.model.config.max_len)
        self.model.train()
        for step in range(self.step + 1, config.steps + 1):
            (epoch, *_), parts = zip(*itertools.islice(stream, config.accumulate), strict=True)
            where = {"step": step, "epoch": epoch, "loss_of": self.engine}
            yield numbered_step(self.model, parts, self.optimizer, config, **where)

    def save(self, path: Path) -> None:
        """Write a checkpoint, if this is the process that writes."""
        if self.engine.rank == 0:
            places = {"stream": self.stream.position(), "watch": self.watch.position()}
            metadata = {"step": str(self.step), "recipe": self.recipe.to_json()}
            save_state(path, self.model, self.optimizer, metadata | places)

    def load(self, path: Path) -> None:
        """Go back to where :meth:`save` was.  Raises ValueError for any other file."""
        tensors, metadata = read_state(path)
        try:
            written_by = Recipe.from_json(metadata.get("recipe", ""))
        except ValueError:
            written_by = None
        if written_by != self.recipe:
            raise ValueError(f"{path} belongs to another recipe; use another --out folder")
        try:
            step = int(metadata["step"])
            restore(tensors, self.model, self.optimizer, begun=step > 0)
            if self.recipe.extras:
                self.stream.go_to(metadata["stream"])
                self.watch.go_to(metadata["watch"])
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{path} does not fit the corpus any more ({error}); use another --out folder"
            ) from None
        self.step = step


def _check_machine(recipe: Recipe, machine: Machine) -> None:
    plain = machine == Machine() and processes()[1] == 1
    if recipe.extras is None and not plain:
        raise ValueError(
            "the recipe is one of the taught loop, which knows one process and one device; "
            "expected a recipe with extras, like en-fr-1"
        )


def _beginning(
    recipe: Recipe, pairs: list[tuple[str, str]], begin_with: str | None
) -> tuple[Transformer, Tokenizer]:
    """Return a new model and vocabulary, or those of the run that this one begins with."""
    if begin_with is None:
        tokenizer = train_tokenizer((text for pair in pairs for text in pair), recipe.vocab_size)
        return Transformer(TransformerConfig(len(tokenizer), **recipe.model)), tokenizer
    begun, tokenizer = load_pretrained(begin_with)
    expected = TransformerConfig(len(tokenizer), **recipe.model)
    found = replace(begun.config, dropout=expected.dropout)  # which a later stage may change
    checks.require(
        found == expected, f"{begin_with} holds {found}, expected the recipe's {expected}"
    )
    model = Transformer(expected)
    model.load_state_dict(begun.state_dict())
    return model, tokenizer


def start_run(
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    command: str = "",
    changes: Changes = Changes(),
    machine: Machine | None = None,
) -> Run:
    """Run the recipe ``name`` to its end, keeping everything in ``folder``.

    Of several processes, started by torchrun, the first one writes.

    Raises ValueError when ``folder`` holds a finished run, or any run and ``resume`` is not
    asked for; KeyboardInterrupt, once a checkpoint is written, after Ctrl-C.
    """
    checks.one_of("recipe", name, tuple(RECIPES))
    _check_folder(folder, resume)
    run = Run(changes.apply(RECIPES[name]), changes.begin_with, machine)
    run.engine.wait()  # before one of them makes what another must not find
    folder.mkdir(parents=True, exist_ok=True)
    if resume and (folder / CHECKPOINT).exists():
        run.load(folder / CHECKPOINT)
    run.engine.wait()
    log = folder / LOG if run.engine.rank == 0 else Path(os.devnull)
    if run.engine.rank == 0:
        begin_log(log, _header(name, run, command, changes), run.step)
    with _ctrl_c() as asked:
        stopped = _fit(run, folder, log, asked)
    if stopped:
        run.save(folder / CHECKPOINT)
        raise KeyboardInterrupt(f"stopped at step {run.step}; go on with --resume")
    if run.engine.rank == 0:
        _finish(run, folder)
    run.engine.wait()
    return run


def _check_folder(folder: Path, resume: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder for the run")
    if (folder / LOG).exists() and not resume:
        raise ValueError(f"{folder} already holds a run; add --resume, or choose another --out")
    if (folder / WEIGHTS).exists() and not (folder / CHECKPOINT).exists():
        raise ValueError(f"{folder} already holds a finished model; choose another --out")


def _finish(run: Run, folder: Path) -> None:
    """Write the model, which marks the run as finished, and only then drop the checkpoint."""
    if run.recipe.extras:
        from scratch.plumbing.curve import save_curve  # here, because Matplotlib is slow to load

        average_snapshots(folder, run.model, run.extras.average)
        save_curve(folder / LOG, folder / CURVE)
    save_pretrained(folder, run.model.eval(), run.tokenizer, stored_as=run.recipe.stored_as)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _header(name: str, run: Run, command: str, changes: Changes) -> dict[str, Any]:
    """Return what someone needs who wants to repeat the run."""
    header = {
        "recipe": name,
        "command": command,
        "model": run.model.config.to_dict(),
        "training": run.recipe.training.to_dict(),
        "examples": len(run.pairs),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    return header | (_details(run, changes) if run.recipe.extras else {})


def _details(run: Run, changes: Changes) -> dict[str, Any]:
    vocabulary = run.tokenizer.backend.to_str().encode()
    parts = {part: version(part) for part in ("numpy", "tokenizers", "sacrebleu")}
    return {
        "extras": asdict(run.extras),
        "changes": asdict(changes),
        "parameters": count_parameters(run.model),
        "data": checksums_of(run.recipe.corpus),
        "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
        "versions": {"python": platform.python_version(), **parts},
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "processes": run.engine.world,
        "computed_on": asdict(run.engine.machine),
    }


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Turn a first Ctrl-C into an event, so that no step is cut in half; a second interrupts."""
    asked = threading.Event()

    def ask(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked  # Ctrl-C never reaches another thread
        return
    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _fit(run: Run, folder: Path, log: Path, asked: threading.Event) -> bool:
    """Train to the end, or until somebody asks to stop; say whether somebody did."""
    total, saved, quiet = run.recipe.training.steps, time.monotonic(), run.engine.rank > 0
    with (
        log.open("a", encoding="utf-8") as file,
        tqdm(total=total, initial=run.step, unit="step", disable=quiet, dynamic_ncols=True) as bar,
    ):
        journal = Journal(file, bar, last=total, every=1 if run.recipe.extras else LOG_EVERY)
        for record in run.steps():
            journal.write(record)
            ended = run.recipe.extras is not None and run.stream.finished() > run.watch.epochs
            if ended:
                found = run.watch.look(run.model, run.tokenizer)
                journal.line({"step": run.step, "epoch": run.watch.epochs} | found)
            if ended and run.engine.rank == 0:
                save_snapshot(folder, run.model, run.watch.epochs, keep=run.extras.average)
            if ended or run.step % SAVE_EVERY == 0 or time.monotonic() - saved > SAVE_SECONDS:
                run.save(folder / CHECKPOINT)
                saved = time.monotonic()
            bar.update()
            if run.engine.any(asked.is_set()):
                return run.step < total
            if run.watch.has_seen_enough():
                break
    return False
