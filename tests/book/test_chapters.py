"""The book itself: every chapter agrees with its modules, comes in order and has all its parts."""

from __future__ import annotations

import code
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from press.book import Chapter, load_book, read_notebook
from press.check import cells, order, quote

ROOT = Path(__file__).resolve().parents[2]
BOOK = load_book(ROOT)
CHAPTERS = [chapter for chapter in BOOK.chapters if chapter.numbered]

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


def test_there_are_chapters() -> None:
    assert CHAPTERS, "_toc.yml lists no numbered chapter"


def test_every_notebook_of_the_book_is_in_the_toc() -> None:
    listed = {chapter.path for chapter in BOOK.chapters}
    assert set((ROOT / "book").glob("*.ipynb")) == listed


def test_chapters_quote_their_modules() -> None:
    assert quote.check(BOOK) == []


def test_nothing_is_used_before_it_is_taught() -> None:
    assert order.check(BOOK) == []


def test_cells_and_parts() -> None:
    assert cells.check(BOOK) == []


@each_chapter
def test_a_chapter_quotes_something_of_each_module_it_teaches(chapter: Chapter) -> None:
    notebook = read_notebook(chapter.path)
    names = [name for _, cell in quote.quoting_cells(notebook) for name in quote.references(cell)]
    assert {name.split(":")[0] for name in names} == set(chapter.teaches)


@each_chapter
def test_changing_one_character_of_any_quoted_cell_is_noticed(chapter: Chapter) -> None:
    quotes = quote.Quotes(BOOK)
    for number, cell in quote.quoting_cells(read_notebook(chapter.path)):
        wanted = quotes.text(chapter, quote.references(cell))
        assert cell.source == wanted
        assert cell.source.replace("e", "f", 1) != wanted, f"cell {number} holds no letter e"


@each_chapter
def test_stored_metadata_names_no_version(chapter: Chapter) -> None:
    metadata = read_notebook(chapter.path).metadata
    assert metadata["kernelspec"]["name"] == "python3"
    assert "version" not in metadata["language_info"]
    assert "widgets" not in metadata


def test_code_is_still_the_standard_library() -> None:
    library = Path(sysconfig.get_paths()["stdlib"]).resolve()
    assert Path(code.__file__).resolve() == library / "code.py"
    assert not (ROOT / "code" / "__init__.py").exists()


def test_code_is_the_standard_library_from_the_root_too() -> None:
    program = "import code, pdb; print(code.InteractiveConsole.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "InteractiveConsole\n"


@each_chapter
def test_no_equation_loses_a_bracket(chapter: Chapter) -> None:
    r"""Right after ``\begin{aligned}`` TeX takes ``[...]`` for an option, and prints nothing."""
    texts = [c.source for c in read_notebook(chapter.path).cells if c.cell_type == "markdown"]
    assert not re.search(r"\\begin\{aligned\}\s*\[", "\n".join(texts))
