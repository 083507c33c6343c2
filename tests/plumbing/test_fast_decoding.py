"""Fast decoding: the outputs of the taught searches, whatever the model, the batch and the beam."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference import quick, refuses
from scratch import translation
from scratch.datasets import pad_rows
from scratch.plumbing.fast import decoding as fast_decoding
from scratch.plumbing.fast.decoding import FastModel, fast_beams, fast_best, fast_outputs
from scratch.transformer import Transformer
from scratch.translation import (
    beam_search,
    drawing,
    greedy_search,
    longest_output,
    one_die_each,
    sample_search,
    start_beams,
)
from small import model

pytestmark = pytest.mark.usefixtures("one_thread")

END = 2
SHAPES: list[dict[str, Any]] = [
    {"norm": norm, "positions": positions, "tie_embeddings": tie}
    for norm in ("pre", "post")
    for positions, tie in (("sinusoidal", True), ("learned", False))
]
BATCH = pad_rows([[3, 4, 5, END], [7, END], [END], [9, 8, 7, 6, 5, 4, END]], 0)


def fast_greedy(m: Transformer, source: Tensor) -> list[tuple[list[int], float]]:
    return fast_outputs(FastModel(m), source, longest_output(m, source), fast_best)


def filed(m: Transformer, source: Tensor, beam_size: int) -> list[list[tuple[list[int], float]]]:
    """All outputs that the taught beam search files."""
    beams = start_beams(m, source, beam_size)
    with torch.inference_mode():
        while not beams.all_done():
            translation.extend_beams(m, beams, 0.0)
    return [[(h.tokens, h.log_prob) for h in ended] for ended in beams.ended]


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_and_drawn_outputs_are_the_taught_ones(shape: dict[str, Any]) -> None:
    for seed in range(6):
        m = model(seed, torch.float64, **shape)
        for (tokens, p), taught in zip(fast_greedy(m, BATCH), greedy_search(m, BATCH), strict=True):
            assert tokens == taught.tokens
            assert p == pytest.approx(taught.log_prob, abs=1e-5)  # the taught sum is in float32
        choose = drawing(1.3, one_die_each(seed, range(len(BATCH))))
        found = fast_outputs(FastModel(m), BATCH, longest_output(m, BATCH), choose)
        drawn = sample_search(m, BATCH, temperature=1.3, seed=seed)
        assert [tokens for tokens, _ in found] == [taught.tokens for taught in drawn]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_a_beam_files_what_the_taught_one_files(shape: dict[str, Any], beam_size: int) -> None:
    for seed in range(4):
        m = model(seed, torch.float64, **shape)
        found = fast_beams(FastModel(m), BATCH, longest_output(m, BATCH), beam_size)
        for ours, taught in zip(found, filed(m, BATCH, beam_size), strict=True):
            assert [tokens for tokens, _ in ours] == [tokens for tokens, _ in taught]
            assert [p for _, p in ours] == pytest.approx([p for _, p in taught], abs=1e-5)


@quick
@given(
    st.lists(st.lists(st.integers(3, 11), max_size=6), min_size=1, max_size=9),
    st.integers(0, 9),
    st.integers(1, 4),
)
def test_any_batch_gives_what_the_taught_search_gives(
    rows: list[list[int]], seed: int, beam_size: int
) -> None:
    m, source = model(seed, torch.float64), pad_rows([[*row, END] for row in rows], 0)
    greedy = greedy_search(m, source)
    assert [t for t, _ in fast_greedy(m, source)] == [h.tokens for h in greedy]
    found = fast_beams(FastModel(m), source, longest_output(m, source), beam_size)
    best = [max(outputs, key=lambda output: output[1])[0] for outputs in found]
    beam = beam_search(m, source, beam_size=beam_size, length_penalty=0.0)
    assert best == [h.tokens for h in beam]


def test_the_cache_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_decoding, "FIRST_ROOM", 1)
    m = model(3, torch.float64, max_len=24)
    assert [t for t, _ in fast_greedy(m, BATCH)] == [h.tokens for h in greedy_search(m, BATCH)]
    found = fast_beams(FastModel(m), BATCH, longest_output(m, BATCH), 3)
    assert [[t for t, _ in x] for x in found] == [[t for t, _ in x] for x in filed(m, BATCH, 3)]
    assert max(len(tokens) for outputs in found for tokens, _ in outputs) > 8  # three doublings


def test_sentences_that_are_done_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve sentences that end at different steps; the last steps work for the last ones only."""
    m = model(0, vocab_size=12, max_len=60)
    with torch.no_grad():
        m.target_embedding.weight[END] = 0.0
        m.target_embedding.weight[3:] += 0.5
        dict(m.named_parameters())["decoder.final_norm.shift"].add_(3.0)  # never ends by itself
    source = pad_rows([[*[4] * n, END] for n in range(12)], 0)
    sizes: list[int] = []
    step = FastModel.next_log_probs

    def counted(self: FastModel, tokens: Tensor, state: Any) -> Tensor:
        sizes.append(len(tokens))
        return step(self, tokens, state)

    monkeypatch.setattr(FastModel, "next_log_probs", counted)
    found = fast_greedy(m, source)
    assert [len(tokens) for tokens, _ in found] == [2 * (n + 1) + 10 - 1 for n in range(12)]
    assert sizes[0] == 12 and sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert [t for t, _ in found] == [h.tokens for h in greedy_search(m, source)]


@pytest.mark.parametrize("V", [3, 7, 60, 64, 127, 130, 640])
def test_the_best_of_blocks_are_the_best(V: int) -> None:
    draw = torch.Generator().manual_seed(V)
    for rows, M, k in ((1, 1, 2), (4, 3, 6), (2, 5, 10)):
        log_probs = torch.randn(rows, M, V, generator=draw)
        totals = torch.randn(rows, M, generator=draw)
        log_probs[:, 0, 0] = totals[:, -1] = -math.inf
        sums = (log_probs + totals[:, :, None]).flatten(1)
        k = min(k, sums.shape[1])
        expected = sums.topk(k)
        best, parent, token = fast_decoding.best_continuations(log_probs, totals, k)
        assert torch.equal(best, expected.values)
        assert torch.equal(sums.gather(1, parent * V + token), best)
        flat = log_probs.flatten(0, 1)
        assert torch.equal(fast_best(flat, range(len(flat))), flat.argmax(-1))


def test_weights_that_are_no_numbers_end_in_a_sentence_and_not_in_a_loop() -> None:
    m = model(0)
    with torch.no_grad():
        m.target_embedding.weight[5, 0] = math.nan
    fast, limits = FastModel(m), longest_output(m, BATCH)
    refuses(lambda: fast_beams(fast, BATCH, limits, 2), "scores are not numbers")
    choose = drawing(1.0, one_die_each(0, range(4)))
    refuses(lambda: fast_outputs(fast, BATCH, limits, choose), "scores are not numbers")


def test_sources_are_checked() -> None:
    fast, limits = FastModel(model()), torch.tensor([5])
    refuses(lambda: fast_outputs(fast, torch.tensor([[12]]), limits, fast_best), "the id 12")
    refuses(lambda: fast_beams(fast, torch.full((1, 25), 3), limits, 2), "source has 25")
