"""Pages of the API reference, one for each module with all its public names, made of docstrings.

They are written into ``book/api`` before the site is built and are not kept in the repository:
what a module says of itself is the only source.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from press.book import Book, PressError

FOLDER = "book/api"


@dataclass(frozen=True)
class Entry:
    """A public name and autodoc's ``kind`` of it, "" for data."""

    name: str
    kind: str


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
        return Entry(name, "")
    # a dataclass without a docstring gets its signature for one
    text = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    if not text or text.startswith(f"{name}("):
        raise PressError(
            f"{module.__name__}.{name} has no docstring, so the reference has nothing to say of it"
        )
    return Entry(name, "autoclass" if inspect.isclass(thing) else "autofunction")


def pages(book: Book) -> dict[str, str]:
    """Return the text of each page by its file name."""
    taught, written = book.taught(), {chapter.stem for chapter in book.chapters}
    found = {}
    for module in modules():
        stem = taught.get(module.__name__)
        chapter = f"Built in [its chapter](../{stem}.ipynb).\n\n" if stem in written else ""
        found[f"{module.__name__}.md"] = page(module.__name__, chapter, entries(module))
    return found


def page(module: str, chapter: str, names: list[Entry]) -> str:
    """Return the page of one module: what it is for, then each of its public names."""
    tables = [entry.name for entry in names if not entry.kind]
    also = f"Tables: {', '.join(f'`{name}`' for name in tables)}.\n\n" if tables else ""
    parts = [f"# {module}\n\n{chapter}{directive('automodule', module, ':no-members:')}\n{also}"]
    for entry in names:
        option = ":members:" if entry.kind == "autoclass" else ""
        if entry.kind:
            target = f"{module}.{entry.name}"
            parts.append(f"## {entry.name}\n\n{directive(entry.kind, target, option)}")
    return "\n".join(parts)


def directive(kind: str, target: str, option: str) -> str:
    """Return one of autodoc's directives, which speak reStructuredText."""
    lines = ["```{eval-rst}", f".. {kind}:: {target}", *([f"   {option}"] if option else []), "```"]
    return "\n".join(lines) + "\n"


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
