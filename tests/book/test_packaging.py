"""The package alone: a wheel of it, in an environment that holds what it asks for and no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scratch.plumbing.extras import EXTRAS


def run(*command: str | Path, cwd: Path, typed: str = "") -> str:
    """Return what ``command`` printed, in an environment that knows nothing of this tree."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, built from a copy, without the network."""
    copy = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(root / "code", copy / "code", ignore=unwanted)
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index")
    run(*pip, "--no-build-isolation", "-w", copy / "out", copy, cwd=copy)
    (built,) = (copy / "out").glob("*.whl")
    return built


def needed(root: Path) -> Iterator[metadata.Distribution]:
    """Yield what installing the package would bring, as it is installed here."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    todo, done = [Requirement(line) for line in project["dependencies"]], set()
    while todo:
        requirement = todo.pop()
        if requirement.name in done:
            continue
        done.add(requirement.name)
        try:
            found = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:  # one of the GPU build's, say
            continue
        yield found
        others = map(Requirement, found.requires or ())
        todo += [r for r in others if r.marker is None or r.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def python(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment: the wheel, and links to what it asks for."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    packages = Path(run(python, "-c", "import site; print(*site.getsitepackages())", cwd=root)[:-1])
    for distribution in needed(root):
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    return python


def test_the_wheel_holds_the_model_and_nothing_else(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (n for n in names if n.endswith(".dist-info/entry_points.txt"))
        scripts = archive.read(entry_points).decode()
    files = {
        path.relative_to(root / "code").as_posix()
        for path in (root / "code/scratch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == files
    assert {"scratch/py.typed", "scratch/plumbing/book.mplstyle"} <= files
    assert "scratch = scratch.plumbing.cli:main" in scripts.splitlines()


def test_extras_bring_what_the_code_says_they_do(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lists = project["optional-dependencies"].items()
    assert {name: tuple(Requirement(r).name for r in lines) for name, lines in lists} == EXTRAS


def test_the_readme_goes_from_two_sentences_to_a_translation(root: Path, python: Path) -> None:
    (lines,) = re.findall(r"^```python\n(.+?)^```", (root / "README.md").read_text(), re.S | re.M)
    promised = re.findall(r"print\(.+\)  # (.+)$", lines, re.M)
    assert promised, "the lines print nothing that could be compared"
    assert run(python, "-c", lines, cwd=python.parent).splitlines() == promised


def test_the_command_translates(python: Path) -> None:
    command = (python.with_name("scratch"), "translate", "--model", "grammar-en-fr")
    assert run(*command, cwd=python.parent, typed="I see the dog.\n") == "Je vois le chien.\n"


# One process for all that follows: it takes seconds until PyTorch is loaded.
WITHOUT_EXTRAS = """
import contextlib, importlib, io, json, pkgutil, sys
import scratch
assert scratch.__file__.startswith(sys.prefix), scratch.__file__
from scratch.datasets import multi30k
from scratch.plumbing.cli import main
from scratch.plumbing.scoring.scores import score_texts

refused = {}
for module in pkgutil.walk_packages(scratch.__path__, "scratch."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            refused[module.name] = error.name
said = {}
calls = {"data": lambda: multi30k("val"), "scores": lambda: score_texts(["a"], [["a"]])}
for extra, call in calls.items():
    try:
        call()
    except ModuleNotFoundError as error:
        said[extra] = str(error)
sys.stdin = io.TextIOWrapper(io.BytesIO(b"I see him."))
with contextlib.redirect_stderr(io.StringIO()) as stderr, contextlib.redirect_stdout(io.StringIO()):
    assert main(["translate", "--model", "grammar-en-fr", "--attention", "map.svg"]) == 2
said["figures"] = stderr.getvalue()
with contextlib.redirect_stderr(io.StringIO()) as stderr:
    assert main(["train", "grammar", "--out", "run", "--tensorboard", "events"]) == 2
said["tensorboard"] = stderr.getvalue()
print(json.dumps([refused, said]))
"""


@pytest.fixture(scope="module")
def without_extras(python: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Which modules cannot be imported, and for want of what; what is said for each extra."""
    refused, said = json.loads(run(python, "-c", WITHOUT_EXTRAS, cwd=python.parent))
    return refused, said


def test_what_is_taught_does_without_extras(
    without_extras: tuple[dict[str, str], dict[str, str]],
) -> None:
    refused, _ = without_extras
    assert set(refused.values()) <= set(EXTRAS["figures"]), "only what draws may need an extra"
    assert [name for name in refused if not name.startswith("scratch.plumbing.")] == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_named(
    without_extras: tuple[dict[str, str], dict[str, str]], extra: str
) -> None:
    _, said = without_extras
    expected = (
        f"{EXTRAS[extra][0]} is not installed, expected it for {extra}: "
        f"pip install 'tested-transformer[{extra}]'"
    )
    assert expected in said[extra]
