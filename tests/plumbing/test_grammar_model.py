"""The first translator: trained here from nothing, and the one that ships with the book."""

from collections.abc import Sequence

import pytest

from scratch.alignment import (
    Links,
    alignment_error_rate,
    diagonal_links,
    ibm1_scores,
    links_both_ways,
    near_diagonal,
    train_ibm1,
    word_attention,
)
from scratch.corpus import SentencePair
from scratch.datasets import grammar
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.training.recipes import RECIPES
from scratch.plumbing.training.run import Run
from scratch.splits import Splits
from scratch.translation import Translator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def splits() -> Splits:
    return grammar()


@pytest.fixture(scope="module")
def trained(one_thread: None) -> Translator:
    """The recipe run from nothing, on the one thread that its command computes on."""
    run = Run(RECIPES["grammar"])
    for _ in run.steps():
        pass
    return Translator(run.model, run.tokenizer)


@pytest.fixture(scope="module", params=["trained here", "shipped"])
def translator(request: pytest.FixtureRequest) -> Translator:
    if request.param == "shipped":
        return Translator(*load_pretrained("grammar-en-fr"))
    found: Translator = request.getfixturevalue("trained")
    return found


def exact_match(translator: Translator, pairs: Sequence[SentencePair]) -> float:
    found = translator.translate([pair.english_text for pair in pairs], beam_size=1)
    return sum(f.text == p.french_text for f, p in zip(found, pairs, strict=True)) / len(pairs)


def test_held_out_sentences_are_translated_to_the_letter(
    translator: Translator, splits: Splits
) -> None:
    assert len(splits.seen) == len(splits.unseen) == 500
    assert exact_match(translator, splits.seen) >= 0.95
    assert exact_match(translator, splits.unseen) >= 0.95


def swapped_only(links: Links, pair: SentencePair) -> Links:
    targets = {t for s, t in pair.links if s in pair.swapped}
    return frozenset((s, t) for s, t in links if t in targets)


def test_attention_aligns_as_well_as_words_and_not_as_well_as_words_with_places(
    translator: Translator, splits: Splits
) -> None:
    pairs = [*splits.seen[:200], *splits.unseen[:200]]
    train = [(pair.english, pair.french) for pair in splits.train[:4_000]]
    to_french, to_english = train_ibm1(train), train_ibm1([(f, e) for e, f in train])
    names = ("attention", "words", "words and places", "diagonal")
    links: dict[str, list[Links]] = {name: [] for name in names}
    for pair in pairs:
        weights, source, target = word_attention(
            translator.model, translator.tokenizer, pair.english_text, pair.french_text
        )
        assert [word.lower() for word in source] == [word.lower() for word in pair.english]
        assert [word.lower() for word in target] == [word.lower() for word in pair.french]
        links["attention"].append(links_both_ways(weights[-1].mean(0)))
        forward = ibm1_scores(to_french, pair.english, pair.french)
        backward = ibm1_scores(to_english, pair.french, pair.english).mT
        links["words"].append(links_both_ways(forward, backward))
        near = near_diagonal(len(pair.english), len(pair.french), 4)
        links["words and places"].append(links_both_ways(forward * near, backward * near))
        links["diagonal"].append(diagonal_links(len(pair.english), len(pair.french)))
    gold = [pair.links for pair in pairs]
    rates = {name: alignment_error_rate(found, gold) for name, found in links.items()}
    print(rates)
    assert rates["attention"] <= 0.15
    assert abs(rates["attention"] - rates["words"]) < 0.05
    assert rates["words and places"] < rates["attention"] < rates["diagonal"] / 2

    swapped_gold = [swapped_only(g, pair) for g, pair in zip(gold, pairs, strict=True)]
    assert sum(map(len, swapped_gold)) >= 100
    swapped = {
        name: alignment_error_rate(
            [swapped_only(f, pair) for f, pair in zip(found, pairs, strict=True)], swapped_gold
        )
        for name, found in links.items()
    }
    print(swapped)
    assert swapped["attention"] <= 0.15
    assert swapped["attention"] < swapped["diagonal"] / 2


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("The small cat sees the red bicycle.", "Le petit chat voit le vélo rouge."),
        ("A man rides a red bicycle.", "Un homme roule sur un vélo rouge."),
        ("I see him.", "Je le vois."),
        ("The woman does not eat the green apple.", "La femme ne mange pas la pomme verte."),
        ("She buys an apple and eats it.", "Elle achète une pomme et la mange."),
    ],
)
def test_the_shipped_model_knows_the_sentences_of_the_book(english: str, french: str) -> None:
    translator = Translator(*load_pretrained("grammar-en-fr"))
    for beam_size in (1, 5):
        assert translator.translate([english], beam_size=beam_size)[0].text == french
