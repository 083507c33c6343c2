"""What every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# nbval is given the chapters by name; a notebook that a test keeps beside it is not one of them
collect_ignore_glob = ["*.ipynb"]


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT
