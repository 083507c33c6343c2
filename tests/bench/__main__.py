"""`make bench`: how fast the book's code is, beside what others have written.

To add a benchmark called ``NAME``:

1. write ``tests/bench/NAME.py`` with two functions, importing peers inside functions only, so that
   tests can import the module without them:

   ``measure(rounds: int, quick: bool) -> dict`` takes the measurements and returns what goes into
   ``book/runs/bench/NAME.json``, seconds of every round included (:func:`harness.race` takes them
   in turns, :func:`harness.alone` measures memory in a process of its own); with ``quick`` it
   leaves out whatever is slow, to see that all works;
   ``tables(results: dict) -> dict[str, str]`` makes Markdown tables from that JSON, by name;
2. add ``NAME`` to :data:`BENCHMARKS` below;
3. put the line ``% table NAME.TABLE`` and the line ``% end`` into ``book/benchmarks.md`` for each
   table: what stands between them is written by this command.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import page

BENCHMARKS = ("training", "decoding", "busy")
ROUNDS = 7
# Before Python starts, because that is when they are read: two threads; and an allocator that
# keeps what it was given back, for all alike: page faults would cost more than arithmetic.
SETTINGS = {
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_MMAP_THRESHOLD_": "17179869184",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what was asked for, write the results and their tables."""
    chosen = build_parser().parse_args(argv)
    if not chosen.page:
        _start_again_with(SETTINGS)
    for name in chosen.benchmarks or BENCHMARKS:
        benchmark: Any = importlib.import_module(name)
        if not chosen.page:
            results = benchmark.measure(chosen.rounds, chosen.quick)
            if chosen.quick:  # nothing that should be kept
                print(*benchmark.tables(results).values(), sep="\n\n")
                continue
            page.write_results(name, results | {"rounds": chosen.rounds})
        page.write_tables(name, benchmark.tables(page.read_results(name)))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        usage='make bench ARGS="[BENCHMARK ...] [--rounds N] [--quick] [--page]"',
        description="Measure speed beside other implementations; the results go into the book.",
    )
    names = ", ".join(BENCHMARKS)
    parser.add_argument(
        "benchmarks",
        nargs="*",
        metavar="BENCHMARK",
        type=_known,
        help=f"what to measure (default: all): {names}",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=_positive, default=ROUNDS, help=f"default: {ROUNDS}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see that all works: the small parts, nothing is kept"
    )
    parser.add_argument(
        "--page", action="store_true", help="measure nothing, write the tables from the results"
    )
    return parser


def _known(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"{name!r} is no benchmark, expected {BENCHMARKS}")
    return name


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"rounds is {text!r}, expected a whole number from 1")
    return int(text)


def _start_again_with(settings: dict[str, str]) -> None:
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.environ.update(settings)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
