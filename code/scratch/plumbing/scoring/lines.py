"""Lines in, lines out: what the command line reads, translated a block at a time."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from tqdm import tqdm

from scratch.translation import Translation, Translator

__all__ = ["checked_lines", "input_lines", "lines_at_a_time", "translated"]

SHOWN_AFTER = 1.0  # seconds of work, for a progress bar
MOST_BYTES = 100_000  # of a line and its end: nothing longer is read, let alone cut into tokens
SORTED_BATCHES = 8  # batches that are read ahead, so that lines of one length share a batch


def input_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of ``stream`` as they come; a line ends at a newline and nowhere else.

    A byte order mark at the beginning is none of the text.  Raises ValueError, naming the line,
    for one that is not UTF-8 or has 100,000 bytes or more.
    """
    pieces = iter(lambda: stream.readline(MOST_BYTES + 1), b"")
    for number, line in enumerate(pieces, start=1):
        here = f"line {number} of the input"
        if len(line) > MOST_BYTES:
            raise ValueError(f"{here} has {MOST_BYTES:,} bytes or more, expected a sentence")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{here} is not UTF-8, expected UTF-8") from None
        yield text.removesuffix("\n").removesuffix("\r")


def checked_lines(translator: Translator, lines: Iterable[str], where: str) -> Iterator[str]:
    """Yield ``lines``; raise ValueError, naming the line of ``where``, for one that is too long."""
    for number, line in enumerate(lines, start=1):
        here = f"line {number} of {where}"
        if len(line) > MOST_BYTES:
            raise ValueError(f"{here} has {len(line):,} characters, expected a sentence")
        try:
            translator.source_ids(line)
        except ValueError as error:
            raise ValueError(f"{here} cannot be translated: {error}") from None
        yield line


def _blocks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield ``lines`` in lists of ``size``; those before one that cannot be read come first."""
    block: list[str] = []
    try:
        for line in lines:
            block.append(line)
            if len(block) == size:
                yield block
                block = []
    except (ValueError, OSError):
        if block:
            yield block
        raise
    if block:
        yield block


def lines_at_a_time(batch_size: int, typed: bool) -> int:
    """Return how many lines to read before any is translated: 1 when somebody is typing them."""
    return 1 if typed or batch_size == 1 else SORTED_BATCHES * batch_size


def translated(
    translator: Translator, lines: Iterable[str], at_a_time: int, **settings: Any
) -> Iterator[tuple[str, Translation]]:
    """Yield each of ``lines`` with its translation, in order, as soon as its block is done.

    ``settings`` are those of :meth:`~scratch.translation.Translator.translate`.  Long work shows
    a progress bar on a terminal, unless the translations themselves appear there.  Raises
    ValueError for a line that is too long for the model, once those before it are yielded.
    """
    lines, offset = checked_lines(translator, lines, "the input"), 0
    hidden = not sys.stderr.isatty() or sys.stdout.isatty()
    with tqdm(unit=" lines", disable=hidden, delay=SHOWN_AFTER, dynamic_ncols=True) as bar:
        for block in _blocks(lines, at_a_time):
            yield from zip(
                block, translator.translate(block, offset=offset, **settings), strict=True
            )
            # blank lines throw no dice
            offset += sum(bool(translator.tokenizer.normalise(line)) for line in block)
            bar.update(len(block))
