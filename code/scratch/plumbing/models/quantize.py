"""Weights in fewer bytes: how a model is stored, and how it becomes float32 again.

A file holds each matrix of a model under its name.  Stored as int8, the matrix ``NAME`` (rows,
columns) has beside it ``NAME.scale`` (rows,), one float32 for each row; row r of the weights is
``scale[r] * matrix[r]``, a single product of two float32 numbers, which is also what ONNX's
DequantizeLinear computes along axis 0 with a zero point of 0.  Whoever reads the file therefore
computes with the same float32 weights, in Python and in a browser.  Vectors stay float32: they
are less than a hundredth of a model.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scratch.plumbing import checks

__all__ = [
    "SCALE",
    "STORED_AS",
    "Loss",
    "dequantize_rows",
    "pack",
    "quantize_rows",
    "storage_loss",
    "unpack",
]

FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED_AS = (*FLOATS, "int8")
SCALE, LARGEST = ".scale", 127  # -128 has no opposite, so it is not used


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``matrix`` (R, C) as int8 (R, C), and the scale of each row, float32 (R,).

    Symmetric and to the nearest: the largest magnitude of a row becomes 127, and no weight is
    off by more than half its row's scale.  A row of zeros has the scale 1.
    """
    scale = matrix.float().abs().amax(dim=1) / LARGEST  # (R,)
    # what is too small for float32 to be divided by rounds to zero
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, torch.ones_like(scale), scale)
    whole = (matrix.float() / scale[:, None]).round().clamp(-LARGEST, LARGEST)
    return whole.to(torch.int8), scale


def dequantize_rows(whole: Tensor, scale: Tensor) -> Tensor:
    """Return the float32 matrix (R, C) that int8 ``whole`` (R, C) and ``scale`` (R,) stand for."""
    return whole.float() * scale.float()[:, None]


def pack(weights: dict[str, Tensor], stored_as: str) -> dict[str, Tensor]:
    """Return what a file holds for ``weights``, by name, ``stored_as`` one of STORED_AS.

    Raises ValueError for a weight that is not finite, there or in the file.
    """
    checks.one_of("stored_as", stored_as, STORED_AS)
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if stored_as == "int8" and weight.ndim == 2:
            whole, scale = quantize_rows(weight.detach().cpu())
            packed |= {name: whole, name + SCALE: scale}
        else:
            packed[name] = weight.detach().to("cpu", FLOATS.get(stored_as, torch.float32))
    for name, tensor in packed.items():
        _finite(name, tensor, f"which {stored_as} can store")
    return packed


def unpack(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights, float32, that :func:`pack` made ``stored`` from.

    Raises ValueError, in one sentence, when a scale is missing, has another shape than its
    matrix has rows, or is no positive number, and for weights that are not finite or not of a
    kind that is ever stored.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if _is_scale(name, stored):
            continue
        if tensor.dtype == torch.int8:
            tensor = dequantize_rows(tensor, _scale_of(name, stored))
        elif tensor.dtype not in FLOATS.values():
            kinds = ", ".join(STORED_AS)
            raise ValueError(f"{name} is stored as {tensor.dtype}, expected one of: {kinds}")
        weights[name] = tensor.float()
        _finite(name, weights[name], "as every weight is")
    return weights


@dataclass(frozen=True)
class Loss:
    """What storing does to the matrices of a model.

    ``worst`` is the largest error of any weight, as a share of the largest magnitude in its row
    (int8 promises half of a 127th, 0.39 %); ``overall`` the length of all errors as one vector,
    as a share of that of all weights.
    """

    worst: float
    overall: float

    def describe(self) -> str:
        """Return both in a sentence's words."""
        return (
            f"no weight moves by more than {100 * self.worst:.2f} % of the largest in its row; "
            f"the error of all together has {100 * self.overall:.2f} % of their length"
        )


def storage_loss(weights: dict[str, Tensor], stored_as: str) -> Loss:
    """Measure what storing ``weights`` as ``stored_as`` and reading them again changes."""
    again, worst, errors, lengths = unpack(pack(weights, stored_as)), 0.0, 0.0, 0.0
    for name, weight in weights.items():
        if weight.ndim == 2:
            matrix = weight.detach().cpu().double()
            error = again[name].double() - matrix
            largest = matrix.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
            worst = max(worst, (error.abs().amax(dim=1) / largest).max().item())
            errors += error.square().sum().item()
            lengths += matrix.square().sum().item()
    return Loss(worst, math.sqrt(errors / lengths) if lengths else 0.0)


def _is_scale(name: str, stored: dict[str, Tensor]) -> bool:
    matrix = stored.get(name.removesuffix(SCALE)) if name.endswith(SCALE) else None
    return matrix is not None and matrix.dtype == torch.int8


def _scale_of(name: str, stored: dict[str, Tensor]) -> Tensor:
    matrix, scale = stored[name], stored.get(name + SCALE)
    shape = None if scale is None else tuple(scale.shape)
    expected = tuple(matrix.shape[:1])
    if scale is None or matrix.ndim != 2 or shape != expected:
        raise ValueError(
            f"{name} is int8 of shape {tuple(matrix.shape)} and {name}{SCALE} has the shape "
            f"{shape}, expected a matrix and one scale for each of its rows"
        )
    if scale.dtype not in FLOATS.values() or not ((scale > 0) & scale.isfinite()).all():
        raise ValueError(f"{name}{SCALE} is no positive number for each row, expected one")
    return scale


def _finite(name: str, tensor: Tensor, why: str) -> None:
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise ValueError(f"{name} holds a number that is not finite, expected finite ones, {why}")
