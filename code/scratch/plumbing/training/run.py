"""A training run on disk: a progress bar, a log, a checkpoint that Ctrl-C cannot break.

The folder of a run holds its vocabulary, ``log.jsonl`` (a first line that says what ran, then
losses) and, while it is under way, ``checkpoint.safetensors``; the model once it has ended; a run
with extras also the weights of its last epochs.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch.datasets import Batch, encode_pairs
from scratch.plumbing import checks
from scratch.plumbing.data.corpora import dev_sets, load_pairs
from scratch.plumbing.fast.step import FastLoss
from scratch.plumbing.models.average import average_snapshots, save_snapshot
from scratch.plumbing.models.storage import (
    TOKENIZER,
    load_pretrained,
    save_pretrained,
    save_tokenizer,
)
from scratch.plumbing.training.changes import AS_IT_STANDS, Changes
from scratch.plumbing.training.engine import Engine, Machine, processes
from scratch.plumbing.training.header import computed_on, differences, digest, header_of
from scratch.plumbing.training.log import Journal, begin_log, progress_bar, read_log, resume_log
from scratch.plumbing.training.recipes import RECIPES, Extras, Recipe
from scratch.plumbing.training.run_folder import CHECKPOINT, CURVE, LOG, check_folder
from scratch.plumbing.training.state import read_state, restore, save_state
from scratch.plumbing.training.stopping import asked_to_stop
from scratch.plumbing.training.stream import Stream
from scratch.plumbing.training.watch import Watch
from scratch.tokens import Tokenizer, train_tokenizer
from scratch.training import StepRecord, make_optimizer, train, training_steps
from scratch.transformer import Transformer, TransformerConfig

__all__ = ["Run", "read_log", "resumed_run", "start_run"]

LOG_EVERY, SAVE_EVERY, SAVE_SECONDS = 20, 200, 120.0  # steps, steps, and at least so often


class Run:
    """One training run of ``recipe``, with everything it needs, ready to be stepped.

    It begins with new weights and a new vocabulary, or with those of the run ``begin_with``; one
    that is resumed has its ``tokenizer``.
    """

    def __init__(
        self,
        recipe: Recipe,
        begin_with: str | None = None,
        machine: Machine | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        _check_machine(recipe, machine or Machine())
        self.recipe, self.extras = recipe, recipe.extras or Extras()
        self.pairs = load_pairs(recipe.corpus)
        torch.manual_seed(recipe.training.seed)
        self.model, self.tokenizer = _beginning(recipe, self.pairs, begin_with, tokenizer)
        self.watch = _watch(self)
        self.engine = Engine(self.model, FastLoss(self.extras.dropout), machine or Machine())
        self.stream = Stream(self.tokenizer, recipe.training, self.extras)
        self.optimizer, self.marks = make_optimizer(self.model), _marks(self, begin_with)
        self.step, self.untold = 0, list[float]()  # the losses that no line of the log tells yet

    def steps(self, ready: Callable[[], None] = lambda: None) -> Iterator[StepRecord]:
        """Train from the step the run stands at to the end; one record per step.

        ``ready`` is called when the first batch is there.
        """
        for record in (self._fast_steps if self.recipe.extras else self._taught_steps)(ready):
            self.step = record.step
            yield record

    def _taught_steps(self, ready: Callable[[], None]) -> Iterator[StepRecord]:
        examples = encode_pairs(self.pairs, self.tokenizer, max_len=self.model.config.max_len)
        ready()
        config, optimizer = self.recipe.training, self.optimizer
        yield from train(self.model, examples, config, optimizer=optimizer, start=self.step)

    def _fast_steps(self, ready: Callable[[], None]) -> Iterator[StepRecord]:
        def told() -> Iterator[tuple[int, Batch]]:
            stream = self.stream.batches(self.pairs, self.model.config.max_len)
            for number, item in enumerate(stream):
                if number == 0:
                    ready()
                yield item

        yield from training_steps(
            self.model,
            [told()],
            self.optimizer,
            self.recipe.training,
            loss_of=self.engine,
            start=self.step,
        )

    def save(self, path: Path) -> None:
        """Write a checkpoint, if this is the process that writes."""
        if self.engine.rank == 0:
            save_state(path, self.model, self.optimizer, self.marks | _places(self))


def _check_machine(recipe: Recipe, machine: Machine) -> None:
    plain = machine == Machine() and processes()[1] == 1
    if recipe.extras is None and not plain:
        raise ValueError(
            "the recipe is one of the taught loop, which knows one process and one device; "
            "expected a recipe with extras, like en-fr-1"
        )


def _beginning(
    recipe: Recipe,
    pairs: list[tuple[str, str]],
    begin_with: str | None,
    tokenizer: Tokenizer | None,
) -> tuple[Transformer, Tokenizer]:
    """Return a new model and vocabulary, or those of the run that this one begins with."""
    if begin_with is None:
        texts = (text for pair in pairs for text in pair)
        tokenizer = tokenizer or train_tokenizer(texts, recipe.vocab_size)
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


def _watch(run: Run) -> Watch:
    """Return what looks at dev sentences, if there are any; refuse what cannot be trained."""
    corpus, max_len = run.recipe.corpus, run.model.config.max_len

    def fits(pairs: Iterable[tuple[str, str]]) -> bool:  # one pair with its <bos> and <eos>
        sizes = (
            (len(run.tokenizer.encode(a)) + 1, len(run.tokenizer.encode(b)) + 2) for a, b in pairs
        )
        return any(max(size) <= max_len for size in sizes)

    checks.require(
        fits(run.pairs),
        f"{corpus} has no pair of at most {max_len} tokens to train on, expected one",
    )
    dev = dev_sets(corpus) if run.recipe.extras else {}
    dev = {name: found for name, found in dev.items() if fits((s, r[0]) for s, r in found)}
    patience = run.extras.patience
    good = bool(dev) or patience == 0
    checks.require(good, f"patience is {patience}, expected 0: {corpus} has no dev sentences")
    return Watch(dev, patience)


def _marks(run: Run, begin_with: str | None) -> dict[str, str]:
    """Return what a run must agree in with its checkpoint, to go on from there."""
    return {
        "recipe": run.recipe.to_json(),
        "begun_with": Changes(begin_with=begin_with).beginning(),
        "pairs": digest(json.dumps(run.pairs)),
        "vocabulary": digest(run.tokenizer.backend.to_str()),
    }


def _places(run: Run) -> dict[str, str]:
    """Return where a run stands, its weights and the optimizer aside."""
    return {
        "step": str(run.step),
        "stream": run.stream.position(),
        "watch": run.watch.position(),
        "untold": json.dumps(run.untold),
    }


def resumed_run(
    recipe: Recipe, folder: Path, begin_with: str | None = None, machine: Machine | None = None
) -> Run:
    """Return the run of ``recipe`` as its checkpoint in ``folder`` left it.

    Raises ValueError when that is damaged, or of a run with other options, pairs or vocabulary.
    ``begin_with`` may be left out: the checkpoint holds the weights.
    """
    path = folder / CHECKPOINT
    tensors, kept = read_state(path)
    try:
        other = differences(Recipe.from_json(kept.get("recipe", "")), recipe)
    except ValueError as error:
        raise ValueError(f"{path} is no checkpoint of a run, expected one ({error})") from None
    begun, asked = kept.get("begun_with"), Changes(begin_with=begin_with).beginning()
    if asked and asked != begun:
        other = f"begin_with {begun!r} and not {asked!r}"
    checks.require(not other, f"{path} was begun with {other}, expected the same with --resume")
    run = Run(recipe, machine=machine, tokenizer=Tokenizer.load(folder / TOKENIZER))
    run.marks["begun_with"] = begun or ""
    for name, mark in run.marks.items():
        good = kept.get(name) == mark
        checks.require(good, f"{path} was begun with other {name}, expected the same")
    _go_to(run, path, tensors, kept)
    return run


def _go_to(run: Run, path: Path, tensors: dict[str, Tensor], kept: dict[str, str]) -> None:
    """Let ``run`` stand where it stood when it was saved."""
    try:
        step = int(kept["step"])
        restore(tensors, run.model, run.optimizer, begun=step > 0)
        run.stream.go_to(kept["stream"])
        run.watch.go_to(kept["watch"])
        run.step, run.untold = step, json.loads(kept["untold"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} does not fit the model ({error}), expected its own") from None


def start_run(
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    command: str = "",
    changes: Changes = AS_IT_STANDS,
    machine: Machine | None = None,
) -> Run:
    """Run the recipe ``name`` to its end, keeping everything in ``folder``.

    Of several processes, started by torchrun, the first one writes.

    Raises ValueError when ``folder`` holds anything of a run and ``resume`` is not asked for, or
    it is and there is no checkpoint; KeyboardInterrupt, once one is written, after Ctrl-C or
    SIGTERM.
    """
    checks.one_of("recipe", name, tuple(RECIPES))
    check_folder(folder, resume=resume)
    run = _new_or_resumed(changes.apply(RECIPES[name]), folder, resume, changes, machine)
    run.engine.wait()  # before one of them makes what another must not find
    log = _prepare(run, folder, header_of(name, run, command, changes), resume=resume)
    with asked_to_stop() as asked:
        stopped = _fit(run, folder, log, asked)
    if stopped:
        run.save(folder / CHECKPOINT)
        run.engine.wait()  # torchrun ends all processes when one has left
        raise KeyboardInterrupt(f"stopped at step {run.step}; go on with --resume")
    if run.engine.rank == 0:
        _finish(run, folder)
    run.engine.wait()
    return run


def _new_or_resumed(
    recipe: Recipe, folder: Path, resume: bool, changes: Changes, machine: Machine | None
) -> Run:
    if resume:
        return resumed_run(recipe, folder, changes.begin_with, machine)
    return Run(recipe, changes.begin_with, machine)


def _prepare(run: Run, folder: Path, header: dict[str, Any], *, resume: bool) -> Path:
    """Write what a run needs to be resumed, whenever it may be killed; return its log."""
    if run.engine.rank > 0:
        return Path(os.devnull)
    folder.mkdir(parents=True, exist_ok=True)
    if resume:
        resume_log(folder / LOG, header, run.step, computed_on(run))
    else:
        save_tokenizer(folder, run.tokenizer)
        run.save(folder / CHECKPOINT)
        begin_log(folder / LOG, header)
    return folder / LOG


def _fit(run: Run, folder: Path, log: Path, asked: Callable[[], bool]) -> bool:
    """Train to the end, or until somebody asks to stop; say whether somebody did."""
    total, saved = run.recipe.training.steps, time.monotonic()
    if run.engine.any(run.watch.has_seen_enough()):  # it was interrupted just then
        return False
    with (
        log.open("a", encoding="utf-8") as file,
        progress_bar(total, run.step, hidden=run.engine.rank > 0) as bar,
    ):
        every = 1 if run.recipe.extras else LOG_EVERY
        journal = Journal(file, bar, last=total, every=every, untold=run.untold)
        for record in run.steps(journal.start):
            journal.write(record)
            ended = run.recipe.extras is not None and run.stream.finished() > run.watch.epochs
            if ended:
                _end_epoch(run, journal, folder)
            if ended or run.step % SAVE_EVERY == 0 or time.monotonic() - saved > SAVE_SECONDS:
                run.save(folder / CHECKPOINT)
                saved = time.monotonic()
            if ended and run.engine.any(run.watch.has_seen_enough()):
                return False
            if run.engine.any(asked()):
                return run.step < total
    return False


def _end_epoch(run: Run, journal: Journal, folder: Path) -> None:
    """Look at the dev sentences, and keep the weights."""
    found = run.watch.look(run.model, run.tokenizer)
    journal.line({"step": run.step, "epoch": run.watch.epochs} | found)
    if run.engine.rank == 0:
        save_snapshot(folder, run.model, run.watch.epochs, keep=run.extras.average)


def _finish(run: Run, folder: Path) -> None:
    """Write the model, which marks the run as finished, and only then drop the checkpoint."""
    if run.recipe.extras:
        _average(run, folder)
    save_pretrained(folder, run.model.eval(), run.tokenizer, stored_as=run.recipe.stored_as)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    if run.recipe.extras:
        from scratch.plumbing.training.curve import (
            save_curve,  # here, because Matplotlib is slow to load
        )

        save_curve(folder / LOG, folder / CURVE)


def _average(run: Run, folder: Path) -> None:
    """Average the weights of the last complete epochs; tell the log how good the mean is."""
    averaged = average_snapshots(folder, run.model, run.watch.epochs, run.extras.average)
    found = run.watch.measure(run.model, run.tokenizer)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": run.step, "averaged": averaged} | found) + "\n")
