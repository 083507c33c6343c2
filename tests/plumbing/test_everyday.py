"""The forty everyday sentences: as many as promised, readable, and in no training text."""

import re
from collections import Counter
from pathlib import Path

import pytest

from reference import refuses
from scratch.datasets import multi30k, read_tsv
from scratch.plumbing.data import corpora, fetch
from scratch.plumbing.data.everyday import everyday_sentences, first_inputs, read_everyday
from scratch.plumbing.training.noise import NAMES
from scratch.splits import sentence_key
from scratch.tokens import byte_pair_backend


def test_there_are_ten_phenomena_with_four_sentences_each() -> None:
    sentences = everyday_sentences()
    assert len({sentence_key(s.english) for s in sentences}) == 40
    assert list(Counter(s.phenomenon for s in sentences).values()) == [4] * 10
    assert all(s.accepted for s in sentences)


def test_thirty_first_inputs_are_closed_and_thirty_unseen() -> None:
    inputs = first_inputs()
    assert Counter(s.phenomenon for s in inputs) == {"closed": 30, "unseen": 30}
    assert len({s.english for s in inputs}) == 60 and all(s.accepted for s in inputs)
    unseen = {sentence_key(s.english) for s in inputs if s.phenomenon == "unseen"}
    assert unseen.isdisjoint(sentence_key(s.english) for s in inputs if s.phenomenon == "closed")


def test_every_pattern_is_expanded() -> None:
    for sentence in (*everyday_sentences(), *first_inputs()):
        for text in (sentence.english, *sentence.accepted):
            assert not set("{}|[]\t") & set(text)
            assert text.strip() == text


def test_what_counts_and_what_does_not() -> None:
    station = next(s for s in everyday_sentences() if "station" in s.english)
    for right in (
        "Où est la gare ?",
        "où est la gare",
        "OÙ SE TROUVE LA GARE\u202f?",
        "Où est-ce que la gare se trouve?",
    ):
        assert station.is_right(right)
    for wrong in (
        "Ou est la gare ?",
        "Où est le gare ?",
        "Où est la",
        "",
        "Où est la gare la gare ?",
    ):
        assert not station.is_right(wrong)
    (here,) = (s for s in everyday_sentences() if s.english.startswith("I have lived"))
    assert here.is_right("J'habite ici depuis dix ans.")
    assert here.is_right("Cela fait dix ans que j\u2019habite ici.")
    assert not here.is_right("Je vis ici pendant dix ans.")


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("# a remark\n[x]\n  Va !\n")
    refuses(lambda: read_everyday(path), f"line 3 of {path}")
    path.write_text("[x]\nGo.\nStop.\n  Stop{| !}\n")
    refuses(lambda: read_everyday(path), "'Go.'")
    refuses(lambda: read_everyday(tmp_path / "b"), "text file")
    path.write_text("[x]\nStop.\n  {Stop|Arrête{|z}\n")  # a brace that is never closed is text
    assert read_everyday(path)[0].accepted == ("{Stop|Arrête", "{Stop|Arrêtez")


# -- the mixed corpus


@pytest.fixture(scope="module")
def mixed() -> list[tuple[str, str]]:
    missing = [name for name in fetch.CHECKSUMS if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()} (or not whole)")
    return corpora.load_pairs("en-fr")


def test_the_mixed_corpus_shares_no_sentence_with_what_judges_it(
    mixed: list[tuple[str, str]],
) -> None:
    assert len(mixed) == 267_123
    english, french = ({sentence_key(text) for text in side} for side in zip(*mixed, strict=True))
    held = corpora.held_out_pairs()
    assert len(held) == 1_014 + 1_000 + 1_643 + 1_502
    assert not english & {sentence_key(source) for source, _ in held}
    assert not french & {sentence_key(target) for _, target in held}
    assert not english & {sentence_key(s.english) for s in everyday_sentences()}
    closed, unseen = (
        {sentence_key(s.english) for s in first_inputs() if s.phenomenon == kind}
        for kind in ("closed", "unseen")
    )
    assert not english & unseen
    assert closed <= english


def test_no_text_is_lost_but_what_is_held_out(mixed: list[tuple[str, str]]) -> None:
    clean = byte_pair_backend().normalizer.normalize_str
    assert clean("Va\u202f!") == clean("Va !") == " Va !"  # narrow spaces become spaces
    kept = set(mixed)
    assert sum(pair in kept for pair in multi30k("train")) == 28_996
    captions = set(multi30k("train")) & kept
    times = {count for pair, count in Counter(mixed).items() if pair in captions}
    assert times == {3, 6}  # a few captions stand twice in the corpus


def test_what_people_say_first_is_whole_and_said_once() -> None:
    pairs = read_tsv(corpora.HERE.with_name("first_contact.tsv"))
    assert len(pairs) >= 200
    assert len({english for english, _ in pairs}) == len(pairs)
    for english, french in pairs:
        assert re.findall(r"\{.\}", english) == re.findall(r"\{.\}", french)


def test_no_name_of_the_unseen_first_inputs_is_exchanged_for_another() -> None:
    unseen = " ".join(s.english for s in first_inputs() if s.phenomenon == "unseen")
    names = set(NAMES.read_text(encoding="utf-8").split())
    assert not names & set(re.findall(r"\w+", unseen)) - {"the", "a", "in", "for", "are", "of"}
    assert len(names) > 350
