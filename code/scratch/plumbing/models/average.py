"""Weights averaged: of a run's last epochs, and of runs that began where another one ended.

Sources: Vaswani et al. (2017), section 6.1; Wortsman et al. (2022) for runs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from scratch.plumbing import checks
from scratch.plumbing.files import write_whole
from scratch.transformer import Transformer

__all__ = ["average_snapshots", "save_snapshot", "set_mean"]


def save_snapshot(folder: Path, model: Transformer, epoch: int, *, keep: int) -> None:
    """Write the weights at the end of ``epoch``; drop those of the epoch ``keep`` before it."""
    weights = {name: p.detach().to("cpu").contiguous() for name, p in model.named_parameters()}
    write_whole(_snapshot(folder, epoch), save(weights))
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
    files = [_read(_snapshot(folder, epoch), model) for epoch in last]
    set_mean(model, files)
    return len(files)


@torch.no_grad()
def set_mean(model: Transformer, weights: Sequence[Mapping[str, Tensor]]) -> None:
    """Give ``model`` the mean of ``weights``, each of which maps names to parameters."""
    for name, p in model.named_parameters():
        # in float64, so that the order of the sum does not show
        p.copy_(torch.stack([part[name].double() for part in weights]).mean(dim=0))


def _read(path: Path, model: Transformer) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be averaged, expected weights ({error})") from None
    shapes = {name: p.shape for name, p in model.named_parameters()}
    good = shapes == {name: w.shape for name, w in weights.items()}
    checks.require(good, f"{path} holds other tensors, expected those of the run's model")
    return weights
