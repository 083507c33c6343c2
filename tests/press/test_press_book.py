"""How press reads a book, and how its command line answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from press.__main__ import main
from press.book import PressError, UsageError, load_book, read_notebook, stable_ids, write_notebook
from tiny_book import TinyBook


def test_chapters_come_in_the_order_of_the_toc_and_know_what_they_teach(tiny: TinyBook) -> None:
    book = tiny.load()
    assert [c.name for c in book.chapters] == ["book/01_first.ipynb", "book/02_second.ipynb"]
    assert [c.teaches for c in book.chapters] == [("scratch.first",), ("scratch.second",)]
    assert book.taught() == {"scratch.first": "01_first", "scratch.second": "02_second"}


def test_a_chapter_that_says_nothing_teaches_nothing(tiny: TinyBook) -> None:
    tiny.chapter("03_third", [])
    tiny.toc("index", "01_first", "03_third")
    assert [c.teaches for c in tiny.load().chapters] == [("scratch.first",), ()]


def test_a_page_without_a_number_names_what_it_quotes_in_full(tiny: TinyBook) -> None:
    tiny.chapter("notes", [])
    tiny.teach("notes", ["scratch.second"])
    tiny.toc("index", "01_first", "notes")
    assert tiny.load().taught() == {"scratch.first": "01_first", "scratch.second": "notes"}


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
    ("text", "complaint"),
    [
        ("root: book/nowhere\n", "lists book/nowhere, but there is neither"),
        ("root: [", "_toc.yml is not YAML"),
        ("root: \xe9", "_toc.yml is not YAML"),
        ("root: !!timestamp x", "_toc.yml is not YAML"),
        ("chapters: &a [*a]", "_toc.yml is not YAML"),
        ("", "_toc.yml lists no chapter"),
        ("5", "_toc.yml lists no chapter"),
        ("root: book/index\n", "_toc.yml lists no chapter"),
        ("root: 5\n", "_toc.yml: root must name a page, got 5"),
        ("chapters:\n- file:\n", "_toc.yml: file must name a page, got None"),
        ("chapters:\n- file: .\n", "lists ., but there is neither"),
        ("chapters:\n- file: ../elsewhere\n", "lists ../elsewhere, but there is neither"),
        ("chapters:\n- file: /elsewhere\n", "lists /elsewhere, but there is neither"),
        (f"chapters:\n- file: {'a' * 300}\n", "lists aaa"),
    ],
)
def test_a_table_of_contents_that_does_not_say_what_it_should(
    tiny: TinyBook, text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for elsewhere in (tiny.root.parent / "elsewhere.ipynb", tiny.root / "_toc.yml"):
        elsewhere.write_bytes(text.encode("latin1"))
    assert main(["--root", str(tiny.root), "check"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("press: ") and complaint in err and err.count("\n") == 1


@pytest.mark.parametrize("modules", [5, "first", [5], ["scratch.first"], [""], {"first": 1}])
def test_a_chapter_that_does_not_say_what_it_teaches(
    tiny: TinyBook, modules: object, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.teach("01_first", modules)
    assert main(["--root", str(tiny.root), "check"]) == 1
    err = capsys.readouterr().err
    assert err.startswith('press: book/01_first.ipynb: metadata "press" must read ')
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", [b"\xff", b"x = (\n", b"-" * 100_000 + b"1", b"x = '\0'", None])
@pytest.mark.parametrize("module", ["first", "plumbing/checks"])
def test_a_module_that_cannot_be_read_is_named(
    tiny: TinyBook, module: str, text: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny.root / "code" / "scratch" / f"{module}.py"
    path.unlink()
    if text is None:
        tiny.teach("02_second", ["second", "gone"])
    else:
        path.write_bytes(text)
    assert main(["--root", str(tiny.root), "check"]) == 1
    err = capsys.readouterr().err
    assert (path.name if text else "taught module gone.py cannot be read") in err


def test_a_book_is_found_from_a_folder_inside_it(tiny: TinyBook) -> None:
    assert load_book(tiny.root / "book").root == tiny.root


EMPTY = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
HALF = EMPTY.replace("[]", r'[{"cell_type": "raw", "metadata": {}, "source": "\ud800"}]')


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "5", "{", '{"cells": [{}], "nbformat": 4}', "[" * 100_000, HALF,
        EMPTY.replace("[]", "{}"), EMPTY.replace("[]", "[5]"), EMPTY.replace("{}", "[]"),
        *(EMPTY.replace("4", other) for other in ("5", "null", "[]", "true", '"x"', "4.5")),
        EMPTY.replace(": 5", ': "x"'),
    ],
)  # fmt: skip
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
        raise OSError(28, "disk full")

    files = sorted(path.parent.iterdir())
    monkeypatch.setattr("scratch.plumbing.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_notebook(notebook, path)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == files


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
        ["quote", "01"],
        ["quote", "--write", "99"],
        ["check", "--loud"],
        ["serve", "--port", "x"],
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
