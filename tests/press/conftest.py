"""The tiny book that tests of press may spoil."""

from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import NotebookNode

from tiny_book import TinyBook, code


@pytest.fixture
def tiny(tmp_path: Path) -> TinyBook:
    return TinyBook(tmp_path)


@pytest.fixture
def cell() -> Callable[..., NotebookNode]:
    """The constructor of code cells, for tests that add their own."""
    return code
