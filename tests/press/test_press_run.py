"""The runner stores outputs that do not churn, and leaves the file alone when a run fails."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from PIL import Image

from press.__main__ import main
from press.run import COLOURS, RunSettings, fold, normalise, run, short_drawing, shorten_paths
from tiny_book import TinyBook

untyped: Any = nbformat  # its functions carry no type hints
Cell = Callable[..., NotebookNode]
QUIET = RunSettings(threads=1, progress=False)


@pytest.fixture
def one(tiny: TinyBook) -> TinyBook:
    tiny.toc("index", "01_first")
    return tiny


def test_outputs_are_stored_and_a_second_run_changes_nothing(one: TinyBook, cell: Cell) -> None:
    path = one.chapter(
        "01_first",
        [
            cell("import os, sys, pathlib\nprint(pathlib.Path.cwd().name)", count=7),
            cell("os.environ['OMP_NUM_THREADS'], os.environ.get('ATEN_CPU_CAPABILITY')"),
            cell("for i in range(3):\n    print(i, flush=True)"),
            cell("raise ValueError('d_model: wrong')", "raises-exception"),
            cell("stale", "skip-execution", "nbval-skip"),
            cell("40 + 2", execution={"iopub.execute_input": "2020"}),
        ],
    )
    book = one.load()
    os.environ["ATEN_CPU_CAPABILITY"] = "default"
    try:
        seconds = run(book.chapters[0], book.root, QUIET)
    finally:
        del os.environ["ATEN_CPU_CAPABILITY"]
    cells = one.read("01_first").cells
    assert 0 < seconds < 60
    assert cells[1].outputs[0].text == "book\n", "the kernel works in the chapter's folder"
    assert cells[2].outputs[0].data["text/plain"] == "('1', 'default')"
    assert [output.text for output in cells[3].outputs] == ["0\n1\n2\n"]
    assert cells[4].outputs[0].ename == "ValueError"
    assert cells[6].outputs[0].data["text/plain"] == "42"
    assert "execution" not in cells[6].metadata
    assert [c.id for c in cells] == [f"c{number}" for number in range(1, 8)]
    counts = [c.execution_count for c in cells[1:] if c.execution_count]
    assert counts == list(range(1, len(counts) + 1))
    stored = path.read_bytes()
    assert stored.endswith(b"}\n")
    run(book.chapters[0], book.root, QUIET)
    assert path.read_bytes().replace(b"'default'", b"None") == stored.replace(b"'default'", b"None")
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_a_failing_cell_is_named_and_the_file_stays(
    one: TinyBook, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one.chapter("01_first", [cell("1"), cell("x = {}\nx['d_model']"), cell("2")])
    before = path.read_bytes()
    assert main(["--root", str(one.root), "run", "01"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "book/01_first.ipynb, cell 3 (In [2]): KeyError: 'd_model'\n"
    assert path.read_bytes() == before
    assert main(["--root", str(one.root), "run", "01", "--traceback"]) == 1
    assert "x['d_model']" in capsys.readouterr().err


def test_a_cell_that_never_ends_and_a_kernel_that_dies(
    one: TinyBook, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    path = one.chapter("01_first", [cell("while True: pass")])
    before = path.read_bytes()
    assert main(["--root", str(one.root), "run", "01", "--timeout", "1"]) == 1
    assert "cell 2 (In [1]): took longer than 1 s\n" in capsys.readouterr().err
    assert path.read_bytes() == before
    path = one.chapter("01_first", [cell("import os\nos._exit(3)")])
    before = path.read_bytes()
    assert main(["--root", str(one.root), "run", "01"]) == 1
    assert "cell 2 (In [1]): the kernel died\n" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_chapter_that_takes_too_long_is_stored_and_fails(
    one: TinyBook, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    one.chapter("01_first", [cell("import time\ntime.sleep(1)\n'done'")])
    assert main(["--root", str(one.root), "run", "--all", "--limit", "1"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("book/01_first.ipynb: ")
    assert "the limit is 1 s" in err
    assert one.read("01_first").cells[1].outputs[0].data["text/plain"] == "'done'"


def test_an_interrupted_run_leaves_the_file_and_no_kernel(
    one: TinyBook, cell: Cell, tmp_path: Path
) -> None:
    sign = tmp_path / "kernel.pid"
    source = f"import os, time, pathlib\npathlib.Path({str(sign)!r}).write_text(str(os.getpid()))"
    path = one.chapter("01_first", [cell(source), cell("time.sleep(60)")])
    before = path.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "press", "--root", str(one.root), "run", "01"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (sign.exists() and sign.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # into the second cell
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "press: interrupted, the chapter is as it was\n"
    assert path.read_bytes() == before
    with pytest.raises(ProcessLookupError):
        os.kill(int(sign.read_text()), 0)


def test_metadata_is_fixed(tmp_path: Path) -> None:
    notebook = untyped.from_dict(
        {
            "cells": [],
            "metadata": {
                "kernelspec": {"name": "mine"},
                "language_info": {"name": "python", "version": "3.11.7"},
                "widgets": {"state": {}},
                "title": "kept",
            },
        }
    )
    normalise(notebook, tmp_path)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert "version" not in notebook.metadata["language_info"]
    assert "widgets" not in notebook.metadata
    assert notebook.metadata["title"] == "kept"


def test_figures_are_sharp_and_keep_few_colours(one: TinyBook, cell: Cell) -> None:
    """The bytes of a figure are counted with its page; its colours are those that were drawn."""
    one.chapter(
        "01_first",
        [
            cell("import matplotlib.pyplot as plt"),
            cell("from scratch.plumbing.style import use_book_style\nuse_book_style()"),
            cell(
                "figure, axes = plt.subplots(figsize=(2, 1))\n"
                "_ = axes.imshow([[i / 40 for i in range(40)]], aspect='auto')"
            ),
        ],
    )
    book = one.load()
    run(book.chapters[0], book.root, QUIET)
    output = one.read("01_first").cells[3].outputs[0]
    picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
    assert picture.width == pytest.approx(2 * output.metadata["image/png"]["width"], abs=1)
    assert picture.mode == "P" and len(picture.getcolors() or ()) in range(1, COLOURS + 1)
    shown = np.asarray(picture.convert("RGB"), dtype=int)
    middle = shown[shown.shape[0] // 2]
    drawn = mpl.colormaps["viridis"](np.linspace(0, 1, 40))[:, :3] * 255
    assert all(np.abs(middle - colour).sum(axis=1).min() < 9 for colour in drawn)
    drawing = output.data["image/svg+xml"]
    assert drawing.startswith("<svg") and drawing.endswith("</svg>")
    assert "<metadata" not in drawing and ">0.5</text>" in drawing
    notebook = one.read("01_first")
    normalise(notebook, book.root)
    assert notebook.cells[3].outputs[0].data == output.data


def test_a_drawing_loses_its_date_and_needless_decimals() -> None:
    svg = """<?xml version="1.0"?>
