"""Translation: sentences alone or in a batch, texts of any kind, models that ship."""

import inspect
import math
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference import quick, refuses
from scratch.alignment import word_attention
from scratch.datasets import pad_rows
from scratch.embedding import TokenEmbedding
from scratch.plumbing.cli import _parser as build_parser
from scratch.plumbing.data.fetch import is_cached
from scratch.plumbing.fast.decoding import FastModel, fast_best, fast_outputs
from scratch.plumbing.models.storage import PRETRAINED
from scratch.search import (
    Hypothesis,
    beam_search,
    gnmt_penalty,
    greedy_search,
    left_to_right,
    multinomial_sampler,
    sample_search,
    seeded_generators,
)
from scratch.tokens import train_tokenizer
from scratch.translation import Search, Translation, Translator, translate_ids
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

END = 2
sources = st.lists(st.lists(st.integers(3, 11), max_size=6), min_size=1, max_size=5)


def sentence(*words: int) -> Tensor:
    return torch.tensor([[*words, END]])


# -- batches


@quick
@given(sources, st.integers(0, 5), st.integers(1, 4), st.integers(1, 6))
def test_neighbours_and_padding_change_nothing(
    rows: list[list[int]], seed: int, beam_size: int, batch_size: int
) -> None:
    m = model(seed, torch.float64)
    rows = [[*row, END] for row in rows]
    together = translate_ids(m, rows, beam_size=beam_size, batch_size=batch_size)
    for row, found in zip(rows, together, strict=True):
        (alone,) = translate_ids(m, [row], beam_size=beam_size)
        (padded,) = (
            greedy_search(m, pad_rows([row, [3] * 9], 0)[:1])
            if beam_size == 1
            else beam_search(m, pad_rows([row, [3] * 9], 0)[:1], beam_size=beam_size)
        )
        assert found.tokens == alone.tokens == padded.tokens
        assert found.score == pytest.approx(alone.score, abs=1e-4)
        assert found.score == pytest.approx(padded.score, abs=1e-4)


def test_a_neighbours_length_gives_no_more_room() -> None:
    m = model(vocab_size=12, max_len=60)
    with torch.no_grad():
        m.target_embedding.weight[END] = 0.0
        m.target_embedding.weight[3:] += 0.5
        dict(m.named_parameters())["decoder.final_norm.shift"].add_(3.0)  # never ends by itself
    short, long = [3, END], [*[4] * 15, END]
    for size in (1, 4):
        alone, together = (
            translate_ids(m, rows, beam_size=size)[0] for rows in ([short], [short, long])
        )
        assert len(alone.tokens) == 2 * 2 + 10 - 1
        assert together.tokens == alone.tokens
        assert together.score == pytest.approx(alone.score, abs=1e-4)


def test_results_come_in_the_order_of_their_sources() -> None:
    m = model(1, torch.float64)
    rows = [[*[w] * n, END] for w, n in ((3, 5), (4, 1), (5, 3), (6, 0), (7, 5), (8, 2))]
    for size in (1, 3):
        found = translate_ids(m, rows, beam_size=size, batch_size=2)
        alone = [translate_ids(m, [row], beam_size=size)[0] for row in rows]
        assert [f.tokens for f in found] == [a.tokens for a in alone]
    assert translate_ids(m, []) == []


# -- sampling


@quick
@given(sources, st.integers(0, 5), st.integers(1, 6))
def test_a_draw_depends_on_its_seed_and_number_only(
    rows: list[list[int]], seed: int, batch_size: int
) -> None:
    m = model(seed, torch.float64)
    rows = [[*row, END] for row in rows]
    settings: dict[str, Any] = {"temperature": 2.0, "seed": seed}
    together = translate_ids(m, rows, batch_size=batch_size, **settings)
    taught = sample_search(m, pad_rows(rows, 0), **settings)
    for number, row in enumerate(rows):
        (alone,) = translate_ids(m, [row], offset=number, **settings)
        sampler = multinomial_sampler(2.0, seeded_generators(seed, [number]))
        (by_hand,) = left_to_right(m, torch.tensor([row]), sampler)
        assert alone.tokens == together[number].tokens == taught[number].tokens == by_hand.tokens


