"""The log of a run: a first line that says what ran, then a JSON object a line."""

import json
import os
import time
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from scratch.training import StepRecord

__all__ = ["Journal", "begin_log", "read_log"]

EVERY_STEP_UNTIL = 20


class Journal:
    """Writes the log and moves the bar: the first steps, then means of ``every`` so many."""

    def __init__(self, file: TextIO, bar: "tqdm[Any]", *, last: int, every: int) -> None:
        self.file, self.bar, self.last, self.every = file, bar, last, every
        self.begun, self.losses, self.tokens = time.monotonic(), list[float](), 0

    def write(self, record: StepRecord) -> None:
        """Take note of a step."""
        self.losses.append(record.loss)
        self.tokens += record.tokens
        step, seconds = record.step, max(time.monotonic() - self.begun, 1e-9)
        if step > EVERY_STEP_UNTIL and step % self.every and step != self.last:
            return
        entry = {
            "step": step,
            "epoch": record.epoch,
            "loss": round(sum(self.losses) / len(self.losses), 5),
            "rate": record.rate,
            "grad_norm": round(record.grad_norm, 4),
            "seconds": round(seconds, 1),
            **({"tokens": record.tokens} if self.every == 1 else {}),
        }
        self.line(entry)
        speed = f"{self.tokens / seconds:.0f}"
        self.bar.set_postfix(loss=f"{entry['loss']:.3f}", tokens_per_s=speed)
        self.losses.clear()

    def line(self, entry: dict[str, Any]) -> None:
        """Write one line, for good."""
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()


def begin_log(log: Path, header: dict[str, Any], step: int) -> None:
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
