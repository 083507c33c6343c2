"""Pages of the API reference, one for each module and each public name, made of docstrings.

They are written into ``book/api`` before the site is built and are not kept in the repository:
what a module says of itself is the only source.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from press.book import Book, PressError

FOLDER = "book/api"
ROLE = re.compile(r":\w+:`([^`]+)`")  # a cross-reference, which a table cannot hold


@dataclass(frozen=True)
class Entry:
    """A public name: autodoc's ``kind``, "" for data; the first paragraph of its docstring."""

    name: str
    kind: str
    summary: str


def modules(package: str = "scratch") -> list[ModuleType]:
    """The modules of ``package`` that have public names, by name."""
    root = importlib.import_module(package)
    names = sorted(
        info.name for info in pkgutil.walk_packages(root.__path__, f"{package}.")
        if not info.ispkg and not info.name.endswith("__main__")
    )  # fmt: skip
    return [importlib.import_module(name) for name in names]


def entries(module: ModuleType) -> list[Entry]:
    """The public names of ``module``, in the order of its ``__all__``.

    Raises:
        PressError: a module without ``__all__``, or a public class or function that says nothing.
    """
    public = getattr(module, "__all__", None)
    if public is None:
        raise PressError(f"{module.__name__} has no __all__, so nobody knows what is public")
    return [_entry(module, name) for name in public]


def _entry(module: ModuleType, name: str) -> Entry:
    thing = getattr(module, name)
    if not inspect.isclass(thing) and not inspect.isroutine(thing):
        return Entry(name, "", "")
    # a dataclass without a docstring gets its signature for one
    text = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    if not text or text.startswith(f"{name}("):
        raise PressError(f"{module.__name__}.{name} has no docstring, so it cannot have a page")
    kind = "autoclass" if inspect.isclass(thing) else "autofunction"
    summary = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    return Entry(name, kind, ROLE.sub(r"`\1`", summary).replace("|", "\\|"))


def pages(book: Book) -> dict[str, str]:
    """Return the text of each page by its file name."""
    taught = book.taught()
    titles = {chapter.stem: chapter for chapter in book.chapters}
    found = {}
    for module in modules():
        names = entries(module)
        stem = taught.get(module.__name__)
        chapter = f"../{stem}.ipynb" if stem in titles else None
        found[f"{module.__name__}.md"] = _module_page(module.__name__, names, chapter)
        for entry in filter(lambda entry: entry.kind, names):  # data has a line, not a page
            found[f"{module.__name__}.{entry.name}.md"] = _name_page(
                module.__name__, entry, chapter
            )
    return found


def _module_page(module: str, names: list[Entry], chapter: str | None) -> str:
    lines = [
        f"[{e.name}]({module}.{e.name}.md) | {e.summary}" if e.kind else f"{e.name} | a table"
        for e in names
    ]
    rows = "\n".join(f"| {line} |" for line in lines)
    origin = f"Built in [its chapter]({chapter}).\n\n" if chapter else ""
    return (
        f"# {module}\n\n{origin}```{{eval-rst}}\n.. automodule:: {module}\n   :no-members:\n```\n\n"
        f"| Name | What it is |\n|:--|:--|\n{rows}\n"
    )


def _name_page(module: str, entry: Entry, chapter: str | None) -> str:
    members = "   :members:\n" if entry.kind == "autoclass" else ""
    origin = f" Built in [its chapter]({chapter})." if chapter else ""
    directive = f".. {entry.kind}:: {module}.{entry.name}\n{members}"
    return (
        f"# {entry.name}\n\nFrom [{module}]({module}.md).{origin}\n\n"
        f"```{{eval-rst}}\n{directive}```\n"
    )


def write(book: Book) -> tuple[int, int]:
    """Write all pages that have changed, remove those of names that are gone.

    Returns the number of pages and how many of them were written or removed: Sphinx reads a page
    again when its file has changed.
    """
    folder = book.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    wanted = pages(book)
    changed = 0
    for path in folder.iterdir():
        if path.name not in wanted:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            changed += 1
    for name, text in wanted.items():
        path = Path(folder / name)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed += 1
    return len(wanted), changed
