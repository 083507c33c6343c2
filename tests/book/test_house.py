"""The layout of the repository, and words that have no place in it."""

from __future__ import annotations

import code as standard_library_code
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

# split, so that this file does not trip itself
REGISTRIES = re.compile(
    "|".join(("pypi" + r"\.org", "registry" + r"\.npmjs", "pythonhosted" + r"\.org"))
)
SHARED = ".." + "/shared"
BINARY = {".png", ".safetensors", ".woff2", ".gz", ".onnx", ".wasm"}


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    """Every file that git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    if listing.returncode:
        pytest.skip("not a git checkout, so there is no list of the project's files")
    return [path for name in listing.stdout.split("\0") if name and (path := root / name).is_file()]


def texts(files: list[Path]) -> list[tuple[Path, str]]:
    return [(path, path.read_text("utf-8")) for path in files if path.suffix not in BINARY]


def test_code_is_a_source_root_and_no_package(root: Path) -> None:
    """A package called `code` would hide Python's own module, and pdb with it."""
    assert not (root / "code" / "__init__.py").exists()
    assert Path(standard_library_code.__file__).parent != root / "code"
    assert hasattr(standard_library_code, "InteractiveConsole")
    done = subprocess.run(
        [sys.executable, "-c", "import pdb, code; code.interact"], cwd=root, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_no_registry_host_and_no_path_of_one_machine(root: Path, files: list[Path]) -> None:
    found = [str(path.relative_to(root)) for path, text in texts(files) if REGISTRIES.search(text)]
    assert found == [], "a package registry is named"
    found = [str(path.relative_to(root)) for path, text in texts(files) if SHARED in text]
    assert set(found) <= {".ci/run"}, "only .ci/run knows where the test machines keep the corpora"


def test_text_files_are_utf8_and_end_with_a_newline(root: Path, files: list[Path]) -> None:
    for path, text in texts(files):
        name = path.relative_to(root)
        assert "\r" not in text, f"{name} has DOS line ends"
        assert text == "" or text.endswith("\n"), f"{name} does not end with a newline"


def test_every_page_of_the_table_of_contents_exists(root: Path) -> None:
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    pages = [toc["root"], *re.findall(r"'file': '([^']+)'", str(toc))]
    for page in pages:
        assert any((root / f"{page}{end}").is_file() for end in (".md", ".ipynb")), page
    notebooks = {f"book/{path.stem}" for path in (root / "book").glob("*.ipynb")}
    assert notebooks <= set(pages), "a chapter that is not in _toc.yml is neither built nor tested"


def test_svg_files_stand_alone(files: list[Path]) -> None:
    """A drawing that is used as an image can fetch nothing and run nothing."""
    for path, text in texts(files):
        if path.suffix == ".svg":
            assert text.lstrip().startswith(("<svg", "<?xml")), path
            assert "<script" not in text and not re.search(r"href=\"http", text), path


def test_figures_and_site_share_their_colours(root: Path) -> None:
    style = (root / "code/scratch/plumbing/book.mplstyle").read_text()
    sheet = (root / "book/assets/book.css").read_text()
    cycle = re.search(r"cycler\('color', \[([^\]]+)\]\)", style)
    assert cycle
    drawn = re.findall(r"'([0-9a-f]{6})'", cycle[1])
    named = re.findall(r"--book-(?:blue|vermilion|teal|gold|violet|grey): #([0-9a-f]{6})", sheet)
    # the light theme draws what matplotlib draws; the dark one has a lighter colour for each
    assert drawn == named[:6] and len(drawn) == 6
    assert len(set(named)) == len(named) == 12


def test_the_readme_names_targets_that_exist(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "book/index.md"):
        named = set(
            re.findall(r"(?:`|^|\$ )make ([a-z]+)", (root / page).read_text(), re.MULTILINE)
        )
        assert named <= targets, f"{page}: {named - targets}"


def test_node_packages_are_pinned_without_their_host(root: Path) -> None:
    manifest = json.loads((root / "package.json").read_text())
    lock = json.loads((root / "package-lock.json").read_text())["packages"]
    direct = {**manifest["dependencies"], **manifest["devDependencies"]}
    for name, version in direct.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), name
        assert lock[f"node_modules/{name}"]["version"] == version, "run npm install"
    for name, entry in lock.items():
        assert "resolved" not in entry, f"{name} names a host"
        assert name == "" or entry["integrity"].startswith("sha512-")


def test_the_version_is_one(root: Path) -> None:
    version = re.search(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert yaml.safe_load((root / "CITATION.cff").read_text())["version"] == version[1]
    assert f"## {version[1]}" in (root / "CHANGELOG.md").read_text()
