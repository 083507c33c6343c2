"""The quote check: what a chapter shows of a module is, to the character, what the module says.

A quoting cell is a code cell with the tag `quote` and, beside it, the names of what it holds::

    {"tags": ["quote"], "quote": "scratch.attention:MultiHeadAttention"}
    {"tags": ["quote"], "quote": ["scratch.attention:SCALE", "scratch.attention:causal_mask"]}

`module:Name` names a top-level function, class or assignment. The cell holds the text of these
definitions and nothing else, in the order of the list, as it stands in the module: decorators and
the comment lines directly above belong to a definition. Two blank lines stand between definitions,
none between two assignments.

Every public function and class of a taught module is quoted in exactly one cell of its chapter, and
so is whatever else of the module these refer to: private helpers, and top-level assignments
(constants, type aliases). Other definitions may be quoted, once.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbformat import NotebookNode

from press.book import Book, Chapter, PressError, code_cells, place, tags, write_notebook
from press.check.source import BETWEEN, Module

TAG = "quote"
DIFF_LINES = 16


@dataclass
class Quotes:
    """One pass over the book: modules read, where each definition is quoted, what is wrong."""

    book: Book
    modules: dict[str, Module] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def module(self, name: str) -> Module:
        if name not in self.modules:
            self.modules[name] = Module(self.book.module_path(name))
        return self.modules[name]

    def text(self, chapter: Chapter, references: list[str]) -> str:
        """What a quoting cell must hold.

        Raises PressError for a reference that names no definition of a module that this chapter
        teaches.
        """
        result = ""
        previous = None
        for reference in references:
            module, name = self._split(chapter, reference)
            definition = self.module(module).definitions.get(name)
            if definition is None:
                raise PressError(f"{module} has no top-level definition {name!r}")
            if previous is not None:
                if previous.line == definition.line:  # of one assignment: A, B = 1, 2
                    continue
                together = previous.is_assignment and definition.is_assignment
                result += "\n" if together else BETWEEN
            result += definition.text
            previous = definition
        return result

    def _split(self, chapter: Chapter, reference: str) -> tuple[str, str]:
        module, colon, name = reference.partition(":")
        if not colon:
            raise PressError(f'"quote" must read "module:Name", got {reference!r}')
        if module not in chapter.teaches:
            taught = ", ".join(chapter.teaches) or "no module"
            raise PressError(f"{reference} cannot be quoted here: this chapter teaches {taught}")
        return module, name


def quoting_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """(number, cell) of the cells that have the tag or the metadata of a quoting cell."""
    for number, cell in code_cells(notebook):
        if TAG in tags(cell) or TAG in cell.metadata:
            yield number, cell


def references(cell: NotebookNode) -> list[str]:
    """The definitions that a quoting cell names.

    Raises PressError when one of tag and metadata is missing, or the metadata holds no names.
    """
    value = cell.metadata.get(TAG)
    if value is None or TAG not in tags(cell):
        raise PressError(
            'a quoting cell needs both the tag "quote" and metadata "quote": "module:Name"'
        )
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or not all(isinstance(x, str) for x in items):
        raise PressError(f'"quote" must be "module:Name" or a list of these, got {value!r}')
    return items


def check(book: Book) -> list[str]:
    """Compare every quoting cell with its module; a problem names chapter, cell and difference."""
    quotes = Quotes(book)
    for chapter in book.chapters:
        for number, cell, wanted in _wanted(quotes, chapter):
            where = place(chapter, number, cell)
            names = references(cell)
            for name in names:
                quotes.places.setdefault(name, []).append(where)
            if cell.source != wanted:
                shown = f"differs from {', '.join(names)}\n{_diff(wanted, cell.source)}"
                quotes.problems.append(f"{where}: {shown}")
    for chapter in book.chapters:
        for module in chapter.teaches:
            _check_module(quotes, chapter, module)
    return quotes.problems


def write(book: Book, chapters: list[Chapter]) -> tuple[list[str], list[str]]:
    """Rewrite quoting cells from the modules; outputs stay, and files in which nothing changed.

    Returns the cells that changed, and what stood in the way.
    """
    quotes = Quotes(book)
    changed: list[str] = []
    for chapter in chapters:
        before = len(changed)
        for number, cell, wanted in _wanted(quotes, chapter):
            if cell.source != wanted:
                cell.source = wanted
                changed.append(place(chapter, number, cell))
        if len(changed) > before:
            write_notebook(chapter.notebook, chapter.path)
    return changed, quotes.problems


def _wanted(quotes: Quotes, chapter: Chapter) -> Iterator[tuple[int, NotebookNode, str]]:
    """(number, cell, what it must hold) of each quoting cell; one that cannot say is a problem."""
    for number, cell in quoting_cells(chapter.notebook):
        try:
            wanted = quotes.text(chapter, references(cell))
        except PressError as error:
            quotes.problems.append(f"{place(chapter, number, cell)}: {error}")
        else:
            yield number, cell, wanted


def _check_module(quotes: Quotes, chapter: Chapter, module: str) -> None:
    """Each definition that must be quoted is; none is quoted twice; all are fit to be quoted."""
    try:
        source = quotes.module(module)
    except PressError as error:
        quotes.problems.append(f"{chapter.name}: {error}")
        return
    file = quotes.book.relative(quotes.book.module_path(module))
    required = source.required()
    for name, definition in source.definitions.items():
        found = quotes.places.get(f"{module}:{name}", [])
        if not found and name in required:
            quotes.problems.append(
                f"{chapter.name}: no cell quotes {module}:{name} ({file}, line {definition.line})"
            )
        elif len(found) > 1:
            quotes.problems.append(f"{module}:{name} is quoted more than once: {'; '.join(found)}")
    quotes.problems += [f"{file}, {text}" for text in source.problems()]


def _diff(wanted: str, found: str) -> str:
    """A short unified diff, indented: minus is the module, plus is the cell."""
    lines = list(
        difflib.unified_diff(
            wanted.split("\n"), found.split("\n"), "module", "chapter", n=1, lineterm=""
        )
    )
    if len(lines) > DIFF_LINES:
        lines = [*lines[:DIFF_LINES], f"… {len(lines) - DIFF_LINES} more lines"]
    return "\n".join(f"    {line}" for line in lines)
