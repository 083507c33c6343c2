"""Translation: from scores of the next token to a sentence, greedily, with a beam or by drawing.

Chapter 13.  Paper: section 6.1; length penalty from Wu et al. (2016), section 7.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratch.datasets import pad_rows
from scratch.plumbing import checks
from scratch.plumbing.fast.decoding import FastModel, fast_beams, fast_best, fast_outputs
from scratch.plumbing.models.storage import load_pretrained
from scratch.tokens import Tokenizer
from scratch.transformer import DecoderState, Transformer, attention_maps

__all__ = [
    "Beams",
    "Choose",
    "Hypothesis",
    "Search",
    "Translation",
    "Translator",
    "beam_search",
    "best_outputs",
    "collect_ended",
    "drawing",
    "extend_beams",
    "gnmt_penalty",
    "greedy_search",
    "left_to_right",
    "longest_output",
    "next_log_probs",
    "one_die_each",
    "sample_search",
    "start_beams",
    "take_best",
    "translate_ids",
]

Choose = Callable[[Tensor, Sequence[int]], Tensor]  # (B, V), numbers of the rows -> tokens (B,)


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
def left_to_right(model: Transformer, source: Tensor, choose: Choose) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S): at every step write the tokens that ``choose`` returns.

    It is given the log-probabilities of the next token, (B, V), and the rows' numbers.
    """
    end = model.config.eos_id
    state = model.start(source)
    limits = longest_output(model, source)
    tokens = source.new_full((len(source), 1), model.config.bos_id)  # (B, 1 + written)
    log_prob = torch.zeros(len(source), device=source.device)
    done = torch.zeros(len(source), dtype=torch.bool, device=source.device)
    while not done.all():
        log_probs = next_log_probs(model, tokens[:, -1:], state, limits)
        choice = choose(log_probs, range(len(source)))[:, None]  # (B, 1)
        log_prob += log_probs.gather(1, choice)[:, 0].masked_fill(done, 0.0)
        tokens = torch.cat((tokens, choice.masked_fill(done[:, None], end)), dim=1)
        done |= choice[:, 0] == end
    rows = zip(tokens[:, 1:].tolist(), log_prob.tolist(), strict=True)
    return [Hypothesis(row[: row.index(end)], p, p) for row, p in rows]


def take_best(log_probs: Tensor, rows: Sequence[int]) -> Tensor:
    """Return the most probable token of each row of ``log_probs`` (B, V), (B,)."""
    return log_probs.argmax(dim=-1)


def greedy_search(model: Transformer, source: Tensor) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S) by taking the most probable token at every step."""
    return left_to_right(model, source, take_best)


def one_die_each(seed: int, numbers: Iterable[int]) -> list[random.Random]:
    """Return a die for each sentence, made from ``seed`` and the sentence's number alone."""
    checks.at_least("seed", seed, 0)
    return [random.Random(f"{seed} {number}") for number in numbers]


def drawing(temperature: float, dice: Sequence[random.Random]) -> Choose:
    """Return what draws tokens with probabilities proportional to p^(1 / ``temperature``).

    Row number r throws ``dice[r]`` once a step.  The temperature is from 0.01 to 100.
    """
    checks.number("temperature", temperature, 0.01, maximum=100.0)

    def choose(log_probs: Tensor, rows: Sequence[int]) -> Tensor:
        scaled = log_probs.double() / temperature
        reached = scaled.softmax(dim=-1).cumsum(dim=-1)  # (B, V), grows from 0 to 1
        thrown = torch.tensor([[dice[row].random()] for row in rows]).to(reached)  # (B, 1)
        # count those before the first at which more than the number thrown is reached, or all
        return ((reached <= thrown * reached[:, -1:]) & (reached < reached[:, -1:])).sum(dim=-1)

    return choose


def sample_search(
    model: Transformer, source: Tensor, *, temperature: float = 1.0, seed: int = 0
) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S) by drawing every token from the model's distribution.

    A ``temperature`` below 1 favours what is probable anyway, one above 1 what is not.
    """
    return left_to_right(
        model, source, drawing(temperature, one_die_each(seed, range(len(source))))
    )


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


@dataclass(frozen=True)
class Search:
    """How to choose: with a beam; greedily, if ``beam_size`` is 1; by drawing at a ``temperature``.

    The die of a call's sentence number n is made from ``seed`` and ``offset`` + n.
    """

    beam_size: int = 5
    length_penalty: float = 0.6
    batch_size: int = 64
    temperature: float | None = None
    seed: int = 0
    offset: int = 0

    def __post_init__(self) -> None:
        checks.at_least("beam_size", self.beam_size, 1)
        checks.number("length_penalty", self.length_penalty, 0.0, maximum=10.0)
        checks.at_least("batch_size", self.batch_size, 1)
        checks.at_least("offset", self.offset, 0)
        self.choice([])

    def choice(self, rows: Sequence[int]) -> Choose | None:
        """Return what chooses the tokens of the sentences number ``rows``; None is a beam."""
        dice = one_die_each(self.seed, [self.offset + row for row in rows])
        if self.temperature is not None:
            return drawing(self.temperature, dice)
        return fast_best if self.beam_size == 1 else None


def best_outputs(
    fast: FastModel, source: Tensor, search: Search, rows: Sequence[int]
) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S), the sentences number ``rows``.

    Fast code does it; its outputs are those of the searches above.
    """
    limits, choose = longest_output(fast.model, source), search.choice(rows)
    if choose is not None:
        return [Hypothesis(t, p, p) for t, p in fast_outputs(fast, source, limits, choose)]
    ended = [
        [Hypothesis(t, p, p / gnmt_penalty(len(t) + 1, search.length_penalty)) for t, p in filed]
        for filed in fast_beams(fast, source, limits, search.beam_size)
    ]
    return [max(hypotheses, key=lambda h: h.score) for hypotheses in ended]


def translate_ids(
    model: Transformer, sources: Sequence[list[int]], **settings: Any
) -> list[Hypothesis]:
    """Translate ``sources``, one list of ids each, in batches of like length; keep their order.

    ``settings`` are those of :class:`Search`.
    """
    search = Search(**settings)
    for ids in sources:
        checks.id_list("sources", ids, model.config.vocab_size)
    fast, device = FastModel(model), model.output.weight.device
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    results: dict[int, Hypothesis] = {}
    for first in range(0, len(order), search.batch_size):
        rows = order[first : first + search.batch_size]
        batch = pad_rows([sources[i] for i in rows], model.config.pad_id).to(device)
        results.update(zip(rows, best_outputs(fast, batch, search, rows), strict=True))
    return [results[i] for i in range(len(sources))]


@dataclass(frozen=True)
class Translation:
    """A sentence in French, its tokens as text, and its score (see :class:`Hypothesis`).

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
        size = model.config.vocab_size
        checks.require(
            len(tokenizer) == size, f"tokenizer has {len(tokenizer)} tokens, expected {size}"
        )
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

    @torch.inference_mode()
    def attention(self, source: list[int], tokens: list[int]) -> Tensor:
        """Return where the model looks in ``source`` as it writes ``tokens``, (L, H, T, S)."""
        device = self.model.output.weight.device
        target = torch.tensor([[self.model.config.bos_id, *tokens]], device=device)
        maps = attention_maps(self.model, torch.tensor([source], device=device), target)
        return torch.cat(maps.cross)[:, :, :-1].cpu()  # the last row predicts <eos>
