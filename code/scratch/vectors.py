"""Trained vectors: each finds its row in the table of a model.

Chapter 3.  `scratch.plumbing.data.vector_files` reads them from files.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scratch.embedding import TokenEmbedding
from scratch.plumbing import checks

__all__ = ["place_vectors"]


def place_vectors(
    embedding: TokenEmbedding, vocabulary: Sequence[str], words: Sequence[str], vectors: Tensor
) -> list[str]:
    """Make ``embedding`` return the vector of each word of ``vocabulary`` that has one.

    ``vocabulary`` lists V words in the order of their ids, ``words`` N words in the order of
    ``vectors`` (N, D).  The rows are divided by sqrt(d_model), because ``forward`` multiplies by
    it.  Returns the words of the vocabulary without a vector; their rows stay as they were.

    Raises ValueError for sizes that do not agree and for a word that comes twice.
    """
    row = {word: n for n, word in enumerate(words)}
    D, shape = embedding.d_model, tuple(vectors.shape)
    V, size = len(vocabulary), len(embedding.weight)
    good = (V, len(words), shape) == (size, len(row), (len(row), D))
    found = (
        f"vocabulary holds {V}, words {len(row)} different ones of {len(words)}, vectors {shape}"
    )
    checks.require(good, f"{found}, expected {size}, and a word for each vector, (N, {D})")
    ids = [v for v, word in enumerate(vocabulary) if word in row]
    chosen = vectors[[row[vocabulary[v]] for v in ids]]  # (found, D)
    with torch.no_grad():
        embedding.weight[ids] = chosen.to(embedding.weight) / math.sqrt(D)
    return [word for word in vocabulary if word not in row]
