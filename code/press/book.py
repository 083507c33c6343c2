"""The book as press sees it: `_toc.yml`, the chapters that it lists, and what each of them teaches.

A chapter says in the metadata of its notebook which modules of `scratch` it teaches::

    "press": {"teaches": ["corpus", "splits", "datasets"]}

A page without a number says in the same way what it reads, by the names under code/: a program
("translate_in_one_file") or a module that no chapter teaches ("scratch.alignment").
"""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from scratch.plumbing.files import write_whole

untyped: Any = nbformat  # its functions carry no type hints
ANSI = re.compile(r"\x1b\[[0-9;]*m")  # colours in tracebacks
NUMBERED = re.compile(r"\d\d_\w+")


class PressError(Exception):
    """Something about the book is wrong; the message is one sentence for whoever prints it."""


class UsageError(PressError):
    """The command itself is wrong: a chapter that is not in the book, a folder that holds none."""


@dataclass(frozen=True)
class Chapter:
    """A notebook of `_toc.yml`; `name` is its path as messages show it, from the root."""

    path: Path
    name: str

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def numbered(self) -> bool:
        return NUMBERED.fullmatch(self.stem) is not None

    @cached_property
    def notebook(self) -> NotebookNode:
        return read_notebook(self.path)

    @cached_property
    def teaches(self) -> tuple[str, ...]:
        """Dotted names of the modules that it quotes; PressError if its metadata name none."""
        said = self.notebook.metadata.get("press", {})
        names = said.get("teaches", []) if isinstance(said, dict) else None
        if not isinstance(names, list) or not all(
            isinstance(name, str)
            and all(part.isidentifier() for part in name.split(".", 0 if self.numbered else -1))
            for name in names
        ):
            raise PressError(
                f'{self.name}: metadata "press" must read {{"teaches": ["module", …]}}, '
                f"got {json.dumps(said)}"
            )
        return tuple(f"scratch.{name}" if self.numbered else name for name in names)


@dataclass(frozen=True)
class Book:
    """The repository's folder, and the notebooks of its `_toc.yml` in their order."""

    root: Path
    chapters: tuple[Chapter, ...]

    @property
    def code(self) -> Path:
        return self.root / "code"

    @cached_property
    def modules(self) -> dict[str, Path]:
        """The file of each module and package in code/, by dotted name."""
        found = {}
        for path in sorted(path for path in self.code.rglob("*.py") if path.is_file()):
            parts = path.relative_to(self.code).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    def taught(self) -> dict[str, str]:
        """Dotted name of each taught module -> stem of its page, in the order of the book."""
        taught = ((module, chapter.stem) for chapter in self.chapters for module in chapter.teaches)
        return {module: stem for module, stem in taught if module.startswith("scratch.")}

    def module_path(self, module: str) -> Path:
        return self.code.joinpath(*module.split(".")).with_suffix(".py")

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def select(self, names: list[str]) -> list[Chapter]:
        """Chapters by number ("05"), stem ("05_attention") or path; all for an empty list."""
        return [self._find(name) for name in names] if names else list(self.chapters)

    def _find(self, name: str) -> Chapter:
        stem = Path(name).name.removesuffix(".ipynb")
        for chapter in self.chapters:
            if stem in (chapter.stem, chapter.stem.split("_")[0]):
                return chapter
        known = ", ".join(chapter.stem for chapter in self.chapters)
        raise UsageError(f"chapter {name!r} is not a notebook of _toc.yml, which lists: {known}")


def load_book(start: Path | None = None) -> Book:
    """Read the book whose repository contains `start` (default: the current folder).

    Raises PressError when there is no repository around `start`, or `_toc.yml` does not say what
    it should.
    """
    start = (start or Path.cwd()).resolve()
    for root in (start, *start.parents):
        if (root / "_toc.yml").is_file():
            paths = toc_notebooks(root)
            return Book(root, tuple(Chapter(p, p.relative_to(root).as_posix()) for p in paths))
    raise UsageError(f"no _toc.yml, which lists the chapters in order, at or above {start}")


