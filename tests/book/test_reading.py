"""What a first reader has before them: words, open lines and minutes that a page can hold."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("[01][0-9]_*.ipynb"))
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
SILENT = {"hide-output", "hide-cell", "remove-output", "remove-cell"}
PLOTTING = re.compile(r"plt\.|axes\b|\.set_x|subplots")


def lines(cell: dict[str, Any]) -> list[str]:
    return [line for line in "".join(cell["source"]).splitlines() if line.strip()]


def counts(cells: list[dict[str, Any]]) -> dict[str, int]:
    """Count what is open: words, code lines, the longest cell, plotting, booleans; and minutes."""
    words = sum(len("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown")
    code = [(c, set(c["metadata"].get("tags", []))) for c in cells if c["cell_type"] == "code"]
    open_ = [(c, tags) for c, tags in code if not tags & FOLDED]
    own = [lines(c) for c, tags in open_ if "quote" not in tags]
    printed = [
        "".join(output.get("text", output.get("data", {}).get("text/plain", [])))
        for c, tags in code
        if not tags & SILENT
        for output in c["outputs"]
    ]
    shown = sum(len(lines(c)) for c, _ in open_)  # quotes included
    return {
        "words": words,
        "open lines": sum(map(len, own)),
        "longest cell": max(map(len, own)),
        "plotting lines": sum(len(c) for c in own if PLOTTING.search("\n".join(c))),
        "booleans": sum(len(re.findall(r"\b(?:True|False)\b\s*$", t, re.M)) for t in printed),
        "minutes": round(words / 200 + shown / 12),
    }


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_can_be_read_in_one_sitting(chapter: str) -> None:
    notebook = json.loads((BOOK / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    found = counts(notebook["cells"])
    print(chapter, found)
    most = {"words": 3_000, "open lines": 220, "longest cell": 25, "minutes": 45}
    assert {name: found[name] for name in most if found[name] > most[name]} == {}
    assert found["plotting lines"] == found["booleans"] == 0
    text = "".join("".join(cell["source"]) for cell in notebook["cells"])
    said = re.search(r"\*\*Reading time:\*\* (?:about )?(\d+) minutes", text)
    assert said and abs(int(said[1]) - found["minutes"]) <= 1


def test_the_counts_count() -> None:
    def cell(source: str, *tags: str, kind: str = "code", out: str = "") -> dict[str, Any]:
        outputs = [{"output_type": "stream", "text": [out]}] if out else []
        return {"cell_type": kind, "source": source, "metadata": {"tags": tags}, "outputs": outputs}

    cells = [
        cell("one two three\n", kind="markdown"),
        cell("a = 1\n\nb = 2", out="same: True\n"),
        cell("plt.plot(a)"),
        cell("c = 3\n" * 24, "quote"),
        cell("assert a\n" * 100, "hide-cell", out="False\n"),
        cell("plt.show()\n" * 9, "hide-input", out="False\n"),
    ]
    assert counts(cells) == {
        "words": 3, "open lines": 3, "longest cell": 2, "plotting lines": 1, "booleans": 2,
        "minutes": 2,
    }  # fmt: skip
