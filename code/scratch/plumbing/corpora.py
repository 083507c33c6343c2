"""What the recipes train on and are watched with: the book's corpora, by name, kept apart."""

from scratch.datasets import grammar, multi30k, tatoeba
from scratch.plumbing.everyday import everyday_sentences
from scratch.splits import sentence_key, without_shared

__all__ = ["held_out_pairs", "load_pairs", "without_sources"]


def load_pairs(corpus: str) -> list[tuple[str, str]]:
    """Return the (English, French) training texts of ``corpus``.

    "grammar"; "multi30k", the official 29,000 captions; or "en-fr", Multi30k and Tatoeba
    together: without pairs that share a side with any sentence held out of either, and without
    the everyday sentences.
    """
    if corpus == "grammar":
        return [(pair.english_text, pair.french_text) for pair in grammar().train]
    if corpus == "multi30k":
        return multi30k("train")
    pairs = without_shared(multi30k("train") + tatoeba("train"), held_out_pairs())
    return without_sources(pairs, [s.english for s in everyday_sentences()])


def held_out_pairs() -> list[tuple[str, str]]:
    """Return every pair that "en-fr" is chosen with or judged by."""
    return [*multi30k("val"), *multi30k("test_2016_flickr"), *tatoeba("dev"), *tatoeba("test")]


def without_sources(pairs: list[tuple[str, str]], sentences: list[str]) -> list[tuple[str, str]]:
    """Return those of ``pairs`` whose source is none of ``sentences``, whatever its signs."""
    keys = set(map(sentence_key, sentences))
    return [pair for pair in pairs if sentence_key(pair[0]) not in keys]
