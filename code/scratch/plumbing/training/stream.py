"""The batches of a long run, from any point on: texts are cut anew for each epoch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from scratch.datasets import Batch, batches
from scratch.plumbing.training.bpe_dropout import MergeDropout, encode_epoch
from scratch.plumbing.training.recipes import Extras
from scratch.tokens import Tokenizer
from scratch.training import TrainingConfig

__all__ = ["Stream"]


class Stream:
    """An endless sequence of (epoch, batch) that knows where it stands.

    ``state`` is what the BPE-dropout of the current epoch is drawn from; the next epoch's state
    is a hash of it.
    """

    def __init__(self, tokenizer: Tokenizer, config: TrainingConfig, extras: Extras) -> None:
        self.config = config
        self.merges = MergeDropout(tokenizer, extras.bpe_dropout)
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
            epoch = list(batches(examples, max_tokens=size, seed=seed + self.epoch))
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
        found: dict[str, Any] = json.loads(position)
        self.epoch, self.done, self.state = found["epoch"], found["done"], found["state"]


def _next(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()
