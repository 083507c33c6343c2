"""The order check: everything is imported from below, and nothing in a circle.

The modules right below `scratch` are taught, each by one chapter: such a module, and a chapter,
uses only modules of its own and earlier chapters. A cell tagged `look-inside` may import anything:
it shows the trained model before the reader has built it. Cells are plain Python, without what only
IPython understands. A notebook outside the numbered sequence (an appendix) is not checked. What is
not taught lies in rooms, and `ROOMS` says from where each of them may import.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from press.book import Book, Chapter, PressError, code_cells, place, tags
from press.check.source import parse

LOOK_INSIDE = "look-inside"
TAUGHT, PLUMBING = "scratch", "scratch.plumbing"
CHECKS, FILES, STYLE, DATA, FAST, MODELS = (
    f"{PLUMBING}.{name}" for name in ("checks", "files", "style", "data", "fast", "models")
)
GROUND = CHECKS, *(f"{PLUMBING}.{name}" for name in ("defaults", "extras", "threads"))
SHIPPING = f"{MODELS}.card", f"{MODELS}.ship"  # what makes of a run a model that ships
LOWER = TAUGHT, *GROUND, FILES, STYLE, DATA, FAST, MODELS
CLI = f"{PLUMBING}.cli", "scratch.__main__"
# A room is what begins with its name and no longer one. It imports from itself and from these.
ROOMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(GROUND, (CHECKS,)),
    FILES: GROUND,
    STYLE: GROUND,
    DATA: (*GROUND, FILES, TAUGHT),
    FAST: (*GROUND, FILES, TAUGHT),
    MODELS: (*GROUND, FILES, TAUGHT),
    TAUGHT: (*GROUND, FILES, STYLE, DATA, FAST, MODELS),
    PLUMBING: (*LOWER, *SHIPPING),  # training, scoring, and whatever else it holds
    **dict.fromkeys(SHIPPING, (*LOWER, *SHIPPING, PLUMBING)),
    **dict.fromkeys(CLI, (*LOWER, *SHIPPING, PLUMBING, *CLI)),
    "studies": (*LOWER, *SHIPPING, PLUMBING),
    "press": (*LOWER, *SHIPPING, PLUMBING, *CLI),
}


def check(book: Book) -> list[str]:
    """Every import that is not from below, each named with file and line or cell."""
    problems = check_chapters(book)
    graph: dict[str, set[str]] = {}
    for name in book.modules:
        problems += check_module(book, name, graph)
    problems += circle(graph)
    for chapter in book.chapters:
        if chapter.numbered:
            problems += check_cells(book, chapter)
    return problems


def check_chapters(book: Book) -> list[str]:
    """The numbers of chapters count upwards, and each module of `scratch` is taught once."""
    numbered = [chapter.stem for chapter in book.chapters if chapter.numbered]
    problems = [
        f"_toc.yml: {later} must not come after {earlier}"
        for earlier, later in pairwise(numbered)
        if later <= earlier
    ]
    modules = [module for chapter in book.chapters for module in chapter.teaches]
    problems += [
        f"{module} is taught more than once"
        for module in sorted(set(modules))
        if modules.count(module) > 1
    ]
    problems += [
        f"{book.relative(path)}: no chapter teaches it"
        for name, path in book.modules.items()
        if path.parent == book.code / TAUGHT and path.stem[:2] != "__" and name not in modules
    ]
    return problems


def check_module(book: Book, name: str, graph: dict[str, set[str]]) -> list[str]:
    """Imports of one file; those of modules in code/ are written down in `graph`."""
    path = book.modules[name]
    where = book.relative(path)
    try:
        tree = parse(path.read_bytes(), where)
    except PressError as error:
        return [str(error)]
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    stem = book.taught().get(name)
    found = []
    for line, target in dict.fromkeys(imports(book, tree, package)):
        if target not in book.modules:
            continue
        graph.setdefault(name, set()).add(target)
        reason = from_above(name, target) or (stem and too_early(book, target, stem))
        if reason:
            found.append(f"{where}, line {line}: {reason}")
    return found


def check_cells(book: Book, chapter: Chapter) -> list[str]:
    """Imports of one chapter's code cells."""
    found = []
    for number, cell in code_cells(chapter.notebook):
        if LOOK_INSIDE in tags(cell):
            continue
        where = place(chapter, number, cell)
        try:
            tree = parse(cell.source, "the cell")
        except PressError as error:
            if "raises-exception" not in tags(cell):
                found.append(f"{where}: {error}")
            continue
        if "import" not in cell.source:
            continue
        for target in dict.fromkeys(target for _, target in imports(book, tree, "")):
            if target.split(".")[0] == "press":
                found.append(f"{where}: imports press, which the book never teaches")
            elif reason := too_early(book, target, chapter.stem):
                found.append(f'{where}: {reason}, unless the cell is tagged "{LOOK_INSIDE}"')
    return found


def room(module: str) -> str:
    """The longest name in `ROOMS` that `module` begins with; "" if there is none."""
    return max((name for name in ROOMS if f"{module}.".startswith(f"{name}.")), key=len, default="")


def from_above(module: str, target: str) -> str | None:
    """Why `module` may not import `target`, whatever is taught when; None if it may."""
    here, there = room(module), room(target)
    if here == there or target in (TAUGHT, PLUMBING) or there in ROOMS.get(here, ()):
        return None
    return f"imports {target}, and what lies in {here or 'no room'} must not import {there}"


def too_early(book: Book, target: str, stem: str) -> str | None:
    """Why chapter `stem` and its modules may not import `target`; None if they may."""
    if room(target) != TAUGHT or target == TAUGHT:
        return None
    teacher = book.taught().get(target)
    if teacher is None:
        return f"imports {target}, which is neither taught nor plumbing"
    return f"imports {target}, which {teacher} teaches, after {stem}" if teacher > stem else None


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of imports, if there is one; those inside functions and for types only count."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"code: these import each other in a circle: {' <- '.join(error.args[1])}"]
    return []


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
                yield node.lineno, full if full in book.modules else base
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
