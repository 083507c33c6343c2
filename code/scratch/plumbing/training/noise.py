"""Pairs as people type them: no full stop, all capitals, names and numbers of every kind.

Corpora hold whole, tidy sentences about a few people; a visitor types "hi, i'm Yuki".  Each epoch
sees every pair in another way: the English changes as typing does, the French stays tidy.  Names
and numbers that both sides share are exchanged on both, so that they are copied, not remembered.
"""

import random
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from scratch.splits import sentence_key

__all__ = ["typed"]

NAMES = Path(__file__).parents[1] / "data" / "names.txt"
SYLLABLES = ("bcdfghjklmnprstvwyz", "aeiou", ("", "", "", "n", "r", "s", "l", "k", "m"))
# How often: of the pairs with a name, a number or quotes; of all pairs.
SWAP, NUMBERS, QUOTES = 0.7, 0.5, 0.3
BARE, LOWER, UPPER, UNCAPPED, JOIN = 0.15, 0.06, 0.03, 0.05, 0.04
END = re.compile(r"\s*[.!?]$")
NUMBER = re.compile(r"(?<![\w.,:])[1-9]\d+(?![\w.,:]?\d)")
ELIDED = re.compile(r"\b([Dd]|[Qq]u|[Jj]usqu|[Ll]orsqu|[Pp]uisqu)(e |')(?=\{)")
PEOPLE = {"Tom": ("Tom", "m"), "Mary": ("Marie", "f")}  # whom Tatoeba speaks of, by far the most


def typed(
    pairs: Sequence[tuple[str, str]], draw: random.Random, *, never: set[str]
) -> list[tuple[str, str]]:
    """Return (English, French) ``pairs`` as somebody may type them.

    Slots {m}, {f} and {n} are filled with a man's name, a woman's or any.  A pair of which a side
    would have its :func:`.sentence_key` among ``never`` is drawn anew.
    """
    return [_drawn(pair, pairs, draw, never) for pair in pairs]


def _drawn(
    pair: tuple[str, str], pairs: Sequence[tuple[str, str]], draw: random.Random, never: set[str]
) -> tuple[str, str]:
    """Return ``pair`` in one way, now and then with another of ``pairs`` behind it."""
    english, french = _filled(*pair, draw)
    if draw.random() < JOIN:
        other = _filled(*draw.choice(pairs), draw)
        if END.search(english) and END.search(other[0]):
            english, french = f"{english} {other[0]}", f"{french} {other[1]}"
    if never.isdisjoint((sentence_key(english), sentence_key(french))):
        return _as_typed(english, draw), french
    return _drawn(pair, pairs, draw, never)


def _as_typed(text: str, draw: random.Random) -> str:
    """Drop what a hurried hand leaves out."""
    if draw.random() < BARE:
        text = END.sub("", text) or text
    chance = draw.random()
    if chance < LOWER:
        text = text.lower()
    elif chance < (LOWER + UPPER):
        text = text.upper()
    elif chance < (LOWER + UPPER + UNCAPPED):
        text = text[:1].lower() + text[1:]
    if ("'" in text or '"' in text) and draw.random() < QUOTES:
        text = re.sub(r'"([^"]*)"', r"“\1”", text).replace("'", "’")
    return text


def _filled(english: str, french: str, draw: random.Random) -> tuple[str, str]:
    """Exchange the names and the number that both sides have; fill all slots."""
    for name, (in_french, kind) in PEOPLE.items():
        if name in english and in_french in french and draw.random() < SWAP:
            slot = f"{{{kind}}}"
            english = re.sub(rf"\b{name}\b", slot, english)
            french = re.sub(rf"\b{in_french}\b", slot, french)
    for kind in ("m", "f", "n"):
        slot = f"{{{kind}}}"
        if slot in english or slot in french:
            name = _name(kind, draw)
            vowel = name[0] in "AEIOUÉ"
            french = ELIDED.sub(lambda m: m[1] + ("'" if vowel else "e "), french)  # noqa: B023
            english, french = english.replace(slot, name), french.replace(slot, name)
    numbers = NUMBER.findall(english)
    if len(numbers) == 1 and NUMBER.findall(french) == numbers and draw.random() < NUMBERS:
        size = len(numbers[0])
        other = str(draw.randrange(10 ** (size - 1), 10**size))
        english, french = NUMBER.sub(other, english), NUMBER.sub(other, french)
    return english, french


def _name(kind: str, draw: random.Random) -> str:
    """Draw a first name; one time in three an invented one, which nobody can remember."""
    if draw.random() < 1 / 3:
        first, vowels, last = SYLLABLES
        parts = [
            draw.choice(first) + draw.choice(vowels) + draw.choice(last)
            for _ in range(draw.choice((1, 2, 2, 3, 3, 4)))
        ]
        name = "".join(parts)
        return (name if draw.random() < 0.7 else name[1:]).capitalize()
    return draw.choice(_names(kind))


@cache
def _names(kind: str) -> list[str]:
    """Return the first names of ``names.txt``: "m", "f", or "n" for all."""
    text = NAMES.read_text(encoding="utf-8")
    parts = {k: text.partition(f"[{k}]\n")[2].partition("\n")[0].split() for k in ("m", "f")}
    return parts["m"] + parts["f"] if kind == "n" else parts[kind]
