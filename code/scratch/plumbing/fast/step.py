"""The training step, faster: the same function as the taught one, and tests that say so.

What the naive step spends its time on at small sizes is not the matrix products: it stores
scores of 8,000 tokens for every position, reads each LayerNorm's input six times and draws a
random number for every value that dropout may drop.  Here the loss comes in chunks straight from
the hidden states, LayerNorm is PyTorch's kernel, and dropout takes one random byte per value.
On a processor the gradients of attention, dropout and ReLU are written out, so that each number
is read once; a GPU and ``torch.compile`` have ways of their own.  ``make bench`` measures what
this is worth.
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
    """Probabilities of zeroing a value: of sublayer outputs, attention weights, ReLU outputs.

    On a processor a probability is rounded to a 256th, because a byte decides.
    """

    residual: float = 0.0
    attention: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        for name in ("residual", "attention", "hidden"):
            checks.fraction(name, getattr(self, name))


def _by_hand(x: Tensor) -> bool:
    """Say whether gradients are those written here: a GPU and a compiler have their own ways."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _kept(like: Tensor, p: float) -> Tensor:
    """Return numbers in the shape of ``like``: 0 with probability ``p``, else 1 / (1 - p).

    A random byte decides: an eighth of the random numbers that ``F.dropout`` draws.
    """
    dropped = round(256 * p)
    words = torch.empty((like.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.uint8)[: like.numel()].view(like.shape)
    # compared straight into floats: a product of floats and booleans would convert these first
    kept = torch.ge(drawn, dropped, out=like.new_empty(like.shape))
    return kept.mul_(256 / (256 - dropped))


class _Drop(torch.autograd.Function):
    """``x + dropout(output)``, in one pass over the numbers; without ``x``, the dropout alone."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, x: Tensor | None, p: float) -> Tensor:
        kept = _kept(output, p)
        ctx.save_for_backward(kept)
        return output * kept if x is None else torch.addcmul(x, output, kept)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (kept,) = ctx.saved_tensors
        return gradients[0] * kept, gradients[0] if ctx.needs_input_grad[1] else None, None


class _DropRelu(torch.autograd.Function):
    """``dropout(relu(x))``; what is above zero in the end says where the gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        y = _kept(x, p).mul_(x).relu_()
        ctx.save_for_backward(y)
        ctx.scale = 256 / (256 - round(256 * p))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], y, 0).mul_(ctx.scale), None


def drop(output: Tensor, p: float, x: Tensor | None = None) -> Tensor:
    """Zero each value with probability ``p``, scale the others by 1 / (1 - p), add to ``x``."""
    if p == 0 or not _by_hand(output):
        output = F.dropout(output, p) if p > 0 else output
        return output if x is None else x + output
    return cast(Tensor, _Drop.apply(output, x, p))


def drop_relu(x: Tensor, p: float) -> Tensor:
    """Return ``drop(x.relu(), p)``."""
    if p == 0 or not _by_hand(x):
        return drop(x.relu(), p)
    return cast(Tensor, _DropRelu.apply(x, p))


