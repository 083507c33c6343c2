"""Translation: batches of sentences searched for at once, and text in, text out.

Chapter 13.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch.datasets import pad_rows
from scratch.plumbing import checks
from scratch.plumbing.defaults import BEAM_SIZE, LENGTH_PENALTY
from scratch.plumbing.fast.decoding import FastModel, fast_beams, fast_best, fast_outputs
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.threads import one_thread
from scratch.search import Hypothesis, multinomial_sampler, seeded_generators
from scratch.tokens import Tokenizer
from scratch.transformer import Transformer, attention_maps

__all__ = ["Search", "Translation", "Translator", "best_outputs", "translate_ids"]


@dataclass(frozen=True)
class Search:
    """How to choose: by sampling, if there is a ``temperature``; else with a beam, 1 being greedy.

    The generator of a call's sentence number n is seeded with ``seed`` and ``offset`` + n.
    """

    beam_size: int = BEAM_SIZE
    length_penalty: float = LENGTH_PENALTY
    batch_size: int = 64
    temperature: float | None = None
    seed: int = 0
    offset: int = 0

    def __post_init__(self) -> None:
        for name, least in (("beam_size", 1), ("batch_size", 1), ("seed", 0), ("offset", 0)):
            checks.at_least(name, getattr(self, name), least)
        checks.number("length_penalty", self.length_penalty, 0.0, maximum=10.0)
        if self.temperature is not None:
            checks.number("temperature", self.temperature, 0.01, maximum=100.0)


def best_outputs(
    fast: FastModel, source: Tensor, search: Search, rows: Sequence[int]
) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S), the sentences number ``rows``.

    Fast code does it; its outputs are those of the searches above.
    """
    if search.temperature is not None:
        generators = seeded_generators(search.seed, [search.offset + row for row in rows])
        return fast_outputs(fast, source, multinomial_sampler(search.temperature, generators))
    if search.beam_size == 1:
        return fast_outputs(fast, source, fast_best)
    beams = fast_beams(fast, source, search.beam_size, search.length_penalty)
    return [max(ended, key=lambda hypothesis: hypothesis.score) for ended in beams]


@one_thread()
def translate_ids(
    model: Transformer, sources: Sequence[list[int]], **settings: Any
) -> list[Hypothesis]:
    """Translate ``sources``, one list of ids each, in batches of like length; keep their order.

    ``settings`` are those of :class:`Search`.
    """
    search = Search(**settings)
    for ids in sources:
        checks.id_list("sources", ids, model.config.vocab_size)
    device = model.output.weight.device
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    results: dict[int, Hypothesis] = {}
    with torch.autocast(device.type, enabled=False):  # scores are worth the weights' own precision
        fast = FastModel(model)
        for first in range(0, len(order), search.batch_size):
            rows = order[first : first + search.batch_size]
            batch = pad_rows([sources[i] for i in rows], model.config.pad_id).to(device)
            results.update(zip(rows, best_outputs(fast, batch, search, rows), strict=True))
    return [results[i] for i in range(len(sources))]


@dataclass(frozen=True)
class Translation:
    """A sentence in French, its tokens as text, and its score (that of a hypothesis).

    ``attention`` (L, H, T, S), if it was asked for, says how much each layer and head looked at
    each source token, <eos> included, when it wrote each of ``tokens``.
    """

    text: str
    tokens: list[str]
    score: float
    attention: Tensor | None = field(default=None, compare=False, repr=False)


class Translator:
    """A model and its tokenizer: English text in, French text out."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        checks.instance("model", model, Transformer)
        checks.instance("tokenizer", tokenizer, Tokenizer)
        held, size = len(tokenizer), model.config.vocab_size
        checks.require(held == size, f"tokenizer has {held} tokens, expected {size}")
        self.model, self.tokenizer = model.eval(), tokenizer

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = "cpu") -> "Translator":
        """Load a model that ships with the book, by name, or any saved one, by its folder.

        It computes on ``device``, "cpu" or "cuda".
        """
        checks.device("device", device)
        model, tokenizer = load_pretrained(name)
        return cls(model.to(device), tokenizer)

    def translate(
        self, texts: Sequence[str], *, need_weights: bool = False, **settings: Any
    ) -> list[Translation]:
        """Translate ``texts``, one result per text, in order; a blank text gives a blank.

        ``settings`` are those of :class:`Search`; with ``need_weights`` the results hold their
        attention.  Raises ValueError for a text of more tokens than the model can read.
        """
        checks.several("texts", texts)
        sources = [self.source_ids(text) for text in texts]
        written = [i for i, ids in enumerate(sources) if len(ids) > 1]
        found = translate_ids(self.model, [sources[i] for i in written], **settings)
        results = [Translation("", [], 0.0) for _ in sources]
        for i, best in zip(written, found, strict=True):
            weights = self.attention(sources[i], best.tokens) if need_weights else None
            text, tokens = self.tokenizer.decode(best.tokens), self.tokenizer.pieces(best.tokens)
            results[i] = Translation(text, tokens, best.score, weights)
        return results

    def source_ids(self, text: str) -> list[int]:
        """Return what the encoder reads for ``text``: its tokens and <eos>."""
        ids = [*self.tokenizer.encode(text), self.tokenizer.eos_id]
        most = self.model.config.max_len - 1
        found = f"text {text[:20]!r}... has {len(ids) - 1} tokens"
        checks.require(len(ids) - 1 <= most, f"{found}, expected at most {most}")
        return ids

    @one_thread()
    @torch.inference_mode()
    def attention(self, source: list[int], tokens: list[int]) -> Tensor:
        """Return where the model looks in ``source`` as it writes ``tokens``, (L, H, T, S)."""
        device = self.model.output.weight.device
        target = torch.tensor([[self.model.config.bos_id, *tokens]], device=device)
        with torch.autocast(device.type, enabled=False):
            maps = attention_maps(self.model, torch.tensor([source], device=device), target)
        return torch.cat(maps.cross)[:, :, :-1].cpu()  # the last row predicts <eos>
