"""The mutation check: which changes it makes, what it notices, and that its excuses still hold."""

import ast
import tomllib
from pathlib import Path

import pytest

import mutants
from mutants import EQUIVALENT, Mutant, Trees

SOURCE = '''\
"""One module."""


class Counter:
    def count(self, words: list[str] | None, *, least: int = 2) -> int:
        """Count."""
        if words is None or not words:
            return min(least, least) - 3
        self.seen = f"{len(words) + 1} words"
        return sum(len(word) >= least for word in set(words, key=str.lower).copy())
'''


def names(source: str) -> list[str]:
    return [mutant.name for mutant in mutants.mutants(source)]


@pytest.mark.parametrize(
    "change",
    [
        "2 → 3",
        "2 → 1",
        "words is None → (words) is not (None)",
        "words is None or not words → (words is None) and (not words)",
        "words is None or not words → (not words)",
        "words is None or not words → not (words is None or not words)",
        "not words → words",
        "return min(least, least) - 3 → return None",
        "min(least, least) - 3 → (min(least, least)) + (3)",
        "len(word) >= least → (len(word)) > (least)",
        "len(word) >= least → (len(word)) < (least)",
        "set(words, key=str.lower) → set(words)",
        "set(words, key=str.lower).copy() → set(words, key=str.lower)",
        "self.seen = f'{len(words) + 1} words' → pass",
    ],
)
def test_a_change_is_made(change: str) -> None:
    assert f"Counter.count: {change}" in names(SOURCE)


def test_text_and_types_are_left_alone() -> None:
    changed = [name for name in names(SOURCE) if "list[str]" in name or "len(words) + 1 →" in name]
    assert changed == []


def test_every_mutant_is_another_program() -> None:
    found = mutants.mutants(SOURCE)
    before = ast.dump(ast.parse(SOURCE))
    assert all(ast.dump(ast.parse(mutant.source)) != before for mutant in found)
    assert len({mutant.name for mutant in found}) == len(found)


def test_what_stands_behind_letters_of_two_bytes_is_changed_in_its_place() -> None:
    assert next(m.source for m in mutants.mutants("s = ('é', 1)\n")) == "s = ('é', (2))\n"


def test_excuses_name_mutants_that_exist(root: Path) -> None:
    table = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    modules = {path.stem: path for path in (root / "code/scratch").rglob("*.py")}
    for module, excuses in table.items():
        left = set(excuses) - set(names(modules[module].read_text(encoding="utf-8")))
        assert left == set(), f"{module}: the code has changed, and these explain nothing"
        assert all(len(reason.split()) > 3 for reason in excuses.values())


def test_a_module_without_a_test_for_it_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ends: the tests notice, they do not, they wait for ever."""
    for folder in ("code", "tests"):
        (tmp_path / folder).mkdir()
    module = tmp_path / "code/small.py"
    module.write_text("def small(n):\n    while n >= 5:\n        n -= 1\n    return n + 0\n")
    (tmp_path / "tests/test_small.py").write_text(
        "import sys\nsys.path.insert(0, 'code')\nfrom small import small\n\n"
        "def test_small():\n    assert small(9) == 4\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    trees = Trees(tmp_path / "copies", 1)
    ends = {m.name: trees.verdict(module, m.source, 60.0) for m in few(module)}
    assert ends == {"small: n >= 5 → (n) > (5)": "killed", "small: n + 0 → (n) - (0)": "survived"}
    endless = "def small(n):\n    while True:\n        pass\n"
    assert trees.verdict(module, endless, 5.0) == "timed out"
    assert module.read_text() == (tmp_path / "copies/0/code/small.py").read_text()


def few(module: Path) -> list[Mutant]:
    """Two mutants that end at once."""
    wanted = ("n >= 5 → (n) > (5)", "n + 0 → (n) - (0)")
    return [m for m in mutants.mutants(module.read_text()) if m.name.endswith(wanted)]
