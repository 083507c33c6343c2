"""Lines in, lines out: what the command line reads, translated a block at a time."""

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

from tqdm import tqdm

from scratch.translation import Translation, Translator

__all__ = ["input_lines", "lines_at_a_time", "translated"]

SHOWN_AFTER = 1.0  # seconds of work, for a progress bar
SORTED_BATCHES = 8  # batches that are read ahead, so that lines of one length share a batch


def input_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of ``stream`` as they come; a line ends at a newline and nowhere else.

    Raises ValueError, naming the line, for one that is not UTF-8.
    """
    for number, line in enumerate(stream, start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"line {number} of the input is not UTF-8, expected UTF-8") from None
        yield text.removesuffix("\n").removesuffix("\r")


def lines_at_a_time(batch_size: int, typed: bool) -> int:
    """Return how many lines to read before any is translated: 1 when somebody is typing them."""
    return 1 if typed or batch_size == 1 else SORTED_BATCHES * batch_size


def translated(
    translator: Translator, lines: Iterable[str], at_a_time: int, **settings: Any
) -> Iterator[tuple[str, Translation]]:
    """Yield each of ``lines`` with its translation, in order, as soon as its block is done.

    ``settings`` are those of :meth:`~scratch.translation.Translator.translate`.  Long work shows
    a progress bar on a terminal, unless the translations themselves appear there.
    """
    lines, offset = iter(lines), 0
    hidden = not sys.stderr.isatty() or sys.stdout.isatty()
    with tqdm(unit=" lines", disable=hidden, delay=SHOWN_AFTER, dynamic_ncols=True) as bar:
        while block := list(islice(lines, at_a_time)):
            yield from zip(
                block, translator.translate(block, offset=offset, **settings), strict=True
            )
            # blank lines throw no dice
            offset += sum(bool(translator.tokenizer.normalise(line)) for line in block)
            bar.update(len(block))
