"""Positions: attention does not see order, so order is added to the vectors.

Chapter 4.  Paper: section 3.5, "Positional Encoding".
"""

import torch
from torch import Tensor, nn

from scratch.plumbing import checks

__all__ = ["LearnedPositions", "SinusoidalPositions", "sinusoidal_table"]


def sinusoidal_table(max_len: int, d_model: int) -> Tensor:
    """Return the paper's table of sines and cosines, (max_len, D), in float32.

    Column 2i holds sin(position / 10000^(2i/D)) and column 2i+1 the cosine of the same angle.
    Raises ValueError unless ``d_model`` is even.  Source: Vaswani et al. (2017), section 3.5.
    """
    checks.divisible("d_model", d_model, "a sine-cosine pair", 2)
    position = torch.arange(max_len, dtype=torch.float64)
    frequency = 10_000 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    angle = torch.outer(position, frequency)  # (max_len, D/2)
    # float64 until here: in float32 the angle of position 5,000 is already off in the 4th decimal
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(-2).float()


class SinusoidalPositions(nn.Module):
    """Add the fixed table of sines and cosines to a sequence of vectors."""

    table: Tensor

    def __init__(self, d_model: int, max_len: int) -> None:
        super().__init__()
        checks.at_least("max_len", max_len, 1)
        self.register_buffer("table", sinusoidal_table(max_len, d_model), persistent=False)
        self.register_load_state_dict_post_hook(SinusoidalPositions.fill)

    def fill(self, _: object = None) -> None:
        """Compute the table anew: no file of weights holds it, and memory may come unfilled."""
        device = "cpu" if self.table.is_meta else self.table.device
        self.table = sinusoidal_table(*self.table.shape).to(device, self.table.dtype)

    def forward(self, x: Tensor, *, start: int = 0) -> Tensor:
        """Add positions ``start``, ``start`` + 1, ... to ``x`` (B, T, D) and return (B, T, D).

        Raises RuntimeError when the last position is not in the table.
        """
        return x + self.table.narrow(0, start, x.shape[1])


class LearnedPositions(nn.Module):
    """Add one trained vector per position, the alternative of the paper's Table 3, row E."""

    def __init__(self, d_model: int, max_len: int) -> None:
        super().__init__()
        checks.at_least("max_len", max_len, 1)
        checks.at_least("d_model", d_model, 1)
        self.table = nn.Parameter(torch.empty(max_len, d_model))
        nn.init.normal_(self.table, std=d_model**-0.5)

    def forward(self, x: Tensor, *, start: int = 0) -> Tensor:
        """Add positions ``start``, ``start`` + 1, ... to ``x`` (B, T, D) and return (B, T, D).

        Raises RuntimeError when the last position is not in the table.
        """
        return x + self.table.narrow(0, start, x.shape[1])
