"""Translation: from scores of the next token to a sentence, greedily or with a beam.

Chapter 13.  Paper: section 6.1; length penalty from Wu et al. (2016), section 7.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scratch.datasets import pad_rows
from scratch.plumbing import checks
from scratch.plumbing.checkpoint import load_pretrained
from scratch.tokens import Tokenizer
from scratch.transformer import DecoderState, Transformer

__all__ = [
    "Beams",
    "Hypothesis",
    "Translation",
    "Translator",
    "beam_search",
    "collect_ended",
    "extend_beams",
    "gnmt_penalty",
    "greedy_search",
    "longest_output",
    "next_log_probs",
    "start_beams",
    "translate_ids",
]


@dataclass(frozen=True)
class Hypothesis:
    """One finished output.  ``tokens`` leaves out <bos> and <eos>.

    ``log_prob`` is the natural logarithm of its probability, <eos> included, and ``score`` is
    that divided by the length penalty, which greedy search does without.
    """

    tokens: list[int]
    log_prob: float
    score: float


def gnmt_penalty(length: int, alpha: float) -> float:
    """Return what a log-probability of ``length`` tokens is divided by: ((5 + n) / 6)^alpha.

    Source: Wu et al. (2016), equation 14.
    """
    checks.at_least("length", length, 1)
    checks.number("alpha", alpha, 0.0, maximum=10.0)
    return ((5 + length) / 6) ** alpha


def longest_output(model: Transformer, source: Tensor) -> Tensor:
    """Return how many tokens, <eos> included, each output may have, (B,).

    Twice as many as its source (B, S) has without the padding, and ten, if they fit: a
    sentence's limit does not depend on its neighbours in the batch.
    """
    lengths = (source != model.config.pad_id).sum(dim=1)
    return (2 * lengths + 10).clamp(max=model.config.max_len)


def next_log_probs(
    model: Transformer, tokens: Tensor, state: DecoderState, limits: Tensor
) -> Tensor:
    """Read one more token per row, ``tokens`` (B, 1), and return log-probabilities (B, V).

    <pad> and <bos> never follow anything, and the last of ``limits`` (B,) tokens can only be
    <eos>: the probability of what cannot be is set to 0.
    """
    hidden, _, _ = model.decode(tokens, state)
    log_probs = model.output.logits(hidden[:, -1]).log_softmax(dim=-1)  # (B, V)
    c, ids = model.config, torch.arange(log_probs.shape[-1], device=log_probs.device)
    never = (ids == c.pad_id) | (ids == c.bos_id)  # (V,)
    last = (state.length >= limits)[:, None]  # (B, 1)
    return log_probs.masked_fill(never | (last & (ids != c.eos_id)), -math.inf)


@torch.inference_mode()
def greedy_search(model: Transformer, source: Tensor) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S) by taking the most probable token at every step."""
    end = model.config.eos_id
    state = model.start(source)
    limits = longest_output(model, source)
    tokens = source.new_full((len(source), 1), model.config.bos_id)  # (B, 1 + written)
    log_prob = torch.zeros(len(source), device=source.device)
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    while not done.all():
        log_probs = next_log_probs(model, tokens[:, -1:], state, limits)
        best, choice = log_probs.max(dim=-1)  # (B,)
        log_prob += best.masked_fill(done, 0.0)
        tokens = torch.cat((tokens, choice.masked_fill(done, end)[:, None]), dim=1)
        done |= choice == end
    rows = zip(tokens[:, 1:].tolist(), log_prob.tolist(), strict=True)
    return [Hypothesis(row[: row.index(end)], p, p) for row, p in rows]


@dataclass
class Beams:
    """M unfinished outputs for each of B sentences, and the outputs that have ended.

    ``tokens`` (B, M, written) begin with <bos>, best output first; ``log_probs`` (B, M) are
    -inf where there is no output to go on with; ``limits`` (B,) says how long they may become.
    """

    state: DecoderState
    limits: Tensor
    tokens: Tensor
    log_probs: Tensor
    ended: list[list[Hypothesis]]

    def all_done(self) -> bool:
        """Say whether, for every sentence, M outputs have ended or none can go on."""
        M = self.tokens.shape[1]
        stuck = (self.log_probs == -math.inf).all(dim=1).tolist()
        return all(len(e) >= M or s for e, s in zip(self.ended, stuck, strict=True))


def start_beams(model: Transformer, source: Tensor, beam_size: int) -> Beams:
    """Read ``source`` ids (B, S) once and begin M = ``beam_size`` equal outputs for each."""
    state, limits = model.start(source), longest_output(model, source)
    B, M = len(source), beam_size
    rows = torch.arange(B, device=source.device).repeat_interleave(M)
    tokens = source.new_full((B, M, 1), model.config.bos_id)
    log_probs = torch.full((B, M), -math.inf, device=source.device)
    log_probs[:, 0] = 0.0  # the M outputs are still alike: only one of them counts
    return Beams(state.select(rows), limits, tokens, log_probs, [[] for _ in source])


