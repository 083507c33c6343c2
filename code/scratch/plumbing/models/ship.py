"""From finished runs to a model that ships: weights made small, logs, and a card beside them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch.plumbing import checks
from scratch.plumbing.files import write_whole
from scratch.plumbing.models import storage as checkpoint
from scratch.plumbing.models.average import set_mean
from scratch.plumbing.models.card import write_card
from scratch.plumbing.models.quantize import STORED_AS, Loss, storage_loss
from scratch.plumbing.training.log import SHIPPED, read_log, stretches
from scratch.plumbing.training.run_folder import LOG, is_finished

__all__ = ["Stage", "read_stages", "ship", "shorten_log"]

FIRST, EVERY = 20, 20  # steps that a shipped log keeps


@dataclass(frozen=True)
class Stage:
    """A finished run: the ``header`` of its log, and the ``entries`` after it."""

    folder: Path
    header: dict[str, Any]
    entries: list[dict[str, Any]]


def read_stages(folders: Sequence[Path]) -> list[Stage]:
    """Return the finished runs of ``folders``, each begun with the weights of the one before.

    Raises ValueError when a run is not finished, or the runs are no such chain.
    """
    checks.several("--run", folders)
    stages = [_read_stage(folder) for folder in folders]
    for before, stage in zip((None, *stages), stages, strict=False):
        begun = (stage.header.get("changes") or {}).get("begin_with")
        found = f"{stage.folder} began with {begun or 'new weights'}"
        expected = "new weights" if before is None else str(before.folder)
        # by the last name: the runs may have been moved together
        same = Path(begun or "").name == (before.folder.name if before else "")
        checks.require(same, f"{found}, expected {expected}; --run takes every stage, in order")
    return stages


def _read_stage(folder: Path) -> Stage:
    folder = folder.resolve()
    if not (folder / LOG).is_file():
        raise ValueError(f"--run is {str(folder)!r}, expected the folder of a finished run")
    if not is_finished(folder):
        raise ValueError(f"{folder} holds a run under way, expected one that has ended")
    lines = read_log(folder / LOG)
    good = len(lines) > 1 and "recipe" in lines[0] and any("step" in line for line in lines[1:])
    checks.require(good, f"{folder / LOG} has no steps, expected the log of a run")
    return Stage(folder, lines[0], lines[1:])


def shorten_log(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first 20 steps, every 20th, and each line that is no step.

    The first and the last step of each stretch stay as well, so :func:`seconds_of` is the same.
    """
    kept: list[dict[str, Any]] = []
    for part in stretches(entries):
        steps = [entry["step"] for entry in part if "seconds" in entry]
        kept += [
            entry
            for entry in part
            if "seconds" not in entry
            or entry["step"] in (steps[0], steps[-1])
            or entry["step"] <= FIRST
            or entry["step"] % EVERY == 0
        ]
    return kept


def ship(
    runs: Sequence[Path],
    name: str,
    *,
    average: int = 1,
    stored_as: str = "int8",
    hardware: str = "",
) -> tuple[Path, Loss]:
    """Write the model of the last of ``runs`` as the shipped model ``name``, all logs beside it.

    With ``average``, its weights are the mean of those that so many runs, the last ones, ended
    with.  ``hardware`` says in words what the runs were computed on.  Returns the model's folder
    and what storing changed.
    """
    checks.one_of("--stored-as", stored_as, STORED_AS)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"--as is {name!r}, expected a name of a-z, 0-9 and single hyphens")
    stages = read_stages(runs)
    good = 1 <= average <= len(stages)
    checks.require(good, f"--average is {average}, expected 1 to {len(stages)}, the number of runs")
    ends = [checkpoint.load_pretrained(stage.folder) for stage in stages[-average:]]
    model, tokenizer = ends[-1]
    set_mean(model, [dict(end.named_parameters()) for end, _ in ends])
    loss = storage_loss(dict(model.named_parameters()), stored_as)
    folder = checkpoint.PRETRAINED / name
    checkpoint.save_pretrained(folder, model, tokenizer, stored_as=stored_as)
    _write_logs(folder, stages)
    about = {
        "stored_as": stored_as,
        "worst": float(f"{loss.worst:.3g}"),
        "overall": float(f"{loss.overall:.3g}"),
        "hardware": hardware,
        "runs": [stage.folder.name for stage in stages],
        "average": average,
    }
    write_whole(folder / SHIPPED, json.dumps(about, indent=1) + "\n")
    write_card(folder)
    return folder, loss


def _write_logs(folder: Path, stages: Sequence[Stage]) -> None:
    """Write the logs of ``stages``; remove logs and scores of a model that was there before."""
    for old in (*folder.glob("log*.jsonl"), folder / "scores.json"):
        old.unlink(missing_ok=True)
    for number, stage in enumerate(stages, start=1):
        lines = [stage.header, *shorten_log(stage.entries)]
        write_whole(
            folder / f"log-{number}.jsonl", "".join(json.dumps(line) + "\n" for line in lines)
        )
