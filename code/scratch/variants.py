"""What came after: four changes to the blocks of 2017 that lasted.

Chapter 15.  Each is a few lines against the module of an earlier chapter.  A switch of
:class:`scratch.language_model.LanguageModelConfig` turns it on, so that its effect can be
measured by itself.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.attention import fused_attention, scaled_dot_product_attention
from scratch.feedforward import FeedForward
from scratch.plumbing import checks

__all__ = ["GatedFeedForward", "RMSNorm", "grouped_attention", "rotate"]


class RMSNorm(nn.Module):
    """Divide each vector by the root of its mean square, then a learned scale per feature.

    LayerNorm less two things: no mean is taken away and no shift is added.

    Source: Zhang and Sennrich (2019), equation 4.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        checks.at_least("d_model", d_model, 1)
        checks.number("eps", eps, 0.0, above=True)
        self.d_model, self.eps = d_model, eps
        self.scale = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (..., D) over its last axis and return (..., D)."""
        checks.width("x", x, self.d_model)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # float16 holds no square of 300
        mean_square = wide.square().mean(dim=-1, keepdim=True)  # (..., 1)
        return (wide * (mean_square + self.eps).rsqrt() * self.scale).to(x.dtype)


def rotate(x: Tensor, *, start: int = 0) -> Tensor:
    """Turn ``x`` (..., T, K), queries or keys, by the angles of positions ``start``, ...

    Features 2i and 2i+1 are a point in a plane; at position p it is turned by p / 10000^(2i/K),
    so that the dot product of a query and a key depends on their distance, not on where they are.

    Raises ValueError unless K is even.  Source: Su et al. (2021), section 3.2.2, equation 15.
    """
    length, d_head = x.shape[-2:]
    checks.divisible("the width of x", d_head, "a pair to be turned", 2)
    position = torch.arange(start, start + length, dtype=torch.float64, device=x.device)
    i = torch.arange(0, d_head, 2, dtype=torch.float64, device=x.device)
    angle = torch.outer(position, 10_000 ** (-i / d_head))  # (T, K/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]  # (..., T, K/2)
    turned = (even * cos - odd * sin, even * sin + odd * cos)
    return torch.stack(turned, dim=-1).flatten(-2)  # (..., T, K)


class GatedFeedForward(FeedForward):
    """SwiGLU: (swish(x Wg + bg) * (x W1 + b1)) W2 + b2, where swish(z) = z sigmoid(z).

    One matrix more than the plain network: two thirds of its width cost as many parameters.

    Source: Shazeer (2020), equation 6, which has no biases.
    """

    def __init__(self, d_model: int, d_ff: int, *, dropout: float = 0.0) -> None:
        super().__init__(d_model, d_ff, dropout=dropout)
        self.gate = nn.Linear(d_model, d_ff)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (..., D) to (..., D), each position independently of every other."""
        h = self.dropout(F.silu(self.gate(x)) * self.expand(x))  # (..., F)
        return self.contract(h)  # (..., D)


def grouped_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    need_weights: bool = False,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor | None]:
    """Attend with H heads of ``query`` (B, H, T, K) to G heads of ``key`` and ``value``.

    Keys and values are (B, G, S, K).  H/G neighbouring query heads share each of them; G = H is
    multi-head attention, G = 1 multi-query attention.  Returns the output (B, H, T, K), and the
    weights (B, H, T, S) or None.

    Source: Ainslie et al. (2023), section 2.2.
    """
    checks.divisible("the number of query heads", query.shape[1], "that of keys", key.shape[1])
    share = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(share, dim=1) for x in (key, value))  # (B, H, S, K)
    if need_weights:
        return scaled_dot_product_attention(query, key, value, mask=mask, dropout=dropout)
    return fused_attention(query, key, value, mask=mask, dropout=dropout), None
