"""With one core busy: what the book's code takes beside a process that burns a core.

A person who runs it in a script has as many threads as the machine has cores, and does not know
what else the machine does.  Everything is timed as it is and on one thread, with and without the
burner; as it is, it should take no more than :data:`MOST` times what one thread takes then.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch

import harness
from contestants import SIZES, fixed_batch
from decoding import load, taught_decoder
from scratch.plumbing.scoring.lines import in_blocks
from scratch.training import TrainingConfig, batch_loss, make_optimizer, train_step
from scratch.transformer import Transformer, TransformerConfig
from scratch.translation import Translator, translate_ids

BURNER = 'print("here", flush=True)\nwhile True: pass'
MOST = 1.5
MODEL = "grammar-en-fr"  # it needs no file
LINES = 1_024  # enough for two processes, by the larger model
ONE, AS_IS = "one thread", "as it is"


def measure(rounds: int, quick: bool) -> dict[str, Any]:
    """Time everything on a quiet machine, then with one core busy."""
    work = runners(quick)
    results: dict[str, Any] = {"machine": harness.describe(), "quiet": {}, "busy": {}}
    results["quiet"] = _race(work, rounds, "quiet")
    with one_core_busy():
        results["busy"] = _race(work, rounds, "one core busy")
    return results


@contextmanager
def one_core_busy() -> Iterator[subprocess.Popen[bytes]]:
    """Have another process burn a core meanwhile."""
    command = [sys.executable, "-c", BURNER]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as burner:
        assert burner.stdout is not None
        burner.stdout.readline()  # it burns from now on
        try:
            yield burner
        finally:
            burner.kill()


def runners(quick: bool) -> dict[str, Callable[[bool], object]]:
    """Return what is timed, by name; each is told whether one process is to do it."""
    model, sources = load(MODEL)
    taught = taught_decoder(model)
    made: dict[str, Callable[[bool], object]] = {
        "16 sentences one by one, greedily": lambda _: [
            translate_ids(model, [ids], beam_size=1) for ids in sources[:16]
        ],
        "one by one, beam of 5": lambda _: [translate_ids(model, [ids]) for ids in sources[:16]],
        "one by one, as taught, greedily": lambda _: taught(sources[:16], 1, 1),
        "128 sentences, 64 at once, greedily": lambda _: translate_ids(model, sources, beam_size=1),
        "64 at once, beam of 5": lambda _: translate_ids(model, sources),
        "a training step, tiny": _training_step(),
    }
    if not quick:
        made[f"{LINES:,} lines, two processes"] = _many_lines()
    return made


def _training_step() -> Callable[[bool], object]:
    model = Transformer(TransformerConfig.preset("tiny", norm="pre")).train()
    batch, optimizer = fixed_batch(SIZES["tiny"]), make_optimizer(model)
    config = TrainingConfig(steps=1, peak_rate=1e-4, warmup_steps=1)
    return lambda _: train_step(model, [batch], optimizer, config, loss_of=batch_loss)


def _many_lines() -> Callable[[bool], object]:
    from scratch.datasets import grammar

    translator = Translator.from_pretrained("en-fr")
    texts = [pair.english_text for pair in itertools.islice(grammar().train, LINES)]

    def run(alone: bool) -> None:
        for _ in in_blocks(translator, texts, 512, model=None if alone else "en-fr"):
            pass

    return run


def _race(
    work: dict[str, Callable[[bool], object]], rounds: int, label: str
) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of everything, on one thread and as it is, by turns."""
    threads = torch.get_num_threads()

    def on(number: int, run: Callable[[bool], object]) -> Callable[[], object]:
        def timed() -> None:
            torch.set_num_threads(number)
            run(number == 1)

        return timed

    everything = {
        f"{name}|{how}": on(number, run)
        for name, run in work.items()
        for how, number in ((ONE, 1), (AS_IS, threads))
    }
    seconds = harness.race(everything, rounds, label=label)
    torch.set_num_threads(threads)
    return {name: {how: seconds[f"{name}|{how}"] for how in (ONE, AS_IS)} for name in work}


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """Return how many times what one thread takes with one core busy, everything takes then."""
    busy = results["busy"].items()
    return {name: median(found[AS_IS]) / median(found[ONE]) for name, found in busy}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Make a table of milliseconds, and one of what they were measured on."""
    rows = []
    for name, ratio in ratios(results).items():
        found = (results[state][name][how] for state in ("quiet", "busy") for how in (ONE, AS_IS))
        rows.append([name, *(f"{1000 * median(s):,.0f}" for s in found), f"{ratio:.2f}"])
    head = ["ms", f"quiet, {ONE}", f"quiet, {AS_IS}", f"busy, {ONE}", f"busy, {AS_IS}"]
    return {
        "times": harness.markdown([*head, f"busy, {AS_IS} / {ONE}"], rows),
        "machine": harness.machine_table(results["machine"]),
    }
