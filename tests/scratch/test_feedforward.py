"""The feed-forward network against NumPy and PyTorch's own layers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from reference import DTYPES, assert_same, leaf, np_feed_forward, randomise, refuses, twin
from scratch.feedforward import FeedForward

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_equals_numpy() -> None:
    ours = randomise(FeedForward(4, 10).double())
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = np_feed_forward(x.numpy(), ours)  # type: ignore[arg-type]
    np.testing.assert_allclose(ours(x).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_and_gradients_equal_pytorch(dtype: torch.dtype) -> None:
    ours = FeedForward(4, 10).to(dtype)
    theirs = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 4)).to(dtype)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = leaf(2, 3, 4, dtype=dtype)
    y = twin(x)
    a, b = ours(x), theirs(y)
    assert_same(a, b)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    leaves = zip((x, *ours.parameters()), (y, *theirs.parameters()), strict=True)
    for mine, other in leaves:
        assert mine.grad is not None
        assert other.grad is not None
        assert_same(mine.grad, other.grad, "gradient")


def test_each_position_is_mapped_by_itself() -> None:
    ours = FeedForward(4, 10)
    x = torch.randn(2, 3, 4)
    alone = torch.stack([torch.stack([ours(v) for v in row]) for row in x])
    torch.testing.assert_close(alone, ours(x), atol=1e-6, rtol=0)


def test_dropout_is_active_only_in_training() -> None:
    torch.manual_seed(0)
    ours = FeedForward(4, 50, dropout=0.5)
    x = torch.randn(2, 3, 4)
    assert not torch.equal(ours(x), ours(x))
    ours.eval()
    assert torch.equal(ours(x), ours(x))


def test_dropout_zeroes_its_share_of_the_hidden_units() -> None:
    torch.manual_seed(0)
    ours = FeedForward(1, 4_000, dropout=0.25)
    nn.init.zeros_(ours.expand.weight)
    nn.init.ones_(ours.expand.bias)  # every hidden unit is 1
    seen = []
    ours.contract.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    ours(torch.zeros(1, 1))
    kept = seen[0] > 0
    # 4,000 draws: the share that is kept has a standard deviation of 0.007
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(seen[0][kept], torch.full_like(seen[0][kept], 1 / 0.75))


BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: FeedForward(0, 10), ("d_model is 0",)),
    (lambda: FeedForward(4, 0), ("d_ff is 0",)),
    (lambda: FeedForward(4, 2.5), ("d_ff is 2.5",)),  # type: ignore[arg-type]
    (lambda: FeedForward(4, 10, dropout=1.0), ("dropout is 1.0",)),
    (lambda: FeedForward(4, 10, dropout=float("nan")), ("dropout is nan",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)
