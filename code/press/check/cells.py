"""The cell check: few cells escape comparison, figures have words, outputs hold on any machine."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from press.book import ANSI, Book, Chapter, code_cells, place, tags

EXEMPT_TAGS = frozenset({"nbval-ignore-output", "nbval-skip", "skip-execution"})
EXEMPT_SHARE = 0.05
FEWEST_EXERCISES, MOST_EXERCISES = 3, 6
HEADINGS = "Summary", "References"
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/svg+xml"})

DIRECTIVE = re.compile(r"^[ \t]*(?:`{3,}|:{3,})\{(exercise|solution)(?:-start)?\}", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
FILE_PATH = re.compile(r"\S*[/\\]?\S+\.(?:png|svg|jpe?g|gif|webp)", re.IGNORECASE)
COMMENT_TAG = re.compile(
    r"^\s*#\s*(?:NBVAL|PYTEST_VALIDATE)_(?:IGNORE_OUTPUT|SKIP)\b", re.MULTILINE
)
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~:/<-])/(?:home|tmp|work|root|Users|private|usr|opt|var|mnt)/[^\s'\"<>:,)]*"
)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{8,}\b")


def check(book: Book) -> list[str]:
    """Every complaint about the cells of every chapter, each named with file and cell."""
    problems: list[str] = []
    exempt: list[str] = []
    total = 0
    for chapter in book.chapters:
        for number, cell in code_cells(chapter.notebook):
            where = place(chapter, number, cell)
            total += 1
            if EXEMPT_TAGS.intersection(tags(cell)):
                exempt.append(where)
            problems += [f"{where}: {text}" for text in check_cell(cell)]
        problems += [f"{chapter.name}: {text}" for text in check_chapter(chapter)]
    if len(exempt) > EXEMPT_SHARE * total:
        problems.append(
            f"{len(exempt)} of {total} code cells are exempt from comparison, at most "
            f"{EXEMPT_SHARE:.0%} may be: {'; '.join(exempt)}"
        )
    return problems


def check_cell(cell: NotebookNode) -> Iterator[str]:
    """What is wrong with one code cell and its outputs."""
    if COMMENT_TAG.search(cell.source):
        yield "exempts itself by a comment; use a cell tag, so that it is counted"
    if cell.source.rstrip().endswith(";"):
        yield "ends in a semicolon, which hides the value from press but not from nbval; name it _"
    if cell.source.strip() and not cell.execution_count and not exempt_from_running(cell):
        yield "has no stored run; `press run` executes the chapter"
    if any(IMAGES.intersection(output.get("data", {})) for output in cell.outputs):
        yield from check_alt(cell)
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            yield f"writes to stderr: {first_line(output.text)}"
        for text in output_texts(output):
            if match := ABSOLUTE_PATH.search(text):
                yield f"an output holds a path of one machine: {match.group()}"
            if match := ADDRESS.search(text):
                yield f"an output holds a memory address: {match.group()}"


def exempt_from_running(cell: NotebookNode) -> bool:
    return not {"nbval-skip", "skip-execution"}.isdisjoint(tags(cell))


def check_alt(cell: NotebookNode) -> Iterator[str]:
    """A figure needs `"mystnb": {"image": {"alt": "…"}}`; myst-nb's own default is a file path."""
    try:
        alt = cell.metadata["mystnb"]["image"]["alt"]
    except (LookupError, TypeError):  # not there, or not what it should be
        alt = None
    if not isinstance(alt, str) or not alt.strip():
        yield 'shows a figure without alternative text ("mystnb": {"image": {"alt": …}})'
    elif FILE_PATH.fullmatch(alt.strip()):
        yield f"has a file path as alternative text: {alt.strip()}"


def output_texts(output: NotebookNode) -> Iterator[str]:
    """All text of an output that a reader or a comparison may see."""
    if output.output_type == "stream":
        yield ANSI.sub("", output.text)
    elif output.output_type == "error":
        yield ANSI.sub("", "\n".join([output.evalue, *output.traceback]))
    else:
        for kind, value in output.get("data", {}).items():
            if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
                yield value


def check_chapter(chapter: Chapter) -> Iterator[str]:
    """Parts that a chapter must have, and execution counts of one run from top to bottom."""
    notebook = chapter.notebook
    counts = [cell.execution_count for _, cell in code_cells(notebook) if cell.execution_count]
    if counts != list(range(1, len(counts) + 1)):
        yield "was not executed from top to bottom; `press run` does that"
    if not chapter.numbered:
        return
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    kinds = DIRECTIVE.findall(prose)
    exercises, solutions = kinds.count("exercise"), kinds.count("solution")
    if not FEWEST_EXERCISES <= exercises <= MOST_EXERCISES:
        yield f"has {exercises} exercises, expected {FEWEST_EXERCISES} to {MOST_EXERCISES}"
    if solutions != exercises:
        yield f"has {exercises} exercises and {solutions} solutions, expected one for each"
    headings = " | ".join(HEADING.findall(prose)).casefold()
    for heading in HEADINGS:
        if heading.casefold() not in headings:
            yield f"has no heading {heading!r}"
    if "objectives" not in prose.casefold():
        yield "does not state its objectives"


def first_line(text: str) -> str:
    return text.strip().split("\n")[0]
