"""A chain of runs: each stage begins with the weights that the one before ended with."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scratch.plumbing import checks
from scratch.plumbing.data.corpora import checksums_of
from scratch.plumbing.files import read_log
from scratch.plumbing.models.storage import CHECKPOINT, LOG, is_finished
from scratch.plumbing.training.engine import Machine, processes
from scratch.plumbing.training.log import leftover, locked
from scratch.plumbing.training.recipes import (
    CHAINS,
    RECIPES,
    Extras,
    Recipe,
    changed,
    differences,
    last_name,
)
from scratch.plumbing.training.run import start_run

__all__ = ["misfit", "start_chain"]


def start_chain(
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    command: str = "",
    begin_with: str | None = None,
    machine: Machine | None = None,
    **changes: Any,
) -> Path:
    """Run the stages of ``name``, each in a folder of its own in ``folder``; return the last.

    With ``resume``, stages that have finished are left as they are, one that is under way goes
    on, and the others begin.  Raises what :func:`.start_run` does, and ValueError for a finished
    stage that is another one than ``changes`` ask for.
    """
    checks.one_of("recipe", name, tuple(CHAINS))
    stages = [folder / stage for stage in CHAINS[name]]
    with locked(folder) if processes()[0] == 0 else nullcontext():
        _check_stages(stages, resume)
        for stage, before, made in _changes(stages, begin_with, changes):
            if not is_finished(stage):
                going = resume and (stage / CHECKPOINT).exists()
                how: dict[str, Any] = {"resume": going, "command": command, "machine": machine}
                start_run(stage.name, stage, begin_with=before, **how, **made)
                continue
            header, *_ = [*read_log(stage / LOG), {}]
            other = misfit(header, stage.name, before, **made)
            checks.require(not other, f"{stage} has finished with {other}, expected another --out")
    return stages[-1]


def _changes(
    stages: list[Path], begin_with: str | None, changes: dict[str, Any]
) -> Iterator[tuple[Path, str | None, dict[str, Any]]]:
    """Yield each stage, what it begins with and its changes: each takes the seed after the last."""
    for number, stage in enumerate(stages):
        seed = changes.get("seed")
        yield stage, begin_with, changes if seed is None else changes | {"seed": seed + number}
        begin_with = str(stage)


def _check_stages(stages: list[Path], resume: bool) -> None:
    """Raise ValueError unless these stages can begin, or with ``resume`` go on."""
    begun = [stage for stage in stages if leftover(stage)]
    if begun and not resume:
        raise ValueError(f"{begun[0]} already holds a run, expected --resume or another --out")
    if resume and not begun:
        raise ValueError(
            f"{stages[0].parent} holds nothing to resume, expected a stage that has begun"
        )
    if begun != stages[: len(begun)] or not all(map(is_finished, begun[:-1])):
        raise ValueError(f"{begun[-1]} follows a stage that has not ended, expected another --out")


def misfit(header: dict[str, Any], name: str, begin_with: str | None = None, **changes: Any) -> str:
    """Return in words how ``header`` differs from that of ``name`` with ``changes``, or ``""``.

    What a run began with counts if ``begin_with`` says it.
    """
    if header.get("recipe") != name:
        return f"recipe {header.get('recipe')!r} and not {name!r}"
    recipe, asked = changed(RECIPES[name], **changes), last_name(begin_with)
    begun = last_name((header.get("changes") or {}).get("begin_with"))
    if asked not in ("", begun):
        return f"begin_with {begun!r} and not {asked!r}"
    extras = header.get("extras") or asdict(Extras())  # which the oldest logs leave out
    fields = {**asdict(recipe), "training": header.get("training"), "extras": extras}
    fields["model"] = {key: header.get("model", {}).get(key) for key in recipe.model}
    files, read = checksums_of(recipe.corpus), header.get("data", {})
    if sorted(read.values()) != sorted(files.values()):
        fields["corpus"] = "of other files"
    return differences(Recipe.from_json(json.dumps(fields)), recipe)
