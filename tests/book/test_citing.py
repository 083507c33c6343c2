"""The page on citing and the file for machines say the same as the package."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_title_version_and_year_agree() -> None:
    page = (ROOT / "book" / "citing.md").read_text(encoding="utf-8")
    cited = dict(re.findall(r"(\w+) *= \{+(.+?)\}+,?\n", page))
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert cited["title"] == cff["title"]
    assert cited["version"] == cff["version"] == project["version"]
    assert cited["author"] == cff["authors"][0]["name"] == config["author"]
    assert cited["year"] == config["copyright"]
