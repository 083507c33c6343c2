"""The batches of a run, from any point on: texts are cut anew for each epoch, with BPE-dropout.

A word is cut differently each time it is seen, so that its parts are learned too, after Provilkov
et al. (2020), section 3.1.  The ``tokenizers`` library has that as well, but takes no seed; here
every draw comes from a state that a checkpoint can hold.
"""

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Sequence

from scratch.datasets import Batch, Example, batches
from scratch.plumbing import checks
from scratch.plumbing.files import json_object
from scratch.tokens import Tokenizer
from scratch.training import TrainingConfig

__all__ = ["MergeDropout", "Stream", "encode_epoch"]


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


class Stream:
    """An endless sequence of (epoch, batch) that knows where it stands.

    ``state`` is what the BPE-dropout of the current epoch is drawn from; the next epoch's state
    is a hash of it.
    """

    def __init__(self, tokenizer: Tokenizer, config: TrainingConfig, bpe_dropout: float) -> None:
        self.config, self.pad_id = config, tokenizer.pad_id
        self.merges = MergeDropout(tokenizer, bpe_dropout)
        self.epoch, self.done, self.length = 1, 0, 0
        self.state = _next(f"seed {config.seed}")

    def batches(
        self, pairs: Sequence[tuple[str, str]], max_len: int
    ) -> Iterator[tuple[int, Batch]]:
        """Yield from where the stream stands; what has been yielded counts as done."""
        split, size, seed = self.merges.words, self.config.max_tokens, self.config.seed
        words = [(split(source), split(target)) for source, target in pairs]
        while True:
            examples = encode_epoch(words, self.merges, self.state, max_len=max_len)
            seed_now = seed + self.epoch
            epoch = list(batches(examples, max_tokens=size, seed=seed_now, pad_id=self.pad_id))
            self.length = len(epoch)
            for batch in epoch[self.done :]:
                self.done += 1
                yield self.epoch, batch
            self.epoch, self.done, self.state = self.epoch + 1, 0, _next(self.state)

    def finished(self) -> int:
        """Return how many epochs have been yielded to their end."""
        return self.epoch if self.done == self.length else self.epoch - 1

    def position(self) -> str:
        """Return where the stream stands, for :meth:`go_to`."""
        return json.dumps({"epoch": self.epoch, "done": self.done, "state": self.state})

    def go_to(self, position: str) -> None:
        """Stand where :meth:`position` was taken.  Call :meth:`batches` anew afterwards."""
        found = json_object(position, "stream")
        checks.at_least("epoch", found["epoch"], 1)
        checks.at_least("done", found["done"], 0)
        checks.text("state", found["state"])
        self.epoch, self.done, self.state = found["epoch"], found["done"], found["state"]


def _next(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
