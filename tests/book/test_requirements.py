"""pyproject.toml says what needs what, and why; requirements.txt pins all that this pulls in."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENTRY = re.compile(r'^ +"([^"]+)",(.*)$', re.MULTILINE)


@pytest.fixture(scope="module")
def direct(root: Path) -> list[Requirement]:
    """All lists of pyproject.toml: the package's, its extras', the book's and the tests'."""
    table = tomllib.loads((root / "pyproject.toml").read_text())
    extras, groups = table["project"]["optional-dependencies"], table["dependency-groups"]
    lists = [table["project"]["dependencies"], *extras.values(), *groups.values()]
    return [Requirement(line) for lines in lists for line in lines]


@pytest.fixture(scope="module")
def pinned(root: Path) -> list[Requirement]:
    lines = (root / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_each_direct_dependency_has_a_reason(root: Path, direct: list[Requirement]) -> None:
    pins = [e for e in ENTRY.findall((root / "pyproject.toml").read_text()) if "==" in e[0]]
    assert sorted(name for name, _ in pins) == sorted(map(str, direct)), "one on each line"
    assert [name for name, said in pins if not re.match(r"\s*# \S.+", said)] == []
    assert len({canonicalize_name(r.name) for r in direct}) == len(direct), "each in one list"


def test_the_package_alone_needs_little(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = {Requirement(line).name for line in project["dependencies"]}
    assert names == {"torch", "numpy", "tokenizers", "safetensors", "tqdm"}


def test_no_second_index_is_asked(root: Path) -> None:
    """With two indexes pip takes whichever has the higher version, whoever put it there."""
    files = [root / "Makefile", root / "requirements.txt", *(root / ".binder").iterdir()]
    assert [file.name for file in files if "extra-index-url" in file.read_text()] == []


def test_direct_dependencies_are_pinned_and_agree(
    direct: list[Requirement], pinned: list[Requirement]
) -> None:
    versions = {canonicalize_name(r.name): str(r.specifier) for r in pinned}
    for requirement in direct:
        name, wanted = canonicalize_name(requirement.name), str(requirement.specifier)
        assert re.fullmatch(r"==[^*,]+", wanted), f"{name} is not pinned in pyproject.toml"
        assert versions.get(name) == wanted, (
            f"{name}: requirements.txt has {versions.get(name)}, pyproject.toml {wanted}; make lock"
        )


def test_everything_is_pinned_once_for_each_platform(pinned: list[Requirement]) -> None:
    for requirement in pinned:
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), f"{requirement} is not a pin"
    chosen = [canonicalize_name(r.name) for r in pinned if r.marker is None or r.marker.evaluate()]
    assert len(chosen) == len(set(chosen)), "two versions of one package on this platform"


def test_no_package_of_the_gpu_builds(pinned: list[Requirement]) -> None:
    gpu = re.compile(r"^(nvidia|cuda|triton)|-cu\d+$")
    assert [r.name for r in pinned if gpu.search(canonicalize_name(r.name))] == []


def test_what_is_installed_is_what_is_pinned(pinned: list[Requirement]) -> None:
    for requirement in pinned:
        if requirement.marker is None or requirement.marker.evaluate():
            # torch's own CPU build has a local label, as in 2.13.0+cpu, which == disregards
            assert requirement.specifier.contains(metadata.version(requirement.name)), requirement


def test_requirements_are_closed(direct: list[Requirement], pinned: list[Requirement]) -> None:
    """Walk from the direct dependencies: all that they need is pinned, and nothing else is."""
    here = {canonicalize_name(r.name) for r in pinned if r.marker is None or r.marker.evaluate()}
    gpu = re.compile(r"^(nvidia|cuda|triton)")
    done: set[tuple[str, frozenset[str]]] = set()
    todo = [(canonicalize_name(r.name), frozenset(r.extras)) for r in direct]
    while todo:
        name, extras = package = todo.pop()
        if package in done or gpu.match(name):
            continue
        assert name in here, f"{name} is needed and not in requirements.txt"
        done.add(package)
        for needed in map(Requirement, metadata.requires(name) or ()):
            chosen = ({"extra": extra} for extra in extras | {""})
            if needed.marker is None or any(needed.marker.evaluate(env) for env in chosen):
                todo.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    seen = {name for name, _ in done}
    assert here - seen == set(), "pinned, but nothing needs it"
