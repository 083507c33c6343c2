"""The log of a run: a first line that says what ran, then a JSON object a line."""

import json
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from scratch.plumbing.files import write_whole
from scratch.training import StepRecord

__all__ = [
    "SHIPPED", "Journal", "begin_log", "progress_bar", "read_log", "resume_log", "seconds_of",
    "stretches",
]  # fmt: skip

SHIPPED = "shipped.json"  # what ships beside the logs, about them all
EVERY_STEP_UNTIL = 20
RECENT = 20  # steps that the speed shown is the mean of


def progress_bar(total: int, done: int, *, hidden: bool = False) -> "tqdm[Any]":
    """Return a bar of ``total`` steps, ``done`` of them before; see :meth:`Journal.start`.

    The time left is by the mean pace since then, epochs' ends included.
    """
    return tqdm(
        total=total, initial=done, unit="step", smoothing=0, disable=hidden, dynamic_ncols=True
    )


class Journal:
    """Writes the log and moves the bar: the first steps, then means of ``every`` so many.

    ``untold`` are the losses since the last line, a list that the run keeps and saves.
    """

    def __init__(
        self, file: TextIO, bar: "tqdm[Any]", *, last: int, every: int, untold: list[float]
    ) -> None:
        self.file, self.bar, self.last, self.every = file, bar, last, every
        self.untold, self.begun, self.tokens = untold, time.monotonic(), 0
        self.recent = deque([(0.0, 0)], maxlen=RECENT + 1)  # (seconds, tokens) after each step

    def start(self) -> None:
        """Start the clock, and the bar's: the first batch is there."""
        self.begun = time.monotonic()
        self.bar.unpause()

    def write(self, record: StepRecord) -> None:
        """Take note of a step."""
        self.untold.append(record.loss)
        self.tokens += record.tokens
        step, seconds = record.step, max(time.monotonic() - self.begun, 1e-9)
        self.recent.append((seconds, self.tokens))
        if step <= EVERY_STEP_UNTIL or step % self.every == 0 or step == self.last:
            loss = sum(self.untold) / len(self.untold)
            entry = {
                "step": step,
                "epoch": record.epoch,
                "loss": round(loss, 5),
                "rate": record.rate,
                "grad_norm": round(record.grad_norm, 4),
                "seconds": round(seconds, 1),
                **({"tokens": record.tokens} if self.every == 1 else {}),
            }
            self.line(entry)
            self.untold.clear()
            self.bar.set_postfix(loss=f"{loss:.3f}", tokens_per_s=self.speed(), refresh=False)
        self.bar.update()

    def speed(self) -> str:
        """Return the tokens per second of the recent steps."""
        (before, less), (now, more) = self.recent[0], self.recent[-1]
        return f"{(more - less) / max(now - before, 1e-9):.0f}"

    def line(self, entry: dict[str, Any]) -> None:
        """Write one line, for good."""
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()


def begin_log(log: Path, header: dict[str, Any]) -> None:
    """Write the ``header``: the first line of a new log."""
    write_whole(log, json.dumps(header) + "\n")


def resume_log(log: Path, header: dict[str, Any], step: int, on: dict[str, Any]) -> None:
    """Keep what ``log`` says up to ``step``: the rest is run again.  Say ``on`` what.

    A log that is lost begins anew, with ``header``.
    """
    kept: list[dict[str, Any]] = []
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break  # cut short when the machine stopped
        if entry.get("step", 0) <= step and "averaged" not in entry:
            kept.append(entry)
    lines = [*(kept or [header]), {"step": step, "resumed": on}]
    write_whole(log, "".join(json.dumps(line) + "\n" for line in lines))


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a log: the header, then one entry per logged step.

    Raises ValueError when ``path`` is no log.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"path is {str(path)!r}, expected a run's log ({error})") from None


def seconds_of(entries: Sequence[dict[str, Any]]) -> float:
    """Return how long a run took by its log: the sum over its stretches."""
    ends = ([e["seconds"] for e in part if "seconds" in e] for part in stretches(entries))
    return float(sum(clock[-1] for clock in ends if clock))


def stretches(entries: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the parts of a log, cut where the run was resumed.

    There the clock begins again at 0, and a line says so (not in logs older than those lines).
    """
    stretches: list[list[dict[str, Any]]] = [[]]
    clock = 0.0
    for entry in entries:
        now = 0.0 if "resumed" in entry else entry.get("seconds", clock)
        if now < clock:
            stretches.append([])
        stretches[-1].append(entry)
        clock = now
    return stretches
