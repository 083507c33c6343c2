"""What the recipes train on and are watched with: the book's corpora, by name, kept apart."""

import hashlib
from pathlib import Path

from scratch.datasets import grammar, group_references, multi30k, read_tsv, tatoeba
from scratch.plumbing.data.everyday import everyday_sentences
from scratch.plumbing.data.fetch import CHECKSUMS
from scratch.splits import HeldOut, hold_out, sentence_key, without_shared

__all__ = ["TSV", "checksums_of", "dev_sets", "held_out_pairs", "load_pairs", "without_sources"]

TSV = "tsv:"  # the corpus "tsv:FILE" is any file of two columns
EN_FR = ("en-fr", "en-fr-captions")


def load_pairs(corpus: str) -> list[tuple[str, str]]:
    """Return the (English, French) training texts of ``corpus``.

    "grammar"; "en-fr", Multi30k and Tatoeba together: without pairs that share a side with any
    sentence held out of either, and without the everyday sentences; "en-fr-captions", the same
    with every caption twice, so that they are three fifths of the tokens; or "tsv:FILE", less
    its :func:`dev_sets`.
    """
    if corpus.startswith(TSV):
        return _split_file(corpus).train
    if corpus == "grammar":
        return [(pair.english_text, pair.french_text) for pair in grammar().train]
    captions = multi30k("train") * (2 if corpus == "en-fr-captions" else 1)
    pairs = without_shared(captions + tatoeba("train"), held_out_pairs())
    return without_sources(pairs, [s.english for s in everyday_sentences()])


def dev_sets(corpus: str) -> dict[str, list[tuple[str, list[str]]]]:
    """Return what a run on ``corpus`` is watched with, by name: sources with their references."""
    if corpus.startswith(TSV):
        dev = _split_file(corpus).dev
        return {"dev": group_references(dev)} if dev else {}
    if corpus in EN_FR:
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
    folders = ("multi30k/", "tatoeba/") if corpus in EN_FR else ()
    return {name: digest for name, digest in CHECKSUMS.items() if name.startswith(folders)}


def held_out_pairs() -> list[tuple[str, str]]:
    """Return every pair that "en-fr" is chosen with or judged by."""
    return [*multi30k("val"), *multi30k("test_2016_flickr"), *tatoeba("dev"), *tatoeba("test")]


def without_sources(pairs: list[tuple[str, str]], sentences: list[str]) -> list[tuple[str, str]]:
    """Return those of ``pairs`` whose source is none of ``sentences``, whatever its signs."""
    keys = set(map(sentence_key, sentences))
    return [pair for pair in pairs if sentence_key(pair[0]) not in keys]
