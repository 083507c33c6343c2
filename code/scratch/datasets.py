"""Sentence pairs as batches: ids, padding, and batches of one length and a known cost.

Chapter 11.  The hand-written grammar needs no file; Multi30k and Tatoeba are fetched once and
verified.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scratch.plumbing import checks
from scratch.plumbing.data.fetch import local_path, read_lines, text_lines
from scratch.splits import Splits, hold_out, split_pairs
from scratch.tokens import Tokenizer

__all__ = [
    "Batch",
    "Example",
    "batches",
    "collate",
    "encode_pairs",
    "grammar",
    "group_references",
    "multi30k",
    "pad_rows",
    "read_tsv",
    "tatoeba",
]

MULTI30K_SPLITS = ("train", "val", "test_2016_flickr")
TATOEBA_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Example:
    """One sentence pair as ids: ``source`` ends in <eos>, ``target`` begins with <bos> as well."""

    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class Batch:
    """Padded examples.  Position t of ``labels`` is the token after position t of ``target``.

    ``source`` (B, S), ``target`` (B, T) and ``labels`` (B, T), all int64.
    """

    source: Tensor
    target: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        checks.id_batch("source", self.source)
        checks.id_batch("target", self.target)
        checks.same_batch("target", self.target, "source", self.source)
        checks.same_shape("labels", self.labels, "target", self.target)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on ``device``."""
        return Batch(self.source.to(device), self.target.to(device), self.labels.to(device))


def encode_pairs(
    pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer, *, max_len: int = 256
) -> list[Example]:
    """Turn (English, French) texts into examples; pairs over ``max_len`` tokens are left out.

    Raises ValueError when nothing is left.
    """
    bos, eos = tokenizer.bos_id, tokenizer.eos_id
    examples = [
        Example([*tokenizer.encode(english), eos], [bos, *tokenizer.encode(french), eos])
        for english, french in pairs
    ]
    kept = [e for e in examples if max(len(e.source), len(e.target)) <= max_len]
    checks.require(bool(kept), f"pairs holds no pair of at most {max_len} tokens, expected one")
    return kept


def pad_rows(rows: Sequence[list[int]], pad_id: int) -> Tensor:
    """Return ``rows`` of ids as one int64 tensor (B, longest), padded on the right."""
    checks.require(bool(rows) and all(rows), "rows is empty or has an empty row, expected ids")
    length = max(map(len, rows))
    return torch.tensor([row + [pad_id] * (length - len(row)) for row in rows])


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Pad ``examples`` to their longest and shift the target by one: input and labels."""
    source = pad_rows([e.source for e in examples], pad_id)
    target = pad_rows([e.target for e in examples], pad_id)
    return Batch(source, target[:, :-1], target[:, 1:])


def batches(
    examples: Sequence[Example], *, max_tokens: int, seed: int, pad_id: int = 0
) -> Iterator[Batch]:
    """Yield one epoch of batches whose padded source or target holds at most ``max_tokens``.

    Examples are shuffled, then sorted by length, so that a batch holds sentences of about one
    length and little padding; then the batches are shuffled.  ``seed`` decides both shuffles.
    An example longer than ``max_tokens`` makes a batch by itself.
    """
    checks.require(len(examples) > 0, "examples is empty, expected at least one")
    checks.at_least("seed", seed, 0)
    draw = random.Random(seed)
    order = draw.sample(range(len(examples)), len(examples))
    order.sort(key=lambda i: (len(examples[i].target), len(examples[i].source)))
    groups: list[list[int]] = [[]]
    longest = 0
    for i in order:
        length = max(len(examples[i].source), len(examples[i].target) - 1)
        longest = max(longest, length)
        if groups[-1] and longest * (len(groups[-1]) + 1) > max_tokens:
            groups.append([])
            longest = length
        groups[-1].append(i)
    draw.shuffle(groups)
    for group in groups:
        yield collate([examples[i] for i in group], pad_id)


def grammar() -> Splits:
    """Return the book's own sentence pairs: 20,000 to train on, and 500 + 500 held out.

    Half of those held out are made of noun-adjective-verb combinations that training has seen,
    half hold one that it has not.  See :func:`scratch.splits.split_pairs`.
    """
    return split_pairs(20_000, 500, 500, seed=0)


def multi30k(split: str, language: str = "fr") -> list[tuple[str, str]]:
    """Return the (English, French) captions of ``split``, fetched once and verified.

    Splits: "train" (29,000), "val" (1,014) and "test_2016_flickr" (1,000).  With the ``language``
    "de" the captions are English and German.
    Source: Elliott et al. (2016, 2017); for research and education, non-commercial.
    """
    checks.one_of("split", split, MULTI30K_SPLITS)
    english = read_lines(f"multi30k/{split}.en.gz")
    other = read_lines(f"multi30k/{split}.{language}.gz")
    return list(zip(english, other, strict=True))


def tatoeba(split: str) -> list[tuple[str, str]]:
    """Return the everyday (English, French) sentences of ``split``, fetched once and verified.

    "dev" and "test" hold 1,000 English sentences each, with all their translations: see
    :func:`group_references`.  "train" (72,370 pairs) shares no side with either, whatever its
    case and signs.  Source: the Tatoeba project's contributors, CC BY 2.0 FR, in the selection
    of manythings.org.
    """
    checks.one_of("split", split, TATOEBA_SPLITS)
    pairs = read_tsv(local_path("tatoeba/fra.txt"))[:-1]  # this copy's last line is cut short
    splits = hold_out(pairs, n_dev=1_000, n_test=1_000)
    return {"train": splits.train, "dev": splits.dev, "test": splits.test}[split]


def read_tsv(path: str | Path) -> list[tuple[str, str]]:
    """Return the (source, target) pairs of a file that holds one pair a line, a tab between.

    Raises ValueError, naming the line, for any other file.
    """
    path, pairs = Path(path), []  # a number would name an open file, and True standard output
    for number, line in enumerate(text_lines(path), start=1):
        source, _, target = line.partition("\t")
        good = bool(source.strip() and target.strip()) and "\t" not in target
        found = f"line {number} of {path} is {line[:40]!r}"
        checks.require(good, f"{found}, expected a sentence, a tab and its translation")
        pairs.append((source, target))
    checks.require(bool(pairs), f"{path} is empty, expected a pair of sentences a line")
    return pairs


def group_references(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return each source sentence of ``pairs`` once, with all its translations, in order."""
    grouped: dict[str, list[str]] = {}
    for source, target in pairs:
        references = grouped.setdefault(source, [])
        if target not in references:
            references.append(target)
    return list(grouped.items())
