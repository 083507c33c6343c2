"""A training run on disk: a progress bar, a log, a checkpoint that Ctrl-C cannot break.

The folder of a run holds ``log.jsonl`` (a first line that says what ran, then losses),
``checkpoint.safetensors`` while it is under way, and the model once it has ended; a run with
extras also the weights of its last epochs.
"""

import hashlib
import itertools
import json
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from scratch.datasets import Example, encode_pairs
from scratch.plumbing import checks
from scratch.plumbing.average import average_snapshots, save_snapshot
from scratch.plumbing.checkpoint import WEIGHTS, load_pretrained, save_pretrained
from scratch.plumbing.corpora import TSV, checksums_of, dev_sets, load_pairs
from scratch.plumbing.engine import Engine, Machine
from scratch.plumbing.fast import FastLoss
from scratch.plumbing.recipes import RECIPES, Extras, Recipe
from scratch.plumbing.stream import Stream
from scratch.plumbing.watch import Watch
from scratch.tokens import Tokenizer, train_tokenizer
from scratch.training import StepRecord, make_optimizer, numbered_step, train
from scratch.transformer import Transformer, TransformerConfig, count_parameters

__all__ = ["Changes", "Run", "read_log", "start_run"]

LOG, CHECKPOINT = "log.jsonl", "checkpoint.safetensors"
EVERY_STEP_UNTIL, THEN_EVERY = (20, 20)  # losses are logged singly at first, then averaged
SAVE_EVERY, SAVE_SECONDS = 200, 120.0  # whichever comes first
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam knows of a parameter, by its own names


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
        self.recipe = recipe
        self.pairs = load_pairs(recipe.corpus)
        torch.manual_seed(recipe.training.seed)
        self.model, self.tokenizer = _beginning(recipe, self.pairs, begin_with)
        extras, max_len = recipe.extras or Extras(), self.model.config.max_len
        self.engine = Engine(self.model, FastLoss(extras.dropout), machine or Machine())
        plain = self.engine.world == 1 and self.engine.machine == Machine()
        if recipe.extras is None and not plain:
            raise ValueError(
                "the recipe is one of the taught loop, which knows one process and one device; "
                "expected a recipe with extras, like en-fr"
            )
        self.optimizer = make_optimizer(self.model)
        self.step = 0
        self.watch = Watch(dev_sets(recipe.corpus) if recipe.extras else {}, extras.patience)
        self.examples: Sequence[Example] = []
        if recipe.extras is None:
            self.examples = encode_pairs(self.pairs, self.tokenizer, max_len=max_len)
        self.stream = Stream(
            self.pairs if recipe.extras else [],
            self.tokenizer,
            recipe.training,
            bpe_dropout=extras.bpe_dropout,
            max_len=max_len,
        )

    def steps(self) -> Iterator[StepRecord]:
        """Train from the step the run stands at to the end; one record per step."""
        config = self.recipe.training
        records = (
            train(self.model, self.examples, config, optimizer=self.optimizer, start=self.step)
            if self.recipe.extras is None
            else self._fast_steps()
        )
        for record in records:
            self.step = record.step
            yield record

    def _fast_steps(self) -> Iterator[StepRecord]:
        config, stream = self.recipe.training, iter(self.stream)
        self.model.train()
        for step in range(self.step + 1, config.steps + 1):
            (epoch, *_), parts = zip(*itertools.islice(stream, config.accumulate), strict=True)
            yield numbered_step(
                self.model,
                parts,
                self.optimizer,
                config,
                step=step,
                epoch=epoch,
                loss_of=self.engine,
            )

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and the optimizer's moments, by name."""
        named = dict(self.model.named_parameters())
        result = {f"model.{name}": p.detach().cpu() for name, p in named.items()}
        for name, p in named.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                result[f"optimizer.{name}/{key}"] = value.cpu()
        return result

    def _wrote(self, metadata: dict[str, str]) -> bool:
        try:
            return Recipe.from_json(metadata.get("recipe", "")) == self.recipe
        except ValueError:
            return False

    def save(self, path: Path) -> None:
        """Write a checkpoint; ``path`` holds the old one or the new one, never half of one."""
        if self.engine.rank > 0:
            return
        unfinished = path.with_suffix(".part")
        metadata = {
            "step": str(self.step),
            "recipe": self.recipe.to_json(),
            "stream": self.stream.position(),
            "watch": self.watch.position(),
        }
        save_file(self.tensors(), unfinished, metadata=metadata)
        os.replace(unfinished, path)

    def load(self, path: Path) -> None:
        """Go back to where :meth:`save` was.  Raises ValueError for any other file."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise ValueError(f"{path} is no checkpoint, or cut short ({error})") from None
        if not self._wrote(metadata):
            raise ValueError(f"{path} belongs to another recipe; use another --out folder")
        step = int(metadata.get("step", 0))
        moments = MOMENTS if step else ()
        named = dict(self.model.named_parameters())
        expected = {f"model.{name}": p.shape for name, p in named.items()}
        for name, p in named.items():
            expected |= {f"optimizer.{name}/{m}": p.shape for m in moments}
            expected |= {f"optimizer.{name}/step": torch.Size()} if step else {}
        if expected != {key: tensor.shape for key, tensor in tensors.items()}:
            raise ValueError(f"{path} does not fit the corpus any more; use another --out folder")
        for name, p in named.items():
            p.data.copy_(tensors[f"model.{name}"])
            if moments:
                state = {m: tensors[f"optimizer.{name}/{m}"].to(p.device) for m in moments}
                self.optimizer.state[p] = state
        self.step = step
        if self.recipe.extras is not None:
            self.stream.go_to(metadata["stream"])
            self.watch.go_to(metadata["watch"])


def _beginning(
    recipe: Recipe, pairs: list[tuple[str, str]], begin_with: str | None
) -> tuple[Transformer, Tokenizer]:
    """Return a new model and vocabulary, or those of the run that this one begins with."""
    if begin_with is None:
        tokenizer = train_tokenizer((text for pair in pairs for text in pair), recipe.vocab_size)
        return Transformer(TransformerConfig(len(tokenizer), **recipe.model)), tokenizer
    model, tokenizer = load_pretrained(begin_with)
    found, expected = model.config, TransformerConfig(len(tokenizer), **recipe.model)
    checks.require(
        found == expected, f"{begin_with} holds {found}, expected the recipe's {expected}"
    )
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
    checkpoint, log = folder / CHECKPOINT, folder / LOG
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder for the run")
    if log.exists() and not resume:
        raise ValueError(f"{folder} already holds a run; add --resume, or choose another --out")
    if (folder / WEIGHTS).exists() and not checkpoint.exists():
        raise ValueError(f"{folder} already holds a finished model; choose another --out")
    run = Run(changes.apply(RECIPES[name]), changes.begin_with, machine)
    run.engine.wait()  # before one of them makes what another must not find
    folder.mkdir(parents=True, exist_ok=True)
    if resume and checkpoint.exists():
        run.load(checkpoint)
    run.engine.wait()
    if run.engine.rank > 0:
        log = Path(os.devnull)
    else:
        _begin_log(log, _header(name, run, command, changes), run.step)
    with _ctrl_c() as asked:
        stopped = _fit(run, log, checkpoint, asked)
    if stopped:
        run.save(checkpoint)
        raise KeyboardInterrupt(f"stopped at step {run.step}; go on with --resume")
    if run.engine.rank == 0:
        _finish(run, folder)
    run.engine.wait()
    return run


def _finish(run: Run, folder: Path) -> None:
    """Write the model, which marks the run as finished, and only then drop the checkpoint."""
    if run.recipe.extras is not None:
        average_snapshots(folder, run.model, run.recipe.extras.average)
    dtype = getattr(torch, run.recipe.stored_as)
    save_pretrained(folder, run.model.eval(), run.tokenizer, dtype=dtype)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _header(name: str, run: Run, command: str, changes: Changes) -> dict[str, Any]:
    """Return what someone needs who wants to repeat the run."""
    header = {
        "recipe": name,
        "command": command,
        "model": run.model.config.to_dict(),
        "training": run.recipe.training.to_dict(),
        "examples": len(run.examples or run.pairs),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    if run.recipe.extras is not None:
        vocabulary = run.tokenizer.backend.to_str().encode()
        header |= {
            "extras": asdict(run.recipe.extras),
            "changes": asdict(changes),
            "parameters": count_parameters(run.model),
            "data": checksums_of(run.recipe.corpus),
            "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
            "versions": {
                "python": platform.python_version(),
                **{part: version(part) for part in ("numpy", "tokenizers", "sacrebleu")},
            },
            "kernels": torch.backends.cpu.get_cpu_capability(),
            "processes": run.engine.world,
            "computed_on": asdict(run.engine.machine),
        }
    return header


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


def _fit(run: Run, log: Path, checkpoint: Path, asked: threading.Event) -> bool:
    """Train to the end, or until somebody asks to stop; say whether somebody did."""
    total = run.recipe.training.steps
    saved = time.monotonic()
    with (
        log.open("a", encoding="utf-8") as file,
        tqdm(
            total=total,
            initial=run.step,
            unit="step",
            dynamic_ncols=True,
            disable=run.engine.rank > 0,
        ) as bar,
    ):
        journal = _Journal(run, file, bar)
        for record in run.steps():
            journal.write(record)
            ended = run.recipe.extras is not None and run.stream.finished() > run.watch.epochs
            if ended:
                journal.look(checkpoint.parent)
            if ended or run.step % SAVE_EVERY == 0 or time.monotonic() - saved > SAVE_SECONDS:
                run.save(checkpoint)
                saved = time.monotonic()
            bar.update()
            if run.engine.any(asked.is_set()):
                return run.step < total
            if run.watch.has_seen_enough():
                break
    return False


class _Journal:
    """Writes the log and moves the bar: each step of a run with extras, else means of some."""

    def __init__(self, run: Run, file: TextIO, bar: "tqdm[Any]") -> None:
        self.run, self.file, self.bar = run, file, bar
        self.begun, self.losses, self.tokens = time.monotonic(), list[float](), 0

    def write(self, record: StepRecord) -> None:
        """Take note of a step."""
        self.losses.append(record.loss)
        self.tokens += record.tokens
        step, seconds = record.step, max(time.monotonic() - self.begun, 1e-9)
        every = 1 if self.run.recipe.extras else THEN_EVERY
        last = step == self.run.recipe.training.steps
        if step > EVERY_STEP_UNTIL and step % every and not last:
            return
        entry = {
            "step": step,
            "epoch": record.epoch,
            "loss": round(sum(self.losses) / len(self.losses), 5),
            "rate": record.rate,
            "grad_norm": round(record.grad_norm, 4),
            "seconds": round(seconds, 1),
        }
        self._line(entry | ({"tokens": record.tokens} if self.run.recipe.extras else {}))
        speed = f"{self.tokens / seconds:.0f}"
        self.bar.set_postfix(loss=f"{entry['loss']:.3f}", tokens_per_s=speed)
        self.losses.clear()

    def look(self, folder: Path) -> None:
        """Take note of the dev sets at the end of an epoch, and keep its weights."""
        run = self.run
        found = run.watch.look(run.model, run.tokenizer)
        self._line({"step": run.step, "epoch": run.watch.epochs} | found)
        if run.recipe.extras is not None and run.engine.rank == 0:
            keep = run.recipe.extras.average
            save_snapshot(folder, run.model, run.watch.epochs, keep=keep)

    def _line(self, entry: dict[str, Any]) -> None:
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()


def _begin_log(log: Path, header: dict[str, Any], step: int) -> None:
    """Write the log's ``header``, or keep an earlier log up to ``step``: the rest is run again."""
    kept: list[dict[str, Any]] = []
    if step and log.exists():
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break  # cut short when the machine stopped
            if entry.get("step", 0) <= step:
                kept.append(entry)
    text = "".join(json.dumps(line) + "\n" for line in kept or [header])
    unfinished = log.with_suffix(".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, log)


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a log: the header, then one entry per logged step.

    Raises ValueError when ``path`` is no log.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"path is {str(path)!r}, expected a run's log ({error})") from None
