"""What figures of several chapters share: the book's style, heat maps, the attention picture."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from scratch.alignment import between_words, words_of
from scratch.plumbing import checks
from scratch.tokens import Tokenizer
from scratch.translation import Translation

__all__ = ["attention_figure", "heat_map", "save_attention", "use_book_style", "written_attention"]

STYLE = Path(__file__).with_name("book.mplstyle")
ALIGNMENT_LAYER = -1
# from nearly white through the book's blue to a darker one, so that large values differ as well
BLUES = LinearSegmentedColormap.from_list(
    "book", [(0, "#f3f6fa"), (0.8, "#2b5c9e"), (1, "#1b3d6d")]
)
mpl.colormaps.register(BLUES, force=True)


def use_book_style() -> None:
    """Draw what follows in the book's colours and sizes; in a notebook, sharp on dense screens."""
    plt.style.use(STYLE)
    if "inline" in mpl.get_backend():
        from matplotlib_inline.backend_inline import set_matplotlib_formats  # every kernel has it

        set_matplotlib_formats("retina")  # twice the pixels, shown at the same size


def heat_map(
    axes: Axes,
    values: Tensor | np.ndarray,
    *,
    rows: Sequence[Any] | None = None,
    columns: Sequence[Any] | None = None,
    numbers: str | None = None,
    largest: float | None = None,
) -> AxesImage:
    """Draw ``values`` (rows, columns), from 0, nearly white, to ``largest`` in blue.

    ``rows`` and ``columns`` are labels; ``numbers`` is a format, ".2f" for example, in which
    each cell says its value.
    """
    table = np.asarray(values.detach() if isinstance(values, Tensor) else values, dtype=float)
    good = table.ndim == 2 and table.size > 0
    checks.require(good, f"values has shape {table.shape}, expected (rows, columns)")
    top = float(table.max()) if largest is None else largest
    image = axes.imshow(table, vmin=0, vmax=top, cmap=BLUES, aspect="equal")
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
            colour = "white" if value > 0.6 * top else "#1c2330"
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


def written_attention(
    tokenizer: Tokenizer, english: str, found: Translation
) -> tuple[Tensor, list[str], list[str]]:
    """Return where each French word of ``found`` looked in ``english``, (T, S), and the words.

    The weights are those of the tokens that the model wrote, ``found.attention``: the mean over
    the heads of the layer that the book reads alignments from.  Raises ValueError when ``found``
    holds none.
    """
    if found.attention is None or not found.tokens:
        raise ValueError("found holds no attention, expected that of a translation with words")
    pieces = tokenizer.pieces(tokenizer.encode(english))
    columns, source = _words(tokenizer, english, pieces)
    rows, target = _words(tokenizer, found.text, found.tokens)
    weights = found.attention[ALIGNMENT_LAYER].mean(0)  # (tokens, tokens)
    return between_words(weights, columns, rows), source, target


def _words(
    tokenizer: Tokenizer, text: str, pieces: Sequence[str]
) -> tuple[list[list[int]], list[str]]:
    """Group the positions of the tokens ``pieces`` by the words that they spell, and name these.

    Words are the tokenizer's, unless it cuts ``text`` into other tokens than the model wrote:
    then one begins wherever a token begins with a space.
    """
    ids = tokenizer.encode(text)
    if tokenizer.pieces(ids) == pieces:
        groups = words_of(tokenizer, ids)
        return groups, [tokenizer.decode([ids[i] for i in group]).strip() for group in groups]
    groups = [[0]]
    for i in range(1, len(pieces)):
        if pieces[i].startswith(" "):
            groups.append([i])
        else:
            groups[-1].append(i)
    return groups, ["".join(pieces[i] for i in group).strip() for group in groups]


def save_attention(tokenizer: Tokenizer, english: str, found: Translation, path: Path) -> None:
    """Write the picture of the :func:`written_attention` of ``found`` to ``path``.

    Raises ValueError when ``path`` cannot be written as a picture.
    """
    if not path.suffix:  # matplotlib would choose one, and write another file than asked for
        raise ValueError(f"{path} cannot be drawn (expected a name that ends in .png or .svg)")
    weights, source, target = written_attention(tokenizer, english, found)
    with plt.style.context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a sign that the font lacks is drawn as a box
        figure = attention_figure(weights, source, target)
        try:
            figure.savefig(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be drawn ({error})") from None
        finally:
            plt.close(figure)
