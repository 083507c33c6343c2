"""Streams of batches: every pair once an epoch, cut anew, and the same again from any point."""

import itertools
from typing import Any

import pytest

from scratch.datasets import encode_pairs
from scratch.plumbing.training.recipes import Extras
from scratch.plumbing.training.stream import Stream
from scratch.training import TrainingConfig, endless_batches
from small import PAIRS, tokenizer

CONFIG = TrainingConfig(steps=1, max_tokens=50, seed=2)


def stream(p: float = 0.2) -> Stream:
    return Stream(tokenizer(), CONFIG, Extras(bpe_dropout=p))


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
