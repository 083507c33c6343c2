"""Positions: the sinusoids against NumPy, the learned table against PyTorch's own."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reference import DTYPES, assert_same, leaf, np_sinusoids, quick, refuses, twin
from scratch.positional import LearnedPositions, SinusoidalPositions, sinusoidal_table

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("max_len", "d_model"), [(1, 2), (50, 6), (7, 64)])
def test_table_is_the_papers(max_len: int, d_model: int) -> None:
    table = sinusoidal_table(max_len, d_model)
    assert table.dtype == torch.float32
    # one rounding to float32 of numbers in [-1, 1]
    np.testing.assert_allclose(table.numpy(), np_sinusoids(max_len, d_model), atol=6e-8)


def test_far_positions_are_as_exact_as_near_ones() -> None:
    far = sinusoidal_table(50_000, 2)[-1].numpy()
    np.testing.assert_allclose(far, [np.sin(49_999), np.cos(49_999)], atol=6e-8)


@quick
@given(position=st.integers(0, 400), shift=st.integers(0, 100), half=st.integers(1, 16))
def test_a_shift_is_a_rotation_that_does_not_depend_on_the_position(
    position: int, shift: int, half: int
) -> None:
    table = sinusoidal_table(501, 2 * half).double()
    here, there = table[position].view(half, 2), table[position + shift].view(half, 2)
    angle = shift / 10_000 ** (torch.arange(half, dtype=torch.float64) / half)
    sin, cos = angle.sin(), angle.cos()
    rotated = (here[:, 0] * cos + here[:, 1] * sin, here[:, 1] * cos - here[:, 0] * sin)
    torch.testing.assert_close(torch.stack(rotated, dim=1), there, atol=3e-7, rtol=0)


@pytest.mark.parametrize("kind", [SinusoidalPositions, LearnedPositions])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_read_with_start_equal_the_whole(
    kind: Callable[[int, int], nn.Module], dtype: torch.dtype
) -> None:
    positions = kind(6, 10).to(dtype)
    x = torch.randn(2, 10, 6, dtype=dtype)
    pieces = [positions(x[:, a:b], start=a) for a, b in ((0, 1), (1, 7), (7, 10))]
    assert torch.equal(torch.cat(pieces, dim=1), positions(x))
    assert positions(x).dtype == dtype


def test_sinusoids_are_added_and_not_trained() -> None:
    positions = SinusoidalPositions(4, 10)
    x = torch.randn(2, 3, 4)
    np.testing.assert_allclose(positions(x).numpy(), x.numpy() + np_sinusoids(3, 4), atol=5e-7)
    assert not list(positions.parameters())
    assert not positions.state_dict()  # recomputed, so a weights file need not hold it


@pytest.mark.parametrize("dtype", DTYPES)
def test_learned_positions_equal_pytorch(dtype: torch.dtype) -> None:
    ours = LearnedPositions(4, 6).to(dtype)
    theirs = nn.Embedding(6, 4, _weight=ours.table.detach().clone())
    x = leaf(2, 3, 4, dtype=dtype)
    y = twin(x)
    a, b = ours(x, start=2), y + theirs(torch.arange(2, 5))
    assert_same(a, b)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    for mine, other in ((ours.table, theirs.weight), (x, y)):
        assert mine.grad is not None
        assert other.grad is not None
        assert_same(mine.grad, other.grad, "gradient")


@pytest.mark.parametrize("kind", [SinusoidalPositions, LearnedPositions])
def test_there_are_no_positions_beyond_the_table(kind: Callable[[int, int], nn.Module]) -> None:
    positions, x = kind(4, 5), torch.zeros(2, 3, 4)
    assert positions(x, start=2).shape == x.shape
    # one row left of the table would broadcast over all of x
    for start in (3, 4, 5):
        with pytest.raises(RuntimeError, match=r"exceeds dimension size \(5\)"):
            positions(x, start=start)


@pytest.mark.parametrize("assign", [True, False])
def test_the_table_of_a_module_made_without_memory_is_computed_when_weights_are_loaded(
    assign: bool,
) -> None:
    with torch.device("meta"):
        positions = SinusoidalPositions(4, 10)
    if not assign:
        positions = positions.to_empty(device="cpu")
        positions.table.fill_(7.0)
    positions.load_state_dict({}, assign=assign)
    assert torch.equal(positions.table, sinusoidal_table(10, 4))


def test_loading_weights_leaves_the_dtype_of_the_table() -> None:
    positions = SinusoidalPositions(4, 10).double()
    positions.load_state_dict({})
    assert positions.table.dtype == torch.float64
    assert torch.equal(positions.table, sinusoidal_table(10, 4).double())


BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: sinusoidal_table(5, 3), ("d_model is 3", "multiple of", "2")),
    (lambda: sinusoidal_table(5, 0), ("d_model is 0",)),
    (lambda: sinusoidal_table(5, 4.0), ("d_model is 4.0",)),  # type: ignore[arg-type]
    (lambda: SinusoidalPositions(3, 5), ("d_model is 3",)),
    (lambda: SinusoidalPositions(4, -5), ("max_len is -5",)),
    (lambda: SinusoidalPositions(4, 0), ("max_len is 0",)),
    (lambda: LearnedPositions(4, 0), ("max_len is 0",)),
    (lambda: LearnedPositions(0, 5), ("d_model is 0",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)
