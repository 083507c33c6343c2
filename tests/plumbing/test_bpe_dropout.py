"""BPE-dropout: nothing left out is the tokenizer itself; something left out is still the text."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import quick, refuses
from scratch.datasets import encode_pairs
from scratch.plumbing.training.bpe_dropout import MergeDropout, encode_epoch
from small import PAIRS, tokenizer

WORDS = " ".join(" ".join(pair) for pair in PAIRS).split()
words_of_text = st.one_of(
    st.text(max_size=40), st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
)


@quick
@given(words_of_text)
def test_nothing_left_out_is_what_the_tokenizer_gives(text: str) -> None:
    merges = MergeDropout(tokenizer(), 0.0)
    draw = random.Random(0)
    state = draw.getstate()
    assert merges.encode(merges.words(text), draw) == tokenizer().encode(text)
    assert draw.getstate() == state


@quick
@given(words_of_text, st.sampled_from([0.1, 0.5, 0.99]), st.integers(0, 99))
def test_whatever_is_left_out_the_text_comes_back(text: str, p: float, seed: int) -> None:
    merges = MergeDropout(tokenizer(), p)
    ids = merges.encode(merges.words(text), random.Random(seed))
    assert tokenizer().decode(ids) == tokenizer().normalise(text)
    assert len(ids) >= len(tokenizer().encode(text)) or p > 0


def test_more_dropout_makes_more_pieces() -> None:
    text = " ".join(" ".join(pair) for pair in PAIRS)
    lengths = []
    for p in (0.0, 0.1, 0.5, 0.99):
        merges = MergeDropout(tokenizer(), p)
        lengths.append(len(merges.encode(merges.words(text), random.Random(0))))
    assert lengths == sorted(set(lengths))
    assert lengths[-1] > 0.9 * len(text.encode())


def test_the_first_merge_is_left_out_as_often_as_it_should() -> None:
    """A word of two bytes has one chance to be merged."""
    merges = MergeDropout(tokenizer(), 0.3)
    pair = next(left + right for left, right in merges.rank if len(left + right) == 2)
    draw = random.Random(1)
    whole = sum(len(merges.cut(pair, 0.3, draw)) == 1 for _ in range(10_000))
    assert whole / 10_000 == pytest.approx(0.7, abs=0.02)


def test_a_state_decides_an_epoch() -> None:
    merges = MergeDropout(tokenizer(), 0.2)
    words = [(merges.words(a), merges.words(b)) for a, b in PAIRS]

    def epoch(state: str) -> list[list[int]]:
        found = encode_epoch(words, merges, state, max_len=99)
        return [ids for e in found for ids in (e.source, e.target)]

    assert epoch("a") == epoch("a")
    assert epoch("a") != epoch("b")
    whole = encode_epoch(words, MergeDropout(tokenizer(), 0.0), "a", max_len=99)
    assert whole == encode_pairs(PAIRS, tokenizer(), max_len=99)
    short = encode_epoch(words, merges, "a", max_len=20)
    assert 0 < len(short) < len(PAIRS)
    assert all(max(len(e.source), len(e.target)) <= 20 for e in short)


def test_bad_probabilities_are_named() -> None:
    for p in (1.0, -0.1, None):
        refuses(lambda p=p: MergeDropout(tokenizer(), p), f"p is {p!r}")  # type: ignore[misc]
