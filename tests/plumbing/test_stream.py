"""Streams of batches: every pair once an epoch, noised anew, and the same from any point."""

import itertools
import json
from typing import Any

import pytest

from scratch.datasets import encode_pairs
from scratch.plumbing.training.stream import Stream
from scratch.training import TrainingConfig, endless_batches
from small import PAIRS, tokenizer

CONFIG = TrainingConfig(steps=1, max_tokens=50, seed=2)


def stream(noise: bool = True) -> Stream:
    return Stream(tokenizer(), CONFIG, set() if noise else None)


def draw(s: Stream, count: int) -> Any:
    return itertools.islice(s.batches(PAIRS, 90), count)


def plain(items: Any) -> list[Any]:
    return [(epoch, b.source.tolist(), b.target.tolist(), b.labels.tolist()) for epoch, b in items]


def test_without_noise_it_is_the_taught_stream() -> None:
    taught = itertools.islice(endless_batches(encode_pairs(PAIRS, tokenizer()), CONFIG), 30)
    assert plain(draw(stream(False), 30)) == plain(taught)


@pytest.mark.parametrize("drawn", [0, 1, 4, 5, 6, 11])
def test_it_goes_on_from_any_point(drawn: int) -> None:
    first, second = stream(), stream()
    iterator = first.batches(PAIRS, 90)
    list(itertools.islice(iterator, drawn))
    second.go_to(first.position())
    assert plain(draw(second, 20)) == plain(itertools.islice(iterator, 20))
    assert second.position() == first.position()


def test_texts_are_noised_anew_for_each_epoch() -> None:
    epochs: dict[int, list[str]] = {}
    t = tokenizer()
    for epoch, source, _, _ in plain(draw(stream(), 300)):
        epochs.setdefault(epoch, []).extend(t.decode(row) for row in source)
    whole = [sorted(epochs[epoch]) for epoch in sorted(epochs)[:-1]]
    assert len(whole) > 20
    assert all(len(texts) == len(PAIRS) for texts in whole)
    assert len({str(texts) for texts in whole}) > len(whole) / 2


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
