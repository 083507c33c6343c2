"""pyproject.toml says what the book needs and why; requirements.txt pins all that this pulls in."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

DEPENDENCIES = re.compile(r"^dependencies = \[\n(.*?)^\]", re.DOTALL | re.MULTILINE)
DIRECT = re.compile(r'^\s*"[^"]+",\s*# \S.+$')


@pytest.fixture(scope="module")
def direct(root: Path) -> list[Requirement]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"]]


@pytest.fixture(scope="module")
def pinned(root: Path) -> list[Requirement]:
    lines = (root / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_each_direct_dependency_has_a_reason(root: Path, direct: list[Requirement]) -> None:
    found = DEPENDENCIES.search((root / "pyproject.toml").read_text())
    assert found, "pyproject.toml has no list of dependencies"
    entries = [line for line in found[1].splitlines() if line.strip().startswith('"')]
    assert len(entries) == len(direct), "one dependency on each line"
    assert [line for line in entries if not DIRECT.match(line)] == []


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
