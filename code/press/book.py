"""The book as press sees it: `_toc.yml`, `[tool.press.chapters]`, chapters and what they teach."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

untyped: Any = nbformat  # its functions carry no type hints
ANSI = re.compile(r"\x1b\[[0-9;]*m")  # colours in tracebacks
NUMBERED = re.compile(r"\d\d_\w+")


class PressError(Exception):
    """Something about the book is wrong; the message is one sentence for whoever prints it."""


class UsageError(PressError):
    """The command itself is wrong: a chapter that is not in the book, a folder that holds none."""


@dataclass(frozen=True)
class Chapter:
    """A notebook of `_toc.yml`.

    Attributes:
        path: the `.ipynb` file.
        name: the path as messages show it, relative to the root of the repository.
        teaches: dotted names of the modules that it teaches, from `[tool.press.chapters]`.
    """

    path: Path
    name: str
    teaches: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def numbered(self) -> bool:
        return NUMBERED.fullmatch(self.stem) is not None


@dataclass(frozen=True)
class Book:
    """Everything the checks need to know.

    Attributes:
        root: folder of `pyproject.toml` and `_toc.yml`.
        chapters: the notebooks of `_toc.yml`, in its order.
        table: `[tool.press.chapters]`, in order: chapters, written or not, and what they teach.
    """

    root: Path
    chapters: tuple[Chapter, ...]
    table: dict[str, tuple[str, ...]]

    @property
    def code(self) -> Path:
        return self.root / "code"

    def rank(self, stem: str) -> int | None:
        """Place of a chapter in the table; None for a notebook outside the numbered sequence."""
        return list(self.table).index(stem) if stem in self.table else None

    def taught(self) -> dict[str, str]:
        """Dotted name of each taught module -> stem of its chapter, in the order of the book."""
        return {module: stem for stem, modules in self.table.items() for module in modules}

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
        known = ", ".join(chapter.stem for chapter in self.chapters) or "none"
        raise UsageError(f"chapter {name!r} is not a notebook of _toc.yml, which lists: {known}")


def load_book(start: Path | None = None) -> Book:
    """Read the book whose repository contains `start` (default: the current folder).

    Raises:
        PressError: no repository around `start`, or a file that does not say what it should.
    """
    root = find_root(Path.cwd() if start is None else start)
    table = read_table(root)
    chapters = tuple(
        Chapter(path, path.relative_to(root).as_posix(), table.get(path.stem, ()))
        for path in toc_notebooks(root)
    )
    return Book(root, chapters, table)


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` whose pyproject.toml has `[tool.press.chapters]`."""
    start = start.resolve()
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file() and "press" in _toml(path).get("tool", {}):
            return folder
    raise UsageError(f"no pyproject.toml with a [tool.press.chapters] table at or above {start}")


def read_table(root: Path) -> dict[str, tuple[str, ...]]:
    """`[tool.press.chapters]` with module names made dotted: attention -> scratch.attention."""
    table = _toml(root / "pyproject.toml").get("tool", {}).get("press", {}).get("chapters")
    if not isinstance(table, dict):
        raise PressError(
            "pyproject.toml: [tool.press.chapters] must map chapters to lists of modules"
        )
    for stem, modules in table.items():
        if not isinstance(modules, list) or not all(isinstance(name, str) for name in modules):
            raise PressError(
                f"pyproject.toml: [tool.press.chapters] {stem} must list modules, got {modules!r}"
            )
    return {stem: tuple(f"scratch.{name}" for name in modules) for stem, modules in table.items()}


def toc_notebooks(root: Path) -> list[Path]:
    """The notebooks that `_toc.yml` lists, in its order; pages written in Markdown are left out."""
    path = root / "_toc.yml"
    if not path.is_file():
        raise PressError(f"{root} has no _toc.yml, which lists the chapters in order")
    try:
        toc = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise PressError(f"_toc.yml is not YAML: {' '.join(str(error).split())}") from error
    notebooks = []
    for file in toc_files(toc):
        page = root / file
        candidates = [page, page.with_name(page.name + ".ipynb"), page.with_name(page.name + ".md")]
        found = next((item for item in candidates if item.is_file()), None)
        if found is None:
            raise PressError(
                f"_toc.yml lists {file}, but there is neither {file}.ipynb nor {file}.md"
            )
        if found.suffix == ".ipynb":
            notebooks.append(found)
    return notebooks


def toc_files(node: Any) -> Iterator[str]:
    """Every `root:` and `file:` below a node of `_toc.yml`, in order."""
    if isinstance(node, list):
        for item in node:
            yield from toc_files(item)
    elif isinstance(node, dict):
        yield from (str(node[key]) for key in ("root", "file") if key in node)
        for key in ("parts", "chapters", "sections"):
            yield from toc_files(node.get(key))


def read_notebook(path: Path) -> NotebookNode:
    """Read a chapter; a cell without an id gets one from its position, never a random one.

    Raises:
        PressError: the file is not a notebook of format 4.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        cells = raw["cells"]
        for cell, cell_id in zip(
            cells, stable_ids([cell.get("id") for cell in cells]), strict=True
        ):
            cell["id"] = cell_id
        raw["nbformat_minor"] = max(5, raw["nbformat_minor"])
        notebook: NotebookNode = untyped.reads(json.dumps(raw), as_version=4)
        nbformat.validate(notebook)
    except (ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError) as error:
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
    """Write a chapter whole or not at all: a temporary file beside it, then one rename."""
    text: str = untyped.writes(notebook, version=nbformat.NO_CONVERT)
    text = text.rstrip("\n") + "\n"
    mode = path.stat().st_mode if path.exists() else 0o644
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise PressError(f"{path.name} is not TOML: {error}") from error
