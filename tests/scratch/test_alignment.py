"""Alignments: error rates and baselines by hand, words and their weights from a model."""

import math

import pytest
import torch

from reference import refuses
from scratch.alignment import (
    alignment_error_rate,
    diagonal_links,
    ibm1_scores,
    links_both_ways,
    near_diagonal,
    strongest_links,
    train_ibm1,
    word_attention,
    words_of,
)
from scratch.transformer import attention_maps
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

HOUSE = [
    (["la", "maison"], ["the", "house"]),
    (["la", "fleur"], ["the", "flower"]),
    (["la", "maison", "bleue"], ["the", "blue", "house"]),
]


def links(*pairs: tuple[int, int]) -> frozenset[tuple[int, int]]:
    return frozenset(pairs)


# -- error rate


def test_error_rate_by_hand() -> None:
    gold = [links((0, 0), (1, 1), (2, 2))]
    assert alignment_error_rate(gold, gold) == 0.0
    assert alignment_error_rate([links((0, 1))], gold) == 1.0
    assert alignment_error_rate([links()], gold) == 1.0
    # two of two found links are right, one of three is missing: 1 - 2*2/(2 + 3)
    assert alignment_error_rate([links((0, 0), (1, 1))], gold) == pytest.approx(0.2)
    # counted over all sentences, not averaged over them
    two = [links((0, 0)), links((0, 0), (1, 0), (2, 0))]
    assert alignment_error_rate(two, [links((0, 0)), links((0, 0))]) == pytest.approx(1 - 4 / 6)


def test_error_rate_reads_anything_that_can_be_iterated() -> None:
    gold = [links((0, 0)), links((1, 1))]
    assert alignment_error_rate(iter(gold), (g for g in gold)) == 0.0


def test_alignments_that_cannot_be_compared_are_refused() -> None:
    one = links((0, 0))
    for predicted, gold in (([one], [one, one]), ([one, one], [one])):
        with pytest.raises(ValueError, match="zip"):
            alignment_error_rate(predicted, gold)
    refuses(lambda: alignment_error_rate([], []), "empty")
    refuses(lambda: alignment_error_rate([links()], [links()]), "empty")


# -- baselines


def test_the_diagonal_by_hand() -> None:
    assert diagonal_links(3, 3) == links((0, 0), (1, 1), (2, 2))
    assert diagonal_links(2, 4) == links((0, 0), (0, 1), (1, 2), (1, 3))
    assert diagonal_links(4, 2) == links((0, 0), (2, 1))
    assert diagonal_links(1, 1) == links((0, 0))


@pytest.mark.parametrize(("n_source", "n_target"), [(5, 7), (7, 5), (1, 9), (9, 1), (40, 39)])
def test_the_diagonal_stays_inside_and_rises(n_source: int, n_target: int) -> None:
    by_target = sorted((t, s) for s, t in diagonal_links(n_source, n_target))
    assert [t for t, _ in by_target] == list(range(n_target))
    chosen = [s for _, s in by_target]
    assert chosen == sorted(chosen)
    assert chosen[0] == 0
    assert chosen[-1] < n_source


def test_a_diagonal_of_nothing_is_refused() -> None:
    refuses(lambda: diagonal_links(0, 3), "n_source is 0")
    refuses(lambda: diagonal_links(3, 0), "n_target is 0")
    refuses(lambda: diagonal_links(2.5, 3), "n_source is 2.5")  # type: ignore[arg-type]


def test_one_round_of_model_1_by_hand() -> None:
    table = train_ibm1(HOUSE[:2], rounds=1)
    # "la" met "the" twice, "house" and "flower" once, each time with half a count
    assert table["la", "the"] == pytest.approx(0.5)
    assert table["la", "house"] == pytest.approx(0.25)
    assert table["maison", "house"] == pytest.approx(0.5)
    assert ("maison", "flower") not in table
    # second round: "the" is shared 0.5 to 0.5, "house" 0.25 to 0.5
    table = train_ibm1(HOUSE[:2], rounds=2)
    the, house = 0.5, (0.25 / 0.75)
    assert table["la", "the"] == pytest.approx(2 * the / (2 * the + 2 * house))
    assert table["maison", "house"] == pytest.approx((1 - house) / ((1 - house) + (1 - the)))


