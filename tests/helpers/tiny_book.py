"""A tiny book in a temporary folder: two chapters, two taught modules, and plumbing."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from press.book import Book, load_book, write_notebook

v4: Any = nbformat.v4  # its functions carry no type hints

FIRST = '''
"""The first module."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

SCALE = 0.5
Number = int | float
UNUSED = 3


def _twice(x: Number) -> Number:
    return 2 * x  # a private helper


def logged(function: Callable[..., Number]) -> Callable[..., Number]:
    """Hand the call on."""

    @wraps(function)
    def inner(*args: Number) -> Number:
        return function(*args)

    return inner


# Why this exists: a comment that belongs to the definition.
@logged
def grow(x: Number) -> Number:
    """Grow x."""
    return SCALE * _twice(x)


def _never_called() -> None:
    """Nothing public refers to this."""
'''
SECOND = '''
"""The second module."""

from .first import grow


class Pair:
    """Two numbers."""

    def __init__(self, left: float, right: float) -> None:
        self.left, self.right = left, right

    def grown(self) -> float:
        return grow(self.left) + grow(self.right)
'''
PROSE = """
# A chapter

**Objectives**: know one thing.

## Summary

```{exercise}
One.
```
```{solution-start} one
```
```{solution-end}
```
:::{exercise}
Two.
:::
:::{solution} two
:::
```{exercise-start}
```
```{exercise-end}
```
```{solution} three
```

## References
"""
QUOTES: dict[str, list[str | list[str]]] = {
    "01_first": [["first:SCALE", "first:Number"], "first:_twice", ["first:logged", "first:grow"]],
    "02_second": ["second:Pair"],
}


def code(source: str, *tags: str, count: int | None = None, **metadata: Any) -> NotebookNode:
    """A code cell; `count` makes it one that has been run."""
    cell: NotebookNode = v4.new_code_cell(textwrap.dedent(source).strip())
    cell.metadata.update(metadata)
    if tags:
        cell.metadata["tags"] = list(tags)
    cell.execution_count = count
    return cell


class TinyBook:
    """Files of a book that a test may spoil."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("code/scratch/__init__.py", "")
        self.write("code/scratch/plumbing/__init__.py", "")
        self.write("code/scratch/plumbing/checks.py", "")
        self.write("code/scratch/first.py", FIRST)
        self.write("code/scratch/second.py", SECOND)
        self.toc("index", "01_first", "02_second")
        self.write("book/index.md", "# Index\n")
        for stem, quotes in QUOTES.items():
            self.chapter(stem, [self.quoting(item) for item in quotes])
        self.teach("01_first", ["first"])
        self.teach("02_second", ["second"])

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"), encoding="utf-8")
        return path

    def toc(self, root: str, *stems: str) -> None:
        files = "".join(f"      - file: book/{stem}\n" for stem in stems)
        start = f"format: jb-book\nroot: book/{root}\nparts:\n  - caption: All\n    chapters:\n"
        self.write("_toc.yml", start + files)

    def path(self, stem: str) -> Path:
        return self.root / "book" / f"{stem}.ipynb"

    def chapter(self, stem: str, cells: list[NotebookNode], prose: str = PROSE) -> Path:
        """Write a chapter: one Markdown cell, then `cells`, numbered as if run in order.

        A chapter that was there before still teaches what it taught.
        """
        before = self.read(stem).metadata if self.path(stem).exists() else {}
        notebook: NotebookNode = v4.new_notebook(metadata=before)
        notebook.cells = [v4.new_markdown_cell(prose.strip()), *cells]
        for count, cell in enumerate(notebook.cells[1:], start=1):
            cell.execution_count = cell.execution_count or count
        for number, cell in enumerate(notebook.cells, start=1):
            cell.id = f"c{number}"
        write_notebook(notebook, self.path(stem))
        return self.path(stem)

    def read(self, stem: str) -> NotebookNode:
        notebook: NotebookNode = v4.reads(self.path(stem).read_text(encoding="utf-8"))
        return notebook

    def teach(self, stem: str, modules: object) -> None:
        """Write into the metadata of a chapter what it teaches."""
        notebook = self.read(stem)
        notebook.metadata["press"] = {"teaches": modules}
        write_notebook(notebook, self.path(stem))

    def edit(self, stem: str, change: Callable[[list[Any]], object]) -> None:
        """Let `change` work on the list of cells, then write the chapter again."""
        notebook = self.read(stem)
        change(notebook.cells)
        write_notebook(notebook, self.path(stem))

    def quoting(self, names: str | list[str]) -> NotebookNode:
        """A quoting cell, cut out of the module without press, which is held against it."""
        items = [names] if isinstance(names, str) else names
        first = {
            "first:SCALE": "SCALE = 0.5",
            "first:Number": "Number = int | float",
            "first:_twice": self.between(FIRST, "def _twice", "\n\n\ndef logged"),
            "first:logged": self.between(FIRST, "def logged", "\n\n\n# Why"),
            "first:grow": self.between(FIRST, "# Why", "\n\n\ndef _never"),
            "second:Pair": SECOND[SECOND.index("class Pair") :].rstrip("\n"),
        }
        glue = "\n" if "first:SCALE" in items else "\n\n\n"
        value = [f"scratch.{item}" for item in items]
        source = glue.join(first[item] for item in items)
        return code(source, "quote", quote=value[0] if isinstance(names, str) else value)

    @staticmethod
    def between(text: str, start: str, end: str) -> str:
        return text[text.index(start) : text.index(end)]

    def load(self) -> Book:
        return load_book(self.root)
