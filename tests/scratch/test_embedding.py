"""Token embeddings against NumPy and PyTorch's own table."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reference import DTYPES, assert_same, refuses
from scratch.embedding import TokenEmbedding

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.tensor([[3, 0, 4], [4, 4, 1]])


def test_vectors_are_rows_times_the_root_of_the_width() -> None:
    embedding = TokenEmbedding(5, 9)
    table = embedding.weight.detach().numpy()
    expected = np.array([[table[i] * math.sqrt(9) for i in row] for row in IDS.numpy()])
    np.testing.assert_allclose(embedding(IDS).detach().numpy(), expected, rtol=1e-6)


def test_int32_ids_are_read_too() -> None:
    embedding = TokenEmbedding(5, 4)
    assert torch.equal(embedding(IDS.int()), embedding(IDS))


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_and_gradient_equal_pytorch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours = TokenEmbedding(5, 8).to(dtype)
    theirs = nn.Embedding(5, 8, _weight=ours.weight.detach().clone())
    x, y = ours(IDS), theirs(IDS) * 8**0.5
    assert_same(x, y)
    # used on both ends, the one matrix collects the gradients of both uses
    ours_logits, their_logits = ours.logits(x), F.linear(y, theirs.weight)
    assert_same(ours_logits, their_logits, "logits")
    weights = torch.randn_like(ours_logits)
    (ours_logits * weights).sum().backward()
    (their_logits * weights).sum().backward()
    assert ours.weight.grad is not None
    assert theirs.weight.grad is not None
    assert_same(ours.weight.grad, theirs.weight.grad, "gradient of the table")


def test_logits_take_any_leading_shape() -> None:
    embedding = TokenEmbedding(5, 4)
    x = torch.randn(2, 3, 4)
    expected = np.einsum("btd,vd->btv", x.numpy(), embedding.weight.detach().numpy())
    np.testing.assert_allclose(embedding.logits(x).detach().numpy(), expected, atol=1e-5)
    assert embedding.logits(x[0, 0]).shape == (5,)


def test_rows_start_with_about_unit_length() -> None:
    torch.manual_seed(0)
    rows = TokenEmbedding(2_000, 64).weight.detach()
    # 128,000 draws of a normal distribution: the spread is within 1 % of 64^-0.5
    assert rows.std().item() == pytest.approx(64**-0.5, rel=0.01)
    assert rows.norm(dim=1).mean().item() == pytest.approx(1.0, rel=0.01)


EMBEDDING = TokenEmbedding(5, 4)
BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: TokenEmbedding(0, 4), ("vocab_size is 0", "at least 1")),
    (lambda: TokenEmbedding(5.0, 4), ("vocab_size is 5.0",)),  # type: ignore[arg-type]
    (lambda: TokenEmbedding(5, -4), ("d_model is -4",)),
    (lambda: TokenEmbedding(True, 4), ("vocab_size is True",)),
    (lambda: EMBEDDING(torch.tensor([[0, 5]])), ("ids holds the id 5", "from 0 to 4")),
    (lambda: EMBEDDING(torch.tensor([[-1, 2]])), ("ids holds the id -1",)),
    (lambda: EMBEDDING(torch.tensor([0, 1])), ("ids has shape (2,)", "(batch, length)")),
    (lambda: EMBEDDING(torch.tensor([[0.0]])), ("ids has dtype torch.float32", "torch.int64")),
    (lambda: EMBEDDING(torch.tensor([[True]])), ("ids has dtype torch.bool",)),
    (lambda: EMBEDDING(torch.zeros(1, 0, dtype=torch.int64)), ("ids has shape (1, 0)",)),
    (lambda: EMBEDDING(np.zeros((1, 2), int)), ("ids is a ndarray", "torch.Tensor")),
    (lambda: EMBEDDING([[0, 1]]), ("ids is a list",)),
    (lambda: EMBEDDING.logits(torch.zeros(2, 3)), ("x has shape (2, 3)", "4 wide")),
    (lambda: EMBEDDING.logits(torch.zeros(0, 4)), ("x has shape (0, 4)",)),
    (lambda: EMBEDDING.logits(torch.zeros(4).double()), ("x has dtype torch.float64", "float32")),
    (lambda: EMBEDDING.logits(torch.zeros(4).long()), ("x has dtype torch.int64",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)
