"""The Makefile, with programs that only pretend in place of those that take minutes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from belonging import belonging

# says yes to everything, and what it was asked; as another Python it has another home
PRETENDING = """#!/bin/sh
echo "$0" "$@" >> "{log}"
case "$*" in
    *base_prefix*) echo "{home}";;
    *venv*) cp "$0" .venv/bin/python;;
esac
"""
# fails when another of its kind is at work
JEALOUS = '#!/bin/sh\nmkdir held && sleep 1 && rmdir held && echo built >> "{log}"\n'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def log(root: Path, tmp_path: Path) -> Path:
    """A folder with the Makefile and an environment that is set up, and what was asked of it."""
    log = tmp_path / "log"
    makefile = (root / "Makefile").read_text()
    makefile, n = re.subn(r"^site:.*$", "site:", makefile, flags=re.MULTILINE)
    assert n == 1
    write(tmp_path / "Makefile", makefile)
    for name in ("requirements.txt", "pyproject.toml"):
        write(tmp_path / name, "")
        os.utime(tmp_path / name, (0, 0))
    write(tmp_path / ".venv/bin/python", PRETENDING.format(log=log, home="here"))
    write(tmp_path / ".venv/bin/jupyter-book", JEALOUS.format(log=log))
    write(tmp_path / ".venv/.installed", "")
    log.write_text("")
    return log


def make(log: Path, *words: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "MAKEFLAGS")}
    return subprocess.Popen(
        ["make", *words], cwd=log.parent, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_of_two_builds_the_second_waits(log: Path) -> None:
    both = [make(log, "book") for _ in range(2)]
    ends = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert log.read_text().count("built") == 2


def test_an_environment_that_is_set_up_stays(log: Path) -> None:
    process = make(log, ".venv/.installed")
    process.communicate()
    assert process.returncode == 0
    assert log.read_text() == ""


@pytest.mark.parametrize(("home", "anew"), [("here", False), ("elsewhere", True)])
def test_a_python_that_is_asked_for_is_taken(log: Path, home: str, anew: bool) -> None:
    python = write(log.parent / "an other/python", PRETENDING.format(log=log, home=home))
    process = make(log, ".venv/.installed", f"PYTHON={python}")
    process.communicate()
    assert process.returncode == 0
    assert (f"{python} -m venv --clear .venv\n" in log.read_text()) == anew


@pytest.mark.parametrize("name", ["x'y", 'x"y', "x;y z", "no such"])
def test_a_python_that_is_not_there_is_refused_in_a_sentence(log: Path, name: str) -> None:
    process = make(log, ".venv/.installed", f"PYTHON={name}")
    _, said = process.communicate()
    assert process.returncode != 0
    assert f"and '{name}' is not there: install one" in said


def test_what_belongs_to_a_module_and_to_a_chapter(root: Path) -> None:
    def names(name: str) -> list[str]:
        return [path.name for path in belonging(name)]

    attention = ["test_attention.py", "05_attention.ipynb"]
    assert names("attention") == names("05") == names("05_attention") == attention
    assert names("corpus") == ["test_corpus.py", "11_data.ipynb"]
    assert {"test_corpus.py", "test_splits.py", "11_data.ipynb"} < set(names("data"))
    assert names("checks") == ["test_checks.py"]
    assert names("nonsense") == []
