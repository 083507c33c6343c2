"""Layer normalisation and the residual connection around every sublayer.

Chapter 7.  Paper: section 3.1 (residual connection) and 5.4 (residual dropout).
"""

import torch
from torch import Tensor, nn

from scratch.plumbing import checks

__all__ = ["LayerNorm", "Residual"]


class LayerNorm(nn.Module):
    """Give each vector mean 0 and variance 1, then a learned scale and shift per feature.

    The statistics are taken over the features of one position, never over the batch, and the
    variance divides by D, not by D - 1.  ``eps`` keeps a constant vector from dividing by zero.

    Source: Ba, Kiros and Hinton (2016), section 3, equation 4.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        checks.at_least("d_model", d_model, 1)
        checks.number("eps", eps, 0.0, above=True)
        self.d_model, self.eps = d_model, eps
        self.scale = nn.Parameter(torch.ones(d_model))
        self.shift = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (..., D) over its last axis and return (..., D)."""
        checks.width("x", x, self.d_model)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # float16 holds no square of 300
        centred = wide - wide.mean(dim=-1, keepdim=True)  # (..., D)
        variance = centred.square().mean(dim=-1, keepdim=True)  # (..., 1)
        normal = centred * (variance + self.eps).rsqrt()
        return (normal * self.scale + self.shift).to(x.dtype)


class Residual(nn.Module):
    """What stands around a sublayer: x + Dropout(Sublayer(x)), and a LayerNorm.

    ``norm="post"`` normalises the sum, as the paper does; ``norm="pre"`` normalises what goes
    into the sublayer and leaves the path from the first layer to the last one untouched.
    Use it in two halves, ``after(x, sublayer(before(x)))``, so that a sublayer may return
    attention weights as well.

    Source: Vaswani et al. (2017), section 3.1; Xiong et al. (2020), figure 1.
    """

    def __init__(self, d_model: int, *, norm: str = "post", dropout: float = 0.0) -> None:
        super().__init__()
        checks.one_of("norm", norm, ("post", "pre"))
        checks.fraction("dropout", dropout)
        self.pre_norm = norm == "pre"
        self.norm = LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def before(self, x: Tensor) -> Tensor:
        """Return what the sublayer is to read, (B, T, D)."""
        return self.norm(x) if self.pre_norm else x

    def after(self, x: Tensor, output: Tensor) -> Tensor:
        """Add the sublayer's ``output`` to its input ``x``, both (B, T, D)."""
        checks.same_shape("output", output, "x", x)
        x = x + self.dropout(output)
        return x if self.pre_norm else self.norm(x)
