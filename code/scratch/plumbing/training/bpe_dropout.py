"""BPE-dropout: a word is cut differently each time it is seen, so that its parts are learned too.

After Provilkov et al. (2020), section 3.1.  The ``tokenizers`` library has it as well, but takes
no seed; here every draw comes from a state that a checkpoint can hold.
"""

import itertools
import json
import random
from collections.abc import Sequence

from scratch.datasets import Example
from scratch.plumbing import checks
from scratch.tokens import Tokenizer

__all__ = ["MergeDropout", "encode_epoch"]


class MergeDropout:
    """The merges of a trained tokenizer, each left out at each chance with probability ``p``."""

    def __init__(self, tokenizer: Tokenizer, p: float) -> None:
        checks.fraction("p", p)
        self.backend, self.p = tokenizer.backend, p
        self.eos_id, self.bos_id = tokenizer.eos_id, tokenizer.bos_id
        merges = json.loads(tokenizer.backend.to_str())["model"]["merges"]
        self.rank = {(left, right): n for n, (left, right) in enumerate(merges)}
        self.ids = tokenizer.backend.get_vocab()
        self.known: dict[str, list[int]] = {}  # a word's ids when nothing is left out

    def words(self, text: str) -> list[str]:
        """Return what merges never cross: the words of ``text``, one character to a byte."""
        clean = self.backend.normalizer.normalize_str(text)
        return [word for word, _ in self.backend.pre_tokenizer.pre_tokenize_str(clean)]

    def encode(self, words: Sequence[str], draw: random.Random) -> list[int]:
        """Return ids of ``words``; with ``p`` = 0, those of the tokenizer itself."""
        ids: list[int] = []
        for word in words:
            if self.p == 0 or len(word) == 1:
                if word not in self.known:
                    self.known[word] = self.cut(word, 0.0, draw)
                ids += self.known[word]
            else:
                ids += self.cut(word, self.p, draw)
        return ids

    def cut(self, word: str, p: float, draw: random.Random) -> list[int]:
        """Merge the characters of ``word``, earliest merge first, leaving out some at each turn."""
        parts, rank, chance = list(word), self.rank.get, draw.random
        while len(parts) > 1:
            ranks = map(rank, itertools.pairwise(parts))
            found = [
                (r, i) for i, r in enumerate(ranks) if r is not None and (p == 0 or chance() >= p)
            ]
            if not found:
                break
            _, i = min(found)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [self.ids[part] for part in parts]


def encode_epoch(
    words: Sequence[tuple[Sequence[str], Sequence[str]]],
    merges: MergeDropout,
    state: str,
    *,
    max_len: int,
) -> list[Example]:
    """Cut all pairs of ``words`` anew, drawing from ``state``; drop those over ``max_len``.

    ``state`` is any text: the same one gives the same examples.
    """
    draw, bos, eos = random.Random(state), merges.bos_id, merges.eos_id
    found = [
        Example([*merges.encode(source, draw), eos], [bos, *merges.encode(target, draw), eos])
        for source, target in words
    ]
    kept = [e for e in found if max(len(e.source), len(e.target)) <= max_len]
    checks.require(bool(kept), f"words holds no pair of at most {max_len} tokens, expected one")
    return kept
