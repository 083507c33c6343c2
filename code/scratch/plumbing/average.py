"""Checkpoint averaging: the mean of the last epochs' weights translates better than the last.

Source: Vaswani et al. (2017), section 6.1.
"""

import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from scratch.plumbing import checks
from scratch.transformer import Transformer

__all__ = ["average_snapshots", "save_snapshot"]


def save_snapshot(folder: Path, model: Transformer, epoch: int, *, keep: int) -> None:
    """Write the weights at the end of ``epoch``, whole or not at all; keep the last ``keep``."""
    weights = {name: p.detach().to("cpu").contiguous() for name, p in model.named_parameters()}
    path = folder / f"epoch-{epoch:04d}.safetensors"
    unfinished = path.with_suffix(".part")
    save_file(weights, unfinished)
    os.replace(unfinished, path)
    for old in _snapshots(folder)[:-keep]:
        old.unlink()


def _snapshots(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.safetensors"))


@torch.no_grad()
def average_snapshots(folder: Path, model: Transformer, n: int) -> int:
    """Give ``model`` the mean weights of the last ``n`` snapshots; return how many there were.

    With one or none, the model stays as it is: its last weights are as good.
    """
    checks.at_least("n", n, 1)
    paths = _snapshots(folder)[-n:]
    if len(paths) < 2:
        return len(paths)
    files = [load_file(path) for path in paths]
    for name, p in model.named_parameters():
        # in float64, so that the order of the sum does not show
        p.copy_(torch.stack([file[name].double() for file in files]).mean(dim=0))
    return len(paths)
