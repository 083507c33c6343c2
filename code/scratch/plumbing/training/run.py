"""A training run on disk: a progress bar, a log, a checkpoint that Ctrl-C cannot break.

The folder of a run holds its vocabulary, ``log.jsonl`` (a first line that says what ran, then
losses) and, while it is under way, ``checkpoint.safetensors``; the model once it has ended, its
curve, and the weights of the last epochs if their mean was asked for.
"""

import hashlib
import itertools
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch.plumbing import checks
from scratch.plumbing.data.corpora import checksums_of, dev_sets, load_pairs, never_seen
from scratch.plumbing.extras import needs
from scratch.plumbing.fast.step import FastLoss
from scratch.plumbing.files import read_log, write_whole
from scratch.plumbing.models import storage
from scratch.plumbing.threads import one_thread
from scratch.plumbing.training.engine import Engine, Machine, asked_to_stop, processes
from scratch.plumbing.training.log import CURVE, Journal, check_folder, locked, resume_log
from scratch.plumbing.training.recipes import RECIPES, Recipe, changed, differences, last_name
from scratch.plumbing.training.stream import Stream
from scratch.plumbing.training.watch import Watch, save_curve
from scratch.tokens import Tokenizer, train_tokenizer
from scratch.training import StepRecord, make_optimizer, training_steps
from scratch.transformer import Transformer, count_parameters

__all__ = ["Run", "read_log", "resumed_run", "start_run"]

