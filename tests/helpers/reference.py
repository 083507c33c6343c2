"""What the modules of ``scratch`` are held against: PyTorch's own layers, and NumPy.

:func:`pairs` is the one place that says which weight of ours is which weight of PyTorch's;
:func:`copy_weights` and :func:`assert_same_gradients` both read it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings
from numpy.typing import NDArray
from torch import Tensor, nn

from scratch.attention import MultiHeadAttention
from scratch.decoder import Decoder, DecoderLayer
from scratch.encoder import Encoder, EncoderLayer
from scratch.feedforward import FeedForward
from scratch.residual import LayerNorm, Residual
from scratch.transformer import Transformer

Array = NDArray[np.float64]
Pair = tuple[Tensor, tuple[Tensor, ...]]

DTYPES = (torch.float32, torch.float64)
NORMS = ("post", "pre")

# the same examples on every machine and nothing written to disk: a red run can be repeated
quick = settings(deadline=None, derandomize=True, max_examples=12, database=None)


def pairs(ours: Any, theirs: Any) -> Iterator[Pair]:
    """Yield each parameter of ``theirs`` with those of ``ours`` that make it up, row on row."""
    match ours, theirs:
        case (nn.Linear(), nn.Linear()):
            yield theirs.weight, (ours.weight,)
            yield theirs.bias, (ours.bias,)
        case (LayerNorm(), nn.LayerNorm()):
            yield theirs.weight, (ours.scale,)
            yield theirs.bias, (ours.shift,)
        case (Residual(), nn.LayerNorm()):
            yield from pairs(ours.norm, theirs)
        case (MultiHeadAttention(), nn.MultiheadAttention()):
            linears = (ours.w_query, ours.w_key, ours.w_value)
            yield theirs.in_proj_weight, tuple(linear.weight for linear in linears)
            yield theirs.in_proj_bias, tuple(linear.bias for linear in linears)
            yield from pairs(ours.w_output, theirs.out_proj)
        case (FeedForward(), nn.TransformerEncoderLayer() | nn.TransformerDecoderLayer()):
            yield from pairs(ours.expand, theirs.linear1)
            yield from pairs(ours.contract, theirs.linear2)
        case (EncoderLayer(), nn.TransformerEncoderLayer()):
            yield from pairs(ours.self_attention, theirs.self_attn)
            yield from pairs(ours.feed_forward, theirs)
            yield from pairs(ours.residual_1, theirs.norm1)
            yield from pairs(ours.residual_2, theirs.norm2)
        case (DecoderLayer(), nn.TransformerDecoderLayer()):
            yield from pairs(ours.self_attention, theirs.self_attn)
            yield from pairs(ours.cross_attention, theirs.multihead_attn)
            yield from pairs(ours.feed_forward, theirs)
            yield from pairs(ours.residual_1, theirs.norm1)
            yield from pairs(ours.residual_2, theirs.norm2)
            yield from pairs(ours.residual_3, theirs.norm3)
        case (Encoder(), nn.TransformerEncoder()) | (Decoder(), nn.TransformerDecoder()):
            for our_layer, their_layer in zip(ours.layers, theirs.layers, strict=True):
                yield from pairs(our_layer, their_layer)
            if theirs.norm is not None:
                yield from pairs(ours.final_norm, theirs.norm)
        case (Transformer(), nn.Transformer()):
            yield from pairs(ours.encoder, theirs.encoder)
            yield from pairs(ours.decoder, theirs.decoder)
        case _:
            raise TypeError(f"no pairs for {type(ours).__name__} and {type(theirs).__name__}")


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Fill ``theirs`` with the weights of ``ours``; both must be covered to the last one."""
    table = list(pairs(ours, theirs))
    assert {id(p) for p, _ in table} == {id(p) for p in theirs.parameters()}
    covered = {id(p) for _, parts in table for p in parts}
    left = [n for n, p in ours.named_parameters() if id(p) not in covered]
    assert all("embedding" in name or "output" in name for name in left), left
    with torch.no_grad():
        for parameter, parts in table:
            parameter.copy_(torch.cat(parts))


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Shift every parameter at random, so that no bias is 0 and no scale is 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise.to(parameter.dtype))
    return module


def assert_same(ours: Tensor, theirs: Tensor, what: str = "output") -> None:
    """Two results agree to 1e-10 in float64, and to float32's rounding otherwise.

    float32 is given 5e-6 of the largest entry, about 40 of its roundings (1.2e-7 each): the worst
    that was seen, several layers deep, is 6e-7, and another processor may add in another order.
    """
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    worst = (ours - theirs).abs().max().item()
    scale = max(1.0, theirs.abs().max().item())
    allowed = 1e-10 if theirs.dtype == torch.float64 else 5e-6 * scale
    assert worst <= allowed, f"{what}: worst difference {worst:.3g}, allowed {allowed:.3g}"


