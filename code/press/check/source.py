"""Definitions of a module as they stand in its file, found by `ast` and cut out by line."""

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeGuard

from press.book import PressError

Function = ast.FunctionDef | ast.AsyncFunctionDef
Assignment = ast.Assign | ast.AnnAssign
Statement = Function | ast.ClassDef | Assignment

MAX_CLASS_LINES, MAX_FUNCTION_LINES, MAX_ARGUMENTS = 39, 24, 8
BETWEEN = "\n\n\n"  # two blank lines between definitions, as the formatter leaves them
LAYOUT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)


@dataclass(frozen=True)
class Definition:
    """A top-level function, class or assignment, which is a constant or a type alias.

    `text` is its lines, `line` the number of the first: decorators and the comment lines directly
    above belong to it, a final newline does not. `refers_to` holds every name that it reads,
    annotations included.
    """

    name: str
    text: str
    line: int
    is_assignment: bool
    refers_to: frozenset[str]


class Module:
    """A module's text and its top-level definitions, by name and in order."""

    def __init__(self, path: Path) -> None:
        try:
            self.text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise PressError(f"taught module {path.name} cannot be read: {error}") from error
        self.tree = parse(self.text, path.name)
        self.lines = self.text.split("\n")
        self.definitions: dict[str, Definition] = {}
        for node in self.tree.body:
            if isinstance(node, Statement):
                for name in bound_names(node):
                    self._add(self._definition(name, node))

    def _definition(self, name: str, node: Statement) -> Definition:
        decorators = [] if isinstance(node, Assignment) else node.decorator_list
        first = min([node.lineno, *(item.lineno for item in decorators)])
        while first > 1 and self.lines[first - 2].startswith("#"):
            first -= 1
        text = "\n".join(self.lines[first - 1 : node.end_lineno])
        return Definition(name, text, first, isinstance(node, Assignment), read_names(node))

    def _add(self, new: Definition) -> None:
        """Remember a definition; one that is written in parts (overloads) stays together."""
        old = self.definitions.get(new.name)
        if old is not None:
            new = replace(
                old, text=old.text + BETWEEN + new.text, refers_to=old.refers_to | new.refers_to
            )
        self.definitions[new.name] = new

    def required(self) -> list[str]:
        """What a chapter has to quote: public functions and classes, and what these refer to."""
        waiting = [
            item.name
            for item in self.definitions.values()
            if not item.is_assignment and not item.name.startswith("_")
        ]
        needed: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in self.definitions and name not in needed:
                needed.add(name)
                waiting.extend(self.definitions[name].refers_to)
        return [name for name in self.definitions if name in needed]

    def problems(self) -> list[str]:
        """What makes definitions unfit to be quoted: too long, too many arguments, hidden."""
        return [*self._hidden(), *self._too_long(), *self._too_many_arguments()]

    def _hidden(self) -> Iterator[str]:
        for statement in self.tree.body:
            if not isinstance(statement, Statement):
                for node in ast.walk(statement):
                    if isinstance(node, Function | ast.ClassDef):
                        yield f"line {node.lineno}: {node.name} must stand at the top level"

    def _too_long(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function | ast.ClassDef) and node.end_lineno is not None:
                is_class = isinstance(node, ast.ClassDef)
                most = MAX_CLASS_LINES if is_class else MAX_FUNCTION_LINES
                lines = range(node.lineno, node.end_lineno + 1)
                length = len(lines) if len(lines) <= most else len(self.code.intersection(lines))
                if length > most:
                    kind = "class" if is_class else "function"
                    where = f"line {node.lineno}: {kind} {node.name}"
                    yield f"{where} has {length} lines of code, at most {most} fit"

    def _too_many_arguments(self) -> Iterator[str]:
        for parent in ast.walk(self.tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, Function):
                    bound = isinstance(parent, ast.ClassDef) and not is_static(node)
                    count = len(arguments(node)) - bound
                    if count > MAX_ARGUMENTS:
                        where = f"line {node.lineno}: {node.name}"
                        yield f"{where} takes {count} arguments, at most {MAX_ARGUMENTS} fit"

    @cached_property
    def code(self) -> set[int]:
        """Numbers of the lines that hold code: no blank lines, no comments, no docstrings."""
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in LAYOUT:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if is_docstring(node):
                lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return lines


def parse(text: str | bytes, name: str) -> ast.Module:
    """The syntax tree of a source text; PressError when it is not Python."""
    try:
        return ast.parse(text, name)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise PressError(f"{name} is not Python: {error}") from error


def bound_names(node: Statement) -> list[str]:
    """Names that a top-level statement binds."""
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [x.id for target in targets for x in ast.walk(target) if isinstance(x, ast.Name)]


def read_names(node: ast.AST) -> frozenset[str]:
    """Every name that a definition reads."""
    return frozenset(
        item.id
        for item in ast.walk(node)
        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load)
    )


def arguments(node: Function) -> list[ast.arg]:
    spec = node.args
    starred = [item for item in (spec.vararg, spec.kwarg) if item is not None]
    return [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *starred]


def is_static(node: Function) -> bool:
    return any(
        isinstance(item, ast.Name) and item.id == "staticmethod" for item in node.decorator_list
    )


def is_docstring(node: ast.AST) -> TypeGuard[ast.Expr]:
    """A string that stands alone: a docstring, or the description of a field below it."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