def test_seeds_and_numbers_make_other_draws() -> None:
    m = model(0, torch.float64)
    rows = [[3, 4, 5, END]] * 30
    outputs = [
        [h.tokens for h in translate_ids(m, rows, temperature=1.5, seed=seed)] for seed in (0, 1)
    ]
    assert outputs[0] != outputs[1]
    assert outputs[0][1:] != outputs[1][:-1]  # seed 1 is not seed 0 one sentence later
    assert all(len(set(map(tuple, drawn))) > 4 for drawn in outputs)


def test_bad_sampling_settings_are_named() -> None:
    m = model()
    for bad in (0, 0.001, -1, math.nan, math.inf, 1_000, "1", True):
        refuses(lambda t=bad: translate_ids(m, [], temperature=t), "temperature is", repr(bad))  # type: ignore[misc]
    refuses(lambda: translate_ids(m, [], seed=-1), "seed is -1")
    refuses(lambda: translate_ids(m, [], offset=-1), "offset is -1")
    refuses(lambda: sample_search(m, sentence(3), seed=1.5), "seed is 1.5")  # type: ignore[arg-type]


# -- texts


def translator(seed: int = 0, max_len: int = 40) -> Translator:
    return Translator(model(seed, vocab_size=len(tokenizer()), max_len=max_len), tokenizer())


@pytest.mark.parametrize("beam_size", [1, 3])
def test_blank_texts_stay_blank_and_order_is_kept(beam_size: int) -> None:
    t = translator()
    texts = ["", "The man.", "  \t", "A dog sees him.", "\u00a0", "I see."]
    found = t.translate(texts, beam_size=beam_size)
    assert len(found) == len(texts)
    for i in (0, 2, 4):
        assert (found[i].text, found[i].tokens, found[i].score) == ("", [], 0.0)
    for i in (1, 3, 5):
        (alone,) = t.translate([texts[i]], beam_size=beam_size)
        assert (found[i].text, found[i].tokens) == (alone.text, alone.tokens)
        assert found[i].score == pytest.approx(alone.score, abs=1e-4)
        assert found[i].text == "".join(found[i].tokens).removeprefix(" ") or (
            "\ufffd" in found[i].text
        )
    assert t.translate([]) == []
    assert t.translate(["", " "]) == [found[0]] * 2


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f6b2\U0001f468\u200d\U0001f469",
        "\u05e9\u05dc\u05d5\u05dd",
        "<eos>",
        "\x00",
        "...",
        "\u2028x",
    ],
)
def test_texts_of_any_kind_are_answered(text: str) -> None:
    (found,) = translator().translate([text], beam_size=2)
    assert isinstance(found.text, str)
    assert found.score < 0


@pytest.mark.parametrize(
    "text", ["e\u0301" * 3 + "\u0300\u0316", "\u202eabc\u202c", "\ufeffx", "\U0010ffff", "a\x00b"]
)
@pytest.mark.parametrize("settings", [{"beam_size": 1}, {"temperature": 0.5}])
def test_odd_signs_are_answered_by_every_search(text: str, settings: dict[str, Any]) -> None:
    t = translator(max_len=40)
    (found,) = t.translate([text], **settings)
    assert isinstance(found.text, str)
    assert 0 <= len(found.tokens) <= 39
    refuses(lambda: t.translate(["\ud83d"], **settings), "surrogate")


def test_a_line_of_a_million_signs_is_refused_in_time() -> None:
    t, start = translator(), time.perf_counter()
    refuses(lambda: t.translate(["x" * 1_000_000]), "1000001 tokens", "at most 39")
    assert time.perf_counter() - start < 30  # seconds; it takes about one


def test_a_text_that_is_too_long_is_refused_and_says_how_long_it_is() -> None:
    t = translator()
    refuses(lambda: t.translate(["ok", "x" * 5_000]), "text 'xxx", "5001 tokens", "at most 39")
    words = "the " * 39
    assert len(t.translate([words], beam_size=1)) == 1
    refuses(lambda: t.translate([words + "the"]), "40 tokens", "at most 39")


def test_attention_is_there_when_asked_for() -> None:
    t = translator(max_len=60)
    (without,) = t.translate(["The man."], beam_size=2)
    (found, blank) = t.translate(["The man.", ""], beam_size=2, need_weights=True)
    assert without.attention is None
    assert blank.attention is None
    assert found == without  # maps are not compared
    assert found.attention is not None
    ids = t.source_ids("The man.")
    assert found.attention.shape == (2, 2, len(found.tokens), len(ids))
    assert torch.allclose(found.attention.sum(-1), torch.ones(2, 2, len(found.tokens)))


