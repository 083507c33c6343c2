"""Break the code in one place at a time, and see whether the tests of the broken module notice.

A mutant is one small change of a module: a comparison the other way, a number one larger, an
argument left out.  Each is tried on the module's own test file, in a copy of the tree.  When all
tests pass, it survives: a test is missing, or the change is none, and equivalent.toml says why.
"""

import argparse
import ast
import multiprocessing
import os
import queue
import random
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
FORKS = multiprocessing.get_context("forkserver")  # of a process that has loaded PyTorch
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
# what is taught, and what trains, decodes and stores
WATCHED = ("*.py", "plumbing/fast/*.py", "plumbing/training/*.py", "plumbing/models/*.py")
SYMBOLS = {  # what an operator becomes
    ast.Lt: "<= >=", ast.LtE: "< >", ast.Gt: ">= <=", ast.GtE: "> <", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is_not", ast.IsNot: "is", ast.In: "not_in", ast.NotIn: "in", ast.And: "or",
    ast.Or: "and", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*",
    ast.Mod: "//", ast.Pow: "*", ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip


class Mutant(NamedTuple):
    """One change of a module, and its source with it; lines may move, the name stays."""

    line: int
    name: str  # "function: old → new"
    source: str


def changes(node: ast.AST) -> Iterator[str]:
    """Yield what could stand in the place of ``node``."""
    match node:
        case ast.Constant(bool() as value):
            yield str(not value)
        case ast.Constant(int() | float() as value):
            yield from (repr(value + 1), repr(value - 1))
        case ast.Compare(a, [op], [b]) | ast.BinOp(a, op, b):
            for other in SYMBOLS.get(type(op), "").split():
                yield f"({ast.unparse(a)}) {other.replace('_', ' ')} ({ast.unparse(b)})"
        case ast.BoolOp(op, values):
            parts = [f"({ast.unparse(value)})" for value in values]
            yield from (f" {SYMBOLS[type(op)]} ".join(parts), *parts)
        case ast.UnaryOp(_, operand):
            yield ast.unparse(operand)
        case ast.IfExp(_, body, orelse):
            yield from (ast.unparse(body), ast.unparse(orelse))
        case ast.Call(func, args, keywords):
            for word in keywords:
                yield ast.unparse(ast.Call(func, args, [k for k in keywords if k is not word]))
            fixed = ast.Starred | ast.Constant | ast.UnaryOp  # transpose(-2, -1) is symmetric
            if len(args) > 1 and not any(isinstance(arg, fixed) for arg in args):
                yield ast.unparse(ast.Call(func, [args[1], args[0], *args[2:]], keywords))
            if isinstance(func, ast.Attribute) and not isinstance(func.value, ast.Name):
                yield ast.unparse(func.value)  # a.b().clamp(max=1) becomes a.b()
        case ast.Return(ast.expr()):
            yield "return None"
        case (
            ast.Expr(ast.Call()) | ast.AugAssign() | ast.Assign([ast.Attribute() | ast.Subscript()])
        ):
            yield "pass"


def places(node: ast.AST, function: str = "module") -> Iterator[tuple[str, Any]]:
    """Yield all nodes below ``node``, each with its function, that are neither text nor types."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                name = getattr(child, "name", None)
                inner = f"{function}.{name}".removeprefix("module.") if name else function
                yield inner, child
                yield from places(child, inner)


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a module's ``source``, in the order of its lines."""
    found, seen = [], Counter[str]()
    lines = [line.encode() for line in source.splitlines(keepends=True)]  # columns count bytes
    for function, node in places(ast.parse(source)):
        negated = isinstance(node, ast.If | ast.While)
        at = node.test if negated else node
        for new in [f"not ({ast.unparse(at)})"] if negated else changes(node):
            before = b"".join(lines[: at.lineno - 1]) + lines[at.lineno - 1][: at.col_offset]
            after = lines[at.end_lineno - 1][at.end_col_offset :] + b"".join(lines[at.end_lineno :])
            if new == ast.unparse(at):
                continue  # two equal arguments, swapped
            name = f"{function}: {ast.unparse(at)} → {new}"
            seen[name] += 1
            name += f" ({seen[name]})" if seen[name] > 1 else ""
            text = (new if isinstance(at, ast.stmt) else f"({new})").encode()
            found.append(Mutant(at.lineno, name, (before + text + after).decode()))
    return sorted(found, key=lambda mutant: mutant.line)


def tests_of(module: Path) -> list[Path]:
    """Return the test files of ``module``: test_step.py or test_fast_step.py for fast/step.py."""
    names = {f"test_{module.stem}", f"test_{module.parent.name}_{module.stem}"}
    return [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if path.stem in names]


def run_tests(tree: Path, tests: list[str]) -> None:
    """Run ``tests`` in ``tree``, say nothing, and end this process with pytest's status."""
    os.setsid()  # so that what the tests start ends with them
    os.chdir(tree)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.dont_write_bytecode = True  # a mutant may be as long and as old as the next
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # of which some take seconds to load
    import pytest

    plugins = ["-p", "no:cacheprovider", "-p", "_hypothesis_pytestplugin", "--hypothesis-seed=0"]
    options = ["-x", "-q", *plugins, f"--rootdir={tree}"]
    os._exit(pytest.main([*options, *tests]))


class Trees:
    """Copies of code and tests, in which one file at a time may be another."""

    def __init__(self, folder: Path, number: int) -> None:
        self.free: queue.Queue[Path] = queue.Queue()
        unwanted = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "*.safetensors")
        for tree in (folder / str(i) for i in range(number)):
            for path in (ROOT / "code", ROOT / "tests"):
                shutil.copytree(path, tree / path.name, ignore=unwanted)
            for path in (*ROOT.glob("[!.]*"), *ROOT.rglob("code/*/pretrained/*/*.safetensors")):
                if not (tree / path.relative_to(ROOT)).exists():
                    (tree / path.relative_to(ROOT)).symlink_to(path)
            self.free.put(tree)

    def verdict(self, module: Path, source: str, limit: float | None = None) -> str:
        """Return how the tests of ``module`` take ``source``; ``limit`` is in seconds."""
        tree = self.free.get()
        (tree / module.relative_to(ROOT)).write_text(source, encoding="utf-8")
        tests = [str(tree / path.relative_to(ROOT)) for path in tests_of(module)]
        process = FORKS.Process(target=run_tests, args=(tree, tests))
        process.start()
        process.join(limit)
        timed_out = process.exitcode is None
        if timed_out:
            os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        shutil.copy(module, tree / module.relative_to(ROOT))
        self.free.put(tree)
        return "timed out" if timed_out else "killed" if process.exitcode else "survived"


