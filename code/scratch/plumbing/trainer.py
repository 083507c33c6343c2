"""A training run on disk: a progress bar, a log, a checkpoint that Ctrl-C cannot break.

The folder of a run holds ``log.jsonl`` (a first line that says what ran, then losses),
``checkpoint.safetensors`` while it is under way, and the model once it has ended.
"""

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from scratch.datasets import Example, encode_pairs, grammar, multi30k
from scratch.plumbing import checks
from scratch.plumbing.checkpoint import WEIGHTS, save_pretrained
from scratch.plumbing.recipes import RECIPES, Recipe
from scratch.tokens import train_tokenizer
from scratch.training import StepRecord, make_optimizer, train
from scratch.transformer import Transformer, TransformerConfig

__all__ = ["Run", "load_pairs", "read_log", "start_run"]

LOG, CHECKPOINT = "log.jsonl", "checkpoint.safetensors"
EVERY_STEP_UNTIL, THEN_EVERY = (20, 20)  # losses are logged singly at first, then averaged
SAVE_EVERY = 200
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam knows of a parameter, by its own names


def load_pairs(corpus: str) -> list[tuple[str, str]]:
    """Return the (English, French) training texts of ``corpus``: "grammar" or "multi30k"."""
    if corpus == "grammar":
        return [(pair.english_text, pair.french_text) for pair in grammar().train]
    return multi30k("train")


class Run:
    """One training run of ``recipe``, with everything it needs, ready to be stepped."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        pairs = load_pairs(recipe.corpus)
        self.tokenizer = train_tokenizer(
            (text for pair in pairs for text in pair), recipe.vocab_size
        )
        config = TransformerConfig(vocab_size=len(self.tokenizer), **recipe.model)
        torch.manual_seed(recipe.training.seed)
        self.model = Transformer(config)
        self.optimizer = make_optimizer(self.model)
        self.examples: Sequence[Example] = encode_pairs(
            pairs, self.tokenizer, max_len=config.max_len
        )
        self.step = 0

    def steps(self) -> Iterator[StepRecord]:
        """Train from the step the run stands at to the end; one record per step."""
        for record in train(
            self.model,
            self.examples,
            self.recipe.training,
            optimizer=self.optimizer,
            start=self.step,
        ):
            self.step = record.step
            yield record

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and the optimizer's moments, by name."""
        named = dict(self.model.named_parameters())
        result = {f"model.{name}": p.detach() for name, p in named.items()}
        for name, p in named.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                result[f"optimizer.{name}/{key}"] = value
        return result

    def save(self, path: Path) -> None:
        """Write a checkpoint; ``path`` holds the old one or the new one, never half of one."""
        unfinished = path.with_suffix(".part")
        metadata = {"step": str(self.step), "recipe": repr(self.recipe)}
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
        if metadata.get("recipe") != repr(self.recipe):
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
                self.optimizer.state[p] = {m: tensors[f"optimizer.{name}/{m}"] for m in moments}
        self.step = step


def start_run(name: str, folder: Path, *, resume: bool = False, command: str = "") -> Run:
    """Run the recipe ``name`` to its end, keeping everything in ``folder``.

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
    run = Run(RECIPES[name])
    folder.mkdir(parents=True, exist_ok=True)
    if resume and checkpoint.exists():
        run.load(checkpoint)
    _begin_log(log, _header(name, run, command), run.step)
    with _ctrl_c() as asked:
        _fit(run, log, checkpoint, asked)
    if run.step < run.recipe.training.steps:
        run.save(checkpoint)
        raise KeyboardInterrupt(f"stopped at step {run.step}; go on with --resume")
    dtype = getattr(torch, run.recipe.stored_as)
    save_pretrained(folder, run.model.eval(), run.tokenizer, dtype=dtype)
    checkpoint.unlink(missing_ok=True)
    return run


def _header(name: str, run: Run, command: str) -> dict[str, Any]:
    return {
        "recipe": name,
        "command": command,
        "model": run.model.config.to_dict(),
        "training": run.recipe.training.to_dict(),
        "examples": len(run.examples),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
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


def _fit(run: Run, log: Path, checkpoint: Path, asked: threading.Event) -> None:
    total = run.recipe.training.steps
    begun, losses, tokens = time.monotonic(), list[float](), 0
    with (
        log.open("a", encoding="utf-8") as file,
        tqdm(total=total, initial=run.step, unit="step", dynamic_ncols=True) as bar,
    ):
        for record in run.steps():
            losses.append(record.loss)
            tokens += record.tokens
            step = record.step
            if step <= EVERY_STEP_UNTIL or step % THEN_EVERY == 0 or step == total:
                seconds = max(time.monotonic() - begun, 1e-9)
                entry = {
                    "step": step,
                    "epoch": record.epoch,
                    "loss": round(sum(losses) / len(losses), 5),
                    "rate": record.rate,
                    "grad_norm": round(record.grad_norm, 4),
                    "seconds": round(seconds, 1),
                }
                file.write(json.dumps(entry) + "\n")
                file.flush()
                bar.set_postfix(loss=f"{entry['loss']:.3f}", tokens_per_s=f"{tokens / seconds:.0f}")
                losses.clear()
            if step % SAVE_EVERY == 0:
                run.save(checkpoint)
            bar.update()
            if asked.is_set():
                break


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
