"""Compare `code/translate_in_one_file.py` with the package (`make one-file`)."""

import argparse
from collections.abc import Sequence

from tqdm import tqdm

import translate_in_one_file as one
from scratch.datasets import multi30k, tatoeba
from scratch.plumbing.threads import one_thread
from scratch.translation import Translator

NEAR = 1e-4  # what sums in another order may change of a score


def english_sentences(each: int | None = None) -> list[str]:
    """Return the English of Multi30k's and Tatoeba's test sets, all or the first of ``each``."""
    sets = ([e for e, _ in multi30k("test_2016_flickr")], [e for e, _ in tatoeba("test")])
    return [english for found in sets for english in list(dict.fromkeys(found))[:each]]


@one_thread()
def differences(sentences: Sequence[str], beam: int) -> tuple[list[tuple[str, ...]], float]:
    """Return where the French differs, with both scores, and the largest gap between scores."""
    model, vocabulary = one.Transformer(one.SHIPPED), one.Vocabulary(one.SHIPPED / "tokenizer.json")
    expected = Translator.from_pretrained("en-fr").translate(sentences, beam_size=beam)
    different: list[tuple[str, ...]] = []
    gap = 0.0
    pairs = zip(sentences, expected, strict=True)
    for english, theirs in tqdm(pairs, total=len(sentences), desc=f"beam {beam}", delay=5):
        french, score = one.translate(model, vocabulary, english, beam)
        gap = max(gap, abs(score - theirs.score))
        if french != theirs.text:
            different.append((english, french, f"{score:.6f}", theirs.text, f"{theirs.score:.6f}"))
    return different, gap


def main() -> None:
    """Compare all test sentences, greedily and with a beam of 5."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, metavar="N", help="sentences of each test set (all)")
    sentences = english_sentences(parser.parse_args().each)
    for beam in (1, 5):
        different, gap = differences(sentences, beam)
        print(f"beam {beam}: {len(different)} of {len(sentences):,} sentences differ", end=", ")
        print(f"scores by at most {gap:.1e}")
        for english, ours, score, theirs, other in different:
            print(f"  {english}\n    one file {score} {ours}\n    package  {other} {theirs}")


if __name__ == "__main__":
    main()
