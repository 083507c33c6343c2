"""The batches of a run, from any point on: texts are noised and cut anew for each epoch."""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence

from scratch.datasets import Batch, batches, encode_pairs
from scratch.plumbing import checks
from scratch.plumbing.files import json_object
from scratch.plumbing.training.noise import typed
from scratch.tokens import Tokenizer
from scratch.training import TrainingConfig

__all__ = ["Stream"]


class Stream:
    """An endless sequence of (epoch, batch) that knows where it stands.

    With ``never``, texts are noised for each epoch, and what it holds is never made of them.
    ``state`` is what the noise of the current epoch is drawn from; the next epoch's state is a
    hash of it.
    """

    def __init__(
        self, tokenizer: Tokenizer, config: TrainingConfig, never: set[str] | None
    ) -> None:
        self.tokenizer, self.config, self.never = tokenizer, config, never
        self.epoch, self.done, self.length = 1, 0, 0
        self.state = _next(f"seed {config.seed}")

    def batches(
        self, pairs: Sequence[tuple[str, str]], max_len: int
    ) -> Iterator[tuple[int, Batch]]:
        """Yield from where the stream stands; what has been yielded counts as done."""
        size, seed, pad = self.config.max_tokens, self.config.seed, self.tokenizer.pad_id
        never = self.never
        while True:
            draw = random.Random(self.state)
            texts = pairs if never is None else typed(pairs, draw, never=never)
            examples = encode_pairs(texts, self.tokenizer, max_len=max_len)
            seed_now = seed + self.epoch
            epoch = list(batches(examples, max_tokens=size, seed=seed_now, pad_id=pad))
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
