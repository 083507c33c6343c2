"""Sentences that a translator must get right, written before it was trained."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from scratch.plumbing.data.fetch import text_lines
from scratch.splits import sentence_key

__all__ = ["EverydaySentence", "everyday_sentences", "first_inputs", "read_everyday"]

EVERYDAY = Path(__file__).with_name("everyday.txt")
FIRST_INPUTS = Path(__file__).with_name("first_inputs.txt")


@dataclass(frozen=True)
class EverydaySentence:
    """An ``english`` sentence, what it is a case of, and the French that is ``accepted``."""

    phenomenon: str
    english: str
    accepted: tuple[str, ...]

    def is_right(self, french: str) -> bool:
        """Say whether ``french`` is accepted; case, punctuation and hyphens do not count."""
        return sentence_key(french) in map(sentence_key, self.accepted)


def everyday_sentences() -> list[EverydaySentence]:
    """Return the forty sentences, four for each of ten phenomena."""
    return read_everyday(EVERYDAY)


def first_inputs() -> list[EverydaySentence]:
    """Return sixty things that a visitor types first, thirty "closed" and thirty "unseen"."""
    return read_everyday(FIRST_INPUTS)


def read_everyday(path: Path) -> list[EverydaySentence]:
    """Read a file of "[phenomenon]" lines, English lines and indented patterns of French.

    Raises ValueError, naming the line, for any other file.
    """
    found: list[EverydaySentence] = []
    phenomenon = ""
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            phenomenon = line.strip("[]")
        elif not line.startswith(" "):
            found.append(EverydaySentence(phenomenon, line, ()))
        elif found:
            last = found[-1]
            accepted = (*last.accepted, *_expand(line.strip()))
            found[-1] = EverydaySentence(last.phenomenon, last.english, accepted)
        else:
            raise ValueError(f"line {number} of {path} is indented, expected English first")
    empty = next((s.english for s in found if not s.accepted), None)
    if empty is not None:
        raise ValueError(f"{path} has nothing below {empty!r}, expected its accepted French")
    return found


def _expand(pattern: str) -> list[str]:
    """Return all sentences of ``pattern``: "a {b|c}" is "a b" and "a c"."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(words) for words in itertools.product(*choices)]
