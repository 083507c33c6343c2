"""Name the tests and the chapters that belong to one module or chapter: what `make test-fast` runs.

A name is that of a module (attention), of a chapter (05_attention, 05) or of tests (cli).
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def belonging(name: str, root: Path = ROOT) -> list[Path]:
    """Return the tests of the module, and the chapters that quote it with what else they quote."""
    modules, found = {name}, []
    for chapter in sorted((root / "book").glob("[0-9][0-9]_*.ipynb")):
        number, title = chapter.stem.split("_", 1)
        quoted = set(re.findall(r'"scratch\.(\w+):', chapter.read_text("utf-8")))
        if name in quoted | {number, title, chapter.stem}:
            found.append(chapter)
            modules |= quoted if name not in quoted else set()
    tests = [test for m in sorted(modules) for test in (root / "tests").rglob(f"test_{m}.py")]
    return tests + found


if __name__ == "__main__":
    files = belonging(sys.argv[1]) if len(sys.argv) == 2 else []
    if not files:
        sys.exit("make test-fast: name one module or chapter, as in ARGS=attention or ARGS=05.")
    print(*files)