def assert_same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    """The gradients that a backward pass left in both modules agree, parameter by parameter."""
    for number, (parameter, parts) in enumerate(pairs(ours, theirs)):
        assert parameter.grad is not None
        gradients = [p.grad for p in parts if p.grad is not None]
        assert_same(torch.cat(gradients), parameter.grad, f"gradient of parameter {number}")


def leaf(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return normally distributed numbers that collect a gradient."""
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def twin(x: Tensor) -> Tensor:
    """Return a copy of ``x`` that collects a gradient of its own."""
    return x.detach().clone().requires_grad_()


def refuses(call: Callable[[], object], *parts: str) -> None:
    """``call`` raises ValueError with one sentence that holds ``parts`` and what was expected."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    for part in (*parts, "expected"):
        assert part in message, f"{part!r} is not in {message!r}"
    assert "\n" not in message


def np_softmax(x: Array) -> Array:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def np_attention(query: Array, key: Array, value: Array, mask: Array) -> tuple[Array, Array]:
    """Attention of one sequence, query by query: (T, K), (S, K), (S, Kv), mask (T, S)."""
    output, weights = np.zeros((len(query), value.shape[1])), np.zeros((len(query), len(key)))
    for t in range(len(query)):
        seen = np.flatnonzero(mask[t])
        if len(seen):
            scores = np.array([query[t] @ key[s] / math.sqrt(len(query[t])) for s in seen])
            weights[t, seen] = np_softmax(scores)
            output[t] = weights[t] @ value
    return output, weights


def np_linear(x: Array, linear: nn.Linear) -> Array:
    """x W^T + b."""
    return x @ linear.weight.detach().double().numpy().T + linear.bias.detach().double().numpy()


def np_multi_head(
    x: Array, memory: Array, attention: MultiHeadAttention, mask: Array
) -> tuple[Array, Array]:
    """Multi-head attention of one sequence, head by head: (T, D) and (S, D), mask (T, S)."""
    query = np_linear(x, attention.w_query)
    key, value = np_linear(memory, attention.w_key), np_linear(memory, attention.w_value)
    width = query.shape[1] // attention.n_heads
    outputs, weights = [], []
    for head in range(attention.n_heads):
        k = slice(head * width, (head + 1) * width)
        output, weight = np_attention(query[:, k], key[:, k], value[:, k], mask)
        outputs.append(output)
        weights.append(weight)
    return np_linear(np.concatenate(outputs, axis=1), attention.w_output), np.stack(weights)


def np_layer_norm(x: Array, norm: LayerNorm) -> Array:
    """Layer normalisation, vector by vector."""
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        mean = row.sum() / len(row)
        variance = ((row - mean) ** 2).sum() / len(row)
        rows.append((row - mean) / math.sqrt(variance + norm.eps))
    scale, shift = norm.scale.detach().double().numpy(), norm.shift.detach().double().numpy()
    return np.stack(rows).reshape(x.shape) * scale + shift


def np_feed_forward(x: Array, feed_forward: FeedForward) -> Array:
    """max(0, x W1 + b1) W2 + b2."""
    return np_linear(np.maximum(0.0, np_linear(x, feed_forward.expand)), feed_forward.contract)


def np_encoder_layer(x: Array, layer: EncoderLayer, mask: Array) -> Array:
    """One encoder layer on one sequence (S, D), post-norm or pre-norm."""
    norm_1, norm_2 = layer.residual_1.norm, layer.residual_2.norm
    if layer.residual_1.pre_norm:
        h = np_layer_norm(x, norm_1)
        x = x + np_multi_head(h, h, layer.self_attention, mask)[0]
        return x + np_feed_forward(np_layer_norm(x, norm_2), layer.feed_forward)
    x = np_layer_norm(x + np_multi_head(x, x, layer.self_attention, mask)[0], norm_1)
    return np_layer_norm(x + np_feed_forward(x, layer.feed_forward), norm_2)


def np_sinusoids(max_len: int, d_model: int) -> Array:
    """The paper's sinusoids, entry by entry."""
    table = np.zeros((max_len, d_model))
    for position in range(max_len):
        for i in range(d_model // 2):
            angle = position / 10_000 ** (2 * i / d_model)
            table[position, 2 * i], table[position, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


def torch_logits(
    ours: Transformer, theirs: nn.Transformer, table: Tensor, source: Tensor, target: Tensor
) -> Tensor:
    """Score next tokens with PyTorch's Transformer and ``table`` as the one tied embedding.

    PyTorch's masks are the inverse of ours: True = may *not* attend.
    """
    width = math.sqrt(table.shape[1])
    padding = source == ours.config.pad_id
    future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
    hidden = theirs(
        F.embedding(source, table) * width + ours.source_positions.table[: source.shape[1]],
        F.embedding(target, table) * width + ours.target_positions.table[: target.shape[1]],
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
        tgt_mask=future,
    )
    return F.linear(hidden, table)
