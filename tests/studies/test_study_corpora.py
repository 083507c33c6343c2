"""The recorded measurements of the corpora are those that the command takes today."""

import json
import re
from pathlib import Path

import pytest

from scratch.datasets import multi30k, read_tsv
from scratch.plumbing.data import fetch
from scratch.plumbing.data.corpora import load_pairs, whole_tatoeba
from scratch.splits import sentence_key
from studies.corpora import MEASUREMENTS, measure, shared, unknown_words

BOOK = Path(__file__).parents[2] / "book"
RECORDED = BOOK / "runs/corpora"


def skip_without_the_files() -> None:
    missing = [name for name in fetch.CHECKSUMS if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: nothing to measure")


@pytest.mark.parametrize("which", MEASUREMENTS)
def test_the_recorded_numbers_are_measured_again(which: str) -> None:
    skip_without_the_files()
    recorded = (RECORDED / f"{which}.json").read_text(encoding="utf-8")
    assert json.loads(recorded) == MEASUREMENTS[which]()


def test_the_recorded_lines_are_trained_on() -> None:
    skip_without_the_files()
    trained = set(load_pairs("en-fr"))
    for name, pairs in (("multi30k", multi30k("train")), ("tatoeba", whole_tatoeba())):
        assert set(read_tsv(RECORDED / f"{name}.tsv")) <= trained & set(pairs)


def test_the_figure_to_touch_has_the_recorded_lengths() -> None:
    page = (BOOK / "11_data.ipynb").read_text(encoding="utf-8")
    (lengths,) = re.findall(r'data-lengths=\\"([\d ]+)\\"', page)
    recorded = json.loads((RECORDED / "leaks.json").read_text(encoding="utf-8"))["lengths"]
    assert [int(n) for n in lengths.split()] == recorded


def test_shared_by_hand() -> None:
    train = [("Go away.", "Pars !"), ("I am ready.", "Je suis prêt.")]
    test = [("Go away!", "Va-t'en !"), ("I'm ready.", "Je suis prêt."), ("Yes.", "Oui.")]
    assert shared(train, test) == {"english": 0, "french": 0.3333, "either": 0.3333}
    assert shared(train, test, sentence_key) == {
        "english": 0.3333,
        "french": 0.3333,
        "either": 0.6667,
    }


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
