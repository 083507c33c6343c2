"""The data card: every number on it is the one that was measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scratch.datasets import read_tsv, tatoeba
from scratch.plumbing.data import fetch
from scratch.plumbing.data.corpora import PAIRS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/data_card.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "book/runs/corpora/statistics.json").read_text(encoding="utf-8"))
SECTIONS = {"multi30k": "Multi30k", "tatoeba": "Tatoeba, English–French", "grammar": "The grammar"}


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def row(name: str, measured: dict[str, Any]) -> str:
    """The line of a split, as the page has it."""
    unknown = measured.get("unknown words")
    shares = ", ".join(f"{100 * share:.2f} %" for share in unknown) if unknown else "–"
    english, french = measured["mean words"]
    return (
        f"| {name} | {measured['pairs']:,} | {measured['sources']:,} "
        f"| {measured['most references']} | {english:.2f}, {french:.2f} | {shares} |"
    )


@pytest.mark.parametrize("corpus", SECTIONS)
def test_every_split_is_on_the_page_as_it_was_measured(corpus: str) -> None:
    rows = re.findall(r"^\| \w+ \| \d.*\|$", section(SECTIONS[corpus]), re.MULTILINE)
    assert rows == [row(name, measured) for name, measured in MEASURED[corpus].items()]


@pytest.mark.parametrize("corpus", SECTIONS)
def test_every_corpus_has_what_a_data_card_needs(corpus: str) -> None:
    named = re.findall(r"^\| (\w+) \| \D", section(SECTIONS[corpus]), re.MULTILINE)
    wanted = ["What", "Source", "Terms", "Size", "Cleaning", "Splits", "Faults"]
    assert [name for name in named if name in wanted] == wanted


def test_the_mixed_corpus_adds_up() -> None:
    both = section("Both together")
    parts = [MEASURED[corpus]["train"]["pairs"] for corpus in ("multi30k", "tatoeba")]
    mixed = MEASURED["en-fr"]["train"]
    assert sum(parts) - mixed["removed"] == mixed["pairs"]
    assert f"{sum(parts):,} pairs, less {mixed['removed']} that" in both
    assert f": {mixed['pairs']:,} pairs." in both
    assert max(map(int, MEASURED["tatoeba"]["train"]["lengths"])) == 9
    assert "ends at nine words" in section(SECTIONS["tatoeba"])


def test_the_files_are_those_that_are_fetched() -> None:
    listed = section("The files").split("```")[1].removeprefix("text").strip().splitlines()
    assert listed == [f"{digest}  {name}" for name, digest in fetch.CHECKSUMS.items()]
    for address in fetch._FOLDERS.values():
        (commit,) = re.findall(r"[0-9a-f]{40}", address)
        assert f"`{commit}`" in PAGE


def test_sizes_and_what_was_dropped_are_those_of_the_files() -> None:
    missing = [name for name in fetch.CHECKSUMS if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: nothing to measure")
    sizes = {name: (fetch.cache_folder() / name).stat().st_size for name in fetch.CHECKSUMS}
    six = sum(sizes[name] for name in PAIRS["en-fr"].files if name.startswith("multi30k/"))
    assert f"six files, {six / 1e6:.2f} MB" in section(SECTIONS["multi30k"])
    text = section(SECTIONS["tatoeba"])
    assert f"one file, {sizes['tatoeba/fra.txt'] / 1e6:.2f} MB" in text
    pairs = len(read_tsv(fetch.local_path("tatoeba/fra.txt"))) - 1
    train = tatoeba("train")
    kept = len(train) + sum(MEASURED["tatoeba"][split]["pairs"] for split in ("dev", "test"))
    assert f"of the {pairs:,} pairs that are left, the {pairs - kept} that" in text
    assert "in more than one pair of twenty" in text
    assert sum("Tom" in english for english, _ in train) > len(train) / 20


def test_the_page_is_in_the_book() -> None:
    assert "- file: book/data_card\n" in (ROOT / "_toc.yml").read_text(encoding="utf-8")
