"""Files that are there whole or not at all, whatever happens while they are written."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes | str) -> None:
    """Make ``content``, a string as UTF-8, that of ``path``; the old one stays until it is.

    It is written to an unfinished file beside ``path`` first, and that one is removed if the
    disk is full.  Raises OSError, which names the file.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("wb") as file:
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
