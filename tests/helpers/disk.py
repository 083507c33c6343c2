"""A disk that is full: the system itself refuses to write more, nothing is pretended."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

FULL = "File too large"  # what the system says then


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """Let no file of this process become longer than ``room`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
