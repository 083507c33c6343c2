"""Files that are there whole or not at all; JSON that is what it should be, or refused."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["json_lines", "json_object", "read_log", "write_whole"]


def write_whole(path: Path, content: bytes | str) -> None:
    """Make ``content``, a string as UTF-8, that of ``path``; the old one stays until it is.

    It is written to an unfinished file beside ``path`` first, a new one, and that one is removed
    if the disk is full.  Raises OSError, which names the file.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with suppress(FileNotFoundError):  # what a killed process left, or a link that leads away
            unfinished.unlink()
        with unfinished.open("xb") as file:  # never through a link that was put there since
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
        os.replace(unfinished, path)
    except OSError as error:
        error.filename = error.filename or str(unfinished)  # what write and fsync don't say
        raise
    finally:
        with suppress(OSError):  # when all went well, it is not there any more
            unfinished.unlink()


def json_object(text: str, where: object) -> dict[str, Any]:
    """Return the JSON object in ``text``.  Raises ValueError, naming ``where``, for all else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON, expected an object ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {text[:20]!r}, expected a JSON object")
    return found


def json_lines(text: str, where: object) -> list[dict[str, Any]]:
    """Return the JSON objects in ``text``, one a line.  Raises ValueError, naming ``where``."""
    lines = enumerate(text.splitlines(), start=1)
    return [json_object(line, f"{where}, line {n},") for n, line in lines if line.strip()]


def read_log(path: str | Path) -> list[dict[str, Any]]:
    """Return the lines of a log: the header, then one entry per logged step.

    Raises ValueError when ``path`` is no log.
    """
    try:
        return json_lines(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, ValueError) as error:
        raise ValueError(f"path is {str(path)!r}, expected a run's log ({error})") from None
