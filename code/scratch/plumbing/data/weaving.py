"""Phrases of two languages, woven from pieces that know which of their words belong together."""

from dataclasses import dataclass
from functools import cache

from scratch.corpus import Links

__all__ = ["Phrase", "pair", "weave"]


@dataclass(frozen=True)
class Phrase:
    """A piece of both languages: its words, the links between them, its swapped adjectives."""

    english: tuple[str, ...] = ()
    french: tuple[str, ...] = ()
    links: Links = frozenset()
    swapped: frozenset[int] = frozenset()

    def __add__(self, other: "Phrase") -> "Phrase":
        return weave("A B", "A B", A=self, B=other)


def weave(english: str, french: str, **slots: Phrase) -> Phrase:
    """Weave phrases into two templates, ``weave("D A N", "D N A", D=the, A=red, N=car)``.

    A word of a template is a slot's name, or a word with keys, "did:a"; words that share a key
    (one letter each) are linked: ``weave("will:v see:v O", "verra:v O", O=them)``.
    """
    sources, source_keys, source_starts = lay_out(english, {k: p.english for k, p in slots.items()})
    targets, target_keys, target_starts = lay_out(french, {k: p.french for k, p in slots.items()})
    links = {(i, j) for i, a in source_keys for j, b in target_keys if a == b}
    swapped: set[int] = set()
    for name, phrase in slots.items():
        s, t = source_starts[name], target_starts[name]
        links.update((s + i, t + j) for i, j in phrase.links)
        swapped.update(s + i for i in phrase.swapped)
    return Phrase(tuple(sources), tuple(targets), frozenset(links), frozenset(swapped))


def lay_out(
    template: str, slots: dict[str, tuple[str, ...]]
) -> tuple[list[str], list[tuple[int, str]], dict[str, int]]:
    """Fill one template: its words, where each key occurs, where each slot starts."""
    words: list[str] = []
    keys: list[tuple[int, str]] = []
    starts: dict[str, int] = {}
    for word, letters in parse(template):
        if word in slots:
            starts[word] = len(words)
            words.extend(slots[word])
        else:
            keys.extend((len(words), letter) for letter in letters)
            words.append(word)
    return words, keys, starts


@cache
def parse(template: str) -> tuple[tuple[str, str], ...]:
    """Split a template into words, each with its keys."""
    return tuple((word, keys) for word, _, keys in (p.partition(":") for p in template.split()))


@cache
def pair(english: str, french: str) -> Phrase:
    """Link every word of ``english`` to every word of ``french``."""
    sources, targets = tuple(english.split()), tuple(french.split())
    links = frozenset((i, j) for i in range(len(sources)) for j in range(len(targets)))
    return Phrase(sources, targets, links)
