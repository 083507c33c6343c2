"""Word vectors in text files: the format of GloVe, Pennington et al. (2014), and of word2vec."""

import math
from pathlib import Path

import torch
from torch import Tensor

from scratch.plumbing import checks
from scratch.plumbing.data.fetch import text_lines

__all__ = ["read_vectors"]


def read_vectors(path: str | Path) -> tuple[list[str], Tensor]:
    """Read the N words of a text file of vectors, and their vectors (N, D) in float32.

    The format is GloVe's: UTF-8, a line for each word, ``cat 0.12 -0.5 ...``, all equally wide.
    A first line of two whole numbers is word2vec's header, N and D.  A word may hold spaces,
    as some of GloVe's do, unless what follows its last space is a number.

    Raises ValueError, naming the line, for one that is torn, of another width, not finite, or
    about a word that is there already; and for a file that is not whole or not UTF-8.
    """
    lines = [line.rstrip(" ") for line in text_lines(path)]  # word2vec ends a line with a space
    fields = lines[0].split(" ") if lines else []
    header = len(fields) == 2 and all(field.isdecimal() for field in fields)
    width = int(fields[1]) if header else len(fields) - 1
    vectors: dict[str, Tensor] = {}
    for number, line in enumerate(lines[header:], start=1 + header):
        word, vector = parse_line(line, width)
        good = word != "" and word not in vectors
        found = f"line {number} of {path} is {line[:60]!r}"
        checks.require(good, f"{found}, expected a new word and {width or 'its'} finite numbers")
        vectors[word] = vector
    announced = int(fields[0]) if header else len(vectors)
    good = len(vectors) == announced > 0
    checks.require(good, f"{path} holds {len(vectors)} vectors, expected {announced or 'some'}")
    return list(vectors), torch.stack(list(vectors.values()))


def parse_line(line: str, width: int) -> tuple[str, Tensor]:
    """Return the word and the ``width`` numbers of a line; an empty word where it holds no such."""
    fields = line.split(" ")
    word, numbers = fields[:-width], [as_number(field) for field in fields]
    torn = len(word) > 1 and numbers[-width - 1] is not None
    values = [math.nan if n is None else n for n in numbers[-width:]]
    vector = torch.tensor(values, dtype=torch.float32)
    good = all(fields) and not torn and bool(vector.isfinite().all())
    return " ".join(word) if good else "", vector


def as_number(field: str) -> float | None:
    """Return the number that ``field`` spells, or None."""
    try:
        return float(field)
    except ValueError:
        return None
