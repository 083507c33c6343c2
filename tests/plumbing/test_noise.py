"""Pairs as people type them: the French stays tidy, and what both sides share changes on both."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import quick
from scratch.plumbing.training.noise import PEOPLE, typed
from scratch.splits import sentence_key
from small import PAIRS

TOM = ("I know that Tom is here.", "Je sais que Tom est ici.")
MARY = ("Mary's brother sees Tom.", "Le frère de Marie voit Tom.")
YEAR = ("He was born in 1972.", "Il est né en 1972.")


def many(pair: tuple[str, str], n: int = 2_000) -> list[tuple[str, str]]:
    return typed([pair] * n, random.Random(1), never=set())


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)
pairs_of_text = st.lists(st.tuples(texts, texts), min_size=1, max_size=5).filter(
    lambda pairs: all(a.strip() and b.strip() for a, b in pairs)
)


@quick
@given(pairs_of_text, st.integers(0, 99))
def test_there_are_as_many_pairs_and_none_is_empty(pairs: list[tuple[str, str]], seed: int) -> None:
    found = typed(pairs, random.Random(seed), never=set())
    assert len(found) == len(pairs)
    assert all(english and french for english, french in found)
    assert found == typed(pairs, random.Random(seed), never=set())


def test_the_french_stays_as_it_is() -> None:
    whole = {french for _, french in PAIRS}
    found = typed(PAIRS * 200, random.Random(2), never=set())
    joined = [french for _, french in found if french not in whole]
    assert 0.01 < len(joined) / len(found) < 0.06
    assert all(any(french.startswith(first) for first in whole) for french in joined)


def test_english_loses_what_a_hurried_hand_leaves_out() -> None:
    english = "Where's the small cat?"
    counts = Counter(a for a, b in many((english, "Où est le petit chat ?")) if b.count("?") == 1)
    share = {text: n / 2_000 for text, n in counts.items()}
    assert 0.4 < share[english] < 0.7
    assert 0.05 < share["Where's the small cat"] < 0.15
    assert 0.01 < share["WHERE'S THE SMALL CAT?"] < 0.05
    assert 0.05 < share["where's the small cat?"] < 0.15  # all in lower case, or the first letter
    assert 0.15 < share["Where’s the small cat?"] < 0.3
    assert "He says “yes”." in {a for a, _ in many(('He says "yes".', "Il dit « oui »."))}


def test_a_name_is_exchanged_on_both_sides() -> None:
    for english, french in many(TOM):
        name = re.search(r"(?i)that (\w+) is", english)
        assert name
        said = re.search(r"(que |qu')(\w+) est", french)
        assert said
        assert said[2].lower() == name[1].lower()
        assert (said[1] == "qu'") == (said[2][0] in "AEIOUÉ")
    names = {re.search(r"(?:que |qu')(\w+) est", french)[1] for _, french in many(TOM)}  # type: ignore[index]
    assert len(names) > 300


def test_men_and_women_keep_their_places() -> None:
    from scratch.plumbing.training.noise import _names

    men, women = set(_names("m")), set(_names("f"))
    assert not men & women
    assert set(_names("n")) == men | women
    found = [re.match(r"Le frère (?:de |d')(\w+) voit (\w+)\.", b) for _, b in many(MARY)]
    sisters, brothers = ([f[n] for f in found if f] for n in (1, 2))
    for names, theirs, others in ((sisters, women, men), (brothers, men, women)):
        assert sum(name in theirs for name in names) > len(names) / 3
        assert sum(name in others for name in names) < len(names) / 100  # an invented one may be
    assert PEOPLE["Mary"] == ("Marie", "f")


def test_numbers_are_exchanged_on_both_sides() -> None:
    years = set()
    for english, french in many(YEAR):
        (a,), (b,) = re.findall(r"\d+", english)[:1], re.findall(r"\d+", french)[:1]
        assert a == b and len(a) == 4
        years.add(a)
    assert len(years) > 500
    kept = ("It is 7:30.", "Il est 7 h 30.")  # not the same number
    assert all("7 h 30" in french for _, french in many(kept, 200))


def test_slots_are_filled_and_elide() -> None:
    for english, french in many(("This is {f}'s book.", "C'est le livre de {f}.")):
        assert "{" not in english + french
    found = {french for _, french in many(("This is {f}'s book.", "C'est le livre de {f}."))}
    assert any("livre d'A" in french for french in found)
    assert not any(re.search(r"de [AEIOUÉ]|d'[^AEIOUÉ]", french) for french in found)


@pytest.mark.parametrize("side", [0, 1])
def test_what_must_never_be_seen_is_not_made(side: int) -> None:
    every = {sentence_key(pair[side]) for pair in many(TOM)}
    never = {key for n, key in enumerate(sorted(every)) if n % 2}
    found = typed([TOM] * 2_000, random.Random(4), never=never)
    assert not never & {sentence_key(pair[side]) for pair in found}
    assert len(found) == 2_000
