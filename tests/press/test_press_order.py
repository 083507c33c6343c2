"""The order check: a late import is caught wherever it hides, and what is allowed stays allowed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nbformat import NotebookNode

from press.check import order
from tiny_book import TinyBook

EARLY = [
    "from scratch.second import Pair, Pair as Two",
    "import scratch.second",
    "import scratch.second as two",
    "from scratch import second",
    "if True:\n    from scratch.second import Pair",
    "import importlib\nimportlib.import_module('scratch.second')",
    "__import__('scratch.second')",
]
FINE = [
    "from scratch.first import grow",
    "from scratch.plumbing.checks import positive",
    "from scratch.plumbing import checks",
    "import scratch",
    "import scratchpad",
    "import torch, os",
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
        ("%matplotlib inline", "is not Python"),
        ("!ls", "is not Python"),
    ],
)
def test_other_complaints_about_a_cell(
    tiny: TinyBook, cell: Callable[..., NotebookNode], source: str, complaint: str | None
) -> None:
    tiny.chapter("01_first", [cell(source)])
    (problem,) = order.check(tiny.load())
    assert (complaint or "scratch.secret, which is neither taught nor plumbing") in problem


def test_a_cell_may_show_what_is_not_python(
    tiny: TinyBook, cell: Callable[..., NotebookNode]
) -> None:
    tiny.chapter("01_first", [cell("def f(:", "raises-exception")])
    assert order.check(tiny.load()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from .second import Pair",
        "from . import second",
        "from scratch.second import Pair, Pair as Two",
        "import scratch.second",
        "def f() -> None:\n    from .second import Pair\n",
    ],
)
def test_a_module_may_not_use_a_later_one(tiny: TinyBook, source: str) -> None:
    tiny.write("code/scratch/second.py", "class Pair: ...\n")  # or there would be a circle, too
    tiny.write("code/scratch/first.py", source + "\n")
    (problem,) = order.check(tiny.load())
    assert problem.startswith("code/scratch/first.py, line ")
    assert "imports scratch.second, which 02_second teaches, after 01_first" in problem


# Who may import whom: what lies in the one file may say the line, or may not.
ALLOWED = [
    ("scratch/first.py", "from .plumbing.checks import x"),
    ("scratch/first.py", "from .plumbing import checks"),
    ("scratch/first.py", "def f() -> None:\n    from scratch.plumbing.data import words"),
    ("scratch/first.py", "import scratch.plumbing.models.storage"),
    ("scratch/plumbing/files.py", "from scratch.plumbing import checks"),
    ("scratch/plumbing/data/words.py", "from scratch.second import Pair"),
    ("scratch/plumbing/fast/step.py", "from scratch.second import Pair"),
    ("scratch/plumbing/training/run.py", "from scratch.plumbing.models import storage"),
    ("scratch/plumbing/training/run.py", "from scratch.plumbing.scoring import scores"),
    ("scratch/plumbing/cli.py", "from scratch.plumbing.training import run"),
    ("scratch/__main__.py", "from scratch.plumbing.cli import main"),
    ("studies/one.py", "from scratch.plumbing.training import run"),
    ("press/book.py", "from scratch.plumbing.cli import main"),
    ("press/book.py", "import torch, scratchpad"),
]
FORBIDDEN = [
    ("scratch/first.py", "from scratch.plumbing.training import run"),
    ("scratch/first.py", "from .plumbing import cli"),
    ("scratch/first.py", "def f() -> None:\n    from scratch.plumbing.scoring import scores"),
    ("scratch/first.py", "import importlib\nimportlib.import_module('scratch.plumbing.cli')"),
    ("scratch/first.py", "import studies.one"),
    ("scratch/__init__.py", "import press.book"),
    ("scratch/plumbing/checks.py", "from scratch.second import Pair"),
    ("scratch/plumbing/checks.py", "from scratch.plumbing import files"),
    ("scratch/plumbing/files.py", "from scratch.second import Pair"),
    ("scratch/plumbing/style.py", "from scratch.plumbing import files"),
    ("scratch/plumbing/style.py", "from ..second import Pair"),
    ("scratch/plumbing/data/words.py", "from scratch.plumbing.models import storage"),
    ("scratch/plumbing/data/words.py", "from scratch.plumbing.training import run"),
    ("scratch/plumbing/fast/step.py", "from scratch.plumbing.training import run"),
    ("scratch/plumbing/models/storage.py", "from scratch.plumbing.training import run"),
    ("scratch/plumbing/training/run.py", "from scratch.plumbing import cli"),
    ("scratch/plumbing/training/run.py", "import studies.one"),
    ("scratch/plumbing/cli.py", "import press.book"),
    ("studies/one.py", "from press import book"),
    ("studies/one.py", "from scratch.plumbing import cli"),
    ("press/book.py", "import studies.one"),
]
ROOMS = (
    "scratch/plumbing/data/words.py", "scratch/plumbing/fast/step.py", "studies/one.py",
    "scratch/plumbing/models/storage.py", "scratch/plumbing/training/run.py", "press/book.py",
    "scratch/plumbing/scoring/scores.py", "scratch/plumbing/files.py", "scratch/plumbing/cli.py",
    "scratch/plumbing/style.py",
)  # fmt: skip


@pytest.fixture
def house(tiny: TinyBook) -> TinyBook:
    """The tiny book with an empty module in each room of its code."""
    for name in ROOMS:
        tiny.write(f"code/{name}", "")
    for name in ("press", "studies", *(f"scratch/plumbing/{at}" for at in FOLDERS)):
        tiny.write(f"code/{name}/__init__.py", "")
    return tiny


FOLDERS = "data", "fast", "models", "training", "scoring"


@pytest.mark.parametrize(("name", "source"), ALLOWED)
def test_a_room_imports_from_below(house: TinyBook, name: str, source: str) -> None:
    house.write(f"code/{name}", source + "\n")
    assert order.check(house.load()) == []


@pytest.mark.parametrize(("name", "source"), FORBIDDEN)
def test_a_room_does_not_import_from_above(house: TinyBook, name: str, source: str) -> None:
    house.write(f"code/{name}", source + "\n")
    (problem,) = order.check(house.load())
    assert problem.startswith(f"code/{name}, line ")
    assert " imports " in problem and " must not import " in problem


def test_a_package_that_has_no_room_imports_nothing(house: TinyBook) -> None:
    house.write("code/attic/old.py", "import scratch.first\n")
    assert order.check(house.load()) == [
        "code/attic/old.py, line 1: imports scratch.first, and what lies in no room must not "
        "import scratch"
    ]


@pytest.mark.parametrize(
    "source",
    [
        "from scratch.plumbing.fast import step",
        "def f() -> None:\n    import scratch.plumbing.fast.step",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .plumbing.fast import step",
    ],
)
def test_a_circle_is_found_wherever_its_imports_hide(house: TinyBook, source: str) -> None:
    house.write("code/scratch/plumbing/fast/step.py", "from scratch.plumbing.fast import other\n")
    house.write("code/scratch/plumbing/fast/other.py", "from scratch.second import Pair\n")
    assert order.check(house.load()) == []
    house.write("code/scratch/second.py", f"{source}\n")
    (problem,) = order.check(house.load())
    assert problem.startswith("code: these import each other in a circle: ")
    for name in ("scratch.second", "scratch.plumbing.fast.step", "scratch.plumbing.fast.other"):
        assert name in problem


def test_a_module_that_is_not_python_is_named_with_its_line(tiny: TinyBook) -> None:
    tiny.write("code/scratch/plumbing/checks.py", "x = 1\ndef f(:\n")
    (problem,) = order.check(tiny.load())
    assert problem.startswith("code/scratch/plumbing/checks.py is not Python: invalid syntax")
    assert "line 2" in problem


def test_a_module_that_no_chapter_teaches(tiny: TinyBook) -> None:
    tiny.write("code/scratch/secret.py", "x = 1\n")
    tiny.write("code/scratch/__main__.py", "x = 1\n")
    assert order.check(tiny.load()) == ["code/scratch/secret.py: no chapter teaches it"]


def test_chapters_out_of_order(tiny: TinyBook) -> None:
    tiny.toc("index", "02_second", "01_first")
    assert order.check(tiny.load()) == ["_toc.yml: 01_first must not come after 02_second"]


def test_a_module_that_is_taught_twice(tiny: TinyBook) -> None:
    tiny.teach("02_second", ["second", "first"])
    assert order.check(tiny.load()) == ["scratch.first is taught more than once"]
    tiny.teach("02_second", ["second", "second"])
    assert order.check(tiny.load()) == ["scratch.second is taught more than once"]


def test_an_appendix_may_use_everything(tiny: TinyBook, cell: Callable[..., NotebookNode]) -> None:
    tiny.chapter("playground", [cell("import scratch.second")])
    tiny.toc("index", "playground", "01_first", "02_second")
    assert order.check(tiny.load()) == []
