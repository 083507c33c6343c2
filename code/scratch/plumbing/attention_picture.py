"""A picture of where each French word looked, as the command line and the notebooks draw it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from torch import Tensor

from scratch.alignment import between_words, words_of
from scratch.plumbing.style import STYLE, attention_figure
from scratch.tokens import Tokenizer
from scratch.translation import Translation

__all__ = ["save_attention", "written_attention"]

ALIGNMENT_LAYER = -1


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