SAVE_EVERY, SAVE_SECONDS = 200, 120.0  # steps, and at least so often
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam knows of a parameter, by its own names


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
        self.recipe, self.pairs = recipe, load_pairs(recipe.corpus)
        torch.manual_seed(recipe.training.seed)
        self.model, self.tokenizer = _beginning(recipe, self.pairs, begin_with, tokenizer)
        self.watch = _watch(recipe, self.pairs, self.tokenizer, self.model.config.max_len)
        self.engine = Engine(self.model, FastLoss(recipe.extras.dropout), machine or Machine())
        never = never_seen(recipe.corpus) if recipe.extras.noise else None
        self.stream = Stream(self.tokenizer, recipe.training, never)
        self.optimizer, self.step = make_optimizer(self.model), 0
        self.marks = {  # in which a run must agree with its checkpoint, to go on from there
            "recipe": recipe.to_json(),
            "begun_with": last_name(begin_with),
            "pairs": _digest(json.dumps(self.pairs)),
            "vocabulary": _digest(self.tokenizer.backend.to_str()),
        }

    def steps(self, ready: Callable[[], None] = lambda: None) -> Iterator[StepRecord]:
        """Train from the step the run stands at to the end; one record per step.

        ``ready`` is called when the first batch is there.
        """
        batches = self.stream.batches(self.pairs, self.model.config.max_len)
        first = next(batches)
        ready()
        for record in training_steps(
            self.model,
            [itertools.chain([first], batches)],
            self.optimizer,
            self.recipe.training,
            loss_of=self.engine,
            start=self.step,
        ):
            self.step = record.step
            yield record

    def save(self, path: Path) -> None:
        """Write a checkpoint, if this is the process that writes."""
        if self.engine.rank > 0:
            return
        tensors: dict[str, Tensor] = {}
        for name, p in self.model.named_parameters():
            tensors[f"model.{name}"] = p.detach().cpu()
            for key, value in self.optimizer.state.get(p, {}).items():
                tensors[f"optimizer.{name}/{key}"] = value.cpu()
        places = {"stream": self.stream.position(), "watch": self.watch.position()}
        kept = self.marks | places | {"step": str(self.step)}
        write_whole(path, storage.encode_tensors(tensors, kept))

    def go_to(self, tensors: dict[str, Tensor], kept: dict[str, str]) -> None:
        """Stand where the run stood when it was saved.

        Raises ValueError, KeyError or TypeError for what :meth:`save` never writes.
        """
        step = int(kept["step"])
        checks.at_least("step", step, 0)
        named = dict(self.model.named_parameters())
        shapes = {f"model.{name}": p.shape for name, p in named.items()}
        for name, p in named.items():
            for m in MOMENTS if step > 0 else ():
                shapes[f"optimizer.{name}/{m}"] = torch.Size() if m == "step" else p.shape
        same = shapes == {key: tensor.shape for key, tensor in tensors.items()}
        checks.require(same, "its tensors are others, expected those of this model")
        self.stream.go_to(kept["stream"])
        self.watch.go_to(kept["watch"])
        for name, p in named.items():
            p.data.copy_(tensors[f"model.{name}"])
            if step > 0:
                moments = {m: tensors[f"optimizer.{name}/{m}"].to(p.device) for m in MOMENTS}
                self.optimizer.state[p] = moments
        self.step = step

    def header(self, name: str, command: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Return the first line of the log: what someone needs who wants to repeat the run."""
        parts = {part: version(part) for part in ("numpy", "tokenizers", "sacrebleu")}
        return {
            "recipe": name,
            "command": command,
            "model": storage.configuration(self.model),
            "training": self.recipe.training.to_dict(),
            "examples": len(self.pairs),
            **self.computed_on(),
            "extras": asdict(self.recipe.extras),
            "changes": changes,
            "parameters": count_parameters(self.model),
            "data": checksums_of(self.recipe.corpus),
            "vocabulary": self.marks["vocabulary"],
            "versions": {"python": platform.python_version(), **parts},
            "computed_on": asdict(self.engine.machine),
        }

    def computed_on(self) -> dict[str, Any]:
        """Return on what the run begins or goes on, for the log."""
        return {
            "processes": self.engine.world,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            "kernels": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
        }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _beginning(
    recipe: Recipe,
    pairs: list[tuple[str, str]],
    begin_with: str | None,
    tokenizer: Tokenizer | None,
) -> tuple[Transformer, Tokenizer]:
    """Return a new model and vocabulary, or those of the run that this one begins with."""
    begun = None
    if begin_with is not None:
        begun, tokenizer = storage.load_pretrained(begin_with)
    texts = (text for pair in pairs for text in pair)
    tokenizer = tokenizer or train_tokenizer(texts, recipe.vocab_size)
    model = Transformer(recipe.config(len(tokenizer)))
    if begun is not None:
        found = replace(begun.config, dropout=model.config.dropout)  # which a stage may change
        same = found == model.config
        checks.require(same, f"{begin_with} holds {found}, expected the recipe's {model.config}")
        model.load_state_dict(begun.state_dict())
    storage.set_dropout(model, asdict(recipe.extras.dropout))
    return model, tokenizer


def _watch(
    recipe: Recipe, pairs: list[tuple[str, str]], tokenizer: Tokenizer, max_len: int
) -> Watch:
    """Return what looks at dev sentences, if there are any; refuse what cannot be trained."""
    corpus, patience = recipe.corpus, recipe.extras.patience

    def fits(pairs: Iterable[tuple[str, str]]) -> bool:  # one pair with its <bos> and <eos>
        sizes = ((len(tokenizer.encode(a)) + 1, len(tokenizer.encode(b)) + 2) for a, b in pairs)
        return any(max(size) <= max_len for size in sizes)

    some = f"{corpus} has no pair of at most {max_len} tokens to train on, expected one"
    checks.require(fits(pairs), some)
    dev = {n: found for n, found in dev_sets(corpus).items() if fits((s, r[0]) for s, r in found)}
    good = bool(dev) or patience == 0
    checks.require(good, f"patience is {patience}, expected 0: {corpus} has no dev sentences")
    return Watch(dev, patience)


def resumed_run(
    recipe: Recipe, folder: Path, begin_with: str | None = None, machine: Machine | None = None
) -> Run:
    """Return the run of ``recipe`` as its checkpoint in ``folder`` left it.

    Raises ValueError when that is damaged, or of a run with other options, pairs or vocabulary.
    ``begin_with`` may be left out: the checkpoint holds the weights.
    """
    path = folder / storage.CHECKPOINT
    tensors, kept = storage.read_tensors(path)
    try:
        other = differences(Recipe.from_json(kept.get("recipe", "")), recipe)
    except ValueError as error:
        raise ValueError(f"{path} is no checkpoint of a run, expected one ({error})") from None
    begun, asked = kept.get("begun_with", ""), last_name(begin_with)
    if asked and asked != begun:
        other = f"begin_with {begun!r} and not {asked!r}"
    checks.require(not other, f"{path} was begun with {other}, expected the same with --resume")
    run = Run(recipe, machine=machine, tokenizer=Tokenizer.load(folder / storage.TOKENIZER))
    run.marks["begun_with"] = begun
    for name, mark in run.marks.items():
        good = kept.get(name) == mark
        checks.require(good, f"{path} was begun with other {name}, expected the same")
    try:
        run.go_to(tensors, kept)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not fit the model ({error}), expected its own") from None
    return run


@one_thread()
def start_run(
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    command: str = "",
    begin_with: str | None = None,
    machine: Machine | None = None,
    tensorboard: str | None = None,
    **changes: Any,
) -> Run:
    """Run the recipe ``name``, ``changed`` so, to its end, keeping everything in ``folder``.

    It computes on one thread; of several processes the first one writes.  What the log says goes
    to the folder ``tensorboard`` too, if one is named, as events.

    Raises ValueError when ``folder`` holds anything of a run and ``resume`` is not asked for, or
    it is and there is no checkpoint, or another run is under way there; KeyboardInterrupt, once
    a checkpoint is written, after Ctrl-C or SIGTERM.
    """
    if tensorboard:
        needs("tensorboard")
    needs("figures")  # for the curve at the end
    checks.one_of("recipe", name, tuple(RECIPES))
    recipe = changed(RECIPES[name], **changes)
    with locked(folder) if processes()[0] == 0 else nullcontext():
        check_folder(folder, resume=resume)
        if resume:
            run = resumed_run(recipe, folder, begin_with, machine)
        else:
            run = Run(recipe, begin_with, machine)
        run.engine.wait()  # before one of them makes what another must not find
        header = run.header(name, command, changes | {"begin_with": begin_with})
        log = _prepare(run, folder, header, resume=resume)
        with asked_to_stop() as asked:
            stopped = _fit(run, folder, log, asked, tensorboard)
        if stopped:
            run.save(folder / storage.CHECKPOINT)
            run.engine.wait()  # all processes end when one has left
            raise KeyboardInterrupt(f"stopped at step {run.step}; go on with --resume")
        if run.engine.rank == 0:
            _finish(run, folder)
        run.engine.wait()
    return run


def _prepare(run: Run, folder: Path, header: dict[str, Any], *, resume: bool) -> Path:
    """Write what a run needs to be resumed, whenever it may be killed; return its log."""
    if run.engine.rank > 0:
        return Path(os.devnull)
    log = folder / storage.LOG
    if resume:
        on = run.computed_on() | asdict(run.engine.machine)
        resume_log(log, header, run.step, on)
    else:
        write_whole(folder / storage.TOKENIZER, storage.tokenizer_text(run.tokenizer))
        run.save(folder / storage.CHECKPOINT)
        write_whole(log, json.dumps(header) + "\n")
    return log


def _fit(
    run: Run, folder: Path, log: Path, asked: Callable[[], bool], tensorboard: str | None
) -> bool:
    """Train to the end, or until somebody asks to stop; say whether somebody did."""
    total, saved = run.recipe.training.steps, time.monotonic()
    if run.engine.any(run.watch.has_seen_enough()):  # it was interrupted just then
        return False
    events = tensorboard if run.engine.rank == 0 else None
    hidden = run.engine.rank > 0
    with closing(Journal(log, total, run.step, hidden=hidden, events=events)) as journal:
        for record in run.steps(journal.start):
            journal.write(record)
            ended = run.stream.finished() > run.watch.epochs
            if ended:
                _end_epoch(run, journal, folder)
            if ended or run.step % SAVE_EVERY == 0 or time.monotonic() - saved > SAVE_SECONDS:
                run.save(folder / storage.CHECKPOINT)
                saved = time.monotonic()
            if ended and run.engine.any(run.watch.has_seen_enough()):
                return False
            if run.engine.any(asked()):
                return run.step < total
    return False


def _end_epoch(run: Run, journal: Journal, folder: Path) -> None:
    """Look at the dev sentences."""
    found = run.watch.look(run.model, run.tokenizer)
    journal.line({"step": run.step, "epoch": run.watch.epochs} | found)


def _finish(run: Run, folder: Path) -> None:
    """Tell the log how good the model is; write it, which marks the end.

    Only then is the checkpoint dropped.
    """
    found = run.watch.measure(run.model, run.tokenizer)
    with (folder / storage.LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": run.step, "ended": True} | found) + "\n")
    storage.save_pretrained(folder, run.model.eval(), run.tokenizer, stored_as=run.recipe.stored_as)
    (folder / storage.CHECKPOINT).unlink(missing_ok=True)
    save_curve(folder / storage.LOG, folder / CURVE)
