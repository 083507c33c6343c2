"""Fast decoding: the outputs of the taught searches, whatever the model, the batch and the beam."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference import quick, refuses
from scratch import search
from scratch.datasets import pad_rows
from scratch.finetuning import LowRankAdapter, add_adapters, merge_adapters
from scratch.plumbing.fast import decoding as fast_decoding
from scratch.plumbing.fast.decoding import FastModel, fast_beams, fast_best, fast_outputs
from scratch.search import (
    Hypothesis,
    beam_search,
    greedy_search,
    multinomial_sampler,
    sample_search,
    seeded_generators,
    start_beams,
)
from scratch.transformer import Transformer
from scratch.translation import translate_ids
from small import model

pytestmark = pytest.mark.usefixtures("one_thread")

END = 2
SHAPES: list[dict[str, Any]] = [
    {"norm": norm, "positions": positions, "tie_embeddings": tie}
    for norm in ("pre", "post")
    for positions, tie in (("sinusoidal", True), ("learned", False))
]
ROWS = [[3, 4, 5, END], [7, END], [END], [9, 8, 7, 6, 5, 4, END]]
BATCH = pad_rows(ROWS, 0)


def fast_greedy(m: Transformer, source: Tensor) -> list[Hypothesis]:
    return fast_outputs(FastModel(m), source, fast_best)


def filed(m: Transformer, source: Tensor, beam_size: int) -> list[list[Hypothesis]]:
    """All outputs that the taught beam search files."""
    beams = start_beams(m, source, beam_size)
    with torch.inference_mode():
        while not beams.all_done():
            search.extend_beams(m, beams, 0.6)
    return beams.ended


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_and_drawn_outputs_are_the_taught_ones(shape: dict[str, Any]) -> None:
    for seed in range(6):
        m = model(seed, torch.float64, **shape)
        for ours, taught in zip(fast_greedy(m, BATCH), greedy_search(m, BATCH), strict=True):
            assert ours.tokens == taught.tokens
            assert ours.score == ours.log_prob
            # the taught sum is in float32
            assert ours.log_prob == pytest.approx(taught.log_prob, abs=1e-5)
        sampler = multinomial_sampler(1.3, seeded_generators(seed, range(len(BATCH))))
        found = fast_outputs(FastModel(m), BATCH, sampler)
        drawn = sample_search(m, BATCH, temperature=1.3, seed=seed)
        assert [ours.tokens for ours in found] == [taught.tokens for taught in drawn]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_a_beam_files_what_the_taught_one_files(shape: dict[str, Any], beam_size: int) -> None:
    for seed in range(4):
        m = model(seed, torch.float64, **shape)
        found = fast_beams(FastModel(m), BATCH, beam_size, 0.6)
        for ours, taught in zip(found, filed(m, BATCH, beam_size), strict=True):
            assert [h.tokens for h in ours] == [h.tokens for h in taught]
            for a, b in zip(ours, taught, strict=True):
                assert (a.log_prob, a.score) == pytest.approx((b.log_prob, b.score), abs=1e-5)


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
    assert [h.tokens for h in fast_greedy(m, source)] == [h.tokens for h in greedy]
    found = fast_beams(FastModel(m), source, beam_size, 0.0)
    best = [max(outputs, key=lambda output: output.score).tokens for outputs in found]
    beam = beam_search(m, source, beam_size=beam_size, length_penalty=0.0)
    assert best == [h.tokens for h in beam]


def test_the_cache_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_decoding, "FIRST_ROOM", 1)
    m = model(3, torch.float64, max_len=24)
    assert [h.tokens for h in fast_greedy(m, BATCH)] == [h.tokens for h in greedy_search(m, BATCH)]
    found, taught = fast_beams(FastModel(m), BATCH, 3, 0.6), filed(m, BATCH, 3)
    assert [[h.tokens for h in x] for x in found] == [[h.tokens for h in x] for x in taught]
    assert max(len(h.tokens) for outputs in found for h in outputs) > 8  # three doublings


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
    assert [len(h.tokens) for h in found] == [2 * (n + 1) + 10 - 1 for n in range(12)]
    assert sizes[0] == 12 and sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert [h.tokens for h in found] == [h.tokens for h in greedy_search(m, source)]


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


@pytest.mark.parametrize("everywhere", [False, True])
def test_weights_that_are_no_numbers_end_in_a_sentence(everywhere: bool) -> None:
    """Neither in a loop, nor in empty outputs, which the first NaN of a row would make."""
    m = model(0)
    with torch.no_grad():
        m.target_embedding.weight[5, 0] = math.nan
        if everywhere:
            m.target_embedding.weight.fill_(math.nan)
    fast, sampler = FastModel(m), multinomial_sampler(1.0, seeded_generators(0, range(4)))
    for search_for in (
        lambda: fast_beams(fast, BATCH, 2, 0.6),
        lambda: fast_outputs(fast, BATCH, sampler),
        lambda: fast_outputs(fast, BATCH, fast_best),
        lambda: greedy_search(m, BATCH),
    ):
        refuses(search_for, "scores are not numbers")


def test_sources_are_checked() -> None:
    fast = FastModel(model())
    refuses(lambda: fast_outputs(fast, torch.tensor([[12]]), fast_best), "the id 12")
    refuses(lambda: fast_beams(fast, torch.full((1, 25), 3), 2, 0.6), "source has 25")


def adapted(seed: int, parts: tuple[str, ...]) -> Transformer:
    """A model whose adapters have learned something."""
    m = model(seed, torch.float64)
    add_adapters(m, 2, parts=parts)
    for layer in m.modules():
        if isinstance(layer, LowRankAdapter):
            torch.nn.init.normal_(layer.up)
    return m


@pytest.mark.parametrize("parts", [("w_query", "w_value"), ("w_output", "expand"), ("contract",)])
def test_adapters_have_their_say(parts: tuple[str, ...]) -> None:
    changed = 0
    for seed in range(2):
        m = adapted(seed, parts)
        taught, ours = beam_search(m, BATCH, beam_size=3), translate_ids(m, ROWS, beam_size=3)
        greedy, fast = greedy_search(m, BATCH), translate_ids(m, ROWS, beam_size=1)
        merge_adapters(m)
        merged = translate_ids(m, ROWS, beam_size=3)
        assert [h.tokens for h in ours] == [h.tokens for h in taught] == [h.tokens for h in merged]
        assert [h.score for h in ours] == pytest.approx([h.score for h in taught], abs=1e-4)
        assert [h.tokens for h in fast] == [h.tokens for h in greedy]
        base = translate_ids(model(seed, torch.float64), ROWS, beam_size=3)
        changed += [h.tokens for h in base] != [h.tokens for h in ours]
    assert changed > 0


def test_a_model_with_unknown_parts_is_refused() -> None:
    class Louder(torch.nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    for name in ("encoder.layers.1.feed_forward.expand", "decoder.layers.0.cross_attention.w_key"):
        m = model()
        m.set_submodule(name, Louder(16, 24 if "expand" in name else 16))
        refuses(lambda m=m: translate_ids(m, ROWS), f"model's {name} is a Louder")  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("settings", [{"beam_size": 1}, {"beam_size": 3}, {"temperature": 1.0}])
def test_autocast_changes_nothing(dtype: torch.dtype, settings: dict[str, Any]) -> None:
    expected = translate_ids(model(), ROWS, **settings)
    with torch.autocast("cpu", dtype=dtype):
        assert translate_ids(model(), ROWS, **settings) == expected
