"""Attention against NumPy and PyTorch's own, its two paths against each other, its masks."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import (
    DTYPES,
    assert_same,
    assert_same_gradients,
    copy_weights,
    leaf,
    np_attention,
    np_multi_head,
    quick,
    randomise,
    refuses,
    twin,
)
from scratch.attention import (
    MultiHeadAttention,
    causal_mask,
    fused_attention,
    padding_mask,
    scaled_dot_product_attention,
)

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.tensor([[5, 3, 4, 0, 0], [5, 3, 4, 6, 2]])  # 0 is padding


def some_mask(kind: str, length: int, memory: int) -> Tensor | None:
    """Return a mask for a batch of two: (T, S) = (``length``, ``memory``)."""
    padding = torch.ones(2, 1, 1, memory, dtype=torch.bool)
    padding[0, ..., memory // 2 :] = False
    future = torch.ones(length, memory, dtype=torch.bool).tril()[None, None]
    return {"none": None, "padding": padding, "causal": future, "both": padding & future}[kind]


# -- masks


def test_padding_mask_shows_what_is_not_padding() -> None:
    mask = padding_mask(IDS, 0)
    assert mask.shape == (2, 1, 1, 5)
    assert mask.dtype == torch.bool
    assert mask.flatten(1).tolist() == [[True, True, True, False, False], [True] * 5]


def test_causal_mask_shows_the_past_and_the_present() -> None:
    mask = causal_mask(4)
    assert mask.shape == (1, 1, 4, 4)
    assert mask.dtype == torch.bool
    assert all(mask[0, 0, t, s].item() == (s <= t) for t in range(4) for s in range(4))


def test_any_id_may_be_that_of_padding() -> None:
    assert padding_mask(IDS, 4)[1, 0, 0].tolist() == [True, True, False, True, True]


def test_masks_combine() -> None:
    both = padding_mask(IDS, 0) & causal_mask(5)
    assert both.shape == (2, 1, 5, 5)
    assert both[0, 0].sum(dim=1).tolist() == [1, 2, 3, 3, 3]


# -- scaled dot-product attention


def test_worked_by_hand() -> None:
    query = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    key = torch.tensor([[np.log(3), 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float32)
    value = torch.tensor([[4.0], [8.0]])
    # scores 2 log 3 / sqrt(4) = log 3 and 0: weights 3/4 and 1/4
    output, weights = scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(output, torch.tensor([[5.0]]))


@pytest.mark.parametrize("kind", ["none", "padding", "causal", "both"])
def test_it_equals_numpy(kind: str) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, *s).double() for s in ((4, 6), (5, 6), (5, 7)))
    mask = some_mask(kind, 4, 5)
    output, weights = scaled_dot_product_attention(query, key, value, mask=mask)
    allowed = torch.ones(2, 3, 4, 5, dtype=torch.bool) if mask is None else mask
    allowed = allowed.expand(2, 3, 4, 5)
    for b in range(2):
        for h in range(3):
            rows = (x[b, h].numpy() for x in (query, key, value, allowed))
            expected_output, expected_weights = np_attention(*rows)
            np.testing.assert_allclose(output[b, h], expected_output, atol=1e-12)
            np.testing.assert_allclose(weights[b, h], expected_weights, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["none", "padding", "causal", "both"])
def test_output_and_gradients_equal_pytorch(dtype: torch.dtype, kind: str) -> None:
    torch.manual_seed(0)
    ours = [leaf(2, 3, *s, dtype=dtype) for s in ((4, 6), (5, 6), (5, 7))]
    theirs = [twin(x) for x in ours]
    mask = some_mask(kind, 4, 5)
    a, _ = scaled_dot_product_attention(*ours, mask=mask)
    assert_same(fused_attention(*ours, mask=mask), a, "fused path")
    b = F.scaled_dot_product_attention(theirs[0], theirs[1], theirs[2], attn_mask=mask)
    assert_same(a, b)
    weights = torch.randn_like(a)
    for mine, other in zip(
        torch.autograd.grad((a * weights).sum(), ours),
        torch.autograd.grad((b * weights).sum(), theirs),
        strict=True,
    ):
        assert_same(mine, other, "gradient")


@quick
@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 6), st.floats(0.1, 30.0))
def test_rows_of_weights_sum_to_one_or_zero(seed: int, length: int, memory: int, s: float) -> None:
    torch.manual_seed(seed)
    query, key = s * torch.randn(2, 1, length, 3), s * torch.randn(2, 1, memory, 3)
    mask = torch.rand(2, 1, length, memory) < 0.5
    _, weights = scaled_dot_product_attention(query, key, key, mask=mask)
    assert (weights >= 0).all()
    assert (weights[~mask] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), mask.any(dim=-1).float())


def test_scores_so_large_that_exp_overflows_are_no_problem() -> None:
    query = torch.tensor([[1e4]])
    _, weights = scaled_dot_product_attention(
        query, torch.tensor([[1e4], [-1e4]]), torch.ones(2, 1)
    )
    assert weights.tolist() == [[1.0, 0.0]]


def test_float16_holds_scores_whose_products_it_does_not_hold() -> None:
    torch.manual_seed(0)
    query, key, value = (s * torch.randn(2, 8, 64) for s in (60, 60, 1))
    assert 65_504 < (query @ key.mT).abs().max() < 8 * 65_504  # the largest float16; sqrt(64)
    query, key, value = query.half(), key.half(), value.half()
    output, weights = scaled_dot_product_attention(query, key, value)
    # float16 keeps 11 bits, 5e-4 of a number
    torch.testing.assert_close(output, fused_attention(query, key, value), atol=5e-3, rtol=5e-3)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 8).half(), atol=2e-3, rtol=0)


def test_a_hidden_score_is_lower_than_any_other() -> None:
    mask = torch.tensor([[True, False]])
    _, weights = scaled_dot_product_attention(
        torch.tensor([[1e6]]), torch.tensor([[-1e6], [0.0]]), torch.ones(2, 1), mask=mask
    )
    assert weights.tolist() == [[1.0, 0.0]]


def test_dropout_zeroes_weights_but_returns_them_whole() -> None:
    torch.manual_seed(0)
    query = torch.zeros(1, 4, 2)
    value = torch.eye(1000)[None]  # so that the output is the weights in use
    output, weights = scaled_dot_product_attention(
        query, torch.zeros(1, 1000, 2), value, dropout=0.25
    )
    torch.testing.assert_close(weights, torch.full((1, 4, 1000), 1e-3))
    kept = output > 0
    # 4,000 draws: the share that is kept has a standard deviation of 0.007
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(output[kept], torch.full_like(output[kept], 1e-3 / 0.75))


# -- multi-head attention


def copies(dtype: torch.dtype, **settings: float) -> tuple[MultiHeadAttention, nn.Module]:
    """Return our multi-head attention (D = 12, H = 3) and PyTorch's with the same weights."""
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3, **settings).to(dtype)
    randomise(ours)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True, **settings).to(dtype)
    copy_weights(ours, theirs)
    return ours, theirs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["none", "padding", "causal", "both"])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_multi_head_equals_pytorch(
    dtype: torch.dtype, kind: str, need_weights: bool, train: bool
) -> None:
    ours, theirs = copies(dtype)
    ours.train(train)
    theirs.train(train)
    inputs = [leaf(2, s, 12, dtype=dtype) for s in (4, 5, 5)]  # T = 4, S = 5
    twins = [twin(x) for x in inputs]
    padding, future = some_mask("padding", 4, 5), some_mask("causal", 4, 5)
    assert padding is not None
    assert future is not None
    output, weights = ours(*inputs, mask=some_mask(kind, 4, 5), need_weights=need_weights)
    expected, expected_weights = theirs(  # True = may *not* attend
        *twins,
        key_padding_mask=~padding[:, 0, 0] if kind in ("padding", "both") else None,
        attn_mask=~future[0, 0] if kind in ("causal", "both") else None,
        average_attn_weights=False,
    )
    assert_same(output, expected)
    if need_weights:
        assert_same(weights, expected_weights, "weights")
    else:
        assert weights is None
    noise = torch.randn_like(output)
    (output * noise).sum().backward()
    (expected * noise).sum().backward()
    assert_same_gradients(ours, theirs)
    for mine, other in zip(inputs, twins, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert_same(mine.grad, other.grad, "gradient of an input")


def test_multi_head_equals_numpy() -> None:
    ours, _ = copies(torch.float64)
    x, memory = (torch.randn(2, s, 12, dtype=torch.float64) for s in (4, 5))
    mask = some_mask("both", 4, 5)
    assert mask is not None
    output, weights = ours(x, memory, memory, mask=mask, need_weights=True)
    assert weights is not None
    for b in range(2):
        arrays = np_multi_head(x[b].numpy(), memory[b].numpy(), ours, mask[b, 0].numpy())
        np.testing.assert_allclose(output[b].detach(), arrays[0], atol=1e-12)
        np.testing.assert_allclose(weights[b].detach(), arrays[1], atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_paths_give_zeros_and_finite_gradients_where_nothing_may_be_seen(
    dtype: torch.dtype,
) -> None:
    ours, _ = copies(dtype)
    mask = torch.rand(2, 1, 5, 5) < 0.5
    mask[0, 0, 2] = False  # one query sees nothing
    mask[1] = False  # a sequence sees nothing
    results = []
    for need_weights in (True, False):
        ours.zero_grad()
        torch.manual_seed(1)
        x = leaf(2, 5, 12, dtype=dtype)
        output, weights = ours(x, x, x, mask=mask, need_weights=need_weights)
        # attention returns zeros, so that the last projection leaves nothing but its bias
        bias = ours.w_output.bias
        assert torch.equal(output[0, 2], bias)
        assert torch.equal(output[1], bias.expand(5, 12))
        (output * torch.linspace(-1, 1, 12, dtype=dtype)).sum().backward()
        gradients = [x.grad, *(p.grad for p in ours.parameters())]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        results.append((output, *gradients))
        if weights is not None:
            assert (weights[1] == 0).all()
            assert (weights[0, :, 2] == 0).all()
    for explicit, fused in zip(*results, strict=True):
        assert explicit is not None
        assert fused is not None
        assert_same(fused, explicit, "fused path")


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_where_nothing_may_be_seen_no_gradient_is_nan_even_on_its_way() -> None:
    x, mask = leaf(2, 3, 4), torch.zeros(3, 3, dtype=torch.bool)
    with torch.autograd.detect_anomaly():  # raises where a step of the way back gives NaN
        output, _ = scaled_dot_product_attention(x, x, x, mask=mask)
        output.sum().backward()
    assert x.grad is not None
    assert (x.grad == 0).all()


@pytest.mark.parametrize(
    "shape", [(4, 5), (1, 5), (4, 1), (1, 1), (1, 4, 5), (2, 1, 1, 5), (2, 3, 4, 5), (1, 3, 4, 1)]
)
def test_every_mask_that_broadcasts_means_the_same_on_both_paths(shape: tuple[int, ...]) -> None:
    ours, _ = copies(torch.float64)
    x, memory = leaf(2, 4, 12), leaf(2, 5, 12)
    mask = torch.rand(shape) < 0.5
    fused, _ = ours(x, memory, memory, mask=mask)
    explicit, weights = ours(x, memory, memory, mask=mask, need_weights=True)
    assert_same(fused, explicit)
    assert weights is not None
    assert (weights[~mask.expand(2, 3, 4, 5)] == 0).all()


@quick
@given(seed=st.integers(0, 999), length=st.integers(1, 7))
def test_without_positions_attention_is_permutation_equivariant(seed: int, length: int) -> None:
    ours, _ = copies(torch.float64)
    torch.manual_seed(seed)
    x, order = torch.randn(2, length, 12, dtype=torch.float64), torch.randperm(length)
    assert_same(ours(x[:, order], x[:, order], x[:, order])[0], ours(x, x, x)[0][:, order])
    # and the order of what is read does not matter at all
    assert_same(ours(x, x[:, order], x[:, order])[0], ours(x, x, x)[0])


def test_what_is_masked_cannot_be_read() -> None:
    ours, _ = copies(torch.float32)
    x, memory, mask = torch.randn(2, 4, 12), torch.randn(2, 5, 12), some_mask("padding", 4, 5)
    assert mask is not None
    other = torch.where(mask[:, 0, 0, :, None], memory, 1e3)
    assert torch.equal(ours(x, memory, memory, mask=mask)[0], ours(x, other, other, mask=mask)[0])


@pytest.mark.parametrize("need_weights", [True, False])
def test_dropout_is_active_only_in_training(need_weights: bool) -> None:
    ours, _ = copies(torch.float32, dropout=0.5)
    x = torch.randn(2, 5, 12)

    def run() -> Tensor:
        return ours(x, x, x, need_weights=need_weights)[0]

    assert not torch.equal(run(), run())
    ours.eval()
    assert torch.equal(run(), run())


def test_halves_make_the_whole() -> None:
    ours, _ = copies(torch.float32)
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    keys, values = ours.project(memory, memory)
    assert keys.shape == values.shape == (2, 3, 5, 4)
    output, _ = ours.attend(x, keys, values, mask=None, need_weights=False)
    assert torch.equal(output, ours(x, memory, memory)[0])
    heads = ours.split_heads(x)
    assert torch.equal(heads[1, 2, 3], x[1, 3, 8:12])


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_sequence_without_a_batch_is_read_as_a_batch_of_one(need_weights: bool) -> None:
    ours, _ = copies(torch.float64)
    x, memory = (torch.randn(s, 12, dtype=torch.float64) for s in (4, 5))
    output, weights = ours(x, memory, memory, need_weights=need_weights)
    expected, w = ours(x[None], memory[None], memory[None], need_weights=need_weights)
    assert_same(output, expected[0])
    if need_weights:
        assert_same(weights, w[0], "weights")


# -- bad input

MHA = MultiHeadAttention(4, 2)
X, Y = torch.zeros(2, 3, 4), torch.zeros(2, 5, 4)
Q = torch.zeros(2, 3, 4)
MASK = torch.ones(3, 3, dtype=torch.bool)


def attend_to(length: int, batch: int = 2, heads: int = 2, width: int = 2) -> object:
    keys = torch.zeros(batch, heads, length, width)
    return MHA.attend(X, keys, keys, mask=None, need_weights=False)


ATTENTIONS = (scaled_dot_product_attention, fused_attention)
BAD_ATTENTION: list[tuple[tuple[object, ...], dict[str, object], tuple[str, ...]]] = [
    ((Q, Q, Q[:, :2]), {}, ("value has shape (2, 2, 4)", "key's leading axes, (2, 3)")),
    ((Q, Q[:1], Q), {}, ("key has shape (1, 3, 4)", "(2,)")),
    ((Q, Q, Q[0]), {}, ("value has shape (3, 4)", "(2, 3)")),
    ((Q, Q, Q), {"mask": MASK.float()}, ("mask has dtype torch.float32", "torch.bool")),
    ((Q, Q, Q), {"mask": MASK.int()}, ("mask has dtype torch.int32",)),
    ((Q, Q, Q), {"mask": MASK[:2]}, ("mask has shape (2, 3)", "(2, 3, 3)")),
    ((Q, Q, Q), {"mask": MASK[0]}, ("mask has shape (3,)",)),
    ((Q, Q, Q), {"mask": MASK[None, None]}, ("mask has shape (1, 1, 3, 3)",)),
    ((Q, Q, Q), {"mask": MASK.numpy()}, ("mask has dtype bool", "torch.bool")),
]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(("tensors", "options", "parts"), BAD_ATTENTION)
def test_bad_input_is_named_on_both_paths(
    attention: Callable[..., object],
    tensors: tuple[object, ...],
    options: dict[str, object],
    parts: tuple[str, ...],
) -> None:
    refuses(lambda: attention(*tensors, **options), *parts)


BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: MultiHeadAttention(10, 3), ("d_model is 10", "multiple of n_heads", "3")),
    (lambda: MultiHeadAttention(4, 0), ("n_heads is 0",)),
    (lambda: MultiHeadAttention(-4, 2), ("d_model is -4",)),
    (lambda: MultiHeadAttention(4, 2.0), ("n_heads is 2.0",)),  # type: ignore[arg-type]
    (lambda: MultiHeadAttention(4, 2, dropout=1), ("dropout is 1",)),
    (lambda: MultiHeadAttention(4, 2, dropout=float("nan")), ("dropout is nan",)),
    (lambda: MHA(X[0], X, X), ("key has shape (2, 2, 3, 2)", "(2,)")),
    (lambda: MHA(X, Y, X), ("value has shape (2, 2, 3, 2)", "key's leading axes, (2, 2, 5)")),
    (lambda: MHA(X, Y, Y[:1]), ("value has shape (1, 2, 5, 2)",)),
    (lambda: MHA(X[:1], Y, Y), ("key has shape (2, 2, 5, 2)", "(1, 2)")),
    (lambda: MHA(X[:1], Y, Y, need_weights=True), ("key has shape (2, 2, 5, 2)",)),
    (lambda: MHA(X, X, X, mask=MASK.float()), ("mask has dtype torch.float32",)),
    (lambda: MHA(X, X, X, mask=MASK[0]), ("mask has shape (3,)",)),
    (lambda: MHA(X, X, X, mask=MASK[0, 0]), ("mask has shape ()",)),
    (lambda: MHA(X, Y, Y, mask=MASK), ("mask has shape (3, 3)", "(2, 2, 3, 5)")),
    (lambda: MHA(X, Y, Y, mask=MASK, need_weights=True), ("mask has shape (3, 3)",)),
    (lambda: attend_to(5, batch=1), ("key has shape (1, 2, 5, 2)", "(2, 2)")),
    (lambda: attend_to(5, heads=1), ("key has shape (2, 1, 5, 2)",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)
