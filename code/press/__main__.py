"""The command line of press: `python -m press --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from press.book import Book, PressError, UsageError, load_book
from press.check import cells, order, quote
from scratch.plumbing.cli import DEFAULT_MODEL

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a wrong command in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well, 1 if a check failed, 2 if the command was wrong."""
    arguments = build_parser().parse_args(argv)
    try:
        book = load_book(arguments.root)
        problems = arguments.command(book, arguments)
    except PressError as error:
        print(f"press: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        print("press: interrupted, the chapter is as it was", file=sys.stderr)
        return INTERRUPTED
    for problem in problems:
        print(problem, file=sys.stderr)
    return FAILED if problems else 0


def build_parser() -> Parser:
    parser = Parser(prog="press", description="Print the book: run its chapters and check them.")
    parser.add_argument(
        "--root", type=Path, help="a folder of the repository (default: the current one)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "check", check, "everything that takes seconds: quote, order, cells")
    _add_quote(commands)
    _add(commands, "order", orders, "chapters and modules use only what came before")
    _add(commands, "cells", all_cells, "exempt cells, figures, outputs and parts of chapters")
    _add(commands, "chapters", chapters, "list the notebooks of _toc.yml, one path a line")
    _add_run(commands)
    _add(commands, "api", reference, "write the pages of the API reference into book/api")
    _add_export(commands)
    _add_serve(commands)
    return parser


def check(book: Book, arguments: argparse.Namespace) -> list[str]:
    problems = [*quote.check(book), *order.check(book), *cells.check(book)]
    return _report(
        problems, "check", f"{len(book.chapters)} chapters agree with their modules, in order"
    )


def quotes(book: Book, arguments: argparse.Namespace) -> list[str]:
    if arguments.chapters and not arguments.write:
        raise UsageError("chapters can be named with --write only: the check needs all of them")
    if arguments.write:
        changed, problems = quote.write(book, book.select(arguments.chapters))
        for where in changed:
            print(f"rewrote {where}")
        return _report(problems, "quote", f"{len(changed)} cells rewritten")
    return _report(
        quote.check(book), "quote", f"{len(book.chapters)} chapters agree with their modules"
    )


def orders(book: Book, arguments: argparse.Namespace) -> list[str]:
    return _report(
        order.check(book), "order", f"{len(book.chapters)} chapters use only what came before"
    )


def all_cells(book: Book, arguments: argparse.Namespace) -> list[str]:
    return _report(cells.check(book), "cells", f"{len(book.chapters)} chapters are complete")


def chapters(book: Book, arguments: argparse.Namespace) -> list[str]:
    for chapter in book.chapters:
        print(chapter.name)
    return []


def runs(book: Book, arguments: argparse.Namespace) -> list[str]:
    from press.run import RunSettings, run  # the only command that needs a kernel

    if arguments.all == bool(arguments.chapters):
        raise UsageError("name the chapters to run, or give --all")
    settings = RunSettings(
        threads=arguments.threads, timeout=arguments.timeout, full_traceback=arguments.traceback
    )
    problems = []
    for chapter in book.select(arguments.chapters):
        try:
            seconds = run(chapter, book.root, settings)
        except PressError as error:
            problems.append(str(error))
            continue
        print(f"{chapter.name}: {seconds:.1f} s", flush=True)
        if seconds > arguments.limit:
            problems.append(
                f"{chapter.name} took {seconds:.1f} s, the limit is {arguments.limit} s"
            )
    return problems


def reference(book: Book, arguments: argparse.Namespace) -> list[str]:
    from press.site import api  # imports the whole of scratch

    number, changed = api.write(book)
    print(f"api: {number} pages, {changed} changed")
    return []


def exports(book: Book, arguments: argparse.Namespace) -> list[str]:
    from press.playground.export import export  # imports torch and onnx

    manifest = export(arguments.model or DEFAULT_MODEL, arguments.folder, arguments.extra)
    size = sum(file["bytes"] for file in manifest["files"].values())
    print(f"export: {manifest['model']}, {len(manifest['files'])} files, {size / 1e6:.1f} MB")
    return []


def serves(book: Book, arguments: argparse.Namespace) -> list[str]:
    from press.site.serve import server

    try:
        running = server(arguments.folder or book.root / "_build" / "html", arguments.port)
    except OSError as error:
        raise PressError(f"cannot serve the site: {error}") from error
    with running:
        print(f"Serving on http://127.0.0.1:{running.server_port}/ (Ctrl-C stops it)", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
    return []


def _report(problems: list[str], command: str, success: str) -> list[str]:
    if not problems:
        print(f"{command}: {success}")
    return problems


def _add(
    commands: argparse._SubParsersAction[Parser],
    name: str,
    function: Callable[[Book, argparse.Namespace], list[str]],
    text: str,
) -> Parser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(command=function)
    return command


def _add_quote(commands: argparse._SubParsersAction[Parser]) -> None:
    command = _add(commands, "quote", quotes, "compare quoting cells with modules, or rewrite them")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="compare (the default)")
    how.add_argument("--write", action="store_true", help="rewrite the cells that differ")
    _add_chapters(command, "with --write: only these chapters")


def _add_export(commands: argparse._SubParsersAction[Parser]) -> None:
    text = "write a model as ONNX, with all that the playground loads"
    command = _add(commands, "export", exports, text)
    command.add_argument("folder", type=Path, metavar="DIR", help="where to write it")
    command.add_argument("--model", help=f"a shipped model or a folder (default: {DEFAULT_MODEL})")
    command.add_argument(
        "--with", dest="extra", type=Path, nargs="+", default=[], metavar="FILE",
        help="files of the runtime, to be copied there and listed",
    )  # fmt: skip


def _add_serve(commands: argparse._SubParsersAction[Parser]) -> None:
    command = _add(commands, "serve", serves, "serve the built site, compressed, on this machine")
    command.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    command.add_argument("--folder", type=Path, help="the site (default: _build/html)")


def _add_run(commands: argparse._SubParsersAction[Parser]) -> None:
    command = _add(commands, "run", runs, "execute chapters and store their outputs")
    _add_chapters(command, "by number (05), name (05_attention) or file")
    command.add_argument("--all", action="store_true", help="every chapter of _toc.yml")
    for option, default, unit, text in (
        ("--threads", 2, "N", "OMP_NUM_THREADS of the kernel"),
        ("--limit", 60, "SECONDS", "fail if a chapter takes longer"),
        ("--timeout", 300, "SECONDS", "stop a cell that takes longer"),
    ):
        text += f" (default: {default})"
        command.add_argument(option, type=_positive, default=default, metavar=unit, help=text)
    command.add_argument(
        "--traceback", action="store_true", help="show where a failing cell failed"
    )


def _add_chapters(command: Parser, text: str) -> None:
    command.add_argument("chapters", nargs="*", metavar="CHAPTER", help=text)


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
