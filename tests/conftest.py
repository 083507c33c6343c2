"""What every test may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
# what a test starts in a process of its own is this tree, and not one that is installed
os.environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / at) for at in ("code", "tests/helpers"))
# nbval is given the chapters by name; a notebook that a test keeps beside it is not one of them
collect_ignore_glob = ["*.ipynb"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that neither of two workers ends long before the other."""
    site = ["test_pages.py", "test_playground.py", "test_themes.py", "test_features.py"]
    longest = [*site, "test_grammar_model.py", "test_runs.py", ".ipynb", "plumbing"]
    items.sort(key=lambda item: [name not in str(item.path) for name in longest])


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


# ten sentences like those that describe a picture, written for the tests
CAPTIONS = [
    "A man rides a red bicycle.",
    "Two women read a book near the river.",
    "A brown dog runs across the wet grass.",
    "Three children are playing football in the street.",
    "An old man with a hat sits on a bench.",
    "A girl in a yellow dress is jumping into the water.",
    "Several people are waiting for the bus.",
    "A young boy looks at a small boat.",
    "A woman is cooking in her kitchen.",
    "Two men in blue shirts are repairing the roof of a house.",
]


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Fifty English sentences of the kinds that the default model has learned from."""
    from scratch.plumbing.data.everyday import everyday_sentences

    return [sentence.english for sentence in everyday_sentences()] + CAPTIONS


@pytest.fixture(scope="session")
def in_processes() -> Callable[..., str]:
    """Run a script in several processes, as torchrun does; return what it printed."""

    def run(script: Path, *words: str, n: int = 2, threads: int = 1, timeout: int = 600) -> str:
        options = [f"--nproc-per-node={n}", "--standalone", "--local-addr=127.0.0.1"]
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", *options, str(script), *words],
            env={
                **os.environ,
                "OMP_NUM_THREADS": str(threads),
                "PYTHONPATH": os.pathsep.join((str(script.parent), os.environ["PYTHONPATH"])),
            },
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: on tensors as small as a test's, two only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
