"""The encoder: a stack of layers in which every source position reads every other.

Chapter 8.  Paper: section 3.1, "Encoder", and the left half of figure 1.
"""

from torch import Tensor, nn

from scratch.attention import MultiHeadAttention
from scratch.feedforward import FeedForward
from scratch.plumbing import checks
from scratch.residual import LayerNorm, Residual

__all__ = ["Encoder", "EncoderLayer", "Maps", "Stack"]

Maps = list[Tensor | None]  # attention weights, layer by layer, or None where nobody asked


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward network, each inside a residual connection.

    Source: Vaswani et al. (2017), section 3.1, "Encoder".
    """

    def __init__(
        self, d_model: int, n_heads: int, d_ff: int, *, norm: str = "post", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, n_heads, dropout=dropout)
        self.residual_1 = Residual(d_model, norm=norm, dropout=dropout)
        self.feed_forward = FeedForward(d_model, d_ff, dropout=dropout)
        self.residual_2 = Residual(d_model, norm=norm, dropout=dropout)

    def forward(
        self, x: Tensor, *, mask: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map ``x`` (B, S, D) to (B, S, D); also return the weights (B, H, S, S) or None."""
        h = self.residual_1.before(x)
        h, weights = self.self_attention(h, h, h, mask=mask, need_weights=need_weights)
        x = self.residual_1.after(x, h)
        h = self.feed_forward(self.residual_2.before(x))
        return self.residual_2.after(x, h), weights


class Stack(nn.Module):
    """N layers of one kind; with pre-norm, one more LayerNorm at the end.

    Post-norm layers end in a LayerNorm of their own, so the paper's stacks need no other.
    """

    layer: type[nn.Module]  # what a subclass stacks

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        *,
        norm: str = "post",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        checks.at_least("n_layers", n_layers, 1)
        layers = [
            self.layer(d_model, n_heads, d_ff, norm=norm, dropout=dropout) for _ in range(n_layers)
        ]
        self.layers = nn.ModuleList(layers)
        self.final_norm = LayerNorm(d_model) if norm == "pre" else nn.Identity()


class Encoder(Stack):
    """A stack of encoder layers."""

    layer = EncoderLayer

    def forward(
        self, x: Tensor, *, mask: Tensor | None = None, need_weights: bool = False
    ) -> tuple[Tensor, Maps]:
        """Map ``x`` (B, S, D) to (B, S, D); also return each layer's weights (B, H, S, S)."""
        weights = []
        for layer in self.layers:
            x, w = layer(x, mask=mask, need_weights=need_weights)
            weights.append(w)
        return self.final_norm(x), weights
