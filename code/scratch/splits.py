"""Splits that a test can trust: nothing held out was trained on.

Chapter 11.
"""

import hashlib
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scratch.corpus import SentencePair
from scratch.plumbing import checks
from scratch.plumbing.data.grammar import MOST_PAIRS, sample_pairs

__all__ = ["HeldOut", "Splits", "hold_out", "sentence_key", "split_pairs", "without_shared"]


@dataclass(frozen=True)
class Splits:
    """Pairs to train on; unknown sentences of known combinations; unknown combinations."""

    train: tuple[SentencePair, ...]
    seen: tuple[SentencePair, ...]
    unseen: tuple[SentencePair, ...]


def split_pairs(n_train: int, n_seen: int, n_unseen: int, *, seed: int) -> Splits:
    """Split distinct pairs so that nothing held out was trained on.

    Every (noun, adjective, verb) of ``seen`` occurs in ``train``.  Each pair of ``unseen`` has
    one, all three named, that does not, though each of its words does.  Raises ValueError when
    the sizes are not whole numbers from 1, or ``train`` is too small for the other two.
    """
    for name, size in (("n_train", n_train), ("n_seen", n_seen), ("n_unseen", n_unseen)):
        checks.at_least(name, size, 1)
    pool = sample_pairs(
        min(MOST_PAIRS, n_train + n_train // 4 + 5 * n_seen + 20 * n_unseen), seed=seed
    )
    triples = sorted({use for p in pool for use in p.combination if all(use)})
    held = set(random.Random(seed).sample(triples, len(triples) // 10))
    rest = [p for p in pool if held.isdisjoint(p.combination)]
    train = rest[:n_train]
    known = {use for p in train for use in p.combination}
    words = {word for p in train for word in (*p.english, *p.french)}
    seen = [p for p in rest[n_train:] if known.issuperset(p.combination)][:n_seen]
    fresh = [p for p in pool if not held.isdisjoint(p.combination)]
    unseen = [p for p in fresh if words.issuperset((*p.english, *p.french))][:n_unseen]
    for name, part, size in (("n_seen", seen, n_seen), ("n_unseen", unseen, n_unseen)):
        checks.require(len(part) == size, f"{name} is {size}, expected at most {len(part)} here")
    return Splits(tuple(train), tuple(seen), tuple(unseen))


@dataclass(frozen=True)
class HeldOut:
    """(Source, target) texts: those to train on, those to choose with, those to report on."""

    train: list[tuple[str, str]]
    dev: list[tuple[str, str]]
    test: list[tuple[str, str]]


def sentence_key(text: str) -> str:
    """Return what all ways to write one sentence share: its letters and digits, in lower case."""
    checks.instance("text", text, str)
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", folded))


def without_shared(
    pairs: Iterable[tuple[str, str]], held: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return those of ``pairs`` that share neither side's :func:`sentence_key` with ``held``."""
    sides = [{sentence_key(text) for text in side} for side in zip(*held, strict=True)]
    sources, targets = sides or (set(), set())
    return [
        (source, target)
        for source, target in pairs
        if sentence_key(source) not in sources and sentence_key(target) not in targets
    ]


def hold_out(pairs: Sequence[tuple[str, str]], n_dev: int, n_test: int) -> HeldOut:
    """Split ``pairs`` by a hash of the source sentence, so that its translations stay together.

    ``n_dev`` and ``n_test`` count source sentences; of those that differ in signs only, one is
    held out and the others are dropped.  Raises ValueError when they leave no source sentence;
    ``train`` is empty as well when those that are left share their targets with one held out.
    """
    for name, size in (("n_dev", n_dev), ("n_test", n_test)):
        checks.at_least(name, size, 0)
    spelling: dict[str, str] = {}
    for source, _ in pairs:
        spelling.setdefault(sentence_key(source), source)
    checks.between("n_dev + n_test", n_dev + n_test, 0, len(spelling) - 1)
    order = sorted(spelling, key=lambda key: hashlib.sha256(key.encode()).digest())
    test = {spelling[key] for key in order[:n_test]}
    dev = {spelling[key] for key in order[n_test : n_test + n_dev]}
    both = test | dev
    held = [pair for pair in pairs if pair[0] in both]
    return HeldOut(
        without_shared(pairs, held),
        [pair for pair in held if pair[0] in dev],
        [pair for pair in held if pair[0] in test],
    )
