"""Search: from probabilities of the next token to a sentence, greedily, with a beam or by sampling.

Chapter 13.  Paper: section 6.1; length penalty from Wu et al. (2016), section 7.
"""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scratch.plumbing import checks
from scratch.plumbing.defaults import BEAM_SIZE, LENGTH_PENALTY
from scratch.plumbing.threads import one_thread
from scratch.transformer import DecoderState, Transformer

__all__ = [
    "Beams",
    "Hypothesis",
    "Sampler",
    "beam_search",
    "collect_ended",
    "extend_beams",
    "gnmt_penalty",
    "greedy_sampler",
    "greedy_search",
    "left_to_right",
    "longest_output",
    "multinomial_sampler",
    "next_log_probs",
    "sample_search",
    "seeded_generators",
    "start_beams",
]

Sampler = Callable[[Tensor, Sequence[int]], Tensor]  # (B, V), numbers of the rows -> tokens (B,)


@dataclass(frozen=True)
class Hypothesis:
    """One finished output.  ``tokens`` leaves out <bos> and <eos>.

    ``log_prob`` is the natural logarithm of its probability, <eos> included, and ``score`` is
    that divided by the length penalty, which greedy search does without.
    """

    tokens: list[int]
    log_prob: float
    score: float

    def __post_init__(self) -> None:
        good = not math.isnan(self.log_prob)
        checks.require(good, "model's scores are not numbers, expected finite weights")


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


@one_thread()
@torch.inference_mode()
def left_to_right(model: Transformer, source: Tensor, sampler: Sampler) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S): at every step write the tokens that ``sampler`` picks.

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
        choice = sampler(log_probs, range(len(source)))[:, None]  # (B, 1)
        log_prob += log_probs.gather(1, choice)[:, 0].masked_fill(done, 0.0)
        tokens = torch.cat((tokens, choice.masked_fill(done[:, None], end)), dim=1)
        done |= choice[:, 0] == end
    rows = zip(tokens[:, 1:].tolist(), log_prob.tolist(), strict=True)
    return [Hypothesis(row[: row.index(end)], p, p) for row, p in rows]


def greedy_sampler(log_probs: Tensor, rows: Sequence[int]) -> Tensor:
    """Return the most probable token of each row of ``log_probs`` (B, V), (B,)."""
    return log_probs.argmax(dim=-1)


def greedy_search(model: Transformer, source: Tensor) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S) by taking the most probable token at every step."""
    return left_to_right(model, source, greedy_sampler)


def seeded_generators(seed: int, numbers: Iterable[int]) -> list[random.Random]:
    """Return a generator for each sentence: ``seed`` and the sentence's number alone seed it."""
    checks.at_least("seed", seed, 0)
    return [random.Random(f"{seed} {number}") for number in numbers]


def multinomial_sampler(temperature: float, generators: Sequence[random.Random]) -> Sampler:
    """Return what draws tokens with probabilities proportional to p^(1 / ``temperature``).

    Row number r asks ``generators[r]`` once a step.  The temperature is from 0.01 to 100.
    """
    checks.number("temperature", temperature, 0.01, maximum=100.0)

    def sample(log_probs: Tensor, rows: Sequence[int]) -> Tensor:
        scaled = log_probs.double() / temperature
        reached = scaled.softmax(dim=-1).cumsum(dim=-1)  # (B, V), grows from 0 to 1
        numbers = [[generators[row].random()] for row in rows]  # below 1, and so in 64 bits
        drawn = torch.tensor(numbers, dtype=torch.float64).to(reached)  # (B, 1)
        # the first token with which more than the number drawn is reached; V if nothing is, by NaN
        tokens = torch.searchsorted(reached, drawn * reached[:, -1:], right=True)[:, 0]
        return tokens.clamp(max=reached.shape[-1] - 1)

    return sample


def sample_search(
    model: Transformer, source: Tensor, *, temperature: float = 1.0, seed: int = 0
) -> list[Hypothesis]:
    """Translate ``source`` ids (B, S) by sampling every token from the model's distribution.

    A ``temperature`` below 1 favours what is probable anyway, one above 1 what is not.
    """
    generators = seeded_generators(seed, range(len(source)))
    return left_to_right(model, source, multinomial_sampler(temperature, generators))


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
    for b, m in (log_probs != -math.inf).nonzero().tolist():
        if len(beams.ended[b]) < M:
            tokens, p = beams.tokens[b, parent[b, m], 1:].tolist(), log_probs[b, m].item()
            score = p / gnmt_penalty(len(tokens) + 1, alpha)  # <eos> counts
            beams.ended[b].append(Hypothesis(tokens, p, score))


@one_thread()
@torch.inference_mode()
def beam_search(
    model: Transformer,
    source: Tensor,
    *,
    beam_size: int = BEAM_SIZE,
    length_penalty: float = LENGTH_PENALTY,
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
