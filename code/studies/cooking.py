"""Cooking recipes: English and French sentences in a form that the book's grammar lacks.

Chapter 14 adapts the small translator to them.  Every sentence is an imperative, and a French
imperative places its pronoun by a rule of its own: "coupez-les", but "ne les coupez pas".
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from scratch.plumbing import checks
from scratch.splits import HeldOut, hold_out

__all__ = ["Ingredient", "all_recipe_pairs", "recipe_pairs"]

VOWELS = "aeéèêiîoôuhyœ"  # every h of the tables but that of "hachez", a verb, is mute


@dataclass(frozen=True)
class Ingredient:
    """Something a cook works on, in one number: its words, and "m", "f" or "p" for several."""

    english: str
    french: str
    kind: str
    tags: frozenset[str]

    @property
    def the(self) -> str:
        """Return the French noun with its article, as in "la farine" and "les œufs"."""
        if self.kind == "p":
            return f"les {self.french}"
        if self.french[0] in VOWELS:
            return f"l'{self.french}"
        return ("le " if self.kind == "m" else "la ") + self.french

    @property
    def to_the(self) -> str:
        """Return it after "à", as in "à la farine", "au lait" and "aux œufs"."""
        if self.the.startswith("le "):
            return f"au {self.french}"
        return f"aux {self.french}" if self.kind == "p" else f"à {self.the}"

    @property
    def pronouns(self) -> tuple[str, str]:
        """Return what stands for it, "them" and "les", or "it" and "le" or "la"."""
        return ("them", "les") if self.kind == "p" else ("it", "le" if self.kind == "m" else "la")


def _ingredients(table: str) -> tuple[Ingredient, ...]:
    """Parse lines ``english plural | french plural gender | tags``; a plural of "-" is none."""
    found = []
    for line in table.strip().splitlines():
        english, french, tags = (cell.strip() for cell in line.split("|"))
        (one, several), (un, des, gender) = english.split(), french.split()
        found.append(Ingredient(one, un.replace("_", " "), gender, frozenset(tags.split())))
        if several != "-":
            found.append(Ingredient(several, des.replace("_", " "), "p", frozenset(tags.split())))
    return tuple(found)


INGREDIENTS = _ingredients(
    """
