"""The map of the paper: nothing of the paper is missing, everything it names is there."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "book" / "paper_map.md"

SECTIONS = "1 2 3 3.1 3.2 3.2.1 3.2.2 3.2.3 3.3 3.4 3.5 4 5 5.1 5.2 5.3 5.4 6 6.1 6.2 6.3 7"
WANTED = {
    "Sections": SECTIONS.split(),
    "Equations": ["1", "unnumbered", "2", "unnumbered", "3"],
    "Tables": ["1", "2", "3", "4"],
    "Figures": ["1", "2", "3"],  # "3 to 5" are one kind of picture
}


def tables() -> dict[str, list[list[str]]]:
    """Return the cells of each row, by heading."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("| ") and heading:
            found.setdefault(heading, []).append([c.strip() for c in line.strip("|").split("|")])
    return {heading: rows[1:] for heading, rows in found.items()}  # without the head of the table


ROWS = [(heading, row) for heading, rows in tables().items() for row in rows]
each_row = pytest.mark.parametrize(
    "row", [row for _, row in ROWS], ids=[f"{heading}-{row[0]}" for heading, row in ROWS]
)


@pytest.mark.parametrize("heading", WANTED)
def test_nothing_of_the_paper_is_missing(heading: str) -> None:
    numbers = [re.split(r"[ ,]", row[0])[0] for row in tables()[heading]]
    assert numbers == WANTED[heading]


@each_row
def test_chapters_exist(row: list[str]) -> None:
    links = re.findall(r"\[(\d+)\]\((\S+?)\)", row[2])
    assert links or row[2] == "–"
    for number, target in links:
        assert (PAGE.parent / target).is_file(), target
        assert target.startswith(f"{int(number):02}_")


@each_row
def test_definitions_exist(row: list[str]) -> None:
    names = re.findall(r"{py:obj}`(\S+) <scratch\.(\S+)>`", row[3])
    assert len(names) == row[3].count("`") / 2 and (names or row[3] == "–")
    for shown, name in names:
        module, _, attribute = name.rpartition(".")
        assert shown == name
        assert attribute in importlib.import_module(f"scratch.{module}").__all__, name


@each_row
def test_tests_exist(row: list[str]) -> None:
    names = re.findall(r"`(\S+?)::(\w+)`", row[4])
    assert names or row[4] == "–"
    assert bool(names) == (row[3] != "–"), "a definition without a test, or the other way round"
    for path, test in names:
        file = ROOT / (path if "/" in path else f"tests/scratch/{path}")
        assert f"\ndef {test}(" in file.read_text(encoding="utf-8"), f"{path}::{test}"
