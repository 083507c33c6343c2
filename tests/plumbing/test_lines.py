"""Blocks of lines: shared between two processes or not, the same translations in the same order."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from scratch.plumbing.models.storage import save_pretrained
from scratch.plumbing.scoring import lines
from scratch.plumbing.scoring.lines import in_blocks
from scratch.transformer import count_parameters
from scratch.translation import Translator
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [PAIRS[n % len(PAIRS)][0] if n % 5 else " " for n in range(23)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(folder, model(vocab_size=len(tokenizer()), max_len=40), tokenizer())
    return str(folder)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that were started; two cores and two blocks, however small, are enough."""
    found: list[Any] = []

    def start(name: str) -> Any:
        found.append(begin(name))
        return found[-1]

    begin = lines._start
    monkeypatch.setattr(lines, "_start", start)
    monkeypatch.setattr(lines, "_cores", lambda: 2)
    monkeypatch.setattr(lines, "WORTH", 1)
    return found


def bad_at_the_end() -> Iterator[str]:
    yield from TEXTS[:18]
    raise ValueError("line 19 is bad")


def test_two_processes_translate_what_one_does(saved: str, started: list[Any]) -> None:
    translator = Translator.from_pretrained(saved)
    settings: dict[str, Any] = {"temperature": 1.5, "seed": 3}  # draws depend on a line's number
    alone = list(in_blocks(translator, TEXTS, 4, **settings))
    assert started == []
    shared = in_blocks(translator, bad_at_the_end(), 4, model=saved, **settings)
    found = [next(shared)]
    for process, _ in started:
        os.kill(process.pid, signal.SIGINT)  # Ctrl-C, which is for the parent
    found += [next(shared) for _ in range(4)]  # the lines before the bad one come first
    with pytest.raises(ValueError, match="line 19 is bad"):
        next(shared)
    assert found[:4] == alone[:4]
    assert found[4][0] == TEXTS[16:18]
    assert [f.text for f in found[4][1]] == [f.text for f in alone[4][1][:2]]
    assert len(started) == 2
    assert not any(process.is_alive() for process, _ in started)


class Thread(threading.Thread):
    """What works as a process does, without starting one."""

    def terminate(self) -> None:
        pass


def test_a_mistake_in_a_process_is_raised_here(
    saved: str, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(name: str) -> Any:
        ours, theirs = multiprocessing.Pipe()
        thread = Thread(target=lines._work, args=(theirs, name), daemon=True)
        thread.start()
        started.append(ours)  # what stops it: nobody at the other end
        return Thread(target=ours.close), ours

    monkeypatch.setattr(lines, "_start", start)
    monkeypatch.setattr(Thread, "join", Thread.run)
    translator = Translator.from_pretrained(saved)
    with pytest.raises(ValueError, match="beam_size is 0"):
        list(in_blocks(translator, TEXTS, 4, model=saved, beam_size=0))
    assert started == []
    too_long = [*TEXTS[:4], "a" * 99]  # a line that nobody has checked
    shared = in_blocks(translator, too_long, 4, model=saved)
    assert next(shared)[0] == TEXTS[:4]
    with pytest.raises(ValueError, match="expected at most 39"):
        next(shared)
    assert len(started) == 2


def test_a_process_that_dies_is_noticed(saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(name: str) -> Any:
        ours, theirs = multiprocessing.Pipe()
        theirs.close()
        return Thread(), ours

    monkeypatch.setattr(lines, "_start", start)
    monkeypatch.setattr(lines, "_cores", lambda: 2)
    monkeypatch.setattr(lines, "WORTH", 1)
    monkeypatch.setattr(Thread, "join", lambda self: None)
    with pytest.raises(MemoryError):
        list(in_blocks(Translator.from_pretrained(saved), TEXTS, 4, model=saved))


def test_little_work_starts_no_process(
    saved: str, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = Translator.from_pretrained(saved)
    expected = [found.text for found in translator.translate(TEXTS[:11], beam_size=1)]

    def same(texts: list[str], at_a_time: int) -> None:
        found = in_blocks(translator, texts, at_a_time, model=saved, beam_size=1)
        texts_found = [translation.text for _, part in found for translation in part]
        assert texts_found == expected[: len(texts)]

    monkeypatch.setattr(lines, "WORTH", 11 * count_parameters(translator.model))
    same(TEXTS[:11], 11)  # one block
    same(TEXTS[:11], 5)  # small ones, and nobody reads ahead
    same(TEXTS[:10], 6)  # the second is not full
    monkeypatch.setattr(lines, "WORTH", 1)
    monkeypatch.setattr(lines, "_cores", lambda: 1)
    same(TEXTS[:11], 6)
    assert started == []
    assert list(in_blocks(translator, [], 4, model=saved)) == []
