"""Splits that a test can trust: nothing held out was trained on.

Chapter 11.
"""

import random
from dataclasses import dataclass

from scratch.corpus import SentencePair
from scratch.plumbing import checks
from scratch.plumbing.grammar import MOST_PAIRS, sample_pairs

__all__ = ["Splits", "split_pairs"]


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
        checks.require(size >= 1, f"{name} is {size}, expected at least 1")
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
