"""Decoder layers and stacks against PyTorch's own; caching, causality, the choice of rows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import (
    DTYPES,
    NORMS,
    assert_same,
    assert_same_gradients,
    copy_weights,
    leaf,
    quick,
    randomise,
    refuses,
    twin,
)
from scratch.attention import causal_mask
from scratch.decoder import Decoder, DecoderLayer, DecoderMasks, LayerCache

pytestmark = pytest.mark.usefixtures("one_thread")

MEMORY_MASK = (torch.arange(5) < torch.tensor([5, 3])[:, None])[:, None, None]  # (2, 1, 1, 5)
F64 = torch.float64


def their_layer(norm: str) -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(
        12, 3, 20, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    )


def decoder(norm: str, n_layers: int = 2, dropout: float = 0.0) -> Decoder:
    torch.manual_seed(0)
    ours = Decoder(n_layers, 12, 3, 20, norm=norm, dropout=dropout)
    randomise(ours)
    return ours


def whole(ours: Decoder, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run the decoder over all positions at once."""
    masks = DecoderMasks(causal_mask(x.shape[1]), mask)
    return ours(x, ours.start_cache(memory), masks)[0]


def compare(
    ours: nn.Module, theirs: nn.Module, dtype: torch.dtype, padding: bool, **options: Any
) -> None:
    """Outputs and all gradients of two modules that read T = 4 and S = 5 are equal."""
    copy_weights(ours, theirs)
    x, memory = leaf(2, 4, 12, dtype=dtype), leaf(2, 5, 12, dtype=dtype)
    y, their_memory = twin(x), twin(memory)
    masks = DecoderMasks(causal_mask(4), MEMORY_MASK if padding else None)
    output, *_ = ours(x, ours.start_cache(memory), masks, **options)  # type: ignore[operator]
    expected = theirs(
        y,
        their_memory,
        tgt_mask=~causal_mask(4)[0, 0],
        memory_key_padding_mask=~MEMORY_MASK[:, 0, 0] if padding else None,
    )
    assert_same(output, expected)
    noise = torch.randn_like(output)
    (output * noise).sum().backward()
    (expected * noise).sum().backward()
    assert_same_gradients(ours, theirs)
    for mine, other in ((x, y), (memory, their_memory)):
        assert mine.grad is not None
        assert other.grad is not None
        assert_same(mine.grad, other.grad, "gradient of an input")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_layer_equals_pytorch(
    dtype: torch.dtype, norm: str, padding: bool, need_weights: bool
) -> None:
    torch.manual_seed(0)
    ours = randomise(DecoderLayer(12, 3, 20, norm=norm).to(dtype))
    compare(ours, their_layer(norm).to(dtype), dtype, padding, need_weights=need_weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_stack_equals_pytorch(dtype: torch.dtype, norm: str, padding: bool, train: bool) -> None:
    final = nn.LayerNorm(12) if norm == "pre" else None
    theirs = nn.TransformerDecoder(their_layer(norm), 3, final)
    compare(decoder(norm, 3).to(dtype).train(train), theirs.to(dtype).train(train), dtype, padding)


@quick
@given(
    norm=st.sampled_from(NORMS),
    pieces=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    seed=st.integers(0, 999),
)
def test_cached_decoding_equals_uncached_in_any_pieces(
    norm: str, pieces: list[int], seed: int
) -> None:
    ours, length = decoder(norm).double(), sum(pieces)
    torch.manual_seed(seed)
    x, memory = torch.randn(2, length, 12, dtype=F64), torch.randn(2, 5, 12, dtype=F64)
    cache, rows, done, parts = ours.start_cache(memory), causal_mask(length), 0, []
    for piece in pieces:
        end = done + piece
        masks = DecoderMasks(rows[:, :, done:end, :end], MEMORY_MASK)
        parts.append(ours(x[:, done:end], cache, masks)[0])
        done = end
        assert all(layer.self_keys.shape == (2, 3, end, 4) for layer in cache)
        assert all(layer.cross_keys.shape == (2, 3, 5, 4) for layer in cache)
    assert_same(torch.cat(parts, dim=1), whole(ours, x, memory, MEMORY_MASK))


@quick
@given(norm=st.sampled_from(NORMS), position=st.integers(1, 5), seed=st.integers(0, 999))
def test_the_future_cannot_change_the_past(norm: str, position: int, seed: int) -> None:
    ours = decoder(norm).double()
    torch.manual_seed(seed)
    x, memory = torch.randn(2, 6, 12, dtype=F64), torch.randn(2, 5, 12, dtype=F64)
    other = x.clone()
    other[:, position:] = 1e3 * torch.randn(2, 6 - position, 12, dtype=F64)
    before, after = whole(ours, x, memory), whole(ours, other, memory)
    assert_same(before[:, :position], after[:, :position])
    assert (before[:, position:] - after[:, position:]).abs().max() > 1e-3  # it does reach there


@pytest.mark.parametrize("norm", NORMS)
def test_hidden_memory_changes_nothing(norm: str) -> None:
    ours = decoder(norm).double()
    x, memory = torch.randn(2, 4, 12, dtype=F64), torch.randn(2, 5, 12, dtype=F64)
    other = torch.where(MEMORY_MASK[:, 0, 0, :, None], memory, 1e3)
    assert_same(whole(ours, x, memory, MEMORY_MASK), whole(ours, x, other, MEMORY_MASK))


def test_selected_rows_go_on_as_if_they_had_been_alone() -> None:
    ours = decoder("post").double()
    x, memory = torch.randn(3, 4, 12, dtype=F64), torch.randn(3, 5, 12, dtype=F64)
    cache = ours.start_cache(memory)
    ours(x[:, :3], cache, DecoderMasks(causal_mask(3)))
    rows = torch.tensor([2, 0, 2, 1])
    chosen = [layer.select(rows) for layer in cache]
    last, *_ = ours(x[rows, 3:], chosen, DecoderMasks())
    assert_same(last, whole(ours, x[rows], memory[rows])[:, 3:])
    # what was selected from is as it was
    assert all(layer.self_keys.shape[:3] == (3, 3, 3) for layer in cache)


@pytest.mark.parametrize("norm", NORMS)
def test_weights_come_per_layer_and_change_nothing(norm: str) -> None:
    ours = decoder(norm)
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    masks = DecoderMasks(causal_mask(4), MEMORY_MASK)
    output, seen, read = ours(x, ours.start_cache(memory), masks, need_weights=True)
    without, *nothing = ours(x, ours.start_cache(memory), masks)
    assert_same(output, without)
    assert nothing == [[None, None], [None, None]]
    assert len(seen) == len(read) == 2
    for own, cross in zip(seen, read, strict=True):
        assert own is not None
        assert cross is not None
        assert own.shape == (2, 3, 4, 4)
        assert cross.shape == (2, 3, 4, 5)
        assert (own.triu(1) == 0).all()
        assert (cross[1, :, :, 3:] == 0).all()
        torch.testing.assert_close(cross.sum(dim=-1), torch.ones(2, 3, 4))


@pytest.mark.parametrize("norm", NORMS)
def test_dropout_is_active_only_in_training(norm: str) -> None:
    ours = decoder(norm, dropout=0.3)
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    assert not torch.equal(whole(ours, x, memory), whole(ours, x, memory))
    ours.eval()
    assert torch.equal(whole(ours, x, memory), whole(ours, x, memory))


def test_dropout_reaches_every_part_of_every_layer() -> None:
    for layer in decoder("post", dropout=0.3).layers:
        assert isinstance(layer, DecoderLayer)
        shares = {name: part.p for name, part in layer.named_modules() if hasattr(part, "p")}
        names = ("residual_1", "residual_2", "feed_forward", "residual_3")
        assert shares == {f"{name}.dropout": 0.3 for name in names}
        assert layer.self_attention.dropout == layer.cross_attention.dropout == 0.3


def test_only_pre_norm_ends_in_a_norm_of_its_own() -> None:
    post, pre = (sum(p.numel() for p in decoder(norm).parameters()) for norm in NORMS)
    assert pre - post == 2 * 12


LAYER, STACK = DecoderLayer(4, 2, 6), Decoder(2, 4, 2, 6)
X, MEMORY = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)
HEADS = torch.zeros(2, 2, 3, 2)


