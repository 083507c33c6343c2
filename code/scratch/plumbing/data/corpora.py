"""What the recipes train on and are watched with: the book's corpora, by name, kept apart."""

import hashlib
import zipfile
from itertools import chain
from pathlib import Path

from scratch.datasets import grammar, group_references, multi30k, read_tsv, tatoeba
from scratch.plumbing.data.everyday import everyday_sentences, first_inputs
from scratch.plumbing.data.fetch import CHECKSUMS, local_path
from scratch.plumbing.data.grammar import sample_phrases
from scratch.splits import HeldOut, hold_out, sentence_key, without_shared

__all__ = [
    "TSV",
    "checksums_of",
    "dev_sets",
    "held_out_pairs",
    "load_pairs",
    "never_seen",
    "without_sources",
]

TSV = "tsv:"  # the corpus "tsv:FILE" is any file of two columns
HERE = Path(__file__)


def load_pairs(corpus: str) -> list[tuple[str, str]]:
    """Return the (English, French) training texts of ``corpus``.

    "grammar"; "en-fr", what :func:`_english_french` brings together; or "tsv:FILE", less its
    :func:`dev_sets`.
    """
    if corpus.startswith(TSV):
        return _split_file(corpus).train
    if corpus == "grammar":
        return [(pair.english_text, pair.french_text) for pair in grammar().train]
    never = never_seen(corpus)
    return [
        pair
        for pair in without_shared(_english_french(), held_out_pairs())
        if sentence_key(pair[0]) not in never
    ]


def _english_french() -> list[tuple[str, str]]:
    """Return captions, three times, since they are few; all of Tatoeba; and our own pairs.

    Those are sentences and noun phrases of the grammar, and what people say first, ten times.
    """
    everyday = _zipped("tatoeba/fra-eng.zip", "fra-eng/fra.txt")
    own = [(pair.english_text, pair.french_text) for pair in grammar().train[:8_000]]
    first = read_tsv(HERE.with_name("first_contact.tsv"))
    return [*3 * multi30k("train"), *everyday, *own, *sample_phrases(), *10 * first]


def _zipped(name: str, member: str) -> list[tuple[str, str]]:
    """Return the pairs of the file ``member`` in an archive of the cache."""
    with zipfile.ZipFile(local_path(name)) as archive:
        lines = archive.read(member).decode().splitlines()
    return [(source, target) for source, target in (line.split("\t") for line in lines)]


def never_seen(corpus: str) -> set[str]:
    """Return the :func:`.sentence_key` of all that no run on ``corpus`` may see.

    Of "en-fr": both sides of what is held out, everyday sentences, the unseen first inputs.
    """
    if corpus != "en-fr":
        return set()
    unseen = [s for s in first_inputs() if s.phenomenon == "unseen"]
    texts = [s.english for s in (*everyday_sentences(), *unseen)]
    return {sentence_key(text) for text in chain(texts, *held_out_pairs())}


def dev_sets(corpus: str) -> dict[str, list[tuple[str, list[str]]]]:
    """Return what a run on ``corpus`` is watched with, by name: sources with their references."""
    if corpus.startswith(TSV):
        dev = _split_file(corpus).dev
        return {"dev": group_references(dev)} if dev else {}
    if corpus == "en-fr":
        parts = {"multi30k": multi30k("val"), "tatoeba": tatoeba("dev")}
        return {name: group_references(pairs) for name, pairs in parts.items()}
    return {}


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
    folders = ("multi30k/", "tatoeba/") if corpus == "en-fr" else ()
    return {name: digest for name, digest in CHECKSUMS.items() if name.startswith(folders)}


def held_out_pairs() -> list[tuple[str, str]]:
    """Return every pair that "en-fr" is chosen with or judged by."""
    return [*multi30k("val"), *multi30k("test_2016_flickr"), *tatoeba("dev"), *tatoeba("test")]


def without_sources(pairs: list[tuple[str, str]], sentences: list[str]) -> list[tuple[str, str]]:
    """Return those of ``pairs`` whose source is none of ``sentences``, whatever its signs."""
    keys = set(map(sentence_key, sentences))
    return [pair for pair in pairs if sentence_key(pair[0]) not in keys]