def test_the_attention_of_a_token_is_that_of_the_step_that_wrote_it() -> None:
    from scratch.decoder import DecoderMasks

    m = model(0, torch.float64)
    t = Translator(model(vocab_size=len(tokenizer())), tokenizer())
    t.model = m
    source, written = [3, 4, 5, END], [7, 8, 9]
    weights = t.attention(source, written)
    state, read = m.start(torch.tensor([source])), [1, *written]
    assert isinstance(state.read(torch.tensor([[1]])), DecoderMasks)
    state = m.start(torch.tensor([source]))
    for step in range(len(written)):
        _, _, cross = m.decode(torch.tensor([[read[step]]]), state, need_weights=True)
        expected = torch.cat([w for w in cross if w is not None])[:, :, 0]
        assert torch.allclose(weights[:, :, step], expected)


def test_a_device_is_cpu_or_a_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refuses(lambda: Translator.from_pretrained("grammar-en-fr", device="cuda"), "finds no GPU")
    refuses(lambda: Translator.from_pretrained("grammar-en-fr", device="gpu"), "device is 'gpu'")
    t = Translator.from_pretrained("grammar-en-fr", device="cpu")
    assert t.model.output.weight.device.type == "cpu"


def test_a_picture_shows_the_words_of_the_tokens_that_were_written() -> None:
    from scratch.alignment import word_attention
    from scratch.plumbing.attention_picture import written_attention

    t = Translator.from_pretrained("grammar-en-fr")
    english = "The old woman reads a good book."
    found = t.translate([english], need_weights=True)[0]
    weights, source, target = written_attention(t.tokenizer, english, found)
    expected, english_words, french_words = word_attention(
        t.model, t.tokenizer, english, found.text
    )
    assert (source, target) == (english_words, french_words)
    assert torch.allclose(weights, expected[-1].mean(0), atol=1e-6)
    # the same text in other tokens than the tokenizer's: byte by byte
    numbers = t.tokenizer.backend.get_vocab()
    ids = [numbers[sign] for sign in "ĠlaĠfemme"]
    pieces = t.tokenizer.pieces(ids)
    attention = t.attention(t.source_ids(english), ids)  # (L, H, 9, S)
    other = Translation("la femme", pieces, 0.0, attention)
    weights, source, target = written_attention(t.tokenizer, english, other)
    assert (source, target) == (english_words, ["la", "femme"])
    rows = torch.stack([attention[-1, :, :3].mean((0, 1)), attention[-1, :, 3:].mean((0, 1))])
    assert torch.allclose(weights.sum(1), rows[:, :-1].sum(1), atol=1e-6)
    for nothing in (Translation("", [], 0.0), replace(found, attention=None)):
        refuses(lambda n=nothing: written_attention(t.tokenizer, english, n), "no attention")  # type: ignore[misc]


def test_bad_texts_are_named() -> None:
    t = translator()
    refuses(lambda: t.translate("The man."), "texts is a str", "list")
    refuses(lambda: t.translate(None), "texts is a NoneType")  # type: ignore[arg-type]
    refuses(lambda: t.translate(["a", None]), "text is a NoneType")  # type: ignore[list-item]
    refuses(lambda: t.translate(["\ud83d"]), "surrogate")


def test_bad_search_settings_are_named_even_where_nothing_is_to_be_done() -> None:
    t, m = translator(), model()
    for texts in ([], [""], ["a"]):
        for size in (0, -1, 1.0, "5", None, True):
            refuses(lambda x=texts, s=size: t.translate(x, beam_size=s), "beam_size", repr(size))  # type: ignore[misc]
        for alpha in (-0.1, math.nan, math.inf, "0.6", None, 1e6):
            for size in (1, 2):
                refuses(
                    lambda x=texts, s=size, a=alpha: t.translate(x, beam_size=s, length_penalty=a),  # type: ignore[misc]
                    "length_penalty",
                    repr(alpha),
                )
    refuses(lambda: translate_ids(m, [[3]], batch_size=0), "batch_size is 0")
    refuses(lambda: beam_search(m, sentence(3), beam_size=0), "beam_size is 0")
    refuses(lambda: beam_search(m, sentence(3), length_penalty=-1), "length_penalty is -1")
    refuses(lambda: gnmt_penalty(0, 0.6), "length is 0")
    refuses(lambda: gnmt_penalty(3, math.nan), "alpha is nan")


