"""Scores: sacrebleu's own numbers, the published protocol, and everyday sentences."""

import hashlib

import pytest
import sacrebleu

from reference import refuses
from scratch.datasets import multi30k
from scratch.plumbing.data import fetch
from scratch.plumbing.data.everyday import everyday_sentences
from scratch.plumbing.scoring.scores import (
    PUBLISHED,
    corpus_bleu,
    published_form,
    score_phrases,
    score_texts,
)

FOUND = [
    "Un homme n'a pas d'arrière-plan.",
    "L’Été, elle dit : « Viens ! »",
    "Deux chiens courent dans la neige.",
]
REFERENCES = [
    "Un homme n'a pas d'arrière-plan rouge.",
    "L'été, elle dit : « Viens ici ! »",
    "Deux chiens bruns courent dans la neige.",
]
# by hand: lower case, plain quotation marks and apostrophes, signs apart, hyphens whole
FOUND_FORM = [
    "un homme n&apos; a pas d&apos; arrière-plan .",
    "l&apos; été , elle dit : &quot; viens ! &quot;",
    "deux chiens courent dans la neige .",
]
REFERENCES_FORM = [
    "un homme n&apos; a pas d&apos; arrière-plan rouge .",
    "l&apos; été , elle dit : &quot; viens ici ! &quot;",
    "deux chiens bruns courent dans la neige .",
]


def test_the_published_form_is_as_written_by_hand() -> None:
    assert [published_form(text) for text in FOUND] == FOUND_FORM
    assert [published_form(text) for text in REFERENCES] == REFERENCES_FORM
    assert published_form("Un t-shirt n° 3 à 2,50 €") == "un t-shirt n ° 3 à 2,50 €"
    assert published_form("") == ""


def test_the_protocol_is_sacrebleu_on_that_form_and_nothing_more() -> None:
    scores = score_texts(FOUND, [[r] for r in REFERENCES], published=True)
    metric = sacrebleu.BLEU(tokenize="none")
    expected = metric.corpus_score(FOUND_FORM, [REFERENCES_FORM])
    assert scores[PUBLISHED].value == expected.score
    assert 40 < expected.score < 90
    assert scores[PUBLISHED].signature == str(metric.get_signature())
    assert "tok:none" in scores[PUBLISHED].signature
    cased = sacrebleu.corpus_bleu(FOUND, [REFERENCES])
    assert scores["BLEU"].value == cased.score != expected.score
    assert scores["chrF2"].value == sacrebleu.corpus_chrf(FOUND, [REFERENCES]).score
    assert "tok:13a" in scores["BLEU"].signature and "case:mixed" in scores["BLEU"].signature
    assert set(score_texts(FOUND, [[r] for r in REFERENCES])) == {"BLEU", "chrF2"}


def test_escaping_renames_tokens_and_changes_no_score() -> None:
    plain = [[t.replace("&apos;", "'").replace("&quot;", '"') for t in column] for column in
             (FOUND_FORM, REFERENCES_FORM)]  # fmt: skip
    bleu = sacrebleu.corpus_bleu(plain[0], [plain[1]], tokenize="none").score
    scores = score_texts(FOUND, [[r] for r in REFERENCES], published=True)
    assert scores[PUBLISHED].value == pytest.approx(bleu)


def test_the_official_test_split_becomes_the_published_token_file() -> None:
    """The published file has these 75,145 characters; the digest was taken of what equals it."""
    files = [f"multi30k/test_2016_flickr.{language}.gz" for language in ("en", "fr")]
    missing = [name for name in files if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: nothing to tokenise")
    lines = [published_form(french) for _, french in multi30k("test_2016_flickr")]
    text = "".join(f"{line}\n" for line in lines)
    assert len(text) == 75_145
    assert len(text.split()) == 13_988
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST


DIGEST = "8eba5d4b54d69511b3a9fdb8ad06ef0a8861a888f6cc1ebd1ee8b5699d0bf0e1"


def test_every_reference_counts_and_sentences_may_have_different_numbers() -> None:
    found = ["Je le vois bien ici.", "Tu viens avec moi ?"]
    references = [["Je le vois ici.", "Je le vois bien là."], ["Tu viens avec moi ?"]]
    columns = [["Je le vois ici.", "Tu viens avec moi ?"], ["Je le vois bien là.", None]]
    scores = score_texts(found, references)
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    assert scores["BLEU"].value == bleu.corpus_score(found, columns).score  # type: ignore[arg-type]
    assert scores["chrF2"].value == chrf.corpus_score(found, columns).score  # type: ignore[arg-type]
    assert scores["BLEU"].signature == str(bleu.get_signature())
    assert "nrefs:var" in scores["BLEU"].signature
    assert corpus_bleu(found, references) == scores["BLEU"].value
    for n in (0, 1):
        one = [[each[min(n, len(each) - 1)]] for each in references]
        assert score_texts(found, one)["BLEU"].value < scores["BLEU"].value
    right = ["Je le vois bien là.", "Tu viens avec moi ?"]
    assert score_texts(right, references)["BLEU"].value == pytest.approx(100)


def test_what_cannot_be_scored_is_refused() -> None:
    refuses(lambda: score_texts(["a"], [["a"], ["b"]]), "found has 1 lines", "2")
    refuses(lambda: score_texts([], []), "found has 0 lines")
    refuses(lambda: score_texts(["a", "b"], [["a"], []]), "line 2")


def test_a_wrong_everyday_answer_is_caught() -> None:
    right = [sentence.accepted[-1] for sentence in everyday_sentences()]
    assert score_phrases(everyday_sentences(), right) == []
    shouted = [text.upper().rstrip(" .?!") for text in right]
    assert score_phrases(everyday_sentences(), shouted) == []
    answers = list(right)
    answers[0], answers[39] = "Où est la guerre ?", ""
    english = [sentence.english for sentence in everyday_sentences()]
    assert score_phrases(everyday_sentences(), answers) == [
        (english[0], "Où est la guerre ?"),
        (english[39], ""),
    ]
    # an answer that is right for another sentence is wrong for this one
    assert len(score_phrases(everyday_sentences(), [right[-1], *right[:-1]])) == 40
    refuses(lambda: score_phrases(everyday_sentences(), right[:-1]), "found has 39 lines", "40")


def test_an_interval_holds_the_score_of_most_samples() -> None:
    found = [f"the cat sat on mat {n}" for n in range(60)]
    references = [[text if n % 3 else f"a dog ran over mat {n}"] for n, text in enumerate(found)]
    plain, drawn = (score_texts(found, references, samples=n)["BLEU"] for n in (0, 300))
    assert plain.interval == 0 and plain.value == drawn.value
    assert 3 < drawn.interval < 20
    assert "bs:300" in drawn.signature and "bs:" not in plain.signature
    assert drawn.to_dict()["interval"] == round(drawn.interval, 2)
    again = score_texts(found, references, samples=300)["BLEU"]
    assert again.interval == drawn.interval
    wider = score_texts(found[:15], references[:15], samples=300)["BLEU"]
    assert wider.interval > drawn.interval
    assert score_texts(found[:1], references[:1], samples=300)["BLEU"].interval == 0
