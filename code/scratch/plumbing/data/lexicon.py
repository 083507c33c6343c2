"""The words of the bilingual grammar: what they are called, how they bend, what they go with.

Nouns, adjectives and verbs stand in ``lexicon.txt``; :mod:`scratch.plumbing.data.grammar` makes
sentences of them.  A noun has tags; an adjective and a verb name the tags (or the English nouns
themselves) that they go with, so that nobody drinks a train.  Every French word that begins with
"h" has a mute one: it elides like a vowel.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "ADJECTIVES",
    "AVOIR",
    "BE",
    "BE_IMPERFECT",
    "BE_PAST",
    "BE_PRESENT",
    "CLITICS",
    "COLOURS",
    "DATIVES",
    "DETERMINERS",
    "MODALS",
    "NOUNS",
    "NOUN_FORMS",
    "NUMERALS",
    "POSSESSIVES",
    "PREPOSITIONS",
    "PRONOUNS",
    "SCENES",
    "SEQUELS",
    "THERE",
    "TIMES",
    "VERBS",
    "Adjective",
    "Clitics",
    "Noun",
    "Preposition",
    "Verb",
    "adjectives_for",
    "noun_named",
    "nouns_for",
    "places_for",
    "verb_named",
    "weights",
]

TABLES = Path(__file__).with_name("lexicon.txt")
Clitics = tuple[tuple[str, str, tuple[int, ...]], ...]

ANYWHERE, AROUND = "in at by", "in at by front tree"
FUTURE = ("ai", "a", "ons", "ez", "ont")  # endings for je, il, nous, vous, ils


@dataclass(frozen=True)
class Noun:
    """One noun; ``plurals`` is empty for a noun without a plural."""

    english: str
    french: str
    feminine: bool
    tags: frozenset[str]
    plurals: tuple[str, ...]


@dataclass(frozen=True)
class Adjective:
    """``french`` holds masculine, feminine, their plurals, and the masculine before a vowel."""

    english: str
    french: tuple[str, str, str, str, str]
    before: bool
    tags: frozenset[str]


@dataclass(frozen=True)
class Verb:
    """``english`` holds base, third person, past and -ing; persons are I, he, we, you, they."""

    english: tuple[str, str, str, str]
    particle: str
    infinitive: str
    present: tuple[str, ...]
    stem: str
    participle: str
    subjects: str
    objects: str
    flags: frozenset[str]
    preposition: str = ""
    places: str = ""

    @property
    def name(self) -> str:
        """What a table calls it, "look at"."""
        return f"{self.english[0]} {self.particle}".strip()

    @property
    def future(self) -> tuple[str, ...]:
        """The five persons of the futur simple."""
        return tuple(self.stem + ending for ending in FUTURE)


@dataclass(frozen=True)
class Preposition:
    """``tags`` name the nouns that may follow."""

    english: str
    french: str
    tags: str


def _rows(section: str) -> list[list[str]]:
    """Return the cells of each line below ``[section]`` in ``lexicon.txt``."""
    text = TABLES.read_text(encoding="utf-8").partition(f"\n[{section}]\n")[2]
    return [line.split(" | ") for line in text.partition("\n\n")[0].splitlines()]


def _noun(row: list[str]) -> Noun:
    english, french, tags = (cell.split() for cell in row)
    plurals = tuple(
        word + "s" if plural == "s" else plural
        for word, plural in (english, french[:2])
        if plural != "-"
    )
    all_tags = frozenset([*tags, english[0]])
    return Noun(english[0], french[0], french[2] == "f", all_tags, plurals)


NOUNS = tuple(map(_noun, _rows("nouns")))


def _adjective(row: list[str]) -> Adjective:
    english, forms, side, tags = row
    m, f, mp, fp, vowel = (*forms.split(), "", "", "", "")[:5]
    f = f or (m if m.endswith("e") else m + "e")
    mp, fp = mp or (m if m[-1] in "sx" else m + "s"), fp or f + "s"
    return Adjective(english, (m, f, mp, fp, vowel or m), side == "<", frozenset(tags.split()))


ADJECTIVES = tuple(map(_adjective, _rows("adjectives")))
NOUN_FORMS = frozenset(form for n in NOUNS for form in (n.english, *n.plurals[:1]))
COLOURS = ("red", "green", "blue", "black", "white", "yellow")


def _verb(row: list[str]) -> Verb:
    english, french, subjects, objects, flags, places = row
    base, third, past, ing, particle = (*english.split(), "")[:5]
    infinitive, participle, stem, *present = french.split()
    infinitive, _, preposition = infinitive.partition("+")
    if len(present) == 1:  # a regular verb in -er
        present = [present[0] + ending for ending in ("e", "e", "ons", "ez", "ent")]
    where = places.strip("-").replace("any", ANYWHERE).replace("around", AROUND)
    forms = ((base, third, past, ing), particle, infinitive, tuple(present), stem, participle)
    return Verb(*forms, subjects, objects, frozenset(flags.split()), preposition, where)


VERBS = tuple(map(_verb, _rows("verbs")))

BE = Verb(
    ("be", "is", "was", "being"),
    "",
    "être",
    ("suis", "est", "sommes", "êtes", "sont"),
    "ser",
    "",
    "person animal vehicle portable clothes food drink furniture opening building garden village",
    "",
    frozenset(),
)
# "There is": by tense, for one and for several, and "il y a".
THERE = {
    "present": (("is", "are"), "a"),
    "past": (("was", "were"), "avait"),
    "future": (("will be", "will be"), "aura"),
}
# What there is, and where.
SCENES = (
    ("adult child student animal", AROUND),
    ("vehicle", AROUND),
    ("food drink", "table kitchen"),
    ("portable", "furniture kitchen"),
)
BE_PRESENT = ("am", "is", "are", "are", "are")
BE_PAST = ("was", "was", "were", "were", "were")
BE_IMPERFECT = ("étais", "était", "étions", "étiez", "étaient")
AVOIR = ("ai", "a", "avons", "avez", "ont")

# "She buys an apple and eats it.": what may be done next to what has just been bought.
SEQUELS = {
    "buy": {"eat": "food", "drink": "drink", "read": "book newspaper", "wear": "clothes"},
    "take": {"read": "book letter newspaper", "open": "holder letter", "close": "holder"},
    "find": {"read": "book letter newspaper", "take": "portable", "follow": "animal"},
    "open": {"read": "letter book", "close": "opening holder"},
    "write": {"read": "letter story"},
    "wash": {"eat": "fruit", "sell": "car truck cycle", "wear": "clothes"},
    "repair": {"sell": "private furniture computer", "drive": "road", "wash": "car truck"},
    "look for": {"find": "pet portable"},
    "see": {"buy": "clothes book private bag", "follow": "animal", "take": "portable"},
}

# Masculine, feminine, plural, after the singular and the plural in English.
DETERMINERS = {
    "the": (("the", "the"), ("le", "la", "les")),
    "this": (("this", "these"), ("ce", "cette", "ces")),
}
POSSESSIVES = {
    "my": ("mon", "ma", "mes"),
    "your": ("votre", "votre", "vos"),
    "his": ("son", "sa", "ses"),
    "her": ("son", "sa", "ses"),
    "our": ("notre", "notre", "nos"),
    "their": ("leur", "leur", "leurs"),
}
NUMERALS = {"two": "deux", "three": "trois"}

# Subject pronouns by person; "you" is always "vous", "they" always "ils".
PRONOUNS = {
    0: (("I", "je"),),
    1: (("he", "il"), ("she", "elle")),
    2: (("we", "nous"),),
    3: (("you", "vous"),),
    4: (("they", "ils"),),
}
# Object pronouns, with the persons that cannot be their subject.
CLITICS: Clitics = (
    ("me", "me", (0, 2)),
    ("you", "vous", (3,)),
    ("him", "le", ()),
    ("her", "la", ()),
    ("us", "nous", (0, 2)),
    ("them", "les", ()),
)
DATIVES: Clitics = (
    ("me", "me", (0, 2)),
    ("you", "vous", (3,)),
    ("him", "lui", ()),
    ("her", "lui", ()),
    ("us", "nous", (0, 2)),
    ("them", "leur", ()),
)
MODALS = {
    "can": ("peux", "peut", "pouvons", "pouvez", "peuvent"),
    "must": ("dois", "doit", "devons", "devez", "doivent"),
    "want": ("veux", "veut", "voulons", "voulez", "veulent"),
}
PREPOSITIONS = (
    Preposition("in", "dans", "in"),
    Preposition("at", "à", "at"),
    Preposition("near", "près de", "by"),
    Preposition("in front of", "devant", "front"),
    Preposition("behind", "derrière", "front tree"),
    Preposition("under", "sous", "tree bridge furniture"),
    Preposition("on", "sur", "furniture"),
)
LEADS = {  # the prepositions of the verbs that lead somewhere
    "go": (Preposition("to", "à", "at"),),
    "come": (Preposition("from", "de", "at garden home"),),
}
TIMES = {
    "past": ("yesterday", "hier"),
    "future": ("tomorrow", "demain"),
    "progressive": ("now", "maintenant"),
    "present": ("every day", "tous les jours"),
}


@cache
def nouns_for(tags: str, *, plural: bool = False) -> tuple[Noun, ...]:
    """All nouns that carry one of ``tags``; with ``plural``, those that have a plural."""
    wanted = set(tags.split())
    return tuple(n for n in NOUNS if wanted & n.tags and (n.plurals or not plural))


@cache
def places_for(
    places: str, verb: str = "", *, outside: bool = False
) -> tuple[tuple[Preposition, Noun], ...]:
    """All that ``places`` names, each after prepositions that suit ``verb``; or only outdoors."""
    wanted = set(places.split())
    return tuple(
        (preposition, noun)
        for preposition in LEADS.get(verb, PREPOSITIONS)
        for noun in nouns_for(preposition.tags)
        if wanted & {*preposition.tags.split()} & noun.tags
        or (
            noun.english in wanted
            and (not outside or preposition.english not in ("in", "at") or "out" in noun.tags)
        )
    )


@cache
def adjectives_for(noun: Noun) -> tuple[Adjective, ...]:
    """All adjectives that go with ``noun``."""
    return tuple(a for a in ADJECTIVES if a.tags & noun.tags)


@cache
def weights(adjectives: tuple[Adjective, ...]) -> tuple[float, ...]:
    """How often to choose each adjective: one that few nouns may have is chosen more readily."""
    return tuple(sum(bool(a.tags & n.tags) for n in NOUNS) ** -0.85 for a in adjectives)


@cache
def noun_named(name: str) -> Noun:
    """Return the noun called ``name``."""
    return next(n for n in NOUNS if n.english == name)


@cache
def verb_named(name: str) -> Verb:
    """Return the verb called ``name``, "look at"."""
    return next(v for v in VERBS if v.name == name)
