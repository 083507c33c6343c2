"""Search: cached or not, greedy, with any beam or sampled, held against what it approximates."""

import itertools
import math
import random

import pytest
import torch
from torch import Tensor

from scratch import search
from scratch.datasets import pad_rows
from scratch.search import (
    beam_search,
    gnmt_penalty,
    greedy_search,
    longest_output,
    multinomial_sampler,
    sample_search,
    seeded_generators,
    start_beams,
)
from scratch.transformer import Transformer
from small import model

pytestmark = pytest.mark.usefixtures("one_thread")

ALPHAS = (0.0, 0.6, 1.0, 3.0)
END = 2


def sentence(*words: int) -> Tensor:
    return torch.tensor([[*words, END]])


def log_probs_of_next(m: Transformer, source: Tensor, written: list[int]) -> Tensor:
    """Log-probabilities of the next token, everything computed afresh; <pad>, <bos> never come."""
    with torch.inference_mode():
        logits = m(source, torch.tensor([[1, *written]]))[0, -1]
    result = logits.log_softmax(-1)
    result[:2] = -math.inf
    return result


def score_of(m: Transformer, source: Tensor, tokens: list[int]) -> float:
    """The log-probability of a whole output, <eos> included, from one pass over all of it."""
    whole = [*tokens, END]
    with torch.inference_mode():
        log_probs = m(source, torch.tensor([[1, *tokens]]))[0].log_softmax(-1)
    return sum(log_probs[i, token].item() for i, token in enumerate(whole))


def greedy_afresh(m: Transformer, source: Tensor) -> list[int]:
    limit = min(2 * source.shape[1] + 10, m.config.max_len)
    written: list[int] = []
    while len(written) < limit - 1:
        token = int(log_probs_of_next(m, source, written).argmax())
        if token == END:
            break
        written.append(token)
    return written


# -- greedy search


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
@pytest.mark.parametrize("tie", [True, False])
def test_cached_greedy_search_equals_computing_everything_afresh(
    norm: str, positions: str, tie: bool
) -> None:
    ended_early = 0
    for seed in range(8):
        m = model(
            seed, torch.float64, norm=norm, positions=positions, tie_embeddings=tie, vocab_size=8
        )
        source = sentence(*torch.randint(3, 8, (seed,)).tolist())
        (found,) = greedy_search(m, source)
        assert found.tokens == greedy_afresh(m, source)
        assert (
            found.log_prob
            == found.score
            == pytest.approx(score_of(m, source, found.tokens), abs=1e-5)
        )
        ended_early += len(found.tokens) < 9
    assert ended_early > 0 or tie  # the test would see less if every output ran out of room


def test_beam_of_one_equals_greedy() -> None:
    for seed in range(12):
        m = model(seed, torch.float64)
        batch = pad_rows([[3, 4, 5, END], [7, END], [END]], 0)
        greedy = greedy_search(m, batch)
        for alpha in ALPHAS:
            beam = beam_search(m, batch, beam_size=1, length_penalty=alpha)
            assert [b.tokens for b in beam] == [g.tokens for g in greedy]
            for b, g in zip(beam, greedy, strict=True):
                assert b.log_prob == pytest.approx(g.log_prob, abs=1e-5)


# -- beam search against all there is