apple apples         | pomme pommes f                   | whole skin counted
orange oranges       | orange oranges f                 | whole skin counted
lemon lemons         | citron citrons m                 | whole skin counted
tomato tomatoes      | tomate tomates f                 | whole skin counted
onion onions         | oignon oignons m                 | whole skin hard counted
carrot carrots       | carotte carottes f               | whole skin hard counted
potato potatoes      | pomme_de_terre pommes_de_terre f | whole skin hard counted
mushroom mushrooms   | champignon champignons m         | whole hard counted
egg eggs             | œuf œufs m                       | counted beaten
cheese -             | fromage - m                      | block
butter -             | beurre - m                       | block beaten warm
cream -              | crème - f                        | liquid beaten base
flour -              | farine - f                       | dry base
sugar -              | sucre - m                        | dry base
salt -               | sel - m                          | dry
rice -               | riz - m                          | dry stirred base
milk -               | lait - m                         | liquid warm base
water -              | eau - f                          | liquid warm base
oil -                | huile - f                        | liquid warm base
soup -               | soupe - f                        | stirred warm base
sauce -              | sauce - f                        | liquid stirred warm base
dough -              | pâte - f                         | covered base
oven -               | four - m                         | door inside
bowl -               | bol - m                          | covered inside
pan -                | poêle - f                        | covered inside
"""
)

# English | French imperative | tags of what it is done to
VERBS = {
    "wash": ("lavez", "whole"),
    "dry": ("séchez", "whole"),
    "peel": ("épluchez", "skin"),
    "cut": ("coupez", "whole block"),
    "chop": ("hachez", "hard"),
    "grate": ("râpez", "hard block"),
    "beat": ("battez", "beaten"),
    "heat": ("chauffez", "warm"),
    "stir": ("remuez", "stirred"),
    "taste": ("goûtez", "stirred block"),
    "serve": ("servez", "stirred block"),
    "keep": ("gardez", "stirred block liquid"),
    "cover": ("couvrez", "covered"),
    "open": ("ouvrez", "door"),
    "close": ("fermez", "door"),
}
# What is done after what, and what is left undone after what.
NEXT = {
    "wash": ("peel", "cut", "dry", "chop", "grate"),
    "peel": ("cut", "chop", "grate", "wash"),
    "cut": ("serve", "keep"),
    "grate": ("serve", "keep"),
    "heat": ("stir", "serve", "taste"),
    "stir": ("taste", "serve", "heat"),
    "taste": ("serve", "keep"),
    "open": ("close",),
}
NUMBERS = {"two": "deux", "three": "trois", "four": "quatre", "five": "cinq"}


def _fits(verb: str, thing: Ingredient) -> bool:
    return not thing.tags.isdisjoint(VERBS[verb][1].split())


def _not(imperative: str, before: str = "") -> str:
    """Negate: "ne lavez pas", "n'ouvrez pas", "ne les ouvrez pas", "ne l'ouvrez pas"."""
    vowel = imperative[0] in VOWELS.replace("h", "")
    if before:
        middle = "l'" if vowel and before in ("le", "la") else f"{before} "
        return f"ne {middle}{imperative} pas"
    return f"n'{imperative} pas" if vowel else f"ne {imperative} pas"


def _of_one() -> Iterator[tuple[str, str, str]]:
    """Yield (form, English, French) of the sentences about one ingredient."""
    for verb, (imperative, _) in VERBS.items():
        for thing in (t for t in INGREDIENTS if _fits(verb, t)):
            it, le = thing.pronouns
            yield "order", f"{verb} the {thing.english}", f"{imperative} {thing.the}"
            ban = f"{_not(imperative)} {thing.the}"
            yield "ban", f"do not {verb} the {thing.english}", ban
            for then in (v for v in NEXT.get(verb, ()) if _fits(v, thing)):
                english = f"{verb} the {thing.english}"
                french, second = f"{imperative} {thing.the}", VERBS[then][0]
                yield "and", f"{english} and {then} {it}", f"{french} et {second}-{le}"
                left = f"{french} mais {_not(second, le)}"
                yield "but", f"{english} but do not {then} {it}", left


def _of_two() -> Iterator[tuple[str, str, str]]:
    """Yield (form, English, French) of the sentences about two ingredients."""
    for thing in INGREDIENTS:
        for other in (t for t in INGREDIENTS if t != thing):
            a, b = f"the {thing.english}", f"the {other.english}"
            if "counted" in thing.tags and thing.kind == "p" and "base" in other.tags:
                for number, nombre in NUMBERS.items():
                    english = f"add {number} {thing.english} to {b}"
                    yield "add", english, f"ajoutez {nombre} {thing.french} {other.to_the}"
            if not thing.tags.isdisjoint(("dry", "block", "liquid")) and "base" in other.tags:
                yield "add the", f"add {a} to {b}", f"ajoutez {thing.the} {other.to_the}"
                if "base" in thing.tags:
                    yield "mix", f"mix {a} with {b}", f"mélangez {thing.the} avec {other.the}"
            if "liquid" in thing.tags and other.english in ("bowl", "pan"):
                yield "put", f"pour {a} into {b}", f"versez {thing.the} dans {other.the}"
            if "whole" in thing.tags and "inside" in other.tags:
                yield "put", f"put {a} in {b}", f"mettez {thing.the} dans {other.the}"


def all_recipe_pairs() -> dict[str, list[tuple[str, str]]]:
    """Return every (English, French) sentence that the tables allow, by its form."""
    forms: dict[str, list[tuple[str, str]]] = {}
    for form, english, french in (*_of_one(), *_of_two()):
        pair = (f"{english[0].upper()}{english[1:]}.", f"{french[0].upper()}{french[1:]}.")
        forms.setdefault(form, []).append(pair)
    return forms


def recipe_pairs(n_train: int = 120, n_test: int = 100, *, seed: int = 1) -> HeldOut:
    """Return training pairs drawn with ``seed``, and test pairs that are always the same.

    The forms have about equal shares.  No test sentence, English or French, is drawn.
    """
    checks.between("n_test", n_test, 1, 200)
    forms = all_recipe_pairs().values()
    pool = [p for pairs in forms for p in random.Random(0).sample(pairs, min(60, len(pairs)))]
    split = hold_out(pool, 0, n_test)
    checks.between("n_train", n_train, 1, len(split.train))
    train = random.Random(seed).sample(split.train, n_train)
    return HeldOut(train, [], split.test)
