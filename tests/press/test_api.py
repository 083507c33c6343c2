"""The API reference: every public name has a page of its own, and its module lists it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from press.book import PressError, load_book
from press.site import api

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
    assert all(entry.says for entry in entries if entry.kind)


def test_every_taught_module_is_in_the_reference_and_in_its_table() -> None:
    taught = [name for name in load_book(ROOT).taught() if name in MODULES]
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    places = [page.find(f"(api/{name}.rst)") for name in taught]
    assert -1 not in places, dict(zip(taught, places, strict=True))
    assert places == sorted(places), "the table is in the order of the book"


def test_every_public_name_has_a_page_that_its_module_links_to(copy: Path) -> None:
    pages = api.pages(load_book(copy))
    for module in MODULES.values():
        listed = pages[f"{module.__name__}.rst"]
        for entry in api.entries(module):
            assert f":py:obj:`~{module.__name__}.{entry.name}`" in listed
            text = pages[f"{module.__name__}/{entry.page}.rst"]
            assert text.startswith(f":orphan:\n\n{entry.name}\n==")
            assert f":: {module.__name__}.{entry.name}\n" in text
    assert len({name.casefold() for name in pages}) == len(pages), "on a disk without capitals"


def test_pages_are_written_once_and_swept_away(copy: Path) -> None:
    book = load_book(copy)
    number, changed = api.write(book)
    folder = copy / api.FOLDER
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert number == changed == len(files) > 250
    assert api.write(book) == (number, 0)

    (folder / "scratch.gone").mkdir()
    (folder / "scratch.gone" / "old.rst").write_text("old")
    (folder / "scratch.attention" / "causal_mask.rst").write_text("changed")
    assert api.write(book) == (number, 2)
    assert not (folder / "scratch.gone").exists()
    text = (folder / "scratch.attention" / "causal_mask.rst").read_text(encoding="utf-8")
    assert ".. autofunction:: scratch.attention.causal_mask" in text


def test_a_taught_module_and_its_names_lead_to_its_chapter(copy: Path) -> None:
    pages = api.pages(load_book(copy))
    assert ":doc:`../05_attention`" in pages["scratch.attention.rst"]
    assert ":doc:`../../05_attention`" in pages["scratch.attention/causal_mask.rst"]
    assert "Built in" not in pages["scratch.plumbing.data.fetch.rst"]


def test_what_says_nothing_is_refused() -> None:
    module = ModuleType("silent")
    with pytest.raises(PressError, match="no __all__"):
        api.entries(module)
    module.__all__ = ["speak"]  # type: ignore[attr-defined]
    module.speak = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(PressError, match=r"silent\.speak has no docstring"):
        api.entries(module)


def test_a_page_of_a_module_lists_names_by_kind() -> None:
    entries = [
        api.Entry("Cat", "autoclass", "A cat."), api.Entry("purr", "autofunction", "Return it."),
        api.Entry("C", ""),
    ]  # fmt: skip
    text = api.module_page("zoo", "", entries)
    assert "* :py:obj:`~zoo.Cat`: A cat.\n" in text and "* :py:obj:`~zoo.C`\n" in text
    assert re.findall(r"^(.+)\n[=-]+$", text, re.MULTILINE) == [
        "zoo", "Classes", "Functions", "Data",
    ]  # fmt: skip


def test_data_is_shown_as_its_source_and_cut_where_it_is_long(tmp_path: Path) -> None:
    file = tmp_path / "zoo.py"
    rows = "".join(f"    {n},\n" for n in range(40))
    file.write_text(f"# how many legs\nLEGS = 4\nLONG = [\n{rows}]\n")
    module = ModuleType("zoo")
    module.__file__ = str(file)
    short = api.name_page(module, "", api.Entry("LEGS", "", "", "LEGS"))
    assert "   # how many legs\n   LEGS = 4\n" in short and "first" not in short
    long = api.name_page(module, "", api.Entry("LONG", "", "", "LONG"))
    assert (
        f"Its first {api.LONGEST} lines of 42." in long
        and "    39,\n" not in long
        and "       28,\n" in long
    )
    with pytest.raises(PressError, match=r"zoo\.ELSE is public but defined elsewhere"):
        api.name_page(module, "", api.Entry("ELSE", "", "", "ELSE"))
