"""Shipping a model: a finished run becomes a small model with its log and a card."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scratch.plumbing import checks
from scratch.plumbing.files import read_log, write_whole
from scratch.plumbing.models import storage
from scratch.plumbing.models.card import CARD, SCORES, fill_card, stretches
from scratch.plumbing.models.storage import LOG, SHIPPED, STORED_AS, WEIGHTS, Loss

__all__ = ["ship", "shorten_log"]

FIRST, EVERY = 20, 20  # steps that a shipped log keeps


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


def ship(run: Path, name: str, *, stored_as: str = "int8", hardware: str = "") -> tuple[Path, Loss]:
    """Write the model of the finished ``run`` as the shipped model ``name``, its log beside it.

    ``hardware`` says in words what the run was computed on.  Returns the model's folder and what
    storing changed.  Raises ValueError, and writes nothing, when something is wrong.
    """
    checks.one_of("--stored-as", stored_as, STORED_AS)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise ValueError(f"--as is {name!r}, expected a name of a-z, 0-9 and single hyphens")
    if not (run / LOG).is_file():
        raise ValueError(f"--run is {str(run)!r}, expected the folder of a finished run")
    if not storage.is_finished(run):
        raise ValueError(f"{run} holds a run under way, expected one that has ended")
    header, *entries = read_log(run / LOG) or [{}]
    good = "recipe" in header and any("step" in entry for entry in entries)
    checks.require(good, f"{run / LOG} has no steps, expected the log of a run")
    try:
        log = [header, *shorten_log(entries)]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"--run has a damaged log, expected a run's own ({error!r})") from None
    model, tokenizer = storage.load_pretrained(run)
    loss = storage.storage_loss(dict(model.named_parameters()), stored_as)
    files = storage.model_files(model, tokenizer, stored_as)
    about = {
        "stored_as": stored_as,
        "worst": float(f"{loss.worst:.3g}"),
        "overall": float(f"{loss.overall:.3g}"),
        "hardware": hardware,
        "sha256": hashlib.sha256(files[WEIGHTS]).hexdigest(),
    }
    files[SHIPPED] = (json.dumps(about, indent=1) + "\n").encode()
    files[LOG] = "".join(json.dumps(line) + "\n" for line in log).encode()
    files[CARD] = fill_card(name, files).encode()
    folder = storage.PRETRAINED / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCORES).unlink(missing_ok=True)  # of a model that was there before
    for file, content in files.items():
        write_whole(folder / file, content)
    return folder, loss
