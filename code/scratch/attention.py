"""Attention: every position asks every other what it holds, and takes a weighted average.

Chapter 5.  Paper: section 3.2, "Attention".

One mask convention runs through the whole package: a mask is boolean, True means "may attend",
and it broadcasts to the scores, (B, H, T, S).  A query that may attend to nothing gets zeros.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.plumbing import checks

__all__ = [
    "MultiHeadAttention",
    "causal_mask",
    "fused_attention",
    "padding_mask",
    "scaled_dot_product_attention",
]


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Return the mask that hides padding, (B, 1, 1, S), from token ids (B, S).

    True where a real token stands; it broadcasts over heads and queries.
    """
    return (ids != pad_id)[:, None, None, :]


def causal_mask(length: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return the mask that hides the future, (1, 1, T, T).

    Row t is True in columns 0 to t: position t sees itself and what came before.
    Combine it with a padding mask by ``&``.
    """
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Attend from ``query`` (..., T, K) to ``key`` (..., S, K) and ``value`` (..., S, Kv).

    Returns the output (..., T, Kv) and the weights (..., T, S), whose rows sum to 1, or to 0
    where ``mask`` lets a query attend to nothing.  ``dropout`` is the probability of zeroing a
    weight: pass 0 outside training.  The weights returned are those before dropout.

    Raises ValueError for leading axes that differ, and for a mask of another kind or shape.
    Source: Vaswani et al. (2017), section 3.2.1, equation 1.
    """
    checks.attention(query, key, value, mask)
    # divided before the product, which float16 might not hold
    scores = query / math.sqrt(query.shape[-1]) @ key.mT  # (..., T, S)
    if mask is not None:
        # the lowest finite number, not -inf: a row of nothing but -inf has NaN for a softmax
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)  # changes only rows that may attend to nothing
    return F.dropout(weights, dropout) @ value, weights


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Return the same output from PyTorch's fused kernel, which need not store the weights."""
    checks.attention(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each on its own K = D/H-wide projection of the input.

    ``attention(x, x, x)`` is self-attention; ``attention(x, memory, memory)`` is
    cross-attention.  The two halves of forward can be called by themselves: :meth:`project`
    prepares keys and values, which a decoder caches, and :meth:`attend` uses them.

    Source: Vaswani et al. (2017), section 3.2.2.
    """

    def __init__(self, d_model: int, n_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        checks.divisible("d_model", d_model, "n_heads", n_heads)
        checks.fraction("dropout", dropout)
        self.d_model, self.n_heads, self.dropout = d_model, n_heads, dropout
        self.w_query, self.w_key = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.w_value, self.w_output = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def split_heads(self, x: Tensor) -> Tensor:
        """Cut the width of ``x`` (B, T, D) into heads: (B, H, T, K)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(-3, -2)

    def project(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Project ``key`` and ``value``, each (B, S, D), to all heads: two of (B, H, S, K)."""
        return self.split_heads(self.w_key(key)), self.split_heads(self.w_value(value))

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``query`` (B, T, D) to projected ``key`` and ``value`` (B, H, S, K).

        Returns the output (B, T, D), and the weights (B, H, T, S) or None.
        """
        q = self.split_heads(self.w_query(query))  # (B, H, T, K)
        p = self.dropout if self.training else 0.0
        if need_weights:
            heads, weights = scaled_dot_product_attention(q, key, value, mask=mask, dropout=p)
        else:
            heads, weights = fused_attention(q, key, value, mask=mask, dropout=p), None
        return self.w_output(heads.transpose(-3, -2).flatten(-2)), weights  # (B, T, D)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from ``query`` (B, T, D) to ``key`` and ``value`` (B, S, D).

        ``mask`` is boolean, True = may attend, broadcastable to (B, H, T, S).
        Returns the output (B, T, D), and the weights (B, H, T, S) or None.
        """
        keys, values = self.project(key, value)
        return self.attend(query, keys, values, mask=mask, need_weights=need_weights)
