"""How press reads a book, and how its command line answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from press.__main__ import main
from press.book import PressError, UsageError, load_book, read_notebook, stable_ids, write_notebook

if TYPE_CHECKING:
    from conftest import TinyBook


def test_chapters_come_in_the_order_of_the_toc_and_know_what_they_teach(tiny: TinyBook) -> None:
    book = tiny.load()
    assert [c.name for c in book.chapters] == ["book/01_first.ipynb", "book/02_second.ipynb"]
    assert [c.teaches for c in book.chapters] == [("scratch.first",), ("scratch.second",)]
    assert book.taught()["scratch.later"] == "03_later"


def test_sections_and_top_level_chapters_are_read_too(tiny: TinyBook) -> None:
    tiny.write(
        "_toc.yml",
        "root: book/index\nchapters:\n- file: book/01_first\n"
        "  sections:\n  - file: book/02_second.ipynb\n",
    )
    assert [c.stem for c in tiny.load().chapters] == ["01_first", "02_second"]


@pytest.mark.parametrize("name", ["01", "01_first", "01_first.ipynb", "book/01_first.ipynb"])
def test_a_chapter_is_found_by_number_name_or_file(tiny: TinyBook, name: str) -> None:
    assert [c.stem for c in tiny.load().select([name])] == ["01_first"]


@pytest.mark.parametrize("name", ["1", "first", "09", "", "book"])
def test_an_unknown_chapter_is_refused(tiny: TinyBook, name: str) -> None:
    with pytest.raises(UsageError, match=r"not a notebook of _toc\.yml, which lists: 01_first, 02"):
        tiny.load().select([name])


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("_toc.yml", "root: book/nowhere\n", "lists book/nowhere, but there is neither"),
        ("_toc.yml", "root: [", "_toc.yml is not YAML"),
        ("pyproject.toml", "[tool.press]\nchapters = 3\n", "must map chapters to lists"),
        (
            "pyproject.toml",
            '[tool.press.chapters]\n01_first = "first"\n',
            "01_first must list modules",
        ),
        ("pyproject.toml", "[tool.press", "pyproject.toml is not TOML"),
    ],
)
def test_a_book_that_does_not_say_what_it_should(
    tiny: TinyBook, file: str, text: str, complaint: str
) -> None:
    tiny.write(file, text)
    with pytest.raises(PressError, match=complaint.replace(".", r"\.")):
        tiny.load()


def test_a_book_is_found_from_a_folder_inside_it(tiny: TinyBook) -> None:
    assert load_book(tiny.root / "book").root == tiny.root


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [{}], "nbformat": 4}', "{"])
def test_a_file_that_is_no_notebook(tiny: TinyBook, text: str) -> None:
    path = tiny.write("book/01_first.ipynb", text)
    with pytest.raises(PressError, match=r"01_first\.ipynb is not a notebook of format 4"):
        read_notebook(path)
    assert main(["--root", str(tiny.root), "check"]) == 1


def test_missing_ids_come_from_the_position(tiny: TinyBook) -> None:
    path = tiny.path("01_first")
    raw = json.loads(path.read_text(encoding="utf-8"))
    for item in raw["cells"]:
        del item["id"]
    raw["nbformat_minor"] = 4
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert [c.id for c in read_notebook(path).cells] == ["cell-01", "cell-02", "cell-03", "cell-04"]


def test_ids_are_kept_and_repeated_ones_replaced() -> None:
    assert stable_ids(["a", None, "a", "cell-02", ""]) == [
        "a",
        "cell-02x",
        "cell-03",
        "cell-02",
        "cell-05",
    ]


def test_a_write_that_fails_leaves_the_old_file(
    tiny: TinyBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny.path("01_first")
    before = path.read_bytes()
    notebook = read_notebook(path)
    notebook.cells = []

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("press.book.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_notebook(notebook, path)
    assert path.read_bytes() == before
    assert not list(path.parent.glob(".*.tmp"))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["run"],
        ["run", "--all", "01"],
        ["run", "99"],
        ["run", "01", "--threads", "0"],
        ["run", "01", "--limit", "soon"],
        ["quote", "--check", "01"],
        ["quote", "--check", "--write"],
        ["order", "--loud"],
    ],
)
def test_a_wrong_command_is_answered_in_one_line(
    tiny: TinyBook, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["--root", str(tiny.root), *arguments])
    except SystemExit as error:
        code = int(str(error.code))
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("press")
    assert err.count("\n") == 1


def test_a_folder_without_a_book_is_a_wrong_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tmp_path), "check"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_list_of_chapters(tiny: TinyBook, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tiny.root), "chapters"]) == 0
    assert capsys.readouterr().out == "book/01_first.ipynb\nbook/02_second.ipynb\n"


def test_check_runs_all_three_checks(tiny: TinyBook, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tiny.root), "check"]) == 0

    tiny.edit(
        "02_second", lambda cells: cells[1].update(source="import press", execution_count=None)
    )
    capsys.readouterr()
    assert main(["--root", str(tiny.root), "check"]) == 1
    err = capsys.readouterr().err
    for complaint in ("differs from scratch.second:Pair", "imports press", "has no stored run"):
        assert complaint in err


def test_the_checks_need_neither_torch_nor_a_kernel() -> None:
    program = (
        "import sys, press.__main__; print([m for m in ('torch', 'nbclient') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
