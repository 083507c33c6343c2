"""The decoder: a stack that reads what is written so far and looks at the source.

Chapter 9.  Paper: section 3.1, "Decoder", and the right half of figure 1.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from scratch.attention import MultiHeadAttention
from scratch.encoder import Maps, Stack
from scratch.feedforward import FeedForward
from scratch.residual import Residual

__all__ = ["Decoder", "DecoderLayer", "DecoderMasks", "LayerCache"]


@dataclass
class LayerCache:
    """What one decoder layer need not compute again at the next step of generation.

    ``self_keys`` and ``self_values`` (B, H, T, K) grow by one position a step; ``cross_keys``
    and ``cross_values`` (B, H, S, K) come from the encoder's output once and stay.
    """

    self_keys: Tensor
    self_values: Tensor
    cross_keys: Tensor
    cross_values: Tensor

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the newest position's ``keys`` and ``values``; return those of all positions."""
        keys = torch.cat((self.self_keys, keys), dim=2)
        values = torch.cat((self.self_values, values), dim=2)
        self.self_keys, self.self_values = keys, values
        return keys, values

    def select(self, rows: Tensor) -> "LayerCache":
        """Return the cache of the batch ``rows`` (whole numbers), in that order."""
        return LayerCache(*(kept[rows] for kept in vars(self).values()))


@dataclass(frozen=True)
class DecoderMasks:
    """Who may see what: ``target`` for self-attention, ``memory`` for cross-attention.

    Boolean, True = may attend, broadcastable to (B, H, T, cached + T) and (B, H, T, S);
    None lets everything see everything.
    """

    target: Tensor | None = None
    memory: Tensor | None = None


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention and the feed-forward network, each residual.

    Source: Vaswani et al. (2017), section 3.1, "Decoder".
    """

    def __init__(
        self, d_model: int, n_heads: int, d_ff: int, *, norm: str = "post", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, dropout=dropout)
        self.residual_1 = Residual(d_model, norm=norm, dropout=dropout)
        self.cross_attention = MultiHeadAttention(d_model, n_heads, dropout=dropout)
        self.residual_2 = Residual(d_model, norm=norm, dropout=dropout)
        self.feed_forward = FeedForward(d_model, d_ff, dropout=dropout)
        self.residual_3 = Residual(d_model, norm=norm, dropout=dropout)

    def start_cache(self, memory: Tensor) -> LayerCache:
        """Project the encoder's output ``memory`` (B, S, D) once; nothing is written yet."""
        keys, values = self.cross_attention.project(memory, memory)
        return LayerCache(keys[:, :, :0], values[:, :, :0], keys, values)

    def forward(
        self, x: Tensor, cache: LayerCache, masks: DecoderMasks, *, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Map ``x`` (B, T, D), the positions that follow those in ``cache``, to (B, T, D).

        Training is one step from an empty cache that takes all T positions at once; generation
        is T steps of one.  Also returns the weights of self-attention and of cross-attention,
        (B, H, T, ...), or None twice.
        """
        h = self.residual_1.before(x)
        keys, values = cache.append(*self.self_attention.project(h, h))
        h, seen = self.self_attention.attend(
            h, keys, values, mask=masks.target, need_weights=need_weights
        )
        x = self.residual_1.after(x, h)
        h, keys, values = self.residual_2.before(x), cache.cross_keys, cache.cross_values
        h, read = self.cross_attention.attend(
            h, keys, values, mask=masks.memory, need_weights=need_weights
        )
        x = self.residual_2.after(x, h)
        h = self.feed_forward(self.residual_3.before(x))
        return self.residual_3.after(x, h), seen, read


class Decoder(Stack):
    """A stack of decoder layers, each with a cache of its own."""

    layer = DecoderLayer

    def start_cache(self, memory: Tensor) -> list[LayerCache]:
        """Return one empty cache per layer for the encoder's output ``memory`` (B, S, D)."""
        return [cast(DecoderLayer, layer).start_cache(memory) for layer in self.layers]

    def forward(
        self, x: Tensor, cache: list[LayerCache], masks: DecoderMasks, *, need_weights: bool = False
    ) -> tuple[Tensor, Maps, Maps]:
        """Map ``x`` (B, T, D) to (B, T, D); also return each layer's two kinds of weights."""
        seen, read = [], []
        for layer, layer_cache in zip(self.layers, cache, strict=True):
            x, s, r = layer(x, layer_cache, masks, need_weights=need_weights)
            seen.append(s)
            read.append(r)
        return self.final_norm(x), seen, read
