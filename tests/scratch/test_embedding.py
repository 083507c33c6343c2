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


BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: TokenEmbedding(0, 4), ("vocab_size is 0", "at least 1")),
    (lambda: TokenEmbedding(5.0, 4), ("vocab_size is 5.0",)),  # type: ignore[arg-type]
    (lambda: TokenEmbedding(5, -4), ("d_model is -4",)),
    (lambda: TokenEmbedding(True, 4), ("vocab_size is True",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_sizes_are_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)


@pytest.mark.parametrize("id_", [5, -1])
def test_an_id_outside_the_vocabulary_has_no_row(id_: int) -> None:
    with pytest.raises(IndexError, match="out of range"):
        TokenEmbedding(5, 4)(torch.tensor([[0, id_]]))
