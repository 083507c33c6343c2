"""How many threads compute: one, whatever the machine has.

The models of this book are small: a step of generation is dozens of products of a few
microseconds each.  Two threads share such a product only by waiting for each other before and
after it, and they wait by spinning.  On two quiet cores that gains up to a third of the time when
64 sentences are translated at once, and nothing one by one.  When something else keeps one of the
cores busy, a thread that has no core lets the other one spin for milliseconds at every product,
and 16 sentences one by one take 9.9 seconds instead of 0.3.  Nobody can know beforehand which
machine it will be.  So a process computes on one thread, and large work goes to several processes,
which wait for nobody: see :mod:`scratch.plumbing.scoring.lines`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, and give the caller's number back; a decorator as well."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