def test_bad_sources_are_named() -> None:
    m = model()
    refuses(lambda: translate_ids(m, [[3, 12]]), "sources holds 12", "11")
    refuses(lambda: translate_ids(m, [[-1]]), "sources holds -1")
    refuses(lambda: translate_ids(m, ["ab"]), "sources is a str")  # type: ignore[list-item]
    refuses(lambda: translate_ids(m, [[3], []]), "rows")
    refuses(lambda: translate_ids(m, [[3] * 25]), "source has 25", "24")
    for search in (greedy_search, lambda *a: beam_search(*a, beam_size=2)):
        refuses(lambda s=search: s(m, [[3]]), "source is a list")  # type: ignore[misc]
        refuses(lambda s=search: s(m, torch.tensor([3])), "source has shape (1,)")  # type: ignore[misc]
        refuses(lambda s=search: s(m, torch.tensor([[3.0]])), "source has dtype")  # type: ignore[misc]
        refuses(lambda s=search: s(m, torch.tensor([[12]])), "source holds the id 12")  # type: ignore[misc]


def test_every_way_to_translate_has_the_same_defaults(root: Path) -> None:
    """A script, a chapter, the command line and the browser look for the same outputs."""
    expected = Search().beam_size, Search().length_penalty
    taught = inspect.signature(beam_search).parameters
    asked = build_parser().parse_args(["evaluate"])
    page = (root / "book/playground.md").read_text("utf-8")
    address = (root / "book/assets/playground/address.js").read_text("utf-8")
    form = [re.search(rf'name="{name}"[^>]* value="([^"]+)"', page) for name in ("beam", "alpha")]
    link = [re.search(rf'DEFAULTS = .*\b{name}: "([^"]+)"', address) for name in ("beam", "alpha")]
    for found in (
        [taught[name].default for name in ("beam_size", "length_penalty")],
        [asked.beam, asked.length_penalty],
        [float(match[1]) for match in form if match],
        [float(match[1]) for match in link if match],
    ):
        assert tuple(found) == expected


def test_a_model_and_a_tokenizer_that_do_not_belong_together_are_refused() -> None:
    refuses(lambda: Translator(model(vocab_size=99), tokenizer()), "tokenizer has", "99")
    refuses(lambda: Translator(None, tokenizer()), "model is a NoneType")  # type: ignore[arg-type]
    refuses(lambda: Translator(model(), None), "tokenizer is a NoneType")  # type: ignore[arg-type]


def test_a_translator_drops_nothing_out() -> None:
    m = model(vocab_size=len(tokenizer()), dropout=0.5).train()
    t = Translator(m, tokenizer())
    assert not m.training
    assert t.translate(["The man."]) == t.translate(["The man."])