def test_model_1_learns_the_house() -> None:
    table = train_ibm1(HOUSE, rounds=30)
    for source, target in [("la", "the"), ("maison", "house"), ("fleur", "flower")]:
        assert table[source, target] > 0.9
    assert table["bleue", "blue"] > 0.9
    assert strongest_links(ibm1_scores(table, *HOUSE[2])) == links((0, 0), (2, 1), (1, 2))


def test_what_model_1_learns_are_probabilities_that_fit_better_every_round() -> None:
    pairs = [(e.split(), f.split()) for e, f in PAIRS]
    last = -float("inf")
    for rounds in (1, 2, 3, 6):
        table = train_ibm1(pairs, rounds=rounds)
        for word in {s for s, _ in table}:
            assert sum(p for (s, _), p in table.items() if s == word) == pytest.approx(1)
        fit = sum(
            torch.log(torch.tensor(sum(table[s, t] for s in source) / len(source))).item()
            for source, target in pairs
            for t in target
        )
        assert fit > last
        last = fit


def test_many_rounds_of_model_1_do_not_divide_by_zero() -> None:
    assert train_ibm1(HOUSE, rounds=2_000)["la", "the"] == pytest.approx(1)


def test_model_1_reads_a_generator_more_than_once() -> None:
    assert train_ibm1((pair for pair in HOUSE), rounds=3) == train_ibm1(HOUSE, rounds=3)  # type: ignore[arg-type]


def test_unknown_and_missing_words() -> None:
    table = train_ibm1(HOUSE)
    scores = ibm1_scores(table, ["chien", "la"], ["the", "dog"])
    assert strongest_links(scores) == links((1, 0), (0, 1))
    refuses(lambda: train_ibm1([]), "pairs")
    refuses(lambda: train_ibm1(HOUSE, rounds=0), "rounds is 0")
    assert train_ibm1([([], ["the"])]) == {}


def test_the_strongest_link_is_the_first_of_equals() -> None:
    weights = torch.tensor([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4], [0.0, 0.0, 0.0]])
    assert strongest_links(weights) == links((1, 0), (0, 1), (0, 2))
    assert strongest_links(weights.double().requires_grad_()) == links((1, 0), (0, 1), (0, 2))


# -- words of a model


@pytest.mark.parametrize(
    "text", [text for pair in PAIRS for text in pair] + ["l'homme qu'il a vu !"]
)
def test_words_hold_every_token_once_and_spell_the_text(text: str) -> None:
    t = tokenizer()
    ids = t.encode(text)
    groups = words_of(t, ids)
    assert [i for group in groups for i in group] == list(range(len(ids)))
    pieces = t.pieces(ids)
    assert "".join(pieces[i] for group in groups for i in group) == f" {text}"
    for group in groups:
        word = "".join(pieces[i] for i in group)
        assert word.strip()
        assert " " not in word.strip()


def test_elided_words_are_words() -> None:
    t = tokenizer()
    ids = t.encode("L'homme n'a pas.")
    words = [t.decode([ids[i] for i in group]).strip() for group in words_of(t, ids)]
    assert words == ["L'", "homme", "n'", "a", "pas", "."]


def test_what_a_hyphen_joins_is_one_word() -> None:
    t = tokenizer()
    ids = t.encode("Est-ce que c'est-là ?")
    words = [t.decode([ids[i] for i in group]).strip() for group in words_of(t, ids)]
    assert words == ["Est-ce", "que", "c'", "est-là", "?"]


