"""The command line of press: `python -m press --help`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from press.book import Book, PressError, UsageError, load_book
from press.check import cells, order, quote
from scratch.plumbing.cli import DEFAULT_MODEL

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
Arguments = argparse.Namespace


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a wrong command in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well, 1 if a check failed, 2 if the command was wrong."""
    arguments = build_parser().parse_args(argv)
    try:
        problems = arguments.command(load_book(arguments.root), arguments)
    except PressError as error:
        print(f"press: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, UsageError) else FAILED
    except KeyboardInterrupt:
        print("press: interrupted, the chapter is as it was", file=sys.stderr)
        return INTERRUPTED
    for problem in problems:
        print(problem, file=sys.stderr)
    return FAILED if problems else 0


def check(book: Book, arguments: Arguments) -> list[str]:
    problems = [*quote.check(book), *order.check(book), *cells.check(book)]
    if not problems:
        print(f"check: {len(book.chapters)} chapters agree with their modules, in order")
    return problems


def quotes(book: Book, arguments: Arguments) -> list[str]:
    if not arguments.write:
        if arguments.chapters:
            raise UsageError("chapters can be named with --write only: the check needs all of them")
        return quote.check(book)
    changed, problems = quote.write(book, book.select(arguments.chapters))
    print(*(f"rewrote {where}" for where in changed), f"{len(changed)} cells rewritten", sep="\n")
    return problems


def chapters(book: Book, arguments: Arguments) -> list[str]:
    print(*(chapter.name for chapter in book.chapters), sep="\n")
    return []


def runs(book: Book, arguments: Arguments) -> list[str]:
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


def reference(book: Book, arguments: Arguments) -> list[str]:
    from press.site import api  # imports the whole of scratch

    number, changed = api.write(book)
    print(f"api: {number} pages, {changed} changed")
    return []


def exports(book: Book, arguments: Arguments) -> list[str]:
    from press.playground.export import export  # imports torch and onnx

    manifest = export(arguments.model, arguments.folder, arguments.extra)
    size = sum(file["bytes"] for file in manifest["files"].values())
    print(f"export: {manifest['model']}, {len(manifest['files'])} files, {size / 1e6:.1f} MB")
    return []


def serves(book: Book, arguments: Arguments) -> list[str]:
    from press.site.serve import server

    try:
        running = server(arguments.folder or book.root / "_build" / "html", arguments.port)
    except (OSError, OverflowError) as error:
        raise PressError(f"cannot serve the site: {error}") from error
    with running:
        print(f"Serving on http://127.0.0.1:{running.server_port}/ (Ctrl-C stops it)", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
    return []


def build_parser() -> Parser:
    parser = Parser(prog="press", description="Print the book: run its chapters and check them.")
    parser.add_argument(
        "--root", type=Path, help="a folder of the repository (default: the current one)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Callable[[Book, Arguments], list[str]], text: str) -> Any:
        about = f"{text[0].upper()}{text[1:]}."
        made = commands.add_parser(name, help=text, description=about)
        made.set_defaults(command=function)
        return made.add_argument

    command("check", check, "everything that takes seconds: quotes, order, cells")

    add = command("quote", quotes, "compare quoting cells with modules, or rewrite them")
    add("--write", action="store_true", help="rewrite the cells that differ")
    add("chapters", nargs="*", metavar="CHAPTER", help="with --write: only these chapters")

    command("chapters", chapters, "list the notebooks of _toc.yml, one path a line")

    add = command("run", runs, "execute chapters and store their outputs")
    says = "by number (05), name (05_attention) or file"
    add("chapters", nargs="*", metavar="CHAPTER", help=says)
    add("--all", action="store_true", help="every chapter of _toc.yml")
    for option, default, unit, text in (
        ("--threads", 1, "N", "OMP_NUM_THREADS of the kernel"),
        ("--limit", 60, "SECONDS", "fail if a chapter takes longer"),
        ("--timeout", 300, "SECONDS", "stop a cell that takes longer"),
    ):
        says = f"{text} (default: {default})"
        add(option, type=_positive, default=default, metavar=unit, help=says)
    add("--traceback", action="store_true", help="show where a failing cell failed")

    command("api", reference, "write the pages of the API reference into book/api")

    add = command("export", exports, "write a model as ONNX, with all that the playground loads")
    add("folder", type=Path, metavar="DIR", help="where to write it")
    says = f"a shipped model or a folder (default: {DEFAULT_MODEL})"
    add("--model", default=DEFAULT_MODEL, help=says)
    says = "files of the runtime, to be copied there and listed"
    add("--with", dest="extra", type=Path, nargs="+", default=[], metavar="FILE", help=says)

    add = command("serve", serves, "serve the built site, compressed, on this machine")
    add("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    add("--folder", type=Path, help="the site (default: _build/html)")
    return parser


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
