"""Results as JSON in ``book/runs/bench``, and their tables in ``book/benchmarks.md``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "book" / "benchmarks.md"
RESULTS = ROOT / "book" / "runs" / "bench"
TABLE = re.compile(r"^% table (\S+)\n(.*?)^% end$", re.MULTILINE | re.DOTALL)


def read_results(name: str) -> dict[str, Any]:
    """Return the stored results of the benchmark ``name``."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def write_results(name: str, results: Mapping[str, Any]) -> None:
    """Store ``results`` as those of the benchmark ``name``."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    # the seconds of all rounds in one line
    text = re.sub(r"(?<=\[)[\d\s.,]+(?=\])", lambda found: " ".join(found[0].split()), text)
    (RESULTS / f"{name}.json").write_text(text + "\n", "utf-8")


def tables_of(text: str) -> dict[str, str]:
    """Return the tables that stand in the page ``text``, by their names."""
    return {name: table.strip("\n") for name, table in TABLE.findall(text)}


def with_tables(text: str, benchmark: str, tables: Mapping[str, str]) -> str:
    """Return the page ``text`` with the tables of ``benchmark`` put in their places.

    Raises ValueError for a table without a place and for a place without its table.
    """
    here = {f"{benchmark}.{name}": table for name, table in tables.items()}
    places = {place for place in tables_of(text) if place.partition(".")[0] == benchmark}
    if places != here.keys():
        raise ValueError(
            f"{PAGE.name} has places for {sorted(places)}, expected them for {sorted(here)}"
        )

    def put(match: re.Match[str]) -> str:
        name = match[1]
        return f"% table {name}\n\n{here[name]}\n\n% end" if name in here else match[0]

    return TABLE.sub(put, text)


def write_tables(benchmark: str, tables: Mapping[str, str]) -> None:
    """Put the tables of ``benchmark`` into the page."""
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), benchmark, tables), "utf-8")
