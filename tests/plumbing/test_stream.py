"""Streams of batches: every pair once an epoch, cut anew, and the same again from any point.

BPE-dropout: nothing left out is the tokenizer itself; something left out is still the text.
"""

import itertools
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import quick, refuses
from scratch.datasets import encode_pairs
from scratch.plumbing.training.stream import MergeDropout, Stream, encode_epoch
from scratch.training import TrainingConfig, endless_batches
from small import PAIRS, tokenizer

CONFIG = TrainingConfig(steps=1, max_tokens=50, seed=2)


def stream(p: float = 0.2) -> Stream:
    return Stream(tokenizer(), CONFIG, p)


def draw(s: Stream, count: int) -> Any:
    return itertools.islice(s.batches(PAIRS, 90), count)


def plain(items: Any) -> list[Any]:
    return [(epoch, b.source.tolist(), b.target.tolist(), b.labels.tolist()) for epoch, b in items]


def test_without_dropout_it_is_the_taught_stream() -> None:
    taught = itertools.islice(endless_batches(encode_pairs(PAIRS, tokenizer()), CONFIG), 30)
    assert plain(draw(stream(0.0), 30)) == plain(taught)


@pytest.mark.parametrize("drawn", [0, 1, 4, 5, 6, 11])
def test_it_goes_on_from_any_point(drawn: int) -> None:
    first, second = stream(), stream()
    iterator = first.batches(PAIRS, 90)
    list(itertools.islice(iterator, drawn))
    second.go_to(first.position())
    assert plain(draw(second, 20)) == plain(itertools.islice(iterator, 20))
    assert second.position() == first.position()


def test_texts_are_cut_anew_for_each_epoch() -> None:
    epochs: dict[int, list[str]] = {}
    for epoch, source, target, _ in plain(draw(stream(), 60)):
        t = tokenizer()
        epochs.setdefault(epoch, []).extend(t.decode(row) for row in source + target)
    complete = sorted(epochs)[:-1]
    assert len(complete) > 3
    texts = sorted(t.normalise(text) for pair in PAIRS for text in pair)
    assert all(sorted(epochs[epoch]) == texts for epoch in complete)
    ids = {str(plain(draw(stream(), 60))[n][1]) for n in range(60)}
    assert len(ids) > 50


def test_it_knows_when_an_epoch_is_over() -> None:
    s = stream()
    ends = []
    for n, (epoch, _) in enumerate(draw(s, 40)):
        assert s.finished() in (epoch - 1, epoch)
        ends += [(n, epoch)] if s.finished() == epoch else []
    following = [epoch for epoch, _ in draw(stream(), 41)]
    assert ends == [(n, e) for n, e in enumerate(following[:-1]) if following[n + 1] > e]


@pytest.mark.parametrize(
    "position",
    ["", "5", "[]", "[" * 100_000, "{}", '{"epoch": "1", "done": 0, "state": "a"}',
     '{"epoch": 0, "done": 0, "state": "a"}', '{"epoch": 1, "done": -1, "state": "a"}',
     '{"epoch": 1, "done": 0, "state": 5}'],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_position_is_refused(position: str) -> None:
    s = stream()
    before = s.position()
    with pytest.raises((ValueError, KeyError)):
        s.go_to(position)
    assert json.loads(s.position()) == json.loads(before)


# -- BPE-dropout


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


def test_a_word_of_two_bytes_is_cut_anew_each_time() -> None:
    """Only a single byte has nothing to leave out."""
    merges = MergeDropout(tokenizer(), 0.3)
    pair = next(left + right for left, right in merges.rank if len(left + right) == 2)
    draw = random.Random(1)
    whole = sum(len(merges.encode([pair], draw)) == 1 for _ in range(1_000))
    assert whole / 1_000 == pytest.approx(0.7, abs=0.05)
    state = draw.getstate()
    assert len({len(merges.encode([pair[0]], draw)) for _ in range(9)}) == 1
    assert draw.getstate() == state


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