def test_autocast_changes_neither_texts_nor_attention() -> None:
    t = translator()
    (expected,) = t.translate(["The man."], need_weights=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = t.translate(["The man."], need_weights=True)
    assert found == expected
    assert found.attention is not None and expected.attention is not None
    assert torch.equal(found.attention, expected.attention)


def test_one_thread_translates_and_the_caller_gets_his_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two would spin for each other where something else keeps a core busy."""
    seen: set[int] = set()
    read = TokenEmbedding.forward

    def watched(self: TokenEmbedding, ids: Tensor) -> Tensor:
        seen.add(torch.get_num_threads())
        return read(self, ids)

    monkeypatch.setattr(TokenEmbedding, "forward", watched)
    t, english = translator(), "The man sees the dog."
    torch.set_num_threads(3)
    try:
        for work in (
            lambda: t.translate([english], need_weights=True),
            lambda: t.translate([english], beam_size=1),
            lambda: greedy_search(t.model, sentence(5, 6)),
            lambda: sample_search(t.model, sentence(5, 6)),
            lambda: beam_search(t.model, sentence(5, 6)),
            lambda: word_attention(t.model, t.tokenizer, english, "L'homme"),
        ):
            seen.clear()
            work()
            assert seen == {1}
            assert torch.get_num_threads() == 3
        refuses(lambda: t.translate([english], beam_size=0), "beam_size")
        with pytest.raises(ValueError, match="holds 999"):
            translate_ids(t.model, [[999]])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


CORES = os.cpu_count() or 1
BURNER = 'print("here", flush=True)\nwhile True: pass'


def test_a_busy_machine_costs_no_more_work() -> None:
    """While others burn every core, what sixteen sentences cost is what they cost one thread.

    Two threads would burn as much time again as each of them waits for the other.
    """
    t = Translator.from_pretrained("grammar-en-fr")

    def spent(threads: int) -> float:
        torch.set_num_threads(threads)
        start = time.process_time()
        for _ in range(16):
            t.translate(["The small cat sees the red bicycle."], beam_size=1)
        return time.process_time() - start

    command = [sys.executable, "-c", BURNER]
    burners = [
        subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)
    ]
    try:
        for burner in burners:
            assert burner.stdout is not None
            assert burner.stdout.readline() == b"here\n"
        rounds = [(spent(1), spent(2)) for _ in range(3)]
    finally:
        torch.set_num_threads(1)
        for burner in burners:
            burner.kill()
            burner.communicate()
    one, two = (min(seconds) for seconds in zip(*rounds, strict=True))
    assert two < 3 * one


def test_a_trained_model_translates() -> None:
    from scratch.datasets import encode_pairs
    from scratch.training import TrainingConfig, train

    words = train_tokenizer([text for pair in PAIRS for text in pair], 600)
    m = model(vocab_size=len(words), max_len=64, d_model=32, d_ff=64, dropout=0.0)
    config = TrainingConfig(
        steps=120, peak_rate=1e-2, warmup_steps=20, schedule="linear", label_smoothing=0.0
    )
    list(train(m, encode_pairs(PAIRS, words), config))
    for size in (1, 4):
        found = Translator(m, words).translate([e for e, _ in PAIRS], beam_size=size)
        assert [f.text for f in found] == [french for _, french in PAIRS]
        assert isinstance(translate_ids(m, [[3, END]], beam_size=size)[0], Hypothesis)


# -- the models that ship


def grammar_test() -> list[str]:
    from scratch.datasets import grammar

    splits = grammar()
    return [pair.english_text for pair in (*splits.seen[:150], *splits.unseen[:150])]


def real_tests() -> list[str]:
    from scratch.datasets import multi30k, tatoeba

    captions = [english for english, _ in multi30k("test_2016_flickr")]
    return captions + list(dict.fromkeys(english for english, _ in tatoeba("test")))


TESTED_ON: dict[str, tuple[Callable[[], list[str]], tuple[str, ...]]] = {
    "grammar-en-fr": (grammar_test, ()),
    "en-fr": (
        real_tests,
        ("multi30k/test_2016_flickr.en.gz", "multi30k/test_2016_flickr.fr.gz", "tatoeba/fra.txt"),
    ),
}


def shipped() -> list[str]:
    return sorted(folder.parent.name for folder in PRETRAINED.glob("*/config.json"))


@pytest.mark.parametrize("name", shipped())
def test_batch_size_and_padding_change_no_token_on_any_test_sentence(name: str) -> None:
    texts_of, files = TESTED_ON[name]  # a new model has to say what it is tested on
    missing = [file for file in files if not is_cached(file)]
    if missing:
        pytest.skip(f"the test sentences of {name} are not in the cache: {', '.join(missing)}")
    t, texts = Translator.from_pretrained(name), texts_of()
    ids = [t.source_ids(text) for text in texts]
    expected = translate_ids(t.model, ids, beam_size=1, batch_size=64)
    shuffled = random.Random(0).sample(range(len(ids)), len(ids))
    for first in range(0, len(ids), 50):  # neighbours of any length, so that there is padding
        rows = shuffled[first : first + 50]
        batch = pad_rows([ids[i] for i in rows], t.model.config.pad_id)
        found = fast_outputs(FastModel(t.model), batch, fast_best)
        for i, h in zip(rows, found, strict=True):
            assert h.tokens == expected[i].tokens
            assert h.score == pytest.approx(expected[i].score, abs=1e-4)
    few = ids[:: max(1, len(ids) // 40)]
    alone = translate_ids(t.model, few, beam_size=5, batch_size=1)
    together = translate_ids(t.model, few, beam_size=5, batch_size=40)
    for a, b in zip(alone, together, strict=True):
        assert a.tokens == b.tokens
        assert a.score == pytest.approx(b.score, abs=1e-4)
