"""The book itself: every chapter agrees with its modules, comes in order and has all its parts."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from press.book import Chapter, code_cells, load_book
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


def test_every_chapter_but_the_first_teaches_something() -> None:
    assert [chapter.stem for chapter in CHAPTERS if not chapter.teaches] == [CHAPTERS[0].stem]


@each_chapter
def test_a_chapter_quotes_something_of_each_module_it_teaches(chapter: Chapter) -> None:
    notebook = chapter.notebook
    names = [name for _, cell in quote.quoting_cells(notebook) for name in quote.references(cell)]
    assert {name.split(":")[0] for name in names} == set(chapter.teaches)


@each_chapter
def test_changing_one_character_of_any_quoted_cell_is_noticed(chapter: Chapter) -> None:
    quotes = quote.Quotes(BOOK)
    for number, cell in quote.quoting_cells(chapter.notebook):
        wanted = quotes.text(chapter, quote.references(cell))
        assert cell.source == wanted
        assert cell.source.replace("e", "f", 1) != wanted, f"cell {number} holds no letter e"


@each_chapter
def test_stored_metadata_names_no_version(chapter: Chapter) -> None:
    metadata = chapter.notebook.metadata
    assert metadata["kernelspec"]["name"] == "python3"
    assert "version" not in metadata["language_info"]
    assert "widgets" not in metadata


def ran(program: str) -> str:
    """Run a program in a process of its own, in the folder of the chapters."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "book", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_style_of_figures_imports_no_model() -> None:
    """Or what a chapter imports first would bring what the last ones teach."""
    program = (
        "import sys, scratch.plumbing.style; "
        "print(sorted(m for m in sys.modules if m.partition('.')[0] == 'scratch'))"
    )
    assert set(ast.literal_eval(ran(program))) <= {
        "scratch", "scratch.plumbing", "scratch.plumbing.checks", "scratch.plumbing.style",
    }  # fmt: skip


def test_the_first_cell_of_a_chapter_reads_no_weights() -> None:
    """What it imports is code: a model is loaded where the text comes to speak of it."""
    first = {
        chapter.stem: next(cell.source for _, cell in code_cells(chapter.notebook))
        for chapter in CHAPTERS
    }
    assert all("import" in source for source in first.values())
    program = f"""
import contextlib, io, safetensors, safetensors.torch
def refuse(*_, **__): raise AssertionError("reads weights")
safetensors.safe_open = safetensors.torch.load_file = safetensors.torch.load = refuse
for stem, source in {first!r}.items():
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {{"__name__": "__main__"}})
    except AssertionError as error:
        print(stem, error)
"""
    assert ran(program) == ""


@each_chapter
def test_no_equation_loses_a_bracket(chapter: Chapter) -> None:
    r"""Right after ``\begin{aligned}`` TeX takes ``[...]`` for an option, and prints nothing."""
    texts = [c.source for c in chapter.notebook.cells if c.cell_type == "markdown"]
    assert not re.search(r"\\begin\{aligned\}\s*\[", "\n".join(texts))