def _products(x: Tensor) -> torch.dtype:
    """Return what matrix products with ``x`` are computed in: what autocast says, else its own."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add ``a @ b`` to ``total``, without a copy of its size where all are of one kind."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


class _ChunkedLoss(torch.autograd.Function):
    """Label-smoothed cross-entropy whose gradients are made chunk by chunk on the way forward.

    A position's loss is log sum exp(scores), less (1 - s) times the score of the right token,
    less s / V times the sum of all scores.  That last part is linear, so all positions are done
    at once; the first two go through the chunks.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Any:
        N, V = len(hidden), len(weight)
        kind = _products(hidden)
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        d_hidden, d_weight, w = torch.empty_like(hidden), torch.zeros_like(weight), weight.to(kind)
        scores = hidden.new_empty(min(CHUNK, N), V, dtype=kind)  # the same memory for every chunk
        for h, d_h, right in zip(
            hidden.split(CHUNK), d_hidden.split(CHUNK), labels.split(CHUNK), strict=True
        ):
            rows = torch.arange(len(h), device=h.device)
            logits = torch.mm(h.to(kind), w.T, out=scores[: len(h)]).to(h)  # (C, V)
            top = logits.amax(dim=-1, keepdim=True)
            total -= (1 - smoothing) * logits[rows, right].sum()
            odds = logits.sub_(top).exp_()  # in place: the scores are not needed any more
            sums = odds.sum(dim=-1, keepdim=True)  # softmax is odds / sums
            total += (top + sums.log()).sum()
            odds[rows, right] -= (1 - smoothing) * sums[:, 0]
            d = odds.to(kind)
            d_h.copy_(d @ w).div_(sums)
            _add_product(d_weight, d.T, (h / sums).to(kind))
        all_h, all_w, share = hidden.sum(dim=0), weight.sum(dim=0), smoothing / V
        total -= share * all_h.dot(all_w)
        ctx.save_for_backward(d_hidden.sub_(share * all_w), d_weight.sub_(share * all_h))
        return total / N

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        d_hidden, d_weight = ctx.saved_tensors
        each = gradients[0] / len(d_hidden)
        return d_hidden.mul_(each), d_weight.mul_(each), None, None


