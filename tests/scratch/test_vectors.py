"""Trained vectors: each finds its row, and comes out of the layer as it stood in the file."""

from collections.abc import Callable

import pytest
import torch

from reference import DTYPES, assert_same, refuses
from scratch.embedding import TokenEmbedding
from scratch.vectors import place_vectors

pytestmark = pytest.mark.usefixtures("one_thread")

VOCABULARY = ["<pad>", "cat", "dog", "sees", "the"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_placed_vectors_come_out_of_the_layer_as_they_are(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embedding = TokenEmbedding(5, 8).to(dtype)
    before = embedding.weight.detach().clone()
    words, vectors = ["the", "horse", "cat", "dog"], torch.randn(4, 8)
    assert place_vectors(embedding, VOCABULARY, words, vectors) == ["<pad>", "sees"]
    output = embedding(torch.tensor([[4, 1, 2]]))[0]
    assert_same(output, vectors[[0, 2, 3]].to(dtype))
    assert torch.equal(embedding.weight[[0, 3]], before[[0, 3]])
    assert embedding.weight.dtype == dtype
    assert embedding.weight.requires_grad and embedding.weight.is_leaf


def test_a_frozen_table_can_be_filled_too_and_words_may_have_no_vector() -> None:
    embedding = TokenEmbedding(5, 4).requires_grad_(False)
    before = embedding.weight.clone()
    assert place_vectors(embedding, VOCABULARY, ["horse"], torch.ones(1, 4)) == VOCABULARY
    assert torch.equal(embedding.weight, before)
    place_vectors(embedding, VOCABULARY, ["cat"], torch.ones(1, 4))
    assert not embedding.weight.requires_grad
    assert torch.equal(embedding(torch.tensor([[1]])), torch.ones(1, 1, 4))


EMBEDDING, VECTORS = TokenEmbedding(5, 4), torch.zeros(2, 4)
BAD_PLACES: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: place_vectors(EMBEDDING, ["a"], ["a", "b"], VECTORS), ("vocabulary holds 1", "5")),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, ["a"], VECTORS), ("of 1", "(2, 4)", "(N, 4)")),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, ["a", "a"], VECTORS), ("1 different ones of 2",)),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, ["a", "a"], VECTORS[:1]), ("1 different",)),
    (
        lambda: place_vectors(EMBEDDING, VOCABULARY, ["a", "b"], torch.zeros(2, 3)),
        ("vectors (2, 3)", "(N, 4)"),
    ),
    (
        lambda: place_vectors(EMBEDDING, VOCABULARY, ["a", "b"], torch.zeros(2, 1)),
        ("vectors (2, 1)", "(N, 4)"),
    ),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, ["a"], VECTORS[0]), ("vectors (4,)",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD_PLACES)
def test_vectors_that_do_not_fit_are_named(
    call: Callable[[], object], parts: tuple[str, ...]
) -> None:
    refuses(call, *parts)
