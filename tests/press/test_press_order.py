"""The order check: a late import is caught wherever it hides, and what is allowed stays allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from nbformat import NotebookNode

from press.check import order

if TYPE_CHECKING:
    from conftest import TinyBook

EARLY = [
    "from scratch.second import Pair",
    "import scratch.second",
    "import scratch.second as two",
    "from scratch import second",
    "if True:\n    from scratch.second import Pair",
    "import importlib\nimportlib.import_module('scratch.second')",
    "%matplotlib inline\nfrom scratch.second import Pair",
    "%%time\nfrom scratch.second import Pair",
]
FINE = [
    "from scratch.first import grow",
    "from scratch.plumbing.checks import positive",
    "from scratch.plumbing import checks",
    "import scratch",
    "import scratchpad",
    "import torch, os",
    "%matplotlib inline\nimport os",
    "!ls\nos?\nx = 1",
    "%%html\n<b>not Python</b>",
    "",
]


def test_the_tiny_book_is_in_order(tiny: TinyBook) -> None:
    assert order.check(tiny.load()) == []


@pytest.mark.parametrize("source", EARLY)
def test_a_chapter_may_not_use_a_later_module(
    tiny: TinyBook, cell: Callable[..., NotebookNode], source: str
) -> None:
    tiny.chapter("01_first", [cell("x = 1"), cell(source)])
    (problem,) = order.check(tiny.load())
    assert problem.startswith("book/01_first.ipynb, cell 3 (In [2]): imports scratch.second")
    assert "02_second teaches" in problem


@pytest.mark.parametrize("source", EARLY)
def test_a_cell_that_looks_inside_may(
    tiny: TinyBook, cell: Callable[..., NotebookNode], source: str
) -> None:
    tiny.chapter("01_first", [cell(source, "look-inside")])
    assert order.check(tiny.load()) == []


@pytest.mark.parametrize("source", FINE)
def test_what_a_chapter_may_use(
    tiny: TinyBook, cell: Callable[..., NotebookNode], source: str
) -> None:
    tiny.chapter("01_first", [cell(source)])
    assert order.check(tiny.load()) == []


def test_a_later_chapter_may_use_earlier_modules(
    tiny: TinyBook, cell: Callable[..., NotebookNode]
) -> None:
    tiny.chapter("02_second", [cell("from scratch.first import grow\nimport scratch.second")])
    assert order.check(tiny.load()) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import press", "which the book never teaches"),
        ("from scratch.secret import x", None),
        ("def f(:", "is not Python"),
    ],
)
def test_other_complaints_about_a_cell(
    tiny: TinyBook, cell: Callable[..., NotebookNode], source: str, complaint: str | None
) -> None:
    tiny.write("code/scratch/secret.py", "x = 1\n")
    tiny.chapter("01_first", [cell(source)])
    (problem,) = order.check(tiny.load())
    assert (complaint or "scratch.secret, which is neither taught nor plumbing") in problem


@pytest.mark.parametrize(
    "source",
    [
        "from .second import Pair",
        "from . import second",
        "from scratch.second import Pair",
        "import scratch.second",
        "def f() -> None:\n    from .second import Pair\n",
    ],
)
def test_a_module_may_not_use_a_later_one(tiny: TinyBook, source: str) -> None:
    tiny.write("code/scratch/first.py", source + "\n")
    (problem,) = order.check(tiny.load())
    assert problem.startswith("code/scratch/first.py, line ")
    assert "imports scratch.second, which 02_second teaches, after 01_first" in problem


def test_a_module_may_use_plumbing_and_plumbing_any_module(tiny: TinyBook) -> None:
    tiny.write(
        "code/scratch/first.py", "from .plumbing.checks import x\nfrom .plumbing import checks\n"
    )
    tiny.write("code/scratch/plumbing/checks.py", "from ..second import Pair\n")
    assert order.check(tiny.load()) == []


@pytest.mark.parametrize("name", ["first.py", "plumbing/checks.py", "__init__.py"])
def test_nothing_in_scratch_imports_press(tiny: TinyBook, name: str) -> None:
    tiny.write(f"code/scratch/{name}", "from press.book import load_book\n")
    (problem,) = order.check(tiny.load())
    assert problem == f"code/scratch/{name}, line 1: scratch must not import press"


def test_a_chapter_that_the_table_lacks(tiny: TinyBook) -> None:
    tiny.chapter("04_extra", [])
    tiny.toc("index", "01_first", "04_extra")
    assert order.check(tiny.load()) == [
        "_toc.yml: 04_extra is not in [tool.press.chapters] of pyproject.toml"
    ]


def test_chapters_out_of_order(tiny: TinyBook) -> None:
    tiny.toc("index", "02_second", "01_first")
    assert order.check(tiny.load()) == ["_toc.yml: 01_first must not come after 02_second"]


def test_a_table_out_of_order_or_with_a_module_twice(tiny: TinyBook) -> None:
    tiny.write("pyproject.toml", '[tool.press.chapters]\n02_second = ["x"]\n01_first = ["x"]\n')
    assert order.check(tiny.load()) == [
        "pyproject.toml: [tool.press.chapters] lists 01_first after 02_second",
        "pyproject.toml: scratch.x is taught by more than one chapter",
    ]


def test_an_appendix_may_use_everything(tiny: TinyBook, cell: Callable[..., NotebookNode]) -> None:
    tiny.chapter("playground", [cell("import scratch.second")])
    tiny.toc("index", "playground", "01_first")
    assert order.check(tiny.load()) == []
