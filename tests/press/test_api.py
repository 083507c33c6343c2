"""The API reference: every public name has a place on the page of its module, in full."""

import inspect
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


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return api.pages(load_book(ROOT))


def page_of(name: str, pages: dict[str, str]) -> str:
    """A taught module has a page of its own, one of plumbing lies on that of its folder."""
    return pages.get(f"{name}.rst") or pages[f"{name.rpartition('.')[0]}.rst"]


@pytest.mark.parametrize("name", list(MODULES))
def test_every_public_name_is_on_the_page_of_its_module(name: str, pages: dict[str, str]) -> None:
    text, public = page_of(name, pages), MODULES[name].__all__
    assert len(set(public)) == len(public) > 0
    assert text.count(f".. automodule:: {name}\n   :no-members:\n") == 1
    for each in public:
        thing = getattr(MODULES[name], each)
        kind = "class" if inspect.isclass(thing) else "function" if inspect.isroutine(thing) else ""
        if kind:
            assert text.count(f"* :py:obj:`~{name}.{each}`: {api.opening(thing)}\n") == 1
            assert text.count(f".. auto{kind}:: {name}.{each}\n") == 1
        else:
            assert text.count(f"* :py:obj:`~{name}.{each}`\n") == 1
            assert text.count(f".. py:data:: {each}\n   :module: {name}\n") == 1


def test_a_page_for_each_taught_module_in_order_and_one_for_each_folder(
    pages: dict[str, str],
) -> None:
    taught = list(load_book(ROOT).taught())
    names = [name.removesuffix(".rst") for name in pages if name != api.TABLE]
    assert names[: len(taught)] == taught
    folders = {name.rpartition(".")[0] for name in set(MODULES) - set(taught)}
    assert names[len(taught) :] == sorted(folders)
    rows = pages[api.TABLE].splitlines()[2:]
    assert [re.search(r"\(api/(.+)\.rst\)", row)[1] for row in rows] == names  # type: ignore[index]
    assert [bool(re.search(r"\[(\d+\]\(\d\d_|\w+\]\()\w+\.ipynb\)", row)) for row in rows] == [
        name in taught for name in names
    ]


def test_a_taught_module_leads_to_its_chapter(pages: dict[str, str]) -> None:
    assert "Built in :doc:`../05_attention`." in pages["scratch.attention.rst"]
    row = "Attention: every position asks every other what it holds, and takes a weighted average."
    assert (
        f"| [scratch.attention](api/scratch.attention.rst) | {row} | [5](05_attention.ipynb) |\n"
        in pages[api.TABLE]
    )
    assert "Built in" not in pages["scratch.plumbing.data.rst"]
    assert "\nscratch.plumbing.data.fetch\n-----" in pages["scratch.plumbing.data.rst"]


def test_pages_are_written_once_and_swept_away(copy: Path) -> None:
    book = load_book(copy)
    number, changed = api.write(book)
    folder = copy / api.FOLDER
    assert number == changed == len(list(folder.iterdir()))
    assert api.write(book) == (number, 0)

    (folder / "scratch.gone").mkdir()
    (folder / "scratch.gone" / "old.rst").write_text("old")
    (folder / "scratch.old.rst").write_text("old")
    (folder / "scratch.attention.rst").write_text("changed")
    assert api.write(book) == (number, 3)
    assert len(list(folder.iterdir())) == number
    text = (folder / "scratch.attention.rst").read_text(encoding="utf-8")
    assert ".. autofunction:: scratch.attention.causal_mask" in text


def made(**names: object) -> ModuleType:
    module = ModuleType("zoo", "A zoo.")
    for name, thing in names.items():
        setattr(module, name, thing)
    module.__all__ = list(names)  # type: ignore[attr-defined]
    return module


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(PressError, match="silent has no __all__"):
        list(api.contents(ModuleType("silent", "Says nothing.")))
    for silent in (lambda: None, type("Cat", (), {}), type("Dog", (), {"__doc__": "Dog(legs=4)"})):
        with pytest.raises(PressError, match=r"\.\S+ has no docstring, so the reference"):
            list(api.contents(made(speak=silent)))
    with pytest.raises(PressError, match="zoo has no docstring"):
        api.opening(ModuleType("zoo"))


def test_data_are_shown_as_their_source_and_cut_where_it_is_long(tmp_path: Path) -> None:
    file = tmp_path / "zoo.py"
    rows = "".join(f"    {n},\n" for n in range(40))
    file.write_text(f"# how many legs\nLEGS = 4\nLONG = [\n{rows}]\n")
    module = made(LEGS=4, LONG=[])
    module.__file__ = str(file)
    assert "      # how many legs\n      LEGS = 4\n" in list(api.table(module, "LEGS"))
    assert len(list(api.table(module, "LEGS"))) == 3
    *_, shown, says = api.table(module, "LONG")
    assert says == f"   Its first {api.LONGEST} lines of 42.\n"
    assert shown.count("\n") == api.LONGEST and shown.endswith(f"{api.LONGEST - 2},\n")
    with pytest.raises(PressError, match=r"zoo\.ELSE is public but defined elsewhere"):
        list(api.table(module, "ELSE"))
