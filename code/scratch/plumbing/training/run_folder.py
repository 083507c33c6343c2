"""The folder of a run: what lies in it, and whether a run may begin or go on there."""

from pathlib import Path

from scratch.plumbing.models.storage import WEIGHTS

__all__ = ["check_folder", "is_finished", "leftover"]

LOG, CHECKPOINT, CURVE = "log.jsonl", "checkpoint.safetensors", "curve.svg"
SNAPSHOTS = "epoch-*.safetensors"


def leftover(folder: Path) -> str | None:
    """Return the name of a file that a run has left in ``folder``, if any has."""
    names = (LOG, CHECKPOINT, WEIGHTS, *sorted(p.name for p in folder.glob(SNAPSHOTS)))
    return next((name for name in names if (folder / name).exists()), None)


def is_finished(folder: Path) -> bool:
    """Say whether ``folder`` holds a finished run: the checkpoint goes when the model is there."""
    return (folder / WEIGHTS).exists() and not (folder / CHECKPOINT).exists()


def check_folder(folder: Path, *, resume: bool) -> None:
    """Raise ValueError unless a run can begin in ``folder`` or, with ``resume``, go on there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder for the run")
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
