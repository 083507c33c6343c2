"""The folder of a run: what lies in it, who may write there, and the log, a JSON object a line."""

import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scratch.plumbing.files import json_object, write_whole
from scratch.plumbing.models.storage import CHECKPOINT, LOG, WEIGHTS, is_finished
from scratch.training import StepRecord

__all__ = ["Journal", "check_folder", "leftover", "locked", "resume_log"]

CURVE, SNAPSHOTS = "curve.svg", "epoch-*.safetensors"
RECENT = 20  # steps that the speed shown is the mean of


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process out of ``folder``, which is made, until the block ends.

    The lock goes with the process, however that ends; a folder that stays empty goes too.
    Raises ValueError when another process has it.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder for the run")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is in use by another run, expected another --out") from None
        yield
    finally:
        with suppress(OSError):  # those that hold something stay
            for path in made:
                path.rmdir()
        os.close(handle)


def leftover(folder: Path) -> str | None:
    """Return the name of a file that a run has left in ``folder``, if any has."""
    names = (LOG, CHECKPOINT, WEIGHTS, *sorted(p.name for p in folder.glob(SNAPSHOTS)))
    return next((name for name in names if (folder / name).exists()), None)


def check_folder(folder: Path, *, resume: bool) -> None:
    """Raise ValueError unless a run can begin in ``folder`` or, with ``resume``, go on there."""
    found, begun = leftover(folder), (folder / CHECKPOINT).exists()
    if is_finished(folder):
        raise ValueError(f"{folder} already holds a finished model, expected another --out")
    if resume and not begun:
        also = f", not only {found}" if found else ""
        raise ValueError(f"{folder} holds nothing to resume, expected a checkpoint there{also}")
    if begun and not resume:
        raise ValueError(f"{folder} already holds a run, expected --resume or another --out")
    if found and not resume:
        raise ValueError(f"{folder} already holds {found}, expected another --out")


def resume_log(log: Path, header: dict[str, Any], step: int, on: dict[str, Any]) -> None:
    """Keep what ``log`` says up to ``step``: the rest is run again.  Say ``on`` what.

    A log that is lost begins anew, with ``header``.
    """
    kept: list[dict[str, Any]] = []
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    with suppress(ValueError, TypeError):  # damaged, or cut short when the machine stopped
        for line in text.splitlines():
            entry = json_object(line, log)
            if entry.get("step", 0) <= step and "ended" not in entry:
                kept.append(entry)
    lines = [*(kept or [header]), {"step": step, "resumed": on}]
    write_whole(log, "".join(json.dumps(line) + "\n" for line in lines))


class Journal:
    """Writes the log, a line for each step, and moves a bar of ``total`` steps, ``done`` before.

    The time left is by the mean pace since :meth:`start`, epochs' ends included.
    """

    def __init__(
        self, log: Path, total: int, done: int, *, hidden: bool = False, events: str | None = None
    ) -> None:
        self.file = log.open("a", encoding="utf-8")
        self.bar = tqdm(total=total, initial=done, unit="step", smoothing=0, disable=hidden,
                        dynamic_ncols=True)  # fmt: skip
        self.events: Any = None
        if events:
            from torch.utils.tensorboard import SummaryWriter  # of an extra, and slow to import

            # steps that a killed run had written are run again: they go from the curves
            self.events = SummaryWriter(events, purge_step=done + 1)
        self.begun, self.tokens = time.monotonic(), 0
        self.recent = deque([(0.0, 0)], maxlen=RECENT + 1)  # (seconds, tokens) after each step

    def start(self) -> None:
        """Start the clock, and the bar's: the first batch is there."""
        self.begun = time.monotonic()
        self.bar.unpause()

    def close(self) -> None:
        """End the bar, and the files."""
        self.bar.close()
        self.file.close()
        if self.events is not None:
            self.events.close()

    def write(self, record: StepRecord) -> None:
        """Take note of a step."""
        self.tokens += record.tokens
        seconds = max(time.monotonic() - self.begun, 1e-9)
        self.recent.append((seconds, self.tokens))
        self.line(
            {
                "step": record.step,
                "epoch": record.epoch,
                "loss": round(record.loss, 5),
                "rate": record.rate,
                "grad_norm": round(record.grad_norm, 4),
                "seconds": round(seconds, 1),
                "tokens": record.tokens,
            }
        )
        shown = {"loss": f"{record.loss:.3f}", "tokens_per_s": self.speed()}
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def speed(self) -> str:
        """Return the tokens per second of the recent steps."""
        (before, less), (now, more) = self.recent[0], self.recent[-1]
        return f"{(more - less) / max(now - before, 1e-9):.0f}"

    def line(self, entry: dict[str, Any]) -> None:
        """Write one line, for good."""
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        if self.events is not None:
            for name, value in entry.items():
                if isinstance(value, int | float) and name != "step":
                    self.events.add_scalar(name, value, entry["step"])