def cache() -> LayerCache:
    return LAYER.start_cache(MEMORY)


def layer(x: Any, **masks: Any) -> object:
    return LAYER(x, cache(), DecoderMasks(**masks))


BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: DecoderLayer(5, 2, 6), ("d_model is 5", "n_heads", "2")),
    (lambda: DecoderLayer(4, 2, -1), ("d_ff is -1",)),
    (lambda: DecoderLayer(4, 2, 6, norm=""), ("norm is ''", "'post', 'pre'")),
    (lambda: DecoderLayer(4, 2, 6, dropout=1.0), ("dropout is 1.0",)),
    (lambda: Decoder(0, 4, 2, 6), ("n_layers is 0",)),
    (lambda: Decoder(True, 4, 2, 6), ("n_layers is True",)),
    (lambda: Decoder(1, 4, 3, 6), ("d_model is 4", "n_heads", "3")),
    (lambda: Decoder(1, 4, 2, 6, norm="Pre"), ("norm is 'Pre'",)),
    (lambda: Decoder(1, 4, 2, 6, dropout=float("nan")), ("dropout is nan",)),
    (lambda: layer(X, target=torch.ones(3, 3)), ("mask has dtype torch.float32",)),
    (lambda: layer(X, target=causal_mask(4)), ("mask has shape (1, 1, 4, 4)", "(2, 2, 3, 3)")),
    (lambda: layer(X, memory=causal_mask(3)), ("mask has shape (1, 1, 3, 3)", "(2, 2, 3, 5)")),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_batch_of_another_size_than_the_caches_is_refused(rows: int) -> None:
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        layer(torch.zeros(rows, 3, 4))


def test_a_stack_takes_one_cache_for_each_layer() -> None:
    with pytest.raises(ValueError, match="shorter"):
        STACK(X, [cache()], DecoderMasks())


def test_a_refused_piece_leaves_the_cache_as_it_was() -> None:
    one = cache()
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        one.append(HEADS, HEADS[:1])
    assert one.self_keys.shape == one.self_values.shape == (2, 2, 0, 2)
