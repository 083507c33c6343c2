"""The recorded measurements of the corpora are those that the command takes today."""

import json
from pathlib import Path

import pytest

from scratch.plumbing.data import fetch
from studies.corpora import corpus_statistics, measure, unknown_words

RECORDED = Path(__file__).parents[2] / "book/runs/corpora/statistics.json"


def test_the_recorded_numbers_are_measured_again() -> None:
    missing = [name for name in fetch.CHECKSUMS if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: nothing to measure")
    assert json.loads(RECORDED.read_text(encoding="utf-8")) == corpus_statistics()


def test_measured_by_hand() -> None:
    pairs = [("I see it.", "Je le vois."), ("I see it.", "Je la vois."), ("Yes!", "Mais si !")]
    assert measure(pairs) == {
        "pairs": 3,
        "sources": 2,
        "most references": 2,
        "mean words": [2.33, 2.67],
        "lengths": {"1": 1, "3": 2},
    }
    assert unknown_words(pairs, [("I see them.", "Je les vois.")]) == [0.3333, 0.3333]
