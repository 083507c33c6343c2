"""From finished runs to a model that ships: weights averaged and made small, logs, and a card.

Sources of averaging: Vaswani et al. (2017), section 6.1, for the last epochs of a run; Wortsman
et al. (2022) for runs that began where another one ended.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch.plumbing import checks
from scratch.plumbing.files import read_log, write_whole
from scratch.plumbing.models import storage
from scratch.plumbing.models.card import CARD, SCORES, fill_card, stretches
from scratch.plumbing.models.storage import LOG, SHIPPED, STORED_AS, WEIGHTS, Loss
from scratch.transformer import Transformer

__all__ = ["Stage", "average_snapshots", "read_stages", "save_snapshot", "ship", "shorten_log"]

FIRST, EVERY = 20, 20  # steps that a shipped log keeps


def save_snapshot(folder: Path, model: Transformer, epoch: int, *, keep: int) -> None:
    """Write the weights at the end of ``epoch``; drop those of the epoch ``keep`` before it."""
    weights = {name: p.detach().to("cpu").contiguous() for name, p in model.named_parameters()}
    write_whole(_snapshot(folder, epoch), storage.encode_tensors(weights))
    _snapshot(folder, epoch - keep).unlink(missing_ok=True)


def _snapshot(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}.safetensors"


def average_snapshots(folder: Path, model: Transformer, epochs: int, n: int) -> int:
    """Give ``model`` the mean weights of the last ``n`` of its ``epochs``; return how many.

    With one epoch or none, the model stays as it is: its last weights are as good.  Raises
    ValueError, and changes nothing, when a snapshot is not there or not of this model.
    """
    checks.at_least("n", n, 1)
    last = range(max(1, epochs - n + 1), epochs + 1)
    if len(last) < 2:
        return 0
    shapes = {name: p.shape for name, p in model.named_parameters()}
    files = []
    for path in (_snapshot(folder, epoch) for epoch in last):
        files.append(storage.read_tensors(path)[0])
        good = shapes == {name: w.shape for name, w in files[-1].items()}
        checks.require(good, f"{path} holds other tensors, expected those of the run's model")
    _set_mean(model, files)
    return len(files)


@torch.no_grad()
def _set_mean(model: Transformer, weights: Sequence[Mapping[str, Tensor]]) -> None:
    """Give ``model`` the mean of ``weights``, each of which maps names to parameters."""
    for name, p in model.named_parameters():
        # in float64, so that the order of the sum does not show
        p.copy_(torch.stack([part[name].double() for part in weights]).mean(dim=0))


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
    if not storage.is_finished(folder):
        raise ValueError(f"{folder} holds a run under way, expected one that has ended")
    lines = read_log(folder / LOG)
    good = len(lines) > 1 and "recipe" in lines[0] and any("step" in line for line in lines[1:])
    checks.require(good, f"{folder / LOG} has no steps, expected the log of a run")
    return Stage(folder, lines[0], lines[1:])


def shorten_log(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first 20 steps, every 20th, and each line that is no step.

    The first and the last step of each stretch stay as well, so its seconds are the same.
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
    and what storing changed.  Raises ValueError, and writes nothing, when something is wrong.
    """
    checks.one_of("--stored-as", stored_as, STORED_AS)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"--as is {name!r}, expected a name of a-z, 0-9 and single hyphens")
    try:
        stages = read_stages(runs)
        logs = [[stage.header, *shorten_log(stage.entries)] for stage in stages]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"--run has a damaged log, expected a run's own ({error!r})") from None
    good = 1 <= average <= len(stages)
    checks.require(good, f"--average is {average}, expected 1 to {len(stages)}, the number of runs")
    ends = [storage.load_pretrained(stage.folder) for stage in stages[-average:]]
    model, tokenizer = ends[-1]
    _set_mean(model, [dict(end.named_parameters()) for end, _ in ends])
    loss = storage.storage_loss(dict(model.named_parameters()), stored_as)
    files = storage.model_files(model, tokenizer, stored_as)
    about = {
        "stored_as": stored_as,
        "worst": float(f"{loss.worst:.3g}"),
        "overall": float(f"{loss.overall:.3g}"),
        "hardware": hardware,
        "runs": [stage.folder.name for stage in stages],
        "average": average,
        "sha256": hashlib.sha256(files[WEIGHTS]).hexdigest(),
    }
    files[SHIPPED] = (json.dumps(about, indent=1) + "\n").encode()
    for number, log in enumerate(logs, start=1):
        files[f"log-{number}.jsonl"] = "".join(json.dumps(line) + "\n" for line in log).encode()
    files[CARD] = fill_card(name, files).encode()
    folder = storage.PRETRAINED / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("log*.jsonl"), folder / SCORES):  # of a model that was there before
        old.unlink(missing_ok=True)
    for file, content in files.items():
        write_whole(folder / file, content)
    return folder, loss
