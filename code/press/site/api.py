"""Pages of the API reference: one for each taught module, one for each folder of plumbing.

They are written into ``book/api`` before the site is built and are not kept in the repository:
what a module says of itself is the only source.  Links, hover cards and the search lead to a name's
place on its page; a table of the pages, in the order of the book, stands in ``book/api.md``.
"""

import importlib
import inspect
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from press.book import Book, PressError
from press.check.source import Module

FOLDER = "book/api"
TABLE = "table.txt"
LONGEST = 20  # lines of a table that its page shows


def modules(package: str = "scratch") -> list[ModuleType]:
    """The modules of ``package`` that have public names, by name."""
    root = importlib.import_module(package)
    names = sorted(
        info.name for info in pkgutil.walk_packages(root.__path__, f"{package}.")
        if not info.ispkg and not info.name.endswith("__main__")
    )  # fmt: skip
    return [importlib.import_module(name) for name in names]


def pages(book: Book) -> dict[str, str]:
    """Text of each page by the name of its file: what is taught, in order, and then plumbing.

    The pages are reStructuredText, as docstrings are: inside Markdown each of them would be stored
    with a copy of all that Sphinx knows, 3 MB a page, and reading these back takes most of a build.
    """
    taught = book.taught()
    groups: dict[str, list[ModuleType]] = {name: [] for name in taught}
    for module in modules():
        name = module.__name__
        page = name if name in taught else name.rpartition(".")[0]
        groups.setdefault(page, []).append(module)
    rows, found = ["| Page | What it holds | Chapter |", "|:--|:--|:--|"], {}
    for page, members in groups.items():
        parts = [heading(page, "=")]
        if stem := taught.get(page):
            parts.append(f"Built in :doc:`../{stem}`.\n")
            number = stem.split("_")[0].lstrip("0")  # or the name of a page without one
            holds, link = opening(members[0]), f"[{number}]({stem}.ipynb)"
        else:
            holds, link = ", ".join(f"`{m.__name__.rpartition('.')[2]}`" for m in members), ""
        for module in members:
            parts += [] if stem else [heading(module.__name__, "-")]
            parts += contents(module)
        found[f"{page}.rst"] = "\n".join(parts)
        rows.append(f"| [{page}](api/{page}.rst) | {holds} | {link} |")
    return {**found, TABLE: "\n".join(rows) + "\n"}


def contents(module: ModuleType) -> Iterator[str]:
    """What a module says of itself, a list of its public names, and each of these in full.

    Raises PressError for a module without `__all__`, a public class or function that says nothing,
    and data that are defined elsewhere.
    """
    where, public = module.__name__, getattr(module, "__all__", None)
    if public is None:
        raise PressError(f"{where} has no __all__, so nobody knows what is public")
    yield f".. automodule:: {where}\n   :no-members:\n"
    things = {name: getattr(module, name) for name in public}
    data = [n for n, t in things.items() if not inspect.isclass(t) and not inspect.isroutine(t)]
    for name, thing in things.items():
        says = "" if name in data else f": {opening(thing)}"
        yield f"* :py:obj:`~{where}.{name}`{says}"
    yield ""
    for name, thing in things.items():
        if name in data:
            yield from table(module, name)
        elif inspect.isclass(thing):
            yield f".. autoclass:: {where}.{name}\n   :members:\n"
        else:
            yield f".. autofunction:: {where}.{name}\n"


def opening(thing: object) -> str:
    """The paragraph that opens the docstring of a module, a class or a function."""
    name = getattr(thing, "__name__", "")
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    if not text or text.startswith(f"{name}("):  # a dataclass without one gets its signature
        where = f"{getattr(thing, '__module__', '')}.{name}".lstrip(".")
        raise PressError(f"{where} has no docstring, so the reference has nothing to say of it")
    return " ".join(inspect.cleandoc(text).split("\n\n")[0].split())


def table(module: ModuleType, name: str) -> Iterator[str]:
    """Data say what they are by their source, with the comment that stands above it."""
    definition = Module(Path(str(module.__file__))).definitions.get(name)
    if definition is None:
        raise PressError(f"{module.__name__}.{name} is public but defined elsewhere")
    lines = definition.text.split("\n")
    yield f".. py:data:: {name}\n   :module: {module.__name__}\n"
    yield "   .. code-block:: python\n"
    yield "".join(f"      {line}\n" for line in lines[:LONGEST])
    if len(lines) > LONGEST:
        yield f"   Its first {LONGEST} lines of {len(lines)}.\n"


def heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"


def write(book: Book) -> tuple[int, int]:
    """Write the files that have changed, remove what is no longer wanted.

    Returns the number of files and how many of them were written or removed: Sphinx reads a page
    again when its file has changed.
    """
    folder = book.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / name: text for name, text in pages(book).items()}
    gone = [path for path in folder.iterdir() if path not in wanted]
    for path in gone:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    changed = [
        path for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]  # fmt: skip
    for path in changed:
        path.write_text(wanted[path], encoding="utf-8")
    return len(wanted), len(gone) + len(changed)
