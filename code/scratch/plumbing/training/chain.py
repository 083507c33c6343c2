"""A chain of runs: each stage begins with the weights that the one before ended with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scratch.plumbing import checks
from scratch.plumbing.training.changes import AS_IT_STANDS, Changes
from scratch.plumbing.training.engine import Machine
from scratch.plumbing.training.header import misfit
from scratch.plumbing.training.log import read_log
from scratch.plumbing.training.recipes import CHAINS
from scratch.plumbing.training.run import start_run
from scratch.plumbing.training.run_folder import CHECKPOINT, LOG, is_finished, leftover

__all__ = ["start_chain"]


def start_chain(
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    command: str = "",
    changes: Changes = AS_IT_STANDS,
    machine: Machine | None = None,
) -> Path:
    """Run the stages of ``name``, each in a folder of its own in ``folder``; return the last.

    With ``resume``, stages that have finished are left as they are, one that is under way goes
    on, and the others begin.  Raises what :func:`.start_run` does, and
    ValueError for a finished stage that is another one than ``changes`` ask for.
    """
    checks.one_of("recipe", name, tuple(CHAINS))
    stages = list(_stages(name, folder, changes))
    _check_stages([stage for stage, _ in stages], resume)
    for stage, made in stages:
        if not is_finished(stage):
            going = resume and (stage / CHECKPOINT).exists()
            start_run(
                stage.name, stage, resume=going, command=command, changes=made, machine=machine
            )
            continue
        header, *_ = [*read_log(stage / LOG), {}]
        other = misfit(header, stage.name, made)
        checks.require(not other, f"{stage} has finished with {other}, expected another --out")
    return stages[-1][0]


def _stages(name: str, folder: Path, changes: Changes) -> Iterator[tuple[Path, Changes]]:
    """Yield the folder of each stage of ``name``, and the changes that are made in it."""
    before = changes.begin_with
    for number, stage in enumerate(CHAINS[name]):
        yield folder / stage, replace(changes.of_stage(number), begin_with=before)
        before = str(folder / stage)


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
