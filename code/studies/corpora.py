"""Measure the three corpora: ``python -m studies.corpora`` prints JSON.

Chapter 11 draws from the numbers that are recorded in ``book/runs/corpora``.
"""

import argparse
import json
import re
from collections.abc import Sequence
from typing import Any

from scratch.datasets import grammar, group_references, multi30k, tatoeba
from scratch.plumbing.data.corpora import held_out_pairs
from scratch.plumbing.data.everyday import everyday_sentences
from scratch.splits import sentence_key, without_shared

__all__ = ["corpus_statistics", "measure"]

Pairs = Sequence[tuple[str, str]]


def words_in(text: str) -> list[str]:
    """Return the runs of letters and digits of ``text``, in lower case."""
    return re.findall(r"[^\W_]+", text.lower())


def measure(pairs: Pairs) -> dict[str, Any]:
    """Return the size of ``pairs``, their lengths in words and how often a source repeats.

    ``lengths`` counts source sentences by their number of words.
    """
    lengths: dict[int, int] = {}
    for source, _ in pairs:
        n = len(words_in(source))
        lengths[n] = lengths.get(n, 0) + 1
    counts = [[len(words_in(text)) for text in side] for side in zip(*pairs, strict=True)]
    grouped = group_references(pairs)
    return {
        "pairs": len(pairs),
        "sources": len(grouped),
        "most references": max(len(references) for _, references in grouped),
        "mean words": [round(sum(side) / len(side), 2) for side in counts],
        "lengths": {str(n): lengths[n] for n in sorted(lengths)},
    }


def unknown_words(train: Pairs, held: Pairs) -> list[float]:
    """Return the share of the words of ``held`` that ``train`` never uses, for each side."""
    shares = []
    for side in (0, 1):
        known = {word for pair in train for word in words_in(pair[side])}
        words = [word for pair in held for word in words_in(pair[side])]
        shares.append(round(sum(word not in known for word in words) / len(words), 4))
    return shares


def corpus_statistics() -> dict[str, Any]:
    """Return the measurements of every split of every corpus; fetches what is not in the cache."""
    made = grammar()
    splits: dict[str, dict[str, Pairs]] = {
        "grammar": {
            name: [(p.english_text, p.french_text) for p in getattr(made, name)]
            for name in ("train", "seen", "unseen")
        },
        "multi30k": {name: multi30k(name) for name in ("train", "val", "test_2016_flickr")},
        "tatoeba": {name: tatoeba(name) for name in ("train", "dev", "test")},
    }
    result: dict[str, Any] = {}
    for corpus, parts in splits.items():
        result[corpus] = {name: measure(pairs) for name, pairs in parts.items()}
        train, *held = parts.values()
        for name, pairs in zip(list(parts)[1:], held, strict=True):
            result[corpus][name]["unknown words"] = unknown_words(train, pairs)
    both = len(splits["multi30k"]["train"]) + len(splits["tatoeba"]["train"])
    # what the translator that ships has read
    shared = without_shared(multi30k("train") + tatoeba("train"), held_out_pairs())
    everyday = {sentence_key(sentence.english) for sentence in everyday_sentences()}
    together = [pair for pair in shared if sentence_key(pair[0]) not in everyday]
    result["en-fr"] = {"train": measure(together) | {"removed": both - len(together)}}
    return result


def main() -> None:
    """Print the statistics as JSON."""
    parser = argparse.ArgumentParser(description=corpus_statistics.__doc__)
    parser.parse_args()
    print(json.dumps(corpus_statistics(), indent=1))


if __name__ == "__main__":
    main()
