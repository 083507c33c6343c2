"""Measuring fairly: everybody in one process, in turns, many times; memory in one of its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import random
import resource
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

SIDE = 2048  # of the square matrices whose product tells the machine's rate


def race(
    runners: Mapping[str, Callable[[], object]], rounds: int, *, label: str, warmup: int = 1
) -> dict[str, list[float]]:
    """Run each of ``runners`` once a round, in an order shuffled anew; return seconds by name.

    What the machine does besides, and its clock, then falls on all alike.  The first ``warmup``
    rounds do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    draw = random.Random(0)
    with tqdm(total=(warmup + rounds) * len(runners), desc=label, dynamic_ncols=True) as bar:
        for number in range(warmup + rounds):
            for name in draw.sample(list(runners), len(runners)):
                bar.set_postfix_str(name)
                spent = _time(runners[name])
                if number >= warmup:
                    seconds[name].append(round(spent, 6))
                bar.update()
    return seconds


def _time(run: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()  # as timeit does
    start = time.perf_counter()
    run()
    spent = time.perf_counter() - start
    gc.enable()
    return spent


def ratios(seconds: Mapping[str, Sequence[float]], reference: str) -> dict[str, float]:
    """Return how many times as fast as ``reference`` each one is, by the medians."""
    return {name: median(seconds[reference]) / median(s) for name, s in seconds.items()}


def matrix_product(repeat: int = 4) -> Callable[[], object]:
    """Return a runner for :func:`race` that multiplies large float32 matrices ``repeat`` times."""
    a, b, c = (torch.ones(SIDE, SIDE) for _ in range(3))

    def run() -> None:
        for _ in range(repeat):
            torch.mm(a, b, out=c)

    return run


def matrix_rate(seconds: Sequence[float], repeat: int = 4) -> float:
    """Return the floating-point operations a second that :func:`matrix_product` reached."""
    return repeat * 2 * SIDE**3 / median(seconds)


def alone(function: Callable[..., object], *arguments: object) -> float:
    """Return the peak memory, in MiB, of a new process that calls ``function(*arguments)``.

    ``function`` has to stand at the top of a module.
    """
    return float(apart(_peak_of, function, arguments))


def apart(function: Callable[..., Any], *arguments: object, without: Collection[str] = ()) -> Any:
    """Return what ``function(*arguments)`` returns in a process of its own.

    The process does not get the variables of the environment that ``without`` names.
    ``function`` has to stand at the top of a module.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, arguments))
    taken = {name: os.environ.pop(name) for name in without if name in os.environ}
    try:
        process.start()
    finally:
        os.environ.update(taken)
    sender.close()  # so that a process that dies is noticed
    try:
        return receiver.recv()
    finally:
        process.join()


def _send(sender: Any, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    sender.send(function(*arguments))


def _peak_of(function: Callable[..., object], arguments: tuple[object, ...]) -> float:
    function(*arguments)
    return round(_peak(), 1)


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # not ru_maxrss, which on Linux begins with the parent's
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def describe(*packages: str) -> dict[str, Any]:
    """Return the machine and the versions of ``packages``, for the head of a result."""
    return {
        "processor": _processor(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("torch", *packages)},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = [line.partition(":") for line in info.read_text().splitlines()]
    named = {key.strip(): value.strip() for key, _, value in fields}
    names = [named.get(key, "?") for key in ("model name", "cpu family", "model", "stepping")]
    return "{}, family {}, model {}, stepping {}".format(*names)


def machine_table(machine: Mapping[str, Any], more: Sequence[Sequence[str]] = ()) -> str:
    """Return a table of what :func:`describe` returned, and of ``more`` rows."""
    rows = [
        ["Processor", machine["processor"]],
        ["Kernels, threads", f"{machine['kernels']}, {machine['threads']}"],
        ["Python", machine["python"]],
        *([name, version] for name, version in machine["versions"].items()),
        *more,
    ]
    return markdown(["What", "Here"], rows, numbers=":--")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: str = "--:") -> str:
    """Return a Markdown table; the first column stands left, the others as ``numbers`` says."""
    lines = [list(head), [":--", *[numbers] * (len(head) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
