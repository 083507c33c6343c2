"""The order check: a module and a chapter use only modules of their own and earlier chapters.

`scratch.plumbing` may be used anywhere. A cell tagged `look-inside` may import anything: it shows
the trained model before the reader has built it. A notebook outside the numbered sequence (an
appendix) is not checked.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from nbformat import NotebookNode

from press.book import Book, Chapter, PressError, code_cells, place, read_notebook, tags

LOOK_INSIDE = "look-inside"
HELP = re.compile(r"[\w.]+\?{1,2}")
PACKAGE, PLUMBING, PRESS = "scratch", "scratch.plumbing", "press"


def check(book: Book) -> list[str]:
    """Every import that comes too early, each named with file and line or cell."""
    problems = check_table(book)
    if problems:  # without an order, nothing can be early or late
        return problems
    for path in sorted((book.code / PACKAGE).rglob("*.py")):
        problems += check_module(book, path)
    for chapter in book.chapters:
        if chapter.numbered:
            problems += check_chapter(book, chapter)
    return problems


def check_table(book: Book) -> list[str]:
    """`_toc.yml` and `[tool.press.chapters]` agree, and both count upwards."""
    stems = list(book.table)
    problems = [
        f"pyproject.toml: [tool.press.chapters] lists {later} after {earlier}"
        for earlier, later in pairwise(stems)
        if later <= earlier
    ]
    numbered = [chapter for chapter in book.chapters if chapter.numbered]
    problems += [
        f"_toc.yml: {chapter.stem} is not in [tool.press.chapters] of pyproject.toml"
        for chapter in numbered
        if chapter.stem not in book.table
    ]
    problems += [
        f"_toc.yml: {later.stem} must not come after {earlier.stem}"
        for earlier, later in pairwise(numbered)
        if later.stem <= earlier.stem
    ]
    modules = [module for taught in book.table.values() for module in taught]
    problems += [
        f"pyproject.toml: {module} is taught by more than one chapter"
        for module in sorted(set(modules))
        if modules.count(module) > 1
    ]
    return problems


def check_module(book: Book, path: Path) -> list[str]:
    """Imports of one file below code/scratch."""
    name = module_name(book, path)
    where = book.relative(path)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        return [f"{where}, line {error.lineno}: is not Python: {error.msg}"]
    stem = book.taught().get(name)
    found = []
    for line, target in imports(book, tree, package_of(name, path)):
        if target.split(".")[0] == PRESS:
            found.append(f"{where}, line {line}: scratch must not import press")
        elif stem is not None and (reason := too_early(book, target, stem)):
            found.append(f"{where}, line {line}: {reason}")
    return found


def check_chapter(book: Book, chapter: Chapter) -> list[str]:
    """Imports of one chapter's code cells."""
    found = []
    for number, cell in code_cells(read_notebook(chapter.path)):
        if LOOK_INSIDE in tags(cell):
            continue
        where = place(chapter, number, cell)
        try:
            tree = parse_cell(cell)
        except PressError as error:
            found.append(f"{where}: {error}")
            continue
        for _, target in imports(book, tree, ""):
            if target.split(".")[0] == PRESS:
                found.append(f"{where}: imports press, which the book never teaches")
            elif reason := too_early(book, target, chapter.stem):
                found.append(f'{where}: {reason}, unless the cell is tagged "{LOOK_INSIDE}"')
    return found


def too_early(book: Book, target: str, stem: str) -> str | None:
    """Why chapter `stem` and its modules may not import `target`; None if they may."""
    inside = target == PACKAGE or target.startswith(PACKAGE + ".")
    if not inside or target == PACKAGE or (target + ".").startswith(PLUMBING + "."):
        return None
    teacher = book.taught().get(target)
    if teacher is None:
        return f"imports {target}, which is neither taught nor plumbing"
    here, there = book.rank(stem), book.rank(teacher)
    if here is None or there is None or there <= here:
        return None
    return f"imports {target}, which {teacher} teaches, after {stem}"


def imports(book: Book, tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of each import, relative ones and import_module("…") included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if is_module(book, full) else base
        elif isinstance(node, ast.Call) and (name := dynamic_import(node)):
            yield node.lineno, name


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that `from … import` names, its leading dots resolved against `package`."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def dynamic_import(node: ast.Call) -> str | None:
    """The module of importlib.import_module("…") or __import__("…"), if it is written out."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    first = node.args[0] if node.args else None
    if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
        return first.value if isinstance(first.value, str) else None
    return None


def is_module(book: Book, name: str) -> bool:
    path = book.code.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def module_name(book: Book, path: Path) -> str:
    parts = path.relative_to(book.code).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(name: str, path: Path) -> str:
    """The package that relative imports in `path` start from."""
    return name if path.stem == "__init__" else name.rpartition(".")[0]


def parse_cell(cell: NotebookNode) -> ast.Module:
    """The syntax tree of a cell, lines of IPython's own left out.

    Raises:
        PressError: what remains is not Python, and the cell is not there to show that.
    """
    source: str = cell.source
    with contextlib.suppress(SyntaxError):
        return ast.parse(source)
    try:
        return ast.parse("\n".join(without_magic(line) for line in source.split("\n")))
    except SyntaxError as error:
        if source.startswith("%%") or "raises-exception" in tags(cell):
            return ast.Module(body=[], type_ignores=[])
        raise PressError(f"is not Python: {error.msg}") from error


def without_magic(line: str) -> str:
    """`pass` in the place of a line that is IPython's: %magic, !command, name?"""
    code = line.lstrip()
    is_magic = code.startswith(("%", "!", "?")) or HELP.fullmatch(code.rstrip()) is not None
    return line[: len(line) - len(code)] + "pass" if is_magic else line