def chunked_loss(hidden: Tensor, weight: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the loss of ``hidden`` (N, D) scored by ``weight`` (V, D) against ``labels`` (N,).

    As ``label_smoothed_loss(hidden @ weight.T, labels, smoothing)``, without ever holding N x V
    numbers.  Its gradient can be taken once.
    """
    checks.require(len(labels) > 0, "labels has length 0, expected a token to predict")
    return cast(Tensor, _ChunkedLoss.apply(hidden.to(weight), weight, labels, smoothing))


def _norm(norm: LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, (norm.d_model,), norm.scale, norm.shift, norm.eps)


def before(residual: Residual, x: Tensor) -> Tensor:
    """Return what a sublayer is to read, as the residual connection says it."""
    return _norm(residual.norm, x) if residual.pre_norm else x


def after(residual: Residual, x: Tensor, output: Tensor, p: float = 0.0) -> Tensor:
    """Return ``x`` and the sublayer's ``output`` joined, a share ``p`` of the latter dropped."""
    x = drop(output, p, x)
    return x if residual.pre_norm else _norm(residual.norm, x)


def _split(x: Tensor, n_heads: int) -> Tensor:
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(-2)


class _Attention(torch.autograd.Function):
    """Attention of short sequences: what PyTorch's kernel does, in fewer and larger pieces."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, n_heads: int, p: float
    ) -> Tensor:
        q, k, v = (_split(x, n_heads).flatten(0, 1) for x in (query, key, value))  # (BH, ., K)
        q = q * q.shape[-1] ** -0.5
        scores = torch.bmm(q, k.mT)  # (BH, T, S)
        scores.unflatten(0, (-1, n_heads)).add_(hidden)
        weights = scores.softmax(dim=-1)
        kept = _kept(weights, p) if p > 0 else None
        used = weights if kept is None else weights * kept
        ctx.save_for_backward(q, k, v, weights, used, kept)
        ctx.n_heads = n_heads
        return _merge(torch.bmm(used, v).unflatten(0, (-1, n_heads)))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        q, k, v, weights, used, kept = ctx.saved_tensors
        g = _split(gradients[0], ctx.n_heads).flatten(0, 1)  # (BH, T, K)
        d_weights = torch.bmm(g, v.mT)
        if kept is not None:
            d_weights.mul_(kept)
        d = d_weights.mul_(weights)
        d_scores = torch.addcmul(d, weights, d.sum(dim=-1, keepdim=True), value=-1)
        parts = (
            torch.bmm(d_scores, k).mul_(q.shape[-1] ** -0.5),
            torch.bmm(d_scores.mT, q),
            torch.bmm(used.mT, g),
        )
        d_query, d_key, d_value = (_merge(x.unflatten(0, (-1, ctx.n_heads))) for x in parts)
        return d_query, d_key, d_value, None, None, None


def _hidden(mask: Tensor | None, T: int, like: Tensor) -> Tensor:
    """Return numbers to add to scores: 0 where one may attend, else the lowest there is."""
    lowest = torch.finfo(like.dtype).min
    if mask is None:  # the future
        return like.new_full((T, T), lowest).triu(1)
    return like.new_zeros(mask.shape).masked_fill_(~mask, lowest)


def _attend(
    a: MultiHeadAttention, query: Tensor, key: Tensor, mask: Tensor | None, p: float
) -> Tensor:
    """Attend from ``query`` (B, T, D) to ``key`` (B, S, D); without ``mask``, to the past."""
    q, k, v = a.w_query(query), a.w_key(key), a.w_value(key)
    if _by_hand(q):
        heads = _Attention.apply(q, k, v, _hidden(mask, q.shape[1], q), a.n_heads, p)
    else:
        q, k, v = (_split(x, a.n_heads) for x in (q, k, v))
        causal = mask is None
        heads = _merge(
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=causal)
        )
    return cast(Tensor, a.w_output(heads))


def _feed(f: FeedForward, x: Tensor, p: float) -> Tensor:
    return cast(Tensor, f.contract(drop_relu(f.expand(x), p)))


def _embed(embedding: nn.Module, positions: nn.Module, ids: Tensor, p: float) -> Tensor:
    return drop(positions(embedding(ids)), p)


def final(norm: nn.Module, x: Tensor) -> Tensor:
    """Return what a stack gives for ``x``: with pre-norm a LayerNorm ends it, otherwise nothing."""
    return _norm(norm, x) if isinstance(norm, LayerNorm) else x


def encoded(model: Transformer, source: Tensor, dropout: Dropout) -> tuple[Tensor, Tensor]:
    """Return the memory of ``source`` ids (B, S), (B, S, D), and its mask (B, 1, 1, S)."""
    p, mask = dropout.residual, (source != model.config.pad_id)[:, None, None, :]
    x = _embed(model.source_embedding, model.source_positions, source, p)
    for module in model.encoder.layers:
        e = cast(EncoderLayer, module)
        y = before(e.residual_1, x)
        x = after(e.residual_1, x, _attend(e.self_attention, y, y, mask, dropout.attention), p)
        y = before(e.residual_2, x)
        x = after(e.residual_2, x, _feed(e.feed_forward, y, dropout.hidden), p)
    return final(model.encoder.final_norm, x), mask


def fast_hidden(model: Transformer, source: Tensor, target: Tensor, dropout: Dropout) -> Tensor:
    """Return ``model.hidden(source, target)``, (B, T, D), with probabilities of one's own.

    Padding has to stand on the right, as :func:`scratch.datasets.collate` puts it.
    """
    p, a, h = dropout.residual, dropout.attention, dropout.hidden
    memory, mask = encoded(model, source, dropout)
    x = _embed(model.target_embedding, model.target_positions, target, p)
    for module in model.decoder.layers:
        d = cast(DecoderLayer, module)
        y = before(d.residual_1, x)
        x = after(d.residual_1, x, _attend(d.self_attention, y, y, None, a), p)
        y = before(d.residual_2, x)
        x = after(d.residual_2, x, _attend(d.cross_attention, y, memory, mask, a), p)
        x = after(d.residual_3, x, _feed(d.feed_forward, before(d.residual_3, x), h), p)
    return final(model.decoder.final_norm, x)


@dataclass(frozen=True)
class FastLoss:
    """The fast counterpart of :func:`scratch.training.batch_loss`; call it likewise."""

    dropout: Dropout = field(default_factory=Dropout)
    hidden_of: Callable[[Transformer, Tensor, Tensor, Dropout], Tensor] = fast_hidden

    def __call__(self, model: Transformer, batch: Batch, smoothing: float) -> Tensor:
        hidden = self.hidden_of(model, batch.source, batch.target, self.dropout)
        real = batch.labels != model.config.pad_id  # (B, T)
        return chunked_loss(hidden[real], model.output.weight, batch.labels[real], smoothing)
