"""Weaving: pieces of two languages keep their links wherever a template puts them."""

from scratch.plumbing.data.weaving import Phrase, pair, weave


def test_weave_links_keys_and_moves_slots() -> None:
    him = pair("him", "le")
    woven = weave("I:s do:v not:n see:v O", "je:s ne:n O vois:v pas:n", O=him)
    assert woven.english == ("I", "do", "not", "see", "him")
    assert woven.french == ("je", "ne", "le", "vois", "pas")
    assert woven.links == {(0, 0), (1, 3), (2, 1), (2, 4), (3, 3), (4, 2)}


def test_a_pair_links_every_word_to_every_word() -> None:
    there = pair("there is", "il y a")
    assert there.links == {(i, j) for i in range(2) for j in range(3)}
    assert there.swapped == frozenset()


def test_adjectives_that_change_sides_are_remembered() -> None:
    red = Phrase(("red",), ("rouge",), frozenset({(0, 0)}), frozenset({0}))
    woven = weave("D A N", "D N A", D=pair("a", "un"), A=red, N=pair("bicycle", "vélo"))
    assert woven.english == ("a", "red", "bicycle") and woven.french == ("un", "vélo", "rouge")
    assert woven.links == {(0, 0), (1, 2), (2, 1)} and woven.swapped == {1}


def test_adding_phrases_moves_the_links_of_the_second() -> None:
    both = pair("I", "je") + pair("see", "vois")
    assert both.english == ("I", "see") and both.links == {(0, 0), (1, 1)}


def test_an_empty_slot_leaves_nothing_behind() -> None:
    woven = weave("A B", "B A", A=Phrase(), B=pair("yes", "oui"))
    assert woven == pair("yes", "oui")