def extend_beams(model: Transformer, beams: Beams, alpha: float) -> None:
    """Write one more token: of all M x V continuations keep the M most probable."""
    B, M, _ = beams.tokens.shape
    newest, limits = beams.tokens[:, :, -1].reshape(-1, 1), beams.limits.repeat_interleave(M)
    log_probs = next_log_probs(model, newest, beams.state, limits)  # (B * M, V)
    V = log_probs.shape[-1]
    totals = beams.log_probs[:, :, None] + log_probs.view(B, M, V)
    # at most M of the best 2M continuations end, so at least M of them go on
    best, flat = totals.flatten(1).topk(2 * M)  # (B, 2M)
    parent, token = flat // V, flat % V
    ends = token == model.config.eos_id
    collect_ended(beams, best[:, :M].masked_fill(~ends[:, :M], -math.inf), parent, alpha)
    beams.log_probs, keep = best.masked_fill(ends, -math.inf).topk(M)  # (B, M)
    parent, token = parent.gather(1, keep), token.gather(1, keep)
    rows = torch.arange(B, device=parent.device)[:, None]  # (B, 1)
    beams.state = beams.state.select((rows * M + parent).flatten())
    beams.tokens = torch.cat((beams.tokens[rows, parent], token[:, :, None]), dim=2)


def collect_ended(beams: Beams, log_probs: Tensor, parent: Tensor, alpha: float) -> None:
    """File the outputs that end now; ``log_probs`` (B, M) is -inf where none does."""
    M = beams.tokens.shape[1]
    for b, m in (log_probs > -math.inf).nonzero().tolist():
        if len(beams.ended[b]) < M:
            tokens, p = beams.tokens[b, parent[b, m], 1:].tolist(), log_probs[b, m].item()
            score = p / gnmt_penalty(len(tokens) + 1, alpha)  # <eos> counts
            beams.ended[b].append(Hypothesis(tokens, p, score))


@torch.inference_mode()
def beam_search(
    model: Transformer, source: Tensor, *, beam_size: int = 5, length_penalty: float = 0.6
) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S), keeping the ``beam_size`` best outputs at every step.

    Among the ended ones the highest log-probability divided by the GNMT length penalty wins.
    Source: Wu et al. (2016), section 7; Vaswani et al. (2017), section 6.1 (4 and 0.6).
    """
    checks.at_least("beam_size", beam_size, 1)
    checks.number("length_penalty", length_penalty, 0.0, maximum=10.0)
    beams = start_beams(model, source, beam_size)
    while not beams.all_done():
        extend_beams(model, beams, length_penalty)
    return [max(ended, key=lambda h: h.score) for ended in beams.ended]


def translate_ids(
    model: Transformer,
    sources: Sequence[list[int]],
    *,
    beam_size: int = 5,
    length_penalty: float = 0.6,
    batch_size: int = 64,
) -> list[Hypothesis]:
    """Translate ``sources``, one list of ids each, in batches of like length; keep their order.

    ``beam_size`` 1 is greedy search.
    """
    checks.at_least("beam_size", beam_size, 1)
    checks.number("length_penalty", length_penalty, 0.0, maximum=10.0)
    checks.at_least("batch_size", batch_size, 1)
    for ids in sources:
        checks.id_list("sources", ids, model.config.vocab_size)
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    results: dict[int, Hypothesis] = {}
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        batch = pad_rows([sources[i] for i in rows], model.config.pad_id)
        if beam_size == 1:
            found = greedy_search(model, batch)
        else:
            found = beam_search(model, batch, beam_size=beam_size, length_penalty=length_penalty)
        results.update(zip(rows, found, strict=True))
    return [results[i] for i in range(len(sources))]


@dataclass(frozen=True)
class Translation:
    """A sentence in French, its tokens as text, and its score (see :class:`Hypothesis`)."""

    text: str
    tokens: list[str]
    score: float


class Translator:
    """A model and its tokenizer: English text in, French text out."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        checks.instance("model", model, Transformer)
        checks.instance("tokenizer", tokenizer, Tokenizer)
        size = model.config.vocab_size
        checks.require(
            len(tokenizer) == size, f"tokenizer has {len(tokenizer)} tokens, expected {size}"
        )
        self.model, self.tokenizer = model.eval(), tokenizer

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "Translator":
        """Load a model that ships with the book, by name, or any saved one, by its folder."""
        return cls(*load_pretrained(name))

    def translate(
        self, texts: Sequence[str], *, beam_size: int = 5, length_penalty: float = 0.6
    ) -> list[Translation]:
        """Translate ``texts``, one result per text, in order; a blank text gives a blank.

        Raises ValueError for a text of more tokens than the model can read.
        """
        checks.several("texts", texts)
        sources = [self.source_ids(text) for text in texts]
        written = [i for i, ids in enumerate(sources) if len(ids) > 1]
        found = translate_ids(
            self.model,
            [sources[i] for i in written],
            beam_size=beam_size,
            length_penalty=length_penalty,
        )
        results = [Translation("", [], 0.0) for _ in sources]
        for i, best in zip(written, found, strict=True):
            text = self.tokenizer.decode(best.tokens)
            results[i] = Translation(text, self.tokenizer.pieces(best.tokens), best.score)
        return results

    def source_ids(self, text: str) -> list[int]:
        """Return what the encoder reads for ``text``: its tokens and <eos>."""
        ids = [*self.tokenizer.encode(text), self.tokenizer.eos_id]
        limit = self.model.config.max_len
        expected = f"expected at most {limit - 1}"
        found = f"text {text[:20]!r}... has {len(ids) - 1} tokens"
        checks.require(len(ids) <= limit, f"{found}, {expected}")
        return ids
