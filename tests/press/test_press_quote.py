"""The quote check notices one character, a missing or second quote, a definition too large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from press.__main__ import main
from press.check import quote
from press.check.source import Module
from tiny_book import TinyBook, code

v4: Any = nbformat.v4  # its functions carry no type hints


def spoil(tiny: TinyBook, module: str, old: str, new: str) -> None:
    path = tiny.root / "code" / "scratch" / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, "the test must change exactly one place"
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_chapter_that_quotes_verbatim_passes(tiny: TinyBook) -> None:
    assert quote.check(tiny.load()) == []


@pytest.mark.parametrize(
    ("module", "old", "new", "where", "name"),
    [
        ("first", "2 * x", "3 * x", "book/01_first.ipynb, cell 3", "first:_twice"),
        ("first", "# a private", "# A private", "book/01_first.ipynb, cell 3", "first:_twice"),
        ("first", "# Why this", "# why this", "book/01_first.ipynb, cell 4", "first:grow"),
        ("first", "SCALE = 0.5", "SCALE = 0.6", "book/01_first.ipynb, cell 2", "first:SCALE"),
        ("first", '"""Grow x."""', '"""Grow  x."""', "book/01_first.ipynb, cell 4", "first:grow"),
        ("second", "left, right\n", "left, right \n", "book/02_second.ipynb, cell 2", "Pair"),
    ],
)
def test_one_character_in_a_module_fails_and_names_chapter_and_cell(
    tiny: TinyBook, module: str, old: str, new: str, where: str, name: str
) -> None:
    spoil(tiny, module, old, new)
    (problem,) = quote.check(tiny.load())
    first, _, diff = problem.partition("\n")
    assert first.startswith(where)
    assert name in first
    assert "    -" in diff
    assert "    +" in diff


def test_two_lines_stand_before_a_definition_and_none_between_assignments(tiny: TinyBook) -> None:
    book = tiny.load()
    first = quote.Quotes(book).text(
        book.chapters[0], [f"scratch.first:{name}" for name in ("SCALE", "Number", "_twice")]
    )
    assert first.startswith("SCALE = 0.5\nNumber = int | float\n\n\ndef _twice(x")
    after = quote.Quotes(book).text(
        book.chapters[0], ["scratch.first:_twice", "scratch.first:SCALE"]
    )
    assert after.endswith("# a private helper\n\n\nSCALE = 0.5")


def test_names_of_one_assignment_are_quoted_together(tiny: TinyBook) -> None:
    tiny.write("code/scratch/second.py", "A, B = 1, 2\nC = 3\n\n\ndef f():\n    return A + B + C\n")
    names = ["scratch.second:A", "scratch.second:B", "scratch.second:C", "scratch.second:f"]
    cell = code("A, B = 1, 2\nC = 3\n\n\ndef f():\n    return A + B + C", "quote", quote=names)
    tiny.edit("02_second", lambda cells: cells.__setitem__(slice(1, None), [cell]))
    assert quote.check(tiny.load()) == []


def test_a_page_without_a_number_quotes_a_program_under_code(tiny: TinyBook) -> None:
    tiny.write("code/program.py", "def f():\n    return 1\n")
    tiny.chapter("walk", [code("def f():\n    return 1", "quote", quote="program:f")])
    tiny.teach("walk", ["program"])
    tiny.toc("index", "01_first", "02_second", "walk")
    assert quote.check(tiny.load()) == []
    assert list(tiny.load().taught()) == ["scratch.first", "scratch.second"]
    tiny.write("code/program.py", "def f():\n    return 2\n")
    (problem,) = quote.check(tiny.load())
    assert problem.startswith("book/walk.ipynb, cell 2 (In [1]): differs from program:f")


@pytest.mark.parametrize("lines", [quote.DIFF_LINES - 5, quote.DIFF_LINES - 4])
def test_a_long_difference_is_cut_and_says_so(tiny: TinyBook, lines: int) -> None:
    """A diff has two lines of names, one of places, one that both share, and those that differ."""
    extra = "\n".join(f"x{number} = {number}" for number in range(lines))
    tiny.edit("02_second", lambda cells: cells[1].update(source=f"{cells[1].source}\n{extra}"))
    (problem,) = quote.check(tiny.load())
    shown = problem.split("\n")[1:]
    whole = lines + 4 <= quote.DIFF_LINES
    assert len(shown) == (lines + 4 if whole else quote.DIFF_LINES + 1)
    assert ("… " in shown[-1]) != whole


def test_one_character_in_a_chapter_fails(tiny: TinyBook) -> None:
    tiny.edit("02_second", lambda cells: cells[1].update(source=cells[1].source + "\n"))
    (problem,) = quote.check(tiny.load())
    assert problem.startswith(
        "book/02_second.ipynb, cell 2 (In [1]): differs from scratch.second:Pair"
    )


@pytest.mark.parametrize(
    ("position", "missing"), [(1, ["SCALE", "Number"]), (2, ["_twice"]), (3, ["logged", "grow"])]
)
def test_definitions_helpers_and_constants_must_be_quoted(
    tiny: TinyBook, position: int, missing: list[str]
) -> None:
    tiny.edit("01_first", lambda cells: cells.pop(position))
    problems = quote.check(tiny.load())
    assert len(problems) == len(missing)
    for problem, name in zip(problems, missing, strict=True):
        assert problem.startswith(
            f"book/01_first.ipynb: no cell quotes scratch.first:{name} (code/"
        )


def test_what_no_public_definition_needs_is_optional(tiny: TinyBook) -> None:
    required = Module(tiny.root / "code/scratch/first.py").required()
    assert required == ["SCALE", "Number", "_twice", "logged", "grow"]


def test_a_new_public_definition_must_be_quoted(tiny: TinyBook) -> None:
    spoil(tiny, "first", "def _never_called", "def shown")
    assert [p.split(" (")[0] for p in quote.check(tiny.load())] == [
        "book/01_first.ipynb: no cell quotes scratch.first:shown"
    ]


def test_a_second_quote_fails(tiny: TinyBook) -> None:
    tiny.edit("01_first", lambda cells: cells.append(tiny.quoting("first:_twice")))
    (problem,) = quote.check(tiny.load())
    assert "scratch.first:_twice is quoted more than once" in problem
    assert "cell 3" in problem
    assert "cell 5" in problem


def test_a_quote_in_another_chapter_fails(tiny: TinyBook) -> None:
    tiny.edit("02_second", lambda cells: cells.append(tiny.quoting("first:_twice")))
    (problem,) = quote.check(tiny.load())
    assert "book/02_second.ipynb, cell 3" in problem
    assert "this chapter teaches scratch.second" in problem


@pytest.mark.parametrize(
    ("tags", "value", "complaint"),
    [
        ([], "scratch.second:Pair", "needs both the tag"),
        (["quote"], None, "needs both the tag"),
        (["quote"], [], "must be"),
        (["quote"], 7, "must be"),
        (["quote"], "Pair", "must read"),
        (["quote"], "scratch.second:Pear", "no top-level definition 'Pear'"),
    ],
)
def test_a_cell_that_quotes_wrongly_is_named(
    tiny: TinyBook, tags: list[str], value: object, complaint: str
) -> None:
    def change(cells: list[Any]) -> None:
        cells[1].metadata["tags"] = tags
        cells[1].metadata.pop("quote")
        if value is not None:
            cells[1].metadata["quote"] = value

    tiny.edit("02_second", change)
    problems = quote.check(tiny.load())
    assert problems[0].startswith("book/02_second.ipynb, cell 2")
    assert complaint in problems[0]
    assert problems[1].startswith("book/02_second.ipynb: no cell quotes scratch.second:Pair")


def test_write_restores_the_cell_and_keeps_outputs(
    tiny: TinyBook, cell: Callable[..., NotebookNode]
) -> None:
    def change(cells: list[Any]) -> None:
        cells[1].source = "stale"
        cells[1].outputs = [v4.new_output("stream", text="kept\n")]

    tiny.edit("02_second", change)
    untouched = tiny.path("01_first").stat().st_mtime_ns
    changed, problems = quote.write(tiny.load(), list(tiny.load().chapters))
    assert (changed, problems) == (["book/02_second.ipynb, cell 2 (In [1])"], [])
    assert quote.check(tiny.load()) == []
    assert tiny.read("02_second").cells[1].outputs[0].text == "kept\n"
    assert tiny.path("01_first").stat().st_mtime_ns == untouched


def test_write_fills_an_empty_cell(tiny: TinyBook, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.edit("01_first", lambda cells: [c.update(source="") for c in cells[1:]])
    assert main(["--root", str(tiny.root), "quote", "--write", "01"]) == 0
    assert "rewrote book/01_first.ipynb, cell 2" in capsys.readouterr().out
    assert main(["--root", str(tiny.root), "quote"]) == 0


def body(lines: int) -> str:
    return "".join(f"    x{number} = {number}\n" for number in range(lines))


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        (f"def f():\n{body(23)}", f"def f():\n{body(24)}", "function f has 25 lines"),
        (f"class C:\n{body(38)}", f"class C:\n{body(39)}", "class C has 40 lines"),
        (
            "def f(a, b, c, d, e, f, g, *, h): ...",
            "def f(a, b, c, d, e, f, g, *h, i): ...",
            "f takes 9",
        ),
        (
            "class C:\n    def f(self, a, b, c, d, e, f, g, h): ...",
            "class C:\n    @staticmethod\n    def f(self, a, b, c, d, e, f, g, h): ...",
            "f takes 9",
        ),
        ("def f(): ...", "if True:\n    def f(): ...", "f must stand at the top level"),
        (f"def f():\n{body(22)}    ...", f"def f():\n{body(23)}    ...", "function f has 25 lines"),
    ],
)
def test_limits_of_size(tiny: TinyBook, good: str, bad: str, complaint: str) -> None:
    path = tiny.write("code/scratch/later.py", good + "\n")
    assert Module(path).problems() == []
    tiny.write("code/scratch/later.py", bad + "\n")
    tiny.teach("02_second", ["second", "later"])
    found = [problem for problem in quote.check(tiny.load()) if "no cell quotes" not in problem]
    assert len(found) == 1
    assert found[0].startswith("code/scratch/later.py, line ")
    assert complaint in found[0]


def test_comments_blank_lines_and_docstrings_do_not_count(tiny: TinyBook) -> None:
    filler = '    """A docstring\n    of two lines."""\n\n    # a comment\n\n'
    path = tiny.write("code/scratch/later.py", f"def f():\n{filler}{body(23)}")
    assert Module(path).problems() == []


def test_a_class_may_be_longer_than_a_function(tiny: TinyBook) -> None:
    path = tiny.write("code/scratch/later.py", f"class C:\n{body(30)}")
    assert Module(path).problems() == []


def test_where_a_definition_begins(tiny: TinyBook) -> None:
    """With the comments right above it, on the first line too; not with those of the one before."""
    text = "# why\n# at all\ndef f():\n    pass\n    # the end of f\n@f\ndef g(): ...\n"
    found = Module(tiny.write("code/scratch/later.py", text)).definitions
    assert (found["f"].line, found["f"].text) == (1, "# why\n# at all\ndef f():\n    pass")
    assert (found["g"].line, found["g"].text) == (6, "@f\ndef g(): ...")


def test_a_definition_in_parts_stays_together(tiny: TinyBook) -> None:
    text = "def f(x: A): ...\n\n\ndef f(x: B): ...\n"
    found = Module(tiny.write("code/scratch/later.py", f"A = B = 1\n\n\n{text}"))
    assert found.definitions["f"].text == text.rstrip("\n")
    assert found.required() == ["A", "B", "f"]


def test_a_name_that_is_only_bound_is_not_referred_to(tiny: TinyBook) -> None:
    text = "A = 1\n\n\ndef f():\n    A = 2\n"
    assert Module(tiny.write("code/scratch/later.py", text)).required() == ["f"]
