"""A chain of runs: each stage begins with the weights that the one before ended with."""

from dataclasses import replace
from pathlib import Path

from scratch.plumbing import checks
from scratch.plumbing.checkpoint import WEIGHTS
from scratch.plumbing.engine import Machine
from scratch.plumbing.recipes import CHAINS
from scratch.plumbing.trainer import CHECKPOINT, LOG, Changes, start_run

__all__ = ["start_chain"]

AS_IT_STANDS = Changes()


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

    With ``resume``, finished stages are left as they are and an unfinished one goes on.
    Raises what :func:`scratch.plumbing.trainer.start_run` raises.
    """
    checks.one_of("recipe", name, tuple(CHAINS))
    stages = [folder / stage for stage in CHAINS[name]]
    begun = next((stage for stage in stages if (stage / LOG).exists()), None)
    if begun and not resume:
        raise ValueError(f"{begun} already holds a run; add --resume, or choose another --out")
    before = changes.begin_with
    for stage in stages:
        if not _finished(stage):
            start_run(
                stage.name,
                stage,
                resume=resume,
                command=command,
                changes=replace(changes, begin_with=before),
                machine=machine,
            )
        before = str(stage)
    return stages[-1]


def _finished(stage: Path) -> bool:
    return (stage / WEIGHTS).exists() and not (stage / CHECKPOINT).exists()
