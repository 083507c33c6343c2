"""Token embeddings: whole-number ids become vectors, and vectors become scores over the vocabulary.

Chapter 3.  Paper: section 3.4, "Embeddings and Softmax".
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.plumbing import checks
from scratch.plumbing.data.fetch import text_lines

__all__ = ["TokenEmbedding", "place_vectors", "read_vectors"]


class TokenEmbedding(nn.Module):
    """A table of one ``d_model``-wide vector per token, used on the way in and on the way out.

    On the way in, rows are looked up and multiplied by sqrt(d_model).  On the way out,
    :meth:`logits` scores a hidden state against every row, which is what the paper means by
    sharing the weight matrix between the embedding and the pre-softmax transformation.

    Source: Vaswani et al. (2017), section 3.4.
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        """Rows are drawn from a normal distribution with standard deviation 1/sqrt(d_model)."""
        super().__init__()
        checks.at_least("vocab_size", vocab_size, 1)
        checks.at_least("d_model", d_model, 1)
        self.vocab_size, self.d_model = vocab_size, d_model
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))
        nn.init.normal_(self.weight, std=d_model**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up ``ids`` (B, T) and return vectors (B, T, D).

        Raises ValueError for an id outside the vocabulary.
        """
        checks.token_ids("ids", ids, self.vocab_size)
        return F.embedding(ids, self.weight) * math.sqrt(self.d_model)

    def logits(self, x: Tensor) -> Tensor:
        """Score hidden states ``x`` (..., D) against every token and return (..., V)."""
        checks.width("x", x, self.d_model, self.weight.dtype)
        return F.linear(x, self.weight)


def read_vectors(path: str | Path) -> tuple[list[str], Tensor]:
    """Read the N words of a text file of vectors, and their vectors (N, D) in float32.

    The format is GloVe's: UTF-8, a line for each word, ``cat 0.12 -0.5 ...``, all equally wide.
    A first line of two whole numbers is word2vec's header, N and D.  A word may hold spaces,
    as some of GloVe's do, unless what follows its last space is a number.

    Raises ValueError, naming the line, for one that is torn, of another width, not finite, or
    about a word that is there already; and for a file that is not whole or not UTF-8.
    """
    lines = [line.rstrip(" ") for line in text_lines(path)]  # word2vec ends a line with a space
    checks.require(any(lines), f"{path} is empty, expected a word and its numbers on each line")
    fields = lines[0].split(" ")
    header = len(fields) == 2 and all(field.isdecimal() for field in fields)
    width = int(fields[1]) if header else len(fields) - 1
    checks.at_least(f"the width in line 1 of {path}", width, 1)
    vectors: dict[str, Tensor] = {}
    for number, line in enumerate(lines[header:], start=1 + header):
        word, vector = parse_line(line, width, f"line {number} of {path}")
        again = word in vectors
        checks.require(not again, f"line {number} of {path} repeats {word!r}, expected a new word")
        vectors[word] = vector
    announced = int(fields[0]) if header else len(vectors)
    good = len(vectors) == announced > 0
    checks.require(good, f"{path} holds {len(vectors)} vectors, expected {announced or 'some'}")
    return list(vectors), torch.stack(list(vectors.values()))


def parse_line(line: str, width: int, where: str) -> tuple[str, Tensor]:
    """Return the word and the ``width`` numbers of a line; ``where`` names it in errors."""
    fields = line.split(" ")
    word, numbers = " ".join(fields[:-width]), [as_number(field) for field in fields]
    good = "" not in (word, *fields) and None not in numbers[-width:]
    checks.require(good, f"{where} is {line[:60]!r}, expected a word and {width} numbers")
    torn = " " in word and numbers[-width - 1] is not None
    checks.require(not torn, f"{where} holds more than {width} numbers, expected {width}")
    vector = torch.tensor(numbers[-width:], dtype=torch.float32)
    finite = bool(vector.isfinite().all())
    checks.require(finite, f"{where} holds nan or infinity, expected finite float32 numbers")
    return word, vector


def as_number(field: str) -> float | None:
    """Return the number that ``field`` spells, or None."""
    try:
        return float(field)
    except ValueError:
        return None


def place_vectors(
    embedding: TokenEmbedding, vocabulary: Sequence[str], words: Sequence[str], vectors: Tensor
) -> list[str]:
    """Make ``embedding`` return the vector of each word of ``vocabulary`` that has one.

    ``vocabulary`` lists V words in the order of their ids, ``words`` N words in the order of
    ``vectors`` (N, D).  The rows are divided by sqrt(d_model), because ``forward`` multiplies by
    it.  Returns the words of the vocabulary without a vector; their rows stay as they were.
    """
    checks.width("vectors", vectors, embedding.d_model)
    good = vectors.dim() == 2
    checks.require(good, f"vectors has shape {tuple(vectors.shape)}, expected (N, D)")
    checks.same_length("vocabulary", vocabulary, "rows of the embedding", embedding.weight)
    checks.same_length("words", words, "vectors", vectors)
    row = {word: n for n, word in enumerate(words)}
    checks.same_length("words", words, "different words", row)
    ids = [v for v, word in enumerate(vocabulary) if word in row]
    chosen = vectors[[row[vocabulary[v]] for v in ids]]  # (found, D)
    with torch.no_grad():
        embedding.weight[ids] = chosen.to(embedding.weight) / math.sqrt(embedding.d_model)
    return [word for word in vocabulary if word not in row]
