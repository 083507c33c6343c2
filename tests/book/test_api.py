"""The API reference: every public name is on the page of its module, with its docstring."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest

from press import api
from press.book import PressError, load_book

ROOT = Path(__file__).resolve().parents[2]
MODULES = {module.__name__: module for module in api.modules()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What press reads of the repository."""
    for name in ("pyproject.toml", "_toc.yml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("api"))
    return tmp_path


@pytest.mark.parametrize("name", list(MODULES))
def test_every_public_name_exists_once_and_says_what_it_is(name: str) -> None:
    entries = api.entries(MODULES[name])
    names = [entry.name for entry in entries]
    assert len(set(names)) == len(names) > 0
    assert {entry.kind for entry in entries} <= {"autoclass", "autofunction", ""}


def test_every_taught_module_is_in_the_reference_and_in_its_table() -> None:
    taught = [name for name in load_book(ROOT).taught() if name in MODULES]
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    places = [page.find(f"(api/{name}.md)") for name in taught]
    assert -1 not in places, dict(zip(taught, places, strict=True))
    assert places == sorted(places), "the table is in the order of the book"


def test_pages_are_written_once_and_swept_away(copy: Path) -> None:
    book = load_book(copy)
    number, changed = api.write(book)
    folder = copy / api.FOLDER
    assert number == changed == len(list(folder.iterdir())) > 30
    assert api.write(book) == (number, 0)

    (folder / "scratch.gone.md").write_text("old")
    (folder / "scratch.attention.md").write_text("changed")
    assert api.write(book) == (number, 2)
    assert not (folder / "scratch.gone.md").exists()
    assert "causal_mask" in (folder / "scratch.attention.md").read_text(encoding="utf-8")


def test_a_taught_module_leads_to_its_chapter(copy: Path) -> None:
    pages = api.pages(load_book(copy))
    assert "(../05_attention.ipynb)" in pages["scratch.attention.md"]
    assert "its chapter" not in pages["scratch.plumbing.fetch.md"]


def test_what_says_nothing_is_refused() -> None:
    module = ModuleType("silent")
    with pytest.raises(PressError, match="no __all__"):
        api.entries(module)
    module.__all__ = ["speak"]  # type: ignore[attr-defined]
    module.speak = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(PressError, match=r"silent\.speak has no docstring"):
        api.entries(module)


def test_a_page_holds_every_name_and_lists_tables() -> None:
    entries = [api.Entry("Cat", "autoclass"), api.Entry("purr", "autofunction"), api.Entry("C", "")]
    text = api.page("zoo", "", entries)
    assert ".. autoclass:: zoo.Cat\n   :members:" in text
    assert ".. autofunction:: zoo.purr" in text and "Tables: `C`." in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# zoo", "## Cat", "## purr",
    ]  # fmt: skip