def examine(module: Path, trees: Trees, explained: dict[str, str], sample: int | None) -> int:
    """Try the mutants of ``module``; print and count those that survive and nothing explains."""
    name, source = module.relative_to(ROOT), module.read_text(encoding="utf-8")
    chosen = [mutant for mutant in mutants(source) if mutant.name not in explained]
    if sample is not None:
        chosen = random.Random(0).sample(chosen, min(sample, len(chosen)))
    if not tests_of(module):
        print(f"{name}: has no test file of its own, {len(chosen)} mutants not tried", flush=True)
        return 0
    begun = time.monotonic()
    if trees.verdict(module, source) != "survived":
        raise SystemExit(f"{name}: its tests fail as it is, expected them to pass")
    limit = 20 + 5 * (time.monotonic() - begun)
    with ThreadPoolExecutor(trees.free.qsize()) as pool:
        tried = pool.map(lambda mutant: trees.verdict(module, mutant.source, limit), chosen)
        ends = list(tqdm(tried, total=len(chosen), desc=module.stem, leave=False))
    counts = ", ".join(f"{n} {end}" for end, n in sorted(Counter(ends).items()))
    print(f"{name}: {len(chosen)} mutants, {counts}; {len(explained)} explained", flush=True)
    alive = sorted(m for m, end in zip(chosen, ends, strict=True) if end == "survived")
    for mutant in alive:
        print(f"  {name}:{mutant.line}: {mutant.name}", flush=True)
    return len(alive)


def main() -> None:
    """Try the modules that are named, or all; exit with 1 when a mutant survives unexplained."""
    found = [path for pattern in WATCHED for path in sorted((ROOT / "code/scratch").glob(pattern))]
    modules = {path.stem: path for path in found if not path.stem.startswith("__")}
    parser = argparse.ArgumentParser(
        prog="make mutants", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(modules)}")
    parser.add_argument("--sample", type=int, metavar="N", help="N mutants of each, the same ones")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="(%(default)s)")
    a = parser.parse_args()
    if unknown := set(a.modules) - set(modules):
        parser.error(f"there is no module {min(unknown)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    FORKS.set_forkserver_preload(["hypothesis", "numpy", "pytest", "tokenizers", "torch"])
    table = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        trees = Trees(Path(folder), a.workers)
        wanted = a.modules or modules
        left = [examine(modules[m], trees, table.get(m, {}), a.sample) for m in wanted]
    sys.exit(sum(left) > 0)


if __name__ == "__main__":
    main()