@pytest.mark.parametrize("word", ["don't", "it's", "I'm", "he'd", "we're", "I've", "they'll"])
def test_an_english_contraction_is_one_word(word: str) -> None:
    t = tokenizer()
    ids = t.encode(f"{word} that s'il t'a vu.")
    words = [t.decode([ids[i] for i in group]).strip() for group in words_of(t, ids)]
    assert words == [word, "that", "s'", "il", "t'", "a", "vu", "."]


def test_ids_that_spell_no_text_are_refused() -> None:
    t = tokenizer()
    ids = t.encode("The man")
    refuses(lambda: words_of(t, []), "ids is []")
    refuses(lambda: words_of(t, [*ids, 2]), "ids is [")
    refuses(lambda: words_of(t, [len(t)]), "ids holds")
    first, second = t.encode("x")[0], t.encode("The")[0]
    refuses(lambda: words_of(t, [second, first, first]), "ids is [")


def test_word_attention_sums_columns_and_averages_rows() -> None:
    t = tokenizer()
    m = model(vocab_size=len(t), max_len=64)
    english, french = "The bicycle is bluish.", "L'homme s'éloignait."
    weights, source_words, target_words = word_attention(m, t, english, french)
    assert source_words == ["The", "bicycle", "is", "bluish", "."]
    assert target_words == ["L'", "homme", "s'", "éloignait", "."]
    assert weights.shape == (2, 2, 5, 5)
    assert (weights >= 0).all()
    assert (weights.sum(-1) <= 1 + 1e-6).all()
    assert (weights.sum(-1) < 1 - 1e-3).all()  # what <eos> got is left out

    source, target = t.encode(english), t.encode(french)
    assert len(source) > len(source_words)
    with torch.inference_mode():
        maps = attention_maps(m, torch.tensor([[*source, 2]]), torch.tensor([[1, *target]]))
    columns, rows = words_of(t, source), words_of(t, target)
    for layer, w in enumerate(maps.cross):
        for j, row in enumerate(rows):
            for i, column in enumerate(columns):
                expected = w[0][:, row][:, :, column].sum(-1).mean(-1)
                assert torch.allclose(weights[layer, :, j, i], expected, atol=1e-6)


def test_blank_and_overlong_texts_have_no_attention() -> None:
    t = tokenizer()
    m = model(vocab_size=len(t), max_len=10)
    refuses(lambda: word_attention(m, t, " ", "chien"), "english is ' '")
    refuses(lambda: word_attention(m, t, "dog", ""), "french is ''")
    refuses(lambda: word_attention(m, t, "the " * 10, "chien"), "source has 11", "10")
    refuses(lambda: word_attention(m, t, "dog", "chien " * 10), "target has", "10")


def test_links_both_ways_keep_what_either_side_asks_for() -> None:
    # "does see" / "voit": one French word, two English ones
    weights = torch.tensor([[0.3, 0.7]])
    assert strongest_links(weights) == links((1, 0))
    assert links_both_ways(weights) == links((0, 0), (1, 0))
    # "not" / "ne pas": two French words, one English one
    assert links_both_ways(weights.T) == links((0, 0), (0, 1))
    # each direction can have a table of its own
    backward = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    forward = torch.tensor([[0.4, 0.6], [0.3, 0.7]])
    assert links_both_ways(forward, backward) == links((1, 0), (1, 1), (0, 0))


def test_nearness_to_the_diagonal_by_hand() -> None:
    near = near_diagonal(2, 2, 4.0)
    assert near[0, 0] == near[1, 1] == 1
    assert near[0, 1] == near[1, 0] == pytest.approx(math.exp(-4 * 0.5))
    assert (near_diagonal(5, 3, 0.0) == 1).all()
    wide = near_diagonal(6, 3, 2.0)  # each target word lies between two source words
    assert wide.shape == (3, 6)
    assert torch.allclose(wide[:, ::2].diagonal(), wide[:, 1::2].diagonal())
    assert torch.allclose(wide, wide.flip(0, 1))
