"""Chapters as readers download them: in front, a cell that says what is needed and fetches it."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain
from pathlib import Path

from press.book import PressError

# what chapters and `scratch` import; `pyproject.toml` says which version of each
LIBRARIES = (
    "torch", "numpy", "matplotlib", "tokenizers", "sacrebleu", "sacremoses", "safetensors", "pooch",
    "tqdm",
)  # fmt: skip
FOLDER = "/content/tested-transformer"

TEXT = """\
> **What this notebook needs.** It is a chapter of *The Tested Transformer*. Its code imports the
> book's package `scratch`, and some cells read files that lie beside the chapters, so it runs in
> the folder `book` of the book's repository{place}. There, `make lab` sets up Python 3.11 or newer
> with {libraries}, and opens the chapters.
>
> On Colab, the cell below fetches the repository, installs the package and what Colab lacks, and
> moves to that folder. Outputs were made with the versions above; others may differ in the last
> digits.
"""

CODE = """\
# Makes a bare machine ready; where the book is installed, it does nothing.
import importlib.util
import os
import subprocess
import sys

repository, branch, folder = {url!r}, {branch!r}, {folder!r}
needed = {needed}


def pip_install(*what):
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *what], check=True)


if "google.colab" in sys.modules:
    if not os.path.isdir(folder):
        if not repository:
            raise SystemExit(f"Copy the repository of the book to {{folder}}, then run this again.")
        clone = ["git", "clone", "-q", "--depth", "1", "-b", branch, repository, folder]
        subprocess.run(clone, check=True)
    lacking = [name for name in needed if not importlib.util.find_spec(name)]
    if lacking:
        pip_install(*(f"{{name}}=={{needed[name]}}" for name in lacking))
    pip_install("--no-deps", "-e", folder)
    sys.path.insert(0, f"{{folder}}/code")  # an installed package is seen by the next kernel only
    os.chdir(f"{{folder}}/book")
elif not importlib.util.find_spec("scratch"):
    raise SystemExit("The package scratch is missing: run make lab in the book's repository.")
"""


def for_download(text: str, url: str, branch: str, versions: dict[str, str]) -> str:
    """Return the notebook ``text`` with two cells in front.

    Args:
        text: a notebook as JSON.
        url: address of the repository, "" if it has none yet.
        branch: the branch to fetch.
        versions: version of each of the libraries, from `versions`.
    """
    notebook = json.loads(text)
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    place = f" ([{url.removeprefix('https://')}]({url}))" if url else ""
    said = TEXT.format(place=place, libraries=libraries)
    code = CODE.format(url=url, branch=branch, folder=FOLDER, needed=versions)
    notebook["cells"][:0] = [
        {"cell_type": "markdown", "id": "needs", "metadata": {}, "source": said},
        {
            "cell_type": "code", "id": "needs-code", "metadata": {}, "source": code,
            "execution_count": None, "outputs": [],
        },
    ]  # fmt: skip
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def versions(root: Path) -> dict[str, str]:
    """The pinned version of each library that a chapter may import.

    Raises:
        PressError: one of them is not pinned in ``pyproject.toml``.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = chain(project["dependencies"], *project.get("optional-dependencies", {}).values())
    lines = (re.fullmatch(r"([\w-]+)==(.+)", line) for line in pins)
    pinned = {line[1]: line[2] for line in lines if line}
    for name in LIBRARIES:
        if name not in pinned:
            raise PressError(f"pyproject.toml must pin {name}, which chapters import")
    return {name: pinned[name] for name in LIBRARIES}