def toc_notebooks(root: Path) -> list[Path]:
    """The notebooks that `_toc.yml` lists, in its order; pages written in Markdown are left out."""
    try:
        toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
        files = list(toc_files(toc))
    except (yaml.YAMLError, AttributeError, ValueError, RecursionError) as error:
        raise PressError(f"_toc.yml is not YAML: {' '.join(str(error).split())}") from error
    notebooks = []
    for file in files:
        found = find_page(root, file)
        if found is None:
            raise PressError(
                f"_toc.yml lists {file}, but there is neither {file}.ipynb nor {file}.md"
            )
        if found.suffix == ".ipynb":
            notebooks.append(found)
    if not notebooks:
        raise PressError("_toc.yml lists no chapter")
    return notebooks


def find_page(root: Path, name: str) -> Path | None:
    """The file of a page that `_toc.yml` names with or without its suffix, if root holds it."""
    with contextlib.suppress(OSError, ValueError):  # a name that no disk takes
        page = root / name
        page.relative_to(root)
        for path in (page, page.with_name(f"{page.name}.ipynb"), page.with_name(f"{page.name}.md")):
            if ".." not in path.parts and path.is_file():
                return path
    return None


def toc_files(node: Any) -> Iterator[str]:
    """Every `root:` and `file:` below a node of `_toc.yml`, in order."""
    if isinstance(node, list):
        for item in node:
            yield from toc_files(item)
    elif isinstance(node, dict):
        for key in ("root", "file"):
            if key in node:
                if not node[key] or not isinstance(node[key], str):
                    raise PressError(f"_toc.yml: {key} must name a page, got {node[key]!r}")
                yield node[key]
        for key in ("parts", "chapters", "sections"):
            yield from toc_files(node.get(key))


def read_notebook(path: Path) -> NotebookNode:
    """Read a chapter; a cell without an id gets one from its position, never a random one.

    Raises PressError when the file is not a notebook of format 4.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        cells = raw["cells"]
        for cell, cell_id in zip(
            cells, stable_ids([cell.get("id") for cell in cells]), strict=True
        ):
            cell["id"] = cell_id
        raw["nbformat_minor"] = max(5, raw["nbformat_minor"])
        if raw["nbformat"] != 4:
            raise ValueError(f"its format is {raw['nbformat']!r}")
        nbformat.validate(raw)
        text = json.dumps(raw, ensure_ascii=False)
        text.encode()  # half a character can stand in JSON, and in no file
        notebook: NotebookNode = untyped.reads(text, as_version=4)
    except (
        LookupError, TypeError, ValueError, AttributeError, RecursionError, OSError,
        nbformat.ValidationError,
    ) as error:  # fmt: skip
        reason = str(error).split("\n")[0]
        raise PressError(f"{path.name} is not a notebook of format 4: {reason}") from error
    return notebook


def stable_ids(ids: list[str | None]) -> list[str]:
    """Keep each id at its first use; a missing or repeated one becomes cell-NN, NN its position."""
    taken = {name for name in ids if name}
    result: list[str] = []
    for position, name in enumerate(ids, start=1):
        if not name or name in result:
            name = f"cell-{position:02d}"
            while name in taken:
                name += "x"
            taken.add(name)
        result.append(name)
    return result


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a chapter whole or not at all."""
    text: str = untyped.writes(notebook, version=nbformat.NO_CONVERT)
    write_whole(path, text.rstrip("\n") + "\n")


def code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """(number, cell) of each code cell; numbers count every cell of the file, from 1."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            yield number, cell


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def place(chapter: Chapter, number: int, cell: NotebookNode) -> str:
    """How messages name a cell: file, position among all cells, and Jupyter's In [ ]."""
    count = cell.get("execution_count")
    shown = f" (In [{count}])" if count else ""
    return f"{chapter.name}, cell {number}{shown}"
