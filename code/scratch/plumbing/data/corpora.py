"""What the recipes train on and are watched with: the book's corpora, by name, kept apart."""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from scratch.datasets import grammar, group_references, multi30k, read_tsv, tatoeba
from scratch.plumbing.data.everyday import everyday_sentences, first_inputs
from scratch.plumbing.data.fetch import CHECKSUMS, local_path, read_lines
from scratch.plumbing.data.grammar import sample_phrases
from scratch.splits import HeldOut, hold_out, sentence_key

__all__ = [
    "PAIRS",
    "TSV",
    "LanguagePair",
    "checksums_of",
    "dev_sets",
    "held_out_pairs",
    "load_pairs",
    "never_seen",
    "whole_tatoeba",
]

TSV = "tsv:"  # the corpus "tsv:FILE" is any file of two columns
HERE = Path(__file__)


def load_pairs(corpus: str) -> list[tuple[str, str]]:
    """Return the (source, target) training texts of ``corpus``.

    "grammar"; one of :data:`PAIRS`, less what shares a side with a sentence held out; or
    "tsv:FILE", less its :func:`dev_sets`.
    """
    if corpus.startswith(TSV):
        return _split_file(corpus).train
    if corpus == "grammar":
        return [(pair.english_text, pair.french_text) for pair in grammar().train]
    never = never_seen(corpus)
    return [pair for pair in PAIRS[corpus].train() if never.isdisjoint(map(sentence_key, pair))]


def never_seen(corpus: str) -> set[str]:
    """Return the :func:`.sentence_key` of all that no run on ``corpus`` may see.

    Both sides of what is held out; of English and French, too, everyday sentences and the unseen
    first inputs.
    """
    if corpus not in PAIRS:
        return set()
    phrases = [*everyday_sentences(), *(s for s in first_inputs() if s.phenomenon == "unseen")]
    texts = [s.english for s in phrases if "fr" in corpus]
    return {sentence_key(text) for text in chain(texts, *held_out_pairs(corpus))}


def dev_sets(corpus: str) -> dict[str, list[tuple[str, list[str]]]]:
    """Return what a run on ``corpus`` is watched with, by name: sources with their references."""
    if corpus.startswith(TSV):
        dev = _split_file(corpus).dev
        return {"dev": group_references(dev)} if dev else {}
    held_out = PAIRS[corpus].held_out if corpus in PAIRS else {}
    return {
        name.rpartition("-")[0]: group_references(read())
        for name, read in held_out.items()
        if name.endswith(("-val", "-dev"))
    }


def held_out_pairs(corpus: str = "en-fr") -> list[tuple[str, str]]:
    """Return every pair that ``corpus``, one of :data:`PAIRS`, is chosen with or judged by."""
    return [pair for read in PAIRS[corpus].held_out.values() for pair in read()]


def _split_file(corpus: str) -> HeldOut:
    """Hold out a twentieth of a file's sentences, 1,000 at most; drop what they share.

    Of fewer than 20 sentences, or where nothing else would be left, none is held out.
    """
    pairs = read_tsv(corpus.removeprefix(TSV))
    sentences = {sentence_key(source) for source, _ in pairs}
    held = hold_out(pairs, n_dev=min(1_000, len(sentences) // 20), n_test=0)
    return held if held.train else HeldOut(pairs, [], [])


def checksums_of(corpus: str) -> dict[str, str]:
    """Return the SHA-256 of every file that ``corpus`` is read from."""
    if corpus.startswith(TSV):
        content = Path(corpus.removeprefix(TSV)).read_bytes()
        return {corpus: hashlib.sha256(content).hexdigest()}
    names = PAIRS[corpus].files if corpus in PAIRS else ()
    return {name: CHECKSUMS[name] for name in names}


# -- the pairs of languages that the book trains on


Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class LanguagePair:
    """What to train on, and what is held out of it; nothing is read before it is asked for.

    ``held_out`` has sets by name: those that end in "-val" or "-dev" are looked at while
    training, the others judge.  ``files`` are all that is read, names of :data:`.CHECKSUMS`.
    """

    train: Callable[[], Pairs]
    held_out: dict[str, Callable[[], Pairs]]
    files: tuple[str, ...]

    def turned(self) -> "LanguagePair":
        """Return the other direction."""
        held_out = {name: _turned(read) for name, read in self.held_out.items()}
        return LanguagePair(_turned(self.train), held_out, self.files)


def _turned(read: Callable[[], Pairs]) -> Callable[[], Pairs]:
    return lambda: [(target, source) for source, target in read()]


def _files(language: str) -> tuple[str, ...]:
    parts = ("train", "val", "test_2016_flickr")
    return tuple(f"multi30k/{part}.{code}.gz" for part in parts for code in ("en", language))


def whole_tatoeba() -> Pairs:
    """Return the 167,130 everyday (English, French) sentences of the whole selection."""
    with zipfile.ZipFile(local_path("tatoeba/fra-eng.zip")) as archive:
        lines = archive.read("fra-eng/fra.txt").decode().splitlines()
    return [(source, target) for source, target in (line.split("\t") for line in lines)]


def _english_french() -> Pairs:
    """Return captions, three times, since they are few; all of Tatoeba; and our own pairs.

    Those are sentences and noun phrases of the grammar, and what people say first, ten times.
    """
    own = [(pair.english_text, pair.french_text) for pair in grammar().train[:8_000]]
    first = read_tsv(HERE.with_name("first_contact.tsv"))
    return [*3 * multi30k("train"), *whole_tatoeba(), *own, *sample_phrases(), *10 * first]


def _english_hindi() -> HeldOut:
    rows = (line.split("\t") for line in read_lines("tatoeba/hin.txt"))
    return hold_out([(row[0], row[1]) for row in rows], n_dev=150, n_test=150)


ENGLISH_FRENCH = LanguagePair(
    _english_french,
    {
        "multi30k-val": lambda: multi30k("val"),
        "multi30k-test": lambda: multi30k("test_2016_flickr"),
        "tatoeba-dev": lambda: tatoeba("dev"),
        "tatoeba-test": lambda: tatoeba("test"),
    },
    (*_files("fr"), "tatoeba/fra-eng.zip", "tatoeba/fra.txt"),
)
PAIRS = {
    "en-fr": ENGLISH_FRENCH,
    "fr-en": ENGLISH_FRENCH.turned(),
    "en-de": LanguagePair(
        lambda: multi30k("train", "de"),
        {
            "multi30k-val": lambda: multi30k("val", "de"),
            "multi30k-test": lambda: multi30k("test_2016_flickr", "de"),
        },
        _files("de"),
    ),
    "en-hi": LanguagePair(
        lambda: _english_hindi().train,
        {
            "tatoeba-dev": lambda: _english_hindi().dev,
            "tatoeba-test": lambda: _english_hindi().test,
        },
        ("tatoeba/hin.txt",),
    ),
}
