"""The training step, faster: the same function as the taught one, and tests that say so.

What the naive step spends its time on at small sizes is not the matrix products: it stores
scores of 8,000 tokens for every position, reads each LayerNorm's input six times and draws a
random number per dropped value.  Here the loss comes in chunks straight from the hidden states,
LayerNorm is PyTorch's kernel, and dropout takes one random byte per value.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.attention import MultiHeadAttention
from scratch.datasets import Batch
from scratch.decoder import DecoderLayer
from scratch.encoder import EncoderLayer
from scratch.feedforward import FeedForward
from scratch.plumbing import checks
from scratch.residual import LayerNorm, Residual
from scratch.transformer import Transformer

__all__ = ["Dropout", "FastLoss", "chunked_loss", "fast_hidden"]

CHUNK = 256  # positions scored at a time: 256 x 8,000 scores stay in a processor's cache


@dataclass(frozen=True)
class Dropout:
    """Probabilities of zeroing a value: of sub-layer outputs, attention weights, ReLU outputs.

    On a processor a probability is rounded to a 256th, because a byte decides.
    """

    residual: float = 0.0
    attention: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        for name in ("residual", "attention", "hidden"):
            checks.fraction(name, getattr(self, name))


class _ByteDropout(torch.autograd.Function):
    """Zero values by random bytes: an eighth of the random numbers that ``F.dropout`` draws."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        keep = (words.view(torch.uint8)[: x.numel()] >= dropped).view(x.shape)
        ctx.save_for_backward(keep)
        ctx.scale = 256 / (256 - dropped)
        return x * keep * ctx.scale

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (keep,) = ctx.saved_tensors
        return gradients[0] * keep * ctx.scale, None


def drop(x: Tensor, p: float) -> Tensor:
    """Zero each value of ``x`` with probability ``p`` and scale the others by 1 / (1 - p)."""
    if p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    return cast(Tensor, _ByteDropout.apply(x, round(256 * p)))


class _ChunkedLoss(torch.autograd.Function):
    """Label-smoothed cross-entropy whose gradients are made chunk by chunk on the way forward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Any:
        N, V = len(hidden), len(weight)
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        for h, d_h, right in zip(
            hidden.split(CHUNK), d_hidden.split(CHUNK), labels.split(CHUNK), strict=True
        ):
            logits = h @ weight.T  # (C, V)
            rows = torch.arange(len(h), device=h.device)
            log_sum = logits.logsumexp(dim=-1)  # (C,)
            mixed = (1 - smoothing) * logits[rows, right] + smoothing * logits.mean(dim=-1)
            total += (log_sum - mixed).sum()
            # softmax - target, in place: the scores are not needed any more
            d = logits.sub_(log_sum[:, None]).exp_().sub_(smoothing / V)
            d[rows, right] -= 1 - smoothing
            d.div_(N)
            torch.mm(d, weight, out=d_h)
            d_weight.addmm_(d.T, h)
        ctx.save_for_backward(d_hidden, d_weight)
        return total / N

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden.mul_(gradients[0]), d_weight.mul_(gradients[0]), None, None


def chunked_loss(hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the loss of ``hidden`` (N, D) scored by ``weight`` (V, D) against ``labels`` (N,).

    As ``label_smoothed_loss(hidden @ weight.T, labels, smoothing)``, without ever holding N x V
    numbers.  Its gradient can be taken once.
    """
    checks.require(len(labels) > 0, "labels has length 0, expected a token to predict")
    with torch.autocast(hidden.device.type, enabled=False):  # a loss is worth 32 bits
        return cast(Tensor, _ChunkedLoss.apply(hidden.to(weight), weight, labels, smoothing))


def _norm(norm: LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, (norm.d_model,), norm.scale, norm.shift, norm.eps)


def _before(residual: Residual, x: Tensor) -> Tensor:
    return _norm(residual.norm, x) if residual.pre_norm else x


def _after(residual: Residual, x: Tensor, output: Tensor, p: float) -> Tensor:
    x = x + drop(output, p)
    return x if residual.pre_norm else _norm(residual.norm, x)


def _split(x: Tensor, n_heads: int) -> Tensor:
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def _attend(
    a: MultiHeadAttention, query: Tensor, key: Tensor, mask: Tensor | None, p: float
) -> Tensor:
    """Attend from ``query`` (B, T, D) to ``key`` (B, S, D); without ``mask``, to the past."""
    q, k, v = (
        _split(linear(x), a.n_heads)
        for linear, x in ((a.w_query, query), (a.w_key, key), (a.w_value, key))
    )
    heads = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=p, is_causal=mask is None
    )
    return cast(Tensor, a.w_output(heads.transpose(1, 2).flatten(-2)))


def _feed(f: FeedForward, x: Tensor, p: float) -> Tensor:
    return cast(Tensor, f.contract(drop(f.expand(x).relu(), p)))


def _embed(embedding: nn.Module, positions: nn.Module, ids: Tensor, p: float) -> Tensor:
    return drop(positions(embedding(ids)), p)


def fast_hidden(model: Transformer, source: Tensor, target: Tensor, dropout: Dropout) -> Tensor:
    """Return ``model.hidden(source, target)``, (B, T, D), with probabilities of one's own.

    Padding has to stand on the right, as :func:`scratch.datasets.collate` puts it.
    """
    p, a, h = dropout.residual, dropout.attention, dropout.hidden
    mask = (source != model.config.pad_id)[:, None, None, :]  # (B, 1, 1, S)
    x = _embed(model.source_embedding, model.source_positions, source, p)
    for module in model.encoder.layers:
        e = cast(EncoderLayer, module)
        y = _before(e.residual_1, x)
        x = _after(e.residual_1, x, _attend(e.self_attention, y, y, mask, a), p)
        x = _after(e.residual_2, x, _feed(e.feed_forward, _before(e.residual_2, x), h), p)
    memory = _final(model.encoder.final_norm, x)
    x = _embed(model.target_embedding, model.target_positions, target, p)
    for module in model.decoder.layers:
        d = cast(DecoderLayer, module)
        y = _before(d.residual_1, x)
        x = _after(d.residual_1, x, _attend(d.self_attention, y, y, None, a), p)
        y = _before(d.residual_2, x)
        x = _after(d.residual_2, x, _attend(d.cross_attention, y, memory, mask, a), p)
        x = _after(d.residual_3, x, _feed(d.feed_forward, _before(d.residual_3, x), h), p)
    return _final(model.decoder.final_norm, x)


def _final(norm: nn.Module, x: Tensor) -> Tensor:
    return _norm(norm, x) if isinstance(norm, LayerNorm) else x


@dataclass(frozen=True)
class FastLoss:
    """The fast counterpart of :func:`scratch.training.batch_loss`; call it likewise."""

    dropout: Dropout = field(default_factory=Dropout)
    hidden_of: Callable[[Transformer, Tensor, Tensor, Dropout], Tensor] = fast_hidden

    def __call__(self, model: Transformer, batch: Batch, smoothing: float) -> Tensor:
        hidden = self.hidden_of(model, batch.source, batch.target, self.dropout)
        real = batch.labels != model.config.pad_id  # (B, T)
        return chunked_loss(hidden[real], model.output.weight, batch.labels[real], smoothing)
