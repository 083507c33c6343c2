"""What came after: each of the four changes against a reference."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import DTYPES, assert_same, leaf, np_linear, quick, randomise, refuses, twin
from scratch.feedforward import FeedForward
from scratch.residual import LayerNorm
from scratch.transformer import count_parameters
from scratch.variants import GatedFeedForward, RMSNorm, grouped_attention, rotate

pytestmark = pytest.mark.usefixtures("one_thread")


# -- RMSNorm


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_rms_norm_equals_pytorch(dtype: torch.dtype, eps: float) -> None:
    ours = randomise(RMSNorm(5, eps=eps).to(dtype))
    theirs = nn.RMSNorm(5, eps=eps).to(dtype)
    theirs.load_state_dict({"weight": ours.state_dict()["scale"]})
    x = leaf(2, 3, 5, dtype=dtype)
    y = twin(x)
    a, b = ours(x), theirs(y)
    assert_same(a, b)
    noise = torch.randn_like(a)
    (a * noise).sum().backward()
    (b * noise).sum().backward()
    assert isinstance(ours, RMSNorm)
    for mine, other in ((x, y), (ours.scale, theirs.weight)):
        assert mine.grad is not None
        assert other.grad is not None
        assert_same(mine.grad, other.grad, "gradient")


@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rms_norm_in_half_precision_equals_pytorch(dtype: torch.dtype, size: float) -> None:
    """The square of 300 is too large for float16; nothing in between may be."""
    torch.manual_seed(0)
    x = (size * torch.randn(4, 64).sign() * torch.rand(4, 64).add(0.5)).to(dtype)
    ours, theirs = RMSNorm(64).to(dtype), nn.RMSNorm(64, eps=1e-5).to(dtype)
    assert ours(x).dtype == dtype
    # one unit in the last place of a number near 1.5
    torch.testing.assert_close(ours(x), theirs(x), rtol=torch.finfo(dtype).eps, atol=0)


def test_rms_norm_by_hand() -> None:
    # the mean square of 1, 7, 5, 5 is 100 / 4
    x = torch.tensor([1.0, 7.0, 5.0, 5.0])
    torch.testing.assert_close(RMSNorm(4, eps=1e-12)(x), x / 5)


@quick
@given(scale=st.floats(0.1, 100.0), seed=st.integers(0, 999))
def test_rms_norm_undoes_a_scale_and_equals_layer_norm_where_the_mean_is_0(
    scale: float, seed: int
) -> None:
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    rms, layer = RMSNorm(8, eps=1e-12).double(), LayerNorm(8, eps=1e-12).double()
    torch.testing.assert_close(rms(scale * x), rms(x), atol=1e-8, rtol=0)
    centred = x - x.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(rms(centred), layer(x), atol=1e-8, rtol=0)


# -- rotary positions


def by_complex_numbers(x: Tensor, start: int) -> Tensor:
    """Multiply the pairs, read as complex numbers, by exp(i * position * frequency)."""
    length, width = x.shape[-2:]
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.outer(torch.arange(start, start + length).double(), frequency)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


@pytest.mark.parametrize("start", [0, 5, 4_000])
def test_rotation_equals_complex_multiplication(start: int) -> None:
    torch.manual_seed(0)
    x = leaf(2, 3, 7, 6)
    y = twin(x)
    a, b = rotate(x, start=start), by_complex_numbers(y, start)
    assert_same(a, b)
    noise = torch.randn_like(a)
    (a * noise).sum().backward()
    (b * noise).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert_same(x.grad, y.grad, "gradient")


def test_a_quarter_turn_by_hand() -> None:
    # with two features the frequency is 1: position p turns by p radians
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    expected = [[1.0, 0.0], [math.cos(1), math.sin(1)]]
    torch.testing.assert_close(rotate(x), torch.tensor(expected, dtype=torch.float64))


@quick
@given(
    seed=st.integers(0, 999), p=st.integers(0, 300), q=st.integers(0, 300), by=st.integers(0, 99)
)
def test_a_score_depends_on_the_distance_alone(seed: int, p: int, q: int, by: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 1, 8, dtype=torch.float64, generator=generator)

    def score(p: int, q: int) -> Tensor:
        return (rotate(query, start=p) * rotate(key, start=q)).sum()

    torch.testing.assert_close(score(p, q), score(p + by, q + by), atol=1e-10, rtol=0)
    turned = rotate(query, start=p)  # and no length changes
    torch.testing.assert_close(turned.norm(), query.norm(), atol=1e-10, rtol=0)


def test_a_rotation_may_be_done_in_parts() -> None:
    x = torch.randn(2, 3, 9, 4)
    parts = torch.cat((rotate(x[:, :, :5]), rotate(x[:, :, 5:], start=5)), dim=2)
    assert torch.equal(rotate(x), parts)


# -- the gated network


def test_gated_network_equals_numpy_and_its_gradients_are_right() -> None:
    ours = GatedFeedForward(4, 6).double()
    randomise(ours)
    x = leaf(2, 3, 4)
    array = x.detach().numpy()
    gate = np_linear(array, ours.gate)
    hidden = gate / (1 + np.exp(-gate)) * np_linear(array, ours.expand)
    expected = np_linear(hidden, ours.contract)
    np.testing.assert_allclose(ours(x).detach().numpy(), expected, atol=1e-12)
    parameters = tuple(ours.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: ours(x), (x, *parameters))


def test_two_thirds_of_the_width_cost_as_many_parameters() -> None:
    plain, gated = FeedForward(64, 192), GatedFeedForward(64, 128)
    weights = [
        sum(p.numel() for p in network.parameters() if p.dim() == 2) for network in (plain, gated)
    ]
    assert weights == [2 * 64 * 192] * 2
    assert count_parameters(gated) - count_parameters(plain) == 64  # biases


def test_gated_network_drops_only_in_training() -> None:
    ours, x = GatedFeedForward(4, 60, dropout=0.5), torch.randn(2, 3, 4)
    assert not torch.equal(ours(x), ours(x))
    ours.eval()
    assert torch.equal(ours(x), ours(x))


# -- grouped heads


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("need_weights", [True, False])
def test_grouped_heads_equal_pytorch(dtype: torch.dtype, groups: int, need_weights: bool) -> None:
    torch.manual_seed(0)
    shapes = ((2, 6, 4, 5), (2, groups, 7, 5), (2, groups, 7, 5))
    inputs = [leaf(*shape, dtype=dtype) for shape in shapes]
    twins = [twin(x) for x in inputs]
    mask = torch.ones(4, 7, dtype=torch.bool).tril(3)
    output, weights = grouped_attention(*inputs, mask=mask, need_weights=need_weights)
    q, k, v = twins
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    assert_same(output, expected)
    if need_weights:
        assert weights is not None
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6, 4, dtype=dtype))
        assert (weights[..., ~mask] == 0).all()
    else:
        assert weights is None
    noise = torch.randn_like(output)
    (output * noise).sum().backward()
    (expected * noise).sum().backward()
    for mine, other in zip(inputs, twins, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert_same(mine.grad, other.grad, "gradient")


# -- bad input

X = torch.zeros(2, 3, 4)
HEADS = torch.zeros(2, 4, 3, 2)

BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: RMSNorm(0), ("d_model is 0",)),
    (lambda: RMSNorm(4, eps=0.0), ("eps is 0.0",)),
    (lambda: RMSNorm(3)(X), ("x has shape (2, 3, 4)", "3 wide")),
    (lambda: RMSNorm(3)(X[..., :1]), ("x has shape (2, 3, 1)", "3 wide")),  # would broadcast
    (lambda: rotate(X[..., :3]), ("width of x is 3", "multiple")),
    (lambda: GatedFeedForward(4, 0), ("d_ff is 0",)),
    (lambda: grouped_attention(HEADS, HEADS[:, :3], HEADS[:, :3]), ("query heads is 4",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)
