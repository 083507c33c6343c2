"""What figures of several chapters share: the book's style, heat maps, the map of attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorizer import ColorizingArtist
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from scratch.plumbing import checks

__all__ = ["STYLE", "attention_figure", "heat_map", "use_book_style"]

STYLE = Path(__file__).with_name("book.mplstyle")
# from nearly white through the book's blue to a darker one, so that large values differ as well
BLUES = LinearSegmentedColormap.from_list(
    "book", [(0, "#f3f6fa"), (0.8, "#2b5c9e"), (1, "#1b3d6d")]
)
mpl.colormaps.register(BLUES, force=True)
# from this share of the largest value on, white is read better on a cell than black; the dark
# theme's blues grow lighter and cross the same line at the same place
LIGHT_NUMBERS = 0.66
MOST_DRAWN = 600  # cells


def use_book_style() -> None:
    """Draw what follows in the book's colours and sizes.

    A notebook keeps each figure twice: as SVG, which the site sets in its own letters and in the
    colours of its theme, and as a picture that is sharp on dense screens.
    """
    plt.style.use(STYLE)
    if "inline" in mpl.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats  # every kernel has it

        set_matplotlib_formats("svg", "retina")


def heat_map(
    axes: Axes,
    values: Tensor | np.ndarray,
    *,
    rows: Sequence[Any] | None = None,
    columns: Sequence[Any] | None = None,
    numbers: str | None = None,
    largest: float | None = None,
) -> ColorizingArtist:
    """Draw ``values`` (rows, columns), from 0, nearly white, to ``largest`` in blue.

    ``rows`` and ``columns`` are labels; ``numbers`` is a format, ".2f" for example, in which
    each cell says its value.  A table of ``MOST_DRAWN`` cells or fewer is drawn cell by cell, so
    that the site can give each a colour for the dark; a larger one is a picture.
    """
    table = np.asarray(values.detach() if isinstance(values, Tensor) else values, dtype=float)
    good = table.ndim == 2 and table.size > 0
    checks.require(good, f"values has shape {table.shape}, expected (rows, columns)")
    top = float(table.max()) if largest is None else largest
    colours: dict[str, Any] = {"norm": Normalize(0, top), "cmap": BLUES}
    image: ColorizingArtist
    if table.size > MOST_DRAWN:
        image = axes.imshow(table, aspect="equal", **colours)
    else:
        down, across = (np.arange(n + 1) - 0.5 for n in table.shape)
        image = axes.pcolormesh(across, down, table, zorder=0, **colours)
        axes.invert_yaxis()
        axes.set_aspect("equal")
    axes.set_xticks(range(table.shape[1]), columns or [""] * table.shape[1])
    axes.set_yticks(range(table.shape[0]), rows or [""] * table.shape[0])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    if columns and max(len(str(c)) for c in columns) > 2:
        plt.setp(axes.get_xticklabels(), rotation=45, ha="left", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(table.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(table.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    if numbers is not None:
        for (i, j), value in np.ndenumerate(table):
            colour = "white" if value > LIGHT_NUMBERS * top else "black"
            axes.text(j, i, format(value, numbers), ha="center", va="center", color=colour, size=10)
    return image


def attention_figure(weights: Tensor, source: Sequence[str], target: Sequence[str]) -> Figure:
    """Draw one map of cross-attention, (T, S): a row per French word, a column per English one."""
    # a dollar sign is a word here, not the beginning of a formula
    source, target = ([w.replace("$", r"\$") for w in words] for words in (source, target))
    size = (1.6 + 0.45 * len(source), 1.3 + 0.36 * len(target))
    figure, axes = plt.subplots(figsize=size)
    heat_map(axes, weights, rows=target, columns=source, largest=1.0)
    axes.set_ylabel("each French word …")
    axes.set_xlabel("… looks at these English words")
    return figure
