"""LayerNorm against NumPy and PyTorch's own; the residual connection against its formula."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reference import (
    DTYPES,
    NORMS,
    assert_same,
    assert_same_gradients,
    copy_weights,
    leaf,
    np_layer_norm,
    quick,
    randomise,
    refuses,
    twin,
)
from scratch.residual import LayerNorm, Residual

pytestmark = pytest.mark.usefixtures("one_thread")


def test_layer_norm_equals_numpy() -> None:
    ours = randomise(LayerNorm(5).double())
    x = 3 + 2 * torch.randn(2, 3, 5, dtype=torch.float64)
    expected = np_layer_norm(x.numpy(), ours)  # type: ignore[arg-type]
    np.testing.assert_allclose(ours(x).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_layer_norm_equals_pytorch(dtype: torch.dtype, eps: float) -> None:
    ours = randomise(LayerNorm(5, eps=eps).to(dtype))
    theirs = nn.LayerNorm(5, eps=eps).to(dtype)
    copy_weights(ours, theirs)
    x = leaf(2, 3, 5, dtype=dtype)
    y = twin(x)
    a, b = ours(x), theirs(y)
    assert_same(a, b)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    assert_same_gradients(ours, theirs)
    assert x.grad is not None
    assert y.grad is not None
    assert_same(x.grad, y.grad, "gradient of x")


@quick
@given(scale=st.floats(0.1, 100.0), shift=st.floats(-100.0, 100.0), seed=st.integers(0, 999))
def test_layer_norm_undoes_scale_and_shift(scale: float, shift: float, seed: int) -> None:
    x = torch.randn(3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    norm = LayerNorm(64, eps=1e-12).double()
    y = norm(scale * x + shift)
    torch.testing.assert_close(y, norm(x), atol=1e-8, rtol=0)
    torch.testing.assert_close(y.mean(dim=-1), torch.zeros(3).double(), atol=1e-9, rtol=0)
    # the variance that divides by D, not by D - 1
    torch.testing.assert_close((y**2).mean(dim=-1), torch.ones(3).double(), atol=1e-8, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 300, 10_000])
def test_layer_norm_equals_pytorch_in_half_precision(dtype: torch.dtype, size: float) -> None:
    # the square of 300 is more than float16 holds
    torch.manual_seed(0)
    ours = randomise(LayerNorm(64).to(dtype))
    theirs = nn.LayerNorm(64).to(dtype)
    copy_weights(ours, theirs)
    x = (size * torch.randn(3, 64)).to(dtype)
    y = ours(x)
    assert y.dtype == dtype
    # half precision keeps 8 bits or 11, so the last of them may differ
    torch.testing.assert_close(y, theirs(x), atol=1e-3, rtol=8e-3)
    assert torch.equal(y, ours.float()(x.float()).to(dtype))  # rounded once, at the end


def test_a_constant_vector_becomes_the_shift() -> None:
    norm = LayerNorm(4)
    x = torch.full((2, 4), 7.0, requires_grad=True)
    y = norm(x)
    assert torch.equal(y, norm.shift.expand(2, 4))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_residual_is_its_formula(norm: str) -> None:
    residual = Residual(5, norm=norm)
    randomise(residual)
    x, sublayer = torch.randn(2, 3, 5), nn.Linear(5, 5)
    normalise = nn.LayerNorm(5)
    copy_weights(residual.norm, normalise)
    ours = residual.after(x, sublayer(residual.before(x)))
    pre, post = x + sublayer(normalise(x)), normalise(x + sublayer(x))
    assert_same(ours, pre if norm == "pre" else post)
    assert (pre - post).abs().max() > 0.1  # the two are different things


def test_pre_norm_leaves_the_path_of_x_untouched() -> None:
    x = torch.randn(2, 3, 5)
    assert torch.equal(Residual(5, norm="pre").after(x, torch.zeros_like(x)), x)


@pytest.mark.parametrize("norm", NORMS)
def test_dropout_falls_on_the_sublayer_and_only_in_training(norm: str) -> None:
    torch.manual_seed(0)
    residual = Residual(50, norm=norm, dropout=0.5)
    x, output = torch.randn(2, 3, 50), torch.randn(2, 3, 50)
    assert not torch.equal(residual.after(x, output), residual.after(x, output))
    # what is dropped is the output, never x
    zeros = torch.zeros_like(x)
    assert torch.equal(residual.after(x, zeros), residual.after(x, zeros))
    residual.eval()
    assert torch.equal(residual.after(x, output), residual.after(x, output))


def test_dropout_zeroes_its_share_of_the_output() -> None:
    torch.manual_seed(0)
    sums = Residual(4_000, norm="pre", dropout=0.25).after(torch.zeros(4_000), torch.ones(4_000))
    # 4,000 draws: the share that is zeroed has a standard deviation of 0.007
    assert (sums == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(sums[sums > 0].mean().item(), 1 / 0.75)


NORM, PRE, POST = LayerNorm(4), Residual(4, norm="pre"), Residual(4)
X = torch.zeros(2, 3, 4)
BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: LayerNorm(0), ("d_model is 0",)),
    (lambda: LayerNorm(4, eps=0.0), ("eps is 0.0", "above 0")),
    (lambda: LayerNorm(4, eps=float("nan")), ("eps is nan",)),
    (lambda: LayerNorm(4, eps="1e-5"), ("eps is '1e-5'",)),  # type: ignore[arg-type]
    (lambda: NORM(X[..., :3]), ("x has shape (2, 3, 3)", "4 wide")),
    (lambda: NORM(X.long()), ("x has dtype torch.int64",)),
    (lambda: Residual(0), ("d_model is 0",)),
    (lambda: Residual(4, norm="both"), ("norm is 'both'", "'post', 'pre'")),
    (lambda: Residual(4, norm=None), ("norm is None",)),  # type: ignore[arg-type]
    (lambda: Residual(4, dropout=-0.5), ("dropout is -0.5",)),
    (lambda: PRE.before(X[..., :3]), ("x has shape (2, 3, 3)",)),
    (lambda: PRE.after(X, X[0]), ("output has shape (3, 4)", "x's shape, (2, 3, 4)")),
    (lambda: POST.after(X, X[..., :1]), ("output has shape (2, 3, 1)", "x's shape")),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)