def limit_to(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(
        search, "longest_output", lambda _, source: torch.full((len(source),), limit)
    )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_beam_as_wide_as_the_space_equals_exhaustive_search(
    alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_to(monkeypatch, 4)
    words = (3, 4, 5)
    outputs = [list(o) for n in range(4) for o in itertools.product(words, repeat=n)]
    assert len(outputs) == 1 + 3 + 9 + 27
    lengths = set()
    for seed in range(6):
        m = model(seed, torch.float64, vocab_size=6, tie_embeddings=False)
        with torch.no_grad():
            m.output.weight.mul_(8)  # sure of itself: not always the shortest is best
        source = sentence(3, 5)
        scores = [score_of(m, source, o) / ((5 + len(o) + 1) / 6) ** alpha for o in outputs]
        best = max(range(len(outputs)), key=scores.__getitem__)
        (found,) = beam_search(m, source, beam_size=len(outputs), length_penalty=alpha)
        assert found.tokens == outputs[best]
        assert found.score == pytest.approx(scores[best], abs=1e-9)
        assert found.log_prob == pytest.approx(score_of(m, source, outputs[best]), abs=1e-9)
        lengths.add(len(found.tokens))
    assert len(lengths) > 1


def test_a_beam_as_wide_as_the_space_finds_every_output(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_to(monkeypatch, 3)
    m = model(3, torch.float64, vocab_size=5)
    source = sentence(3)
    beams = start_beams(m, source, 7)
    with torch.inference_mode():
        while not beams.all_done():
            search.extend_beams(m, beams, 0.6)
    outputs = [list(o) for n in range(3) for o in itertools.product((3, 4), repeat=n)]
    assert sorted(h.tokens for h in beams.ended[0]) == sorted(outputs)
    for h in beams.ended[0]:
        assert h.log_prob == pytest.approx(score_of(m, source, h.tokens), abs=1e-9)


Outputs = list[tuple[list[int], float]]  # tokens, and the logarithm of their probability


def step_afresh(
    m: Transformer, source: Tensor, kept: Outputs, size: int, limit: int
) -> tuple[Outputs, Outputs]:
    """What a step of a beam files and keeps, best first, from lists and without a cache."""
    longer: Outputs = []
    for tokens, total in kept:
        for token, p in enumerate(log_probs_of_next(m, source, tokens).tolist()):
            if p > -math.inf and (token == END or len(tokens) + 1 < limit):
                longer.append(([*tokens, token], total + p))
    longer.sort(key=lambda output: -output[1])
    filed = [(tokens[:-1], p) for tokens, p in longer[:size] if tokens[-1] == END]
    return filed, [output for output in longer if output[0][-1] != END][:size]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_beam_keeps_and_files_what_one_of_lists_does(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_to(monkeypatch, 6)
    ended_at_once = 0
    for seed in range(4):
        m = model(seed, torch.float64, vocab_size=8, tie_embeddings=False)
        with torch.no_grad():  # <eos> is probable everywhere, and several outputs end at once
            m.output.weight[END] = 0.3
            dict(m.named_parameters())["decoder.final_norm.shift"].fill_(0.3)
        source, ended = sentence(3, 5, 4), Outputs()
        beams, kept = start_beams(m, source, size), [(list[int](), 0.0)]
        while not beams.all_done():
            with torch.inference_mode():
                search.extend_beams(m, beams, 0.6)
            filed, kept = step_afresh(m, source, kept, size, 6)
            ended, ended_at_once = ended + filed, max(ended_at_once, len(filed))
            alive = beams.log_probs[0] > -math.inf
            assert beams.tokens[0, alive, 1:].tolist() == [tokens for tokens, _ in kept]
            totals = beams.log_probs[0, alive].tolist()
            assert totals == pytest.approx([p for _, p in kept], abs=1e-9)
        assert len(ended) >= size or not kept
        for h, (tokens, p) in zip(beams.ended[0], ended[:size], strict=True):
            assert h.tokens == tokens
            assert h.log_prob == pytest.approx(p, abs=1e-9)
            assert h.score == pytest.approx(p / gnmt_penalty(len(tokens) + 1, 0.6), abs=1e-9)
    assert ended_at_once > 1


def test_every_result_of_a_beam_is_scored_as_a_fresh_pass_scores_it() -> None:
    for seed in range(6):
        m = model(seed, torch.float64)
        source = sentence(3, 4, 5)
        for size in (2, 3, 5, 30):
            (found,) = beam_search(m, source, beam_size=size, length_penalty=0.6)
            expected = score_of(m, source, found.tokens)
            assert found.log_prob == pytest.approx(expected, abs=1e-9)
            penalty = ((5 + len(found.tokens) + 1) / 6) ** 0.6
            assert found.score == pytest.approx(expected / penalty, abs=1e-9)
            assert not {0, 1, 2} & set(found.tokens)


def test_a_higher_penalty_never_asks_for_shorter_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_to(monkeypatch, 4)
    for seed in range(6):
        m = model(seed, torch.float64, vocab_size=5)
        lengths = [
            len(beam_search(m, sentence(3), beam_size=15, length_penalty=a)[0].tokens)
            for a in ALPHAS
        ]
        assert lengths == sorted(lengths)  # true of the exhaustive search that this beam is


# -- sampling


def test_draws_fall_as_the_temperature_says() -> None:
    p = torch.tensor([0.0, 0.0, 0.1, 0.2, 0.7])
    for temperature in (0.5, 1.0, 3.0):
        sampler = multinomial_sampler(temperature, seeded_generators(0, [0]))
        drawn = sampler(p.log().expand(20_000, 5), [0] * 20_000)
        expected = p ** (1 / temperature)
        shares = drawn.bincount(minlength=5) / 20_000
        assert shares.tolist() == pytest.approx((expected / expected.sum()).tolist(), abs=0.015)
        assert shares[0] == shares[1] == 0  # what cannot be is never drawn


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_die_are_tokens_that_can_be(number: float) -> None:
    class Stuck(random.Random):
        def random(self) -> float:
            return number

    log_probs = torch.tensor([[-math.inf, -math.inf, -1.0, -2.0, -math.inf]])
    (token,) = multinomial_sampler(1.0, [Stuck()])(log_probs, [0]).tolist()
    assert token == (2 if number == 0.0 else 3)


def test_the_lowest_temperature_is_greedy() -> None:
    for seed in range(6):
        m = model(seed, torch.float64)
        batch = pad_rows([[3, 4, 5, END], [7, END], [END]], 0)
        cold = sample_search(m, batch, temperature=0.01, seed=seed)
        assert [h.tokens for h in cold] == [h.tokens for h in greedy_search(m, batch)]
        for h, row in zip(cold, batch, strict=True):
            assert h.log_prob == pytest.approx(score_of(m, row[row > 0][None], h.tokens), abs=1e-4)


# -- length


def test_no_output_is_longer_than_its_limit() -> None:
    m = model(0, max_len=16)
    batch = pad_rows([[3, END], [3] * 15 + [END]], 0)
    assert longest_output(m, batch).tolist() == [14, 16]
    assert longest_output(model(max_len=9), batch).tolist() == [9, 9]
    for seed in range(6):
        m = model(seed, max_len=16)
        for found in (greedy_search(m, batch), beam_search(m, batch, beam_size=3)):
            assert len(found[0].tokens) <= 13
            assert len(found[1].tokens) <= 15


def test_the_penalty_by_hand() -> None:
    assert gnmt_penalty(1, 0.6) == 1.0
    assert gnmt_penalty(7, 1.0) == 2.0
    assert gnmt_penalty(7, 0.5) == pytest.approx(math.sqrt(2))
    assert gnmt_penalty(19, 0.6) == pytest.approx(4**0.6)
    assert gnmt_penalty(300, 0.0) == 1.0
