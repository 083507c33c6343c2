"""Docstrings are plain prose everywhere: no headings, whatever their dialect."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HEADING = re.compile(
    r"^[ \t]*(Args|Arguments|Attributes|Examples?|Keyword Args|Notes?|Parameters|Raises|Returns"
    r"|See Also|Warns|Yields)[ \t]*:?[ \t]*$",
    re.MULTILINE,
)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def headings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED):
            for found in HEADING.finditer(ast.get_docstring(node) or ""):
                yield f"{getattr(node, 'name', 'module')}: {found[0].strip()}"


def test_docstrings_have_no_headings(root: Path) -> None:
    files = [path for folder in ("code", "tests") for path in sorted((root / folder).rglob("*.py"))]
    found = [f"{file.relative_to(root)}, {h}" for file in files for h in headings(file.read_text())]
    assert len(files) > 100
    assert found == []


@pytest.mark.parametrize(
    ("docstring", "heading"),
    [
        ("Return x.\n\n    Args:\n        x: a number.\n    ", "Args:"),
        ("Return x.\n\n    Raises:\n        ValueError: always.\n\n    ", "Raises:"),
        ("Return x.\n\n    Returns\n    -------\n    int\n    ", "Returns"),
        ("Return x.  Raises ValueError for more.\n\n    Example::\n\n        f(1)\n    ", None),
    ],
)
def test_a_heading_is_found(docstring: str, heading: str | None) -> None:
    found = list(headings(f'def f(x):\n    """{docstring}"""\n'))
    assert found == ([f"f: {heading}"] if heading else [])
