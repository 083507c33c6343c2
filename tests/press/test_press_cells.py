"""The cell check: exempt cells, alternative text, outputs of one machine, parts of a chapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from press.check import cells
from tiny_book import TinyBook

v4: Any = nbformat.v4  # its functions carry no type hints
Cell = Callable[..., NotebookNode]


def output(kind: str, **fields: Any) -> NotebookNode:
    node: NotebookNode = v4.new_output(kind, **fields)
    return node


def stdout(text: str) -> NotebookNode:
    return output("stream", name="stdout", text=text)


def test_the_tiny_book_is_complete(tiny: TinyBook) -> None:
    assert cells.check(tiny.load()) == []


@pytest.mark.parametrize("tag", ["nbval-ignore-output", "nbval-skip", "skip-execution"])
def test_one_exempt_cell_in_twenty_is_the_most(tiny: TinyBook, cell: Cell, tag: str) -> None:
    tiny.toc("index", "01_first")
    tiny.chapter("01_first", [cell("1"), *(cell("1") for _ in range(18)), cell("1", tag)])
    assert cells.check(tiny.load()) == []
    tiny.edit("01_first", lambda items: items.pop(1))
    tiny.edit(
        "01_first", lambda items: [c.update(execution_count=i) for i, c in enumerate(items) if i]
    )
    (problem,) = cells.check(tiny.load())
    assert problem.startswith("1 of 19 code cells are exempt from comparison, at most 5% may be: ")
    assert "book/01_first.ipynb, cell 20" in problem


def test_raises_exception_is_not_exempt(tiny: TinyBook, cell: Cell) -> None:
    tiny.chapter("01_first", [cell("1 / 0", "raises-exception")])
    assert cells.check(tiny.load()) == []


def test_a_comment_cannot_exempt_a_cell(tiny: TinyBook, cell: Cell) -> None:
    tiny.chapter("01_first", [cell("# NBVAL_IGNORE_OUTPUT\n1")])
    (problem,) = cells.check(tiny.load())
    assert "book/01_first.ipynb, cell 2 (In [1]): exempts itself by a comment" in problem


@pytest.mark.parametrize("end", [";", "; \n"])
def test_a_semicolon_cannot_hide_a_value(tiny: TinyBook, cell: Cell, end: str) -> None:
    hides = cell("")
    hides.source = f"plt.plot(x){end}"
    tiny.chapter("01_first", [cell("x = 1; y = 2"), hides])
    (problem,) = cells.check(tiny.load())
    assert "book/01_first.ipynb, cell 3 (In [2]): ends in a semicolon" in problem


@pytest.mark.parametrize("kind", ["image/png", "image/svg+xml"])
@pytest.mark.parametrize(
    ("alt", "complaint"),
    [
        (None, "without alternative text"),
        ("  ", "without alternative text"),
        (5, "without alternative text"),
        ("../_build/images/a1b2.png", "a file path as alternative text"),
        ("Two heat maps, the second one sharper (see fig.png).", None),
    ],
)
def test_figures_need_alternative_text(
    tiny: TinyBook, cell: Cell, kind: str, alt: object, complaint: str | None
) -> None:
    figure = cell("draw()", mystnb={"image": {"alt": alt}} if alt is not None else {})
    figure.outputs = [output("display_data", data={kind: "abc", "text/plain": "<Figure>"})]
    tiny.chapter("01_first", [figure])
    problems = cells.check(tiny.load())
    assert len(problems) == (complaint is not None)
    for problem in problems:
        assert problem.startswith("book/01_first.ipynb, cell 2")
        assert complaint is not None
        assert complaint in problem


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (output("stream", name="stderr", text="careful\n"), "writes to stderr: careful"),
        (stdout("saved /home/me/x.pt\n"), "a path of one machine: /home/me/x.pt"),
        (stdout("File '/tmp/a'"), "a path of one machine: /tmp/a"),
        (stdout("<object at 0x7f00deadbeef>"), "a memory address: 0x7f00deadbeef"),
        (stdout("<object at 0xdeadbeef>"), "a memory address: 0xdeadbeef"),
        (stdout("in \x1b[32m/home/me\x1b[0m"), "a path of one machine: /home/me"),
        (
            output("display_data", data={"image/svg+xml": "<svg>/home/me </svg>"}),
            "a path of one machine: /home/me",
        ),
        (
            output("execute_result", data={"text/plain": "PosixPath('/work/x')"}),
            "a path of one machine: /work/x",
        ),
        (
            output("display_data", data={"text/html": "<p>/usr/lib/a</p>"}),
            "a path of one machine: /usr/lib/a",
        ),
        (
            output(
                "error",
                ename="E",
                evalue="no",
                traceback=["File \x1b[39m\x1b[32m/root/a.py\x1b[0m:3"],
            ),
            "a path of one machine: /root/a.py",
        ),
    ],
)
def test_outputs_must_hold_on_any_machine(
    tiny: TinyBook, cell: Cell, bad: NotebookNode, complaint: str
) -> None:
    shown = cell("show()", mystnb={"image": {"alt": "A drawing."}})
    shown.outputs = [bad]
    tiny.chapter("01_first", [shown])
    (problem,) = cells.check(tiny.load())
    assert problem.startswith("book/01_first.ipynb, cell 2")
    assert complaint in problem


@pytest.mark.parametrize(
    "text",
    [
        "and/or",
        "https://example.org/home/a",
        "code/scratch/a.py",
        "0x1F600",
        "1/2",
        "src/tmp/x",
        "</var>",
    ],
)
def test_text_that_only_resembles_a_path_or_an_address(
    tiny: TinyBook, cell: Cell, text: str
) -> None:
    shown = cell("show()")
    shown.outputs = [stdout(text)]
    tiny.chapter("01_first", [shown])
    assert cells.check(tiny.load()) == []


def test_a_cell_that_was_never_run(tiny: TinyBook, cell: Cell) -> None:
    tiny.edit("01_first", lambda items: items[3].update(execution_count=None))
    (problem,) = cells.check(tiny.load())
    assert problem.startswith("book/01_first.ipynb, cell 4: has no stored run")


@pytest.mark.parametrize("tag", ["nbval-skip", "skip-execution", "nbval-ignore-output"])
def test_what_is_not_run_need_not_have_been(tiny: TinyBook, cell: Cell, tag: str) -> None:
    cells_of_it = [cell("1") for _ in range(20)]
    tiny.chapter("01_first", [*cells_of_it, cell("endless()", tag), cell("")])
    tiny.edit("01_first", lambda items: [c.update(execution_count=None) for c in items[21:]])
    problems = cells.check(tiny.load())
    assert len(problems) == (tag == "nbval-ignore-output")
    assert all("book/01_first.ipynb, cell 22: has no stored run" in text for text in problems)


def test_a_chapter_run_out_of_order(tiny: TinyBook) -> None:
    tiny.edit("01_first", lambda items: items[3].update(execution_count=9))
    (problem,) = cells.check(tiny.load())
    assert problem.startswith("book/01_first.ipynb: was not executed from top to bottom")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("## Summary", "## Sum", "no heading 'Summary'"),
        ("## References", "References", "no heading 'References'"),
        ("**Objectives**", "**Aims**", "does not state its objectives"),
        ("```{solution} three", "```{note}", "3 exercises and 2 solutions"),
        ("## References", "```{solution} x\n```\n## References", "3 exercises and 4 solutions"),
    ],
)
def test_a_missing_part(tiny: TinyBook, old: str, new: str, complaint: str) -> None:
    def change(items: list[Any]) -> None:
        assert old in items[0].source
        items[0].source = items[0].source.replace(old, new)

    tiny.edit("01_first", change)
    (problem,) = cells.check(tiny.load())
    assert problem.startswith("book/01_first.ipynb: ")
    assert complaint in problem


@pytest.mark.parametrize("count", [2, 7])
def test_the_number_of_exercises(tiny: TinyBook, count: int) -> None:
    pair = "\n```{exercise}\n```\n\n```{solution} x\n```\n"
    prose = "# Objectives\n\n# Summary\n\n# References\n" + pair * count
    tiny.chapter("01_first", [], prose)
    (problem,) = cells.check(tiny.load())
    assert problem == f"book/01_first.ipynb: has {count} exercises, expected 3 to 6"


def test_an_appendix_needs_no_parts(tiny: TinyBook) -> None:
    tiny.chapter("playground", [], "# Play")
    tiny.toc("index", "playground")
    assert cells.check(tiny.load()) == []
