"""A training state on disk: weights and the optimiser's moments, whole or not there at all."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from scratch.plumbing.files import write_whole

__all__ = ["read_state", "restore", "save_state"]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam knows of a parameter, by its own names


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, metadata: dict[str, str]
) -> None:
    """Write weights and moments; ``path`` holds the old file or the new one, never half of one."""
    tensors: dict[str, Tensor] = {}
    for name, p in model.named_parameters():
        tensors[f"model.{name}"] = p.detach().cpu()
        for key, value in optimizer.state.get(p, {}).items():
            tensors[f"optimizer.{name}/{key}"] = value.cpu()
    write_whole(path, save(tensors, metadata=metadata))


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what :func:`save_state` wrote.  Raises ValueError for a file that is cut short."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint, or cut short ({error})") from None


def restore(
    tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, *, begun: bool
) -> None:
    """Put ``tensors`` where they were.  Raises ValueError, and changes nothing, if they don't fit.

    ``begun`` says whether a step had been made, so that there are moments.
    """
    named = dict(model.named_parameters())
    shapes = {f"model.{name}": p.shape for name, p in named.items()}
    for name, p in named.items():
        for m in MOMENTS if begun else ():
            shapes[f"optimizer.{name}/{m}"] = torch.Size() if m == "step" else p.shape
    if shapes != {key: tensor.shape for key, tensor in tensors.items()}:
        raise ValueError("its tensors are others, expected those of this model")
    for name, p in named.items():
        p.data.copy_(tensors[f"model.{name}"])
        if begun:
            moments = {m: tensors[f"optimizer.{name}/{m}"].to(p.device) for m in MOMENTS}
            optimizer.state[p] = moments
