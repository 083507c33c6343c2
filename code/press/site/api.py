"""Pages of the API reference, one for each module and one for each of its public names.

They are written into ``book/api`` before the site is built and are not kept in the repository:
what a module says of itself is the only source.  The page of a module stands in the table of
contents and lists its names; the page of a name is reached from there, from links and from the
search, so that the theme need not print hundreds of lines of navigation on every page.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from press.book import Book, PressError
from press.check.source import Module

FOLDER = "book/api"
LONGEST = 30  # lines of a table that its page shows


@dataclass(frozen=True)
class Entry:
    """A public name, autodoc's ``kind`` of it ("" for data) and the sentence that opens its docs.

    Attributes:
        page: the file of its page, without the folder of its module and without suffix.
    """

    name: str
    kind: str
    says: str = ""
    page: str = ""


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
    files = _files(public)
    return [_entry(module, name, files[name]) for name in public]


def _files(names: list[str]) -> dict[str, str]:
    """File names that differ even where a disk takes capitals for small letters."""
    files: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        file = name
        while file.casefold() in taken:
            file += "_"
        taken.add(file.casefold())
        files[name] = file
    return files


def _entry(module: ModuleType, name: str, page: str) -> Entry:
    thing = getattr(module, name)
    if not inspect.isclass(thing) and not inspect.isroutine(thing):
        return Entry(name, "", "", page)
    # a dataclass without a docstring gets its signature for one
    text = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    if not text or text.startswith(f"{name}("):
        raise PressError(
            f"{module.__name__}.{name} has no docstring, so the reference has nothing to say of it"
        )
    kind = "autoclass" if inspect.isclass(thing) else "autofunction"
    return Entry(name, kind, " ".join(inspect.cleandoc(text).split("\n\n")[0].split()), page)


def pages(book: Book) -> dict[str, str]:
    """Return the text of each page by its path below ``book/api``.

    The pages are reStructuredText, as docstrings are: inside Markdown each of them would be stored
    with a copy of all that Sphinx knows, 3 MB a page, and reading these back takes most of a build.
    """
    taught, written = book.taught(), {chapter.stem for chapter in book.chapters}
    found = {}
    for module in modules():
        stem = taught.get(module.__name__, "")
        chapter, names = stem if stem in written else "", entries(module)
        found[f"{module.__name__}.rst"] = module_page(module.__name__, chapter, names)
        for entry in names:
            text = name_page(module, chapter, entry)
            found[f"{module.__name__}/{entry.page}.rst"] = text
    return found


def module_page(module: str, chapter: str, names: list[Entry]) -> str:
    """Return the page of one module: what it is for, and where each of its names is explained."""
    built = f"Built in :doc:`../{chapter}`.\n\n" if chapter else ""
    about = f".. automodule:: {module}\n   :no-members:\n"
    parts = [f"{heading(module, '=')}{built}{about}"]
    for title, kind in (("Classes", "autoclass"), ("Functions", "autofunction"), ("Data", "")):
        if chosen := [entry for entry in names if entry.kind == kind]:
            parts.append(heading(title, "-") + listing(module, chosen))
    return "\n".join(parts)


def listing(module: str, names: list[Entry]) -> str:
    """Return links to the pages of ``names``, each with the sentence that opens its docs."""
    return "".join(
        f"* :py:obj:`~{module}.{entry.name}`{f': {entry.says}' if entry.says else ''}\n"
        for entry in names
    )


def name_page(module: ModuleType, chapter: str, entry: Entry) -> str:
    """Return the page of one public name; it stands in no table of contents."""
    where, target = module.__name__, f"{module.__name__}.{entry.name}"
    built = f" · built in :doc:`../../{chapter}`" if chapter else ""
    head = f":orphan:\n\n{heading(entry.name, '=')}In :doc:`{where} <../{where}>`{built}\n\n"
    if not entry.kind:
        return head + "\n".join(_data(module, target, entry.name))
    option = "   :members:\n" if entry.kind == "autoclass" else ""
    return f"{head}.. {entry.kind}:: {target}\n{option}"


def _data(module: ModuleType, target: str, name: str) -> Iterator[str]:
    """A table says what it is by its source, with the comment that stands above it."""
    yield f".. py:data:: {target}\n"
    definition = Module(Path(str(module.__file__))).definitions.get(name)
    if definition is None:
        raise PressError(f"{target} is public but defined elsewhere, so it has no page to be on")
    lines = definition.text.split("\n")
    yield ".. code-block:: python\n"
    yield "".join(f"   {line}\n" for line in lines[:LONGEST])
    if len(lines) > LONGEST:
        yield f"Its first {LONGEST} lines of {len(lines)}.\n"


def heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"


def write(book: Book) -> tuple[int, int]:
    """Write all pages that have changed, remove those of names that are gone.

    Returns the number of pages and how many of them were written or removed: Sphinx reads a page
    again when its file has changed.
    """
    folder = book.root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / name: text for name, text in pages(book).items()}
    gone = [path for path in folder.rglob("*") if path.is_file() and path not in wanted]
    for path in gone:
        path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    changed = [
        path for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]  # fmt: skip
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    return len(wanted), len(gone) + len(changed)
