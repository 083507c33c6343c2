"""Lines in, lines out: what the command line reads, translated a block at a time."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, BinaryIO

from tqdm import tqdm

from scratch.transformer import count_parameters
from scratch.translation import Search, Translation, Translator

__all__ = ["checked_lines", "in_blocks", "input_lines", "lines_at_a_time", "translated"]

SHOWN_AFTER = 1.0  # seconds of work, for a progress bar
MOST_BYTES = 100_000  # of a line and its end: nothing longer is read, let alone cut into tokens
SORTED_BATCHES = 8  # batches that are read ahead, so that lines of one length share a batch
WORKERS = 2  # processes of one thread each, between which long work is divided
# Lines times outputs of each times weights: ten seconds of one thread or so.  To start two
# processes takes three; with less work they would save little, and with one core busy nothing.
WORTH = 1.0e10

Task = tuple[list[str], dict[str, Any]]  # a block of lines, and settings of its translation


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
    translator: Translator,
    lines: Iterable[str],
    at_a_time: int,
    *,
    model: str | None = None,
    **settings: Any,
) -> Iterator[tuple[str, Translation]]:
    """Yield each of ``lines`` with its translation, in order, as soon as its block is done.

    ``model`` and ``settings`` are those of :func:`in_blocks`.  Long work shows a progress bar on a
    terminal, unless the translations themselves appear there.  Raises ValueError for a line that
    is too long for the model, once those before it are yielded.
    """
    lines = checked_lines(translator, lines, "the input")
    hidden = not sys.stderr.isatty() or sys.stdout.isatty()
    with tqdm(unit=" lines", disable=hidden, delay=SHOWN_AFTER, dynamic_ncols=True) as bar:
        for block, found in in_blocks(translator, lines, at_a_time, model=model, **settings):
            yield from zip(block, found, strict=True)
            bar.update(len(block))


def in_blocks(
    translator: Translator,
    lines: Iterable[str],
    at_a_time: int,
    *,
    model: str | None = None,
    **settings: Any,
) -> Iterator[tuple[list[str], list[Translation]]]:
    """Yield ``lines`` in blocks of ``at_a_time``, in order, each with its translations.

    ``settings`` are those of :class:`~scratch.translation.Search`.  With ``model``, the name or
    folder that ``translator`` was loaded from, two processes share the work where two blocks are
    worth it (``WORTH``) and there are two cores; the translations are the same.  What reading the
    lines raises is raised once those before it are yielded.
    """
    search, weights = Search(**settings), count_parameters(translator.model)
    work = weights * (search.beam_size if search.temperature is None else 1)  # for one line
    tasks = _tasks(translator, _blocks(lines, at_a_time), settings)
    on_cpu = translator.model.output.weight.device.type == "cpu"
    if model is not None and on_cpu and _cores() >= WORKERS and WORKERS * at_a_time * work >= WORTH:
        ahead = list(itertools.islice(tasks, WORKERS))
        tasks = itertools.chain(ahead, tasks)
        read = [len(task[0]) for task in ahead if not isinstance(task, Exception)]
        if len(read) == WORKERS and sum(read) * work >= WORTH:
            yield from _in_processes(model, tasks)
            return
    for task in tasks:
        if isinstance(task, Exception):
            raise task
        yield task[0], translator.translate(task[0], **task[1])


def _tasks(
    translator: Translator, blocks: Iterable[list[str]], settings: dict[str, Any]
) -> Iterator[Task | Exception]:
    """Yield each block with its settings, and at last what reading them has raised, if it has."""
    offset = 0
    try:
        for block in blocks:
            yield block, settings | {"offset": offset}
            # only lines that are not blank count for sampling
            offset += sum(bool(translator.tokenizer.normalise(line)) for line in block)
    except (ValueError, OSError) as error:
        yield error


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_processes(
    model: str, tasks: Iterable[Task | Exception]
) -> Iterator[tuple[list[str], list[Translation]]]:
    """Have the processes do the ``tasks`` by turns; yield blocks and translations in order."""
    workers = [_start(model) for _ in range(WORKERS)]
    busy: deque[tuple[list[str], Connection]] = deque()

    def finished() -> tuple[list[str], list[Translation]]:
        block, pipe = busy.popleft()
        found = pipe.recv()
        if isinstance(found, Exception):
            raise found
        return block, found

    try:
        for number, task in enumerate(tasks):
            # a process gets its next block when it has nothing to do: neither waits to be read
            while busy and (len(busy) == WORKERS or isinstance(task, Exception)):
                yield finished()
            if isinstance(task, Exception):
                raise task
            pipe = workers[number % WORKERS][1]
            pipe.send(task)
            busy.append((task[0], pipe))
        while busy:
            yield finished()
    except (EOFError, ConnectionError):  # nobody is at the other end of a pipe
        raise MemoryError from None  # what else ends a process: the system, when it has no more
    finally:
        for process, _ in workers:
            process.terminate()
            process.join()


def _start(model: str) -> tuple[BaseProcess, Connection]:
    """Start a process that translates; Ctrl-C is for its parent, which ends it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, model), daemon=True)
    resource_tracker.ensure_running()  # or starting it would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit it
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()  # so that a process that dies is noticed
    return process, ours


def _work(pipe: Connection, model: str) -> None:
    """Translate what comes through ``pipe`` until it is closed; send what came of it."""
    translator = Translator.from_pretrained(model)
    with contextlib.suppress(EOFError):
        while True:
            block, settings = pipe.recv()
            try:
                pipe.send(translator.translate(block, **settings))
            except Exception as error:  # noqa: BLE001 - the parent raises it
                pipe.send(error)