<svg width="9.123456pt" viewBox="0 0 9.123456 9">
 <metadata>
  <date>2026-01-02T03:04:05.678901</date>
 </metadata>
 <path id="m0.123456" d="M -0.504999 1e-05
L -0.001 12345.678
" style="stroke-width: 0.8125"/>
 <text x="1.005" y="-3.14159" transform="rotate(-0 1.005 2.5)">loss 0.123456 below 1.5</text>
</svg>
"""
    short = (
        '<svg width="9.12pt" viewBox="0 0 9.12 9"><path id="m0.123456" d="M -0.5 0 L 0 12345.68 "'
        ' style="stroke-width: 0.8125"/><text x="1" y="-3.14" transform="rotate(-0 1 2.5)">'
        "loss 0.123456 below 1.5</text></svg>"
    )
    assert short_drawing(svg) == short == short_drawing(short)


def test_jupyterlab_folds_what_the_site_folds(cell: Cell) -> None:
    kept = {"my_own": 1}
    for tags, hidden in (
        (["hide-input"], {"source_hidden": True}),
        (["look-inside", "hide-cell"], {"source_hidden": True, "outputs_hidden": True}),
        (["quote"], {}),
    ):
        folded = cell("1", *tags, jupyter={**kept, "outputs_hidden": True})
        fold(folded)
        assert folded.metadata["jupyter"] == kept | hidden
        fold(folded)
        assert folded.metadata["jupyter"] == kept | hidden
    unfolded = cell("1", jupyter={"source_hidden": True})
    fold(unfolded)
    assert "jupyter" not in unfolded.metadata


def test_tracebacks_lose_the_folders_of_this_machine(tmp_path: Path) -> None:
    line = f"File {tmp_path}/code/scratch/a.py:3, in f; File {os.path.dirname(os.__file__)}/ast.py"
    assert shorten_paths(line, tmp_path) == "File code/scratch/a.py:3, in f; File ast.py"
