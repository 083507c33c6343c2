"""The chapter runner: executes a chapter from top to bottom and stores what it put out.

The file changes whole or not at all: a failing cell, a kernel that dies and Ctrl-C leave it as it
was. What would differ between two equal runs (times, versions, folders) is not stored.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import re
import signal
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image
from tqdm import tqdm

from press.book import (
    ANSI,
    Chapter,
    PressError,
    code_cells,
    place,
    read_notebook,
    tags,
    write_notebook,
)

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
CHECKOUT = Path(__file__).resolve().parents[2]  # where scratch lies, too
COLOURS = 256  # what a byte for each pixel can tell apart
CELL_NOISE = "execution", "ExecuteTime", "collapsed", "scrolled"
# what JupyterLab hides of a cell, by the tag that folds it on the site
FOLDED = {"hide-input": ["source_hidden"], "hide-cell": ["source_hidden", "outputs_hidden"]}
METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
GEOMETRY = re.compile(r'(?<= )(?:d|x|y|transform|width|height|viewBox)="[^"]*"')
DECIMALS = re.compile(r"-?\d+(?:\.\d+)?e-\d+|-?\d+\.\d+")


@dataclass(frozen=True)
class RunSettings:
    """How chapters are executed.

    ``threads`` is OMP_NUM_THREADS in the kernel; a cell that takes longer than ``timeout`` seconds
    is stopped; ``progress`` shows a bar on stderr; ``full_traceback`` adds the cell's own to the
    message of a failure.
    """

    threads: int = 1
    timeout: float = 300
    progress: bool = True
    full_traceback: bool = False


def run(chapter: Chapter, root: Path, settings: RunSettings) -> float:
    """Execute a chapter in its own folder and store the outputs.

    Returns the seconds that it took, the start of the kernel included.  Raises PressError when a
    cell failed or took too long, or the kernel died, and KeyboardInterrupt when it was interrupted;
    the file is then as it was.
    """
    notebook = read_notebook(chapter.path)
    start = time.perf_counter()
    execute(notebook, chapter, settings)
    seconds = time.perf_counter() - start
    normalise(notebook, root)
    write_notebook(notebook, chapter.path)
    return seconds


def execute(notebook: NotebookNode, chapter: Chapter, settings: RunSettings) -> None:
    """Fill `notebook` with the outputs of a fresh kernel."""
    cells = dict(code_cells(notebook))
    current = {"number": next(iter(cells), 1)}
    bar = tqdm(
        total=len(cells),
        desc=chapter.stem,
        unit="cell",
        leave=False,
        disable=None if settings.progress else True,  # None: no bar where stderr is not a terminal
    )
    client = NotebookClient(
        notebook,
        timeout=settings.timeout,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(chapter.path.parent)}},
        extra_arguments=["--log-level=50"],  # the kernel's own warnings are not about the chapter
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        on_cell_start=lambda cell, cell_index: current.update(number=cell_index + 1),
        on_cell_complete=lambda cell, cell_index: bar.update(cell.cell_type == "code"),
    )
    try:
        _execute(client, kernel_environment(settings.threads))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        where = place(chapter, current["number"], notebook.cells[current["number"] - 1])
        raise PressError(f"{where}: {_reason(error, settings)}") from error
    finally:
        bar.close()


def _execute(client: NotebookClient, env: Mapping[str, str]) -> None:
    """Run the client; Ctrl-C shuts the kernel down and then is a KeyboardInterrupt again.

    nbclient would report the signal as a kernel that died, so its handler is replaced.
    """
    interrupted = False

    async def main() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            nonlocal interrupted
            interrupted = True
            if task is not None:
                task.cancel()

        def take_signals(**_: Any) -> None:
            with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, stop)

        client.on_notebook_start = take_signals
        await client.async_execute(env=dict(env))

    try:
        asyncio.run(main())
    except (Exception, asyncio.CancelledError) as error:
        if interrupted:
            raise KeyboardInterrupt from error
        raise


def kernel_environment(threads: int) -> dict[str, str]:
    """This process's environment, with a fixed thread count and figures drawn inline."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    env.pop("MPLBACKEND", None)
    return env


def _reason(error: Exception, settings: RunSettings) -> str:
    if isinstance(error, CellExecutionError):
        reason = f"{error.ename}: {ANSI.sub('', error.evalue)}".strip().split("\n")[0]
        return f"{reason}\n{error.traceback}" if settings.full_traceback else reason
    if isinstance(error, CellTimeoutError):
        return f"took longer than {settings.timeout:g} s"
    return "the kernel died"


def normalise(notebook: NotebookNode, root: Path) -> None:
    """Keep what every run has in common: counts from 1, no times, versions, widgets or folders.

    Pictures keep few colours, drawings few decimals, and JupyterLab folds what the site folds.
    """
    count = 0
    for _, cell in code_cells(notebook):
        if cell.execution_count is not None:
            count += 1
            cell.execution_count = count
        for key in CELL_NOISE:
            cell.metadata.pop(key, None)
        fold(cell)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            if output.output_type == "error":
                output.traceback = [shorten_paths(line, root) for line in output.traceback]
            if png := output.get("data", {}).get("image/png"):
                output.data["image/png"] = few_colours(png)
            if svg := output.get("data", {}).get("image/svg+xml"):
                output.data["image/svg+xml"] = short_drawing(svg)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = dict(KERNEL)
    notebook.metadata["language_info"] = dict(LANGUAGE)


def fold(cell: NotebookNode) -> None:
    """Hide in JupyterLab what the tags of a cell fold on the site, and nothing else."""
    every = {part for parts in FOLDED.values() for part in parts}
    metadata = cell.metadata.get("jupyter", {})
    kept = {name: value for name, value in metadata.items() if name not in every}
    hidden = {part: True for tag in tags(cell) for part in FOLDED.get(tag, ())}
    cell.metadata.pop("jupyter", None)
    if kept or hidden:
        cell.metadata["jupyter"] = {**kept, **hidden}


def short_drawing(svg: str) -> str:
    """Leave out when an SVG was drawn, and of its measures what is below a hundredth of a point."""
    svg = METADATA.sub("", svg[svg.index("<svg") :])
    svg = GEOMETRY.sub(lambda found: DECIMALS.sub(_two_decimals, " ".join(found[0].split())), svg)
    return re.sub(r">\s+<", "><", svg).strip()


def _two_decimals(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def few_colours(png: str) -> str:
    """Draw a picture in 256 colours at most, chosen by median cut: a third of the bytes."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
            small, "png", optimize=True
        )
    return base64.b64encode(small.getvalue()).decode()


def shorten_paths(text: str, root: Path) -> str:
    """Cut the folders of this machine off the files that a traceback names."""
    paths = sysconfig.get_paths()
    folders = {paths["purelib"], paths["platlib"], paths["stdlib"], str(root), str(CHECKOUT)}
    home = str(Path.home())
    for folder in sorted(folders, key=len, reverse=True):
        for shown in (folder, folder.replace(home, "~", 1) if folder.startswith(home) else folder):
            text = text.replace(shown + os.sep, "")
    return text
