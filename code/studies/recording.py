"""What recorded runs share: where they were computed, and the command that writes their logs."""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from scratch.plumbing.files import write_whole

__all__ = ["computed_on", "main"]

Line = dict[str, Any]


def computed_on() -> Line:
    """Return what a log says about the machine."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


def main(
    study: str,
    names: Collection[str],
    record: Callable[[str, int], Iterable[Line]],
    words: Sequence[str] | None = None,
) -> int:
    """Write the log of the run that the command line names; a mistake is a sentence on stderr.

    ``record`` makes the lines from a name and a seed; the first also gets the command.  Nothing
    is written before the run has ended, and never over another run's log.
    """
    parser = argparse.ArgumentParser(prog=f"python -m studies.{study}")
    parser.add_argument("name", choices=tuple(names), help="what to train")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--out", default=f"book/runs/{study}", metavar="DIR", help="(%(default)s)")
    options = parser.parse_args(words)
    path = Path(options.out) / f"{options.name}-{options.seed}.jsonl"
    if path.exists():
        print(f"{path} already holds a run; choose another --out", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    command = {"command": f"{parser.prog} {options.name} --seed {options.seed}"}
    try:
        header, *lines = record(options.name, options.seed)
    except ValueError as error:
        parser.error(str(error))
    path.parent.mkdir(parents=True, exist_ok=True)
    text = [json.dumps(line, ensure_ascii=False) for line in (command | header, *lines)]
    write_whole(path, "".join(f"{line}\n" for line in text))
    return 0
