"""Word alignment: which source words a target word was translated from, and how to score that.

Error rate: Och and Ney (2003); IBM model 1: Brown et al. (1993); diagonal: Dyer et al. (2013).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from scratch.corpus import Links
from scratch.plumbing import checks
from scratch.plumbing.threads import one_thread
from scratch.tokens import Tokenizer
from scratch.transformer import Transformer, attention_maps

__all__ = [
    "alignment_error_rate",
    "between_words",
    "diagonal_links",
    "ibm1_scores",
    "links_both_ways",
    "near_diagonal",
    "strongest_links",
    "train_ibm1",
    "word_attention",
    "words_of",
]

CONTRACTED = ("t", "s", "m", "d", "re", "ve", "ll")  # what follows the apostrophe in English


def words_of(tokenizer: Tokenizer, ids: Sequence[int]) -> list[list[int]]:
    """Group the positions of ``ids`` by the word they spell: [[0], [1, 2], ...].

    Raises ValueError when ``ids`` are not what the tokenizer makes of a text.
    """
    encoding = tokenizer.backend.encode(tokenizer.decode(ids), add_special_tokens=False)
    good = encoding.ids == list(ids) and len(ids) > 0
    checks.require(good, f"ids is {list(ids)}, expected what encode returns for a text")
    pieces, words = tokenizer.pieces(ids), encoding.word_ids
    spelled: dict[int | None, str] = defaultdict(str)
    for word, piece in zip(words, pieces, strict=True):
        spelled[word] += piece
    groups = [[0]]
    for i in range(1, len(ids)):
        # to the tokenizer, est-ce is three words and don't is two, like l'homme
        hyphenated = "-" in (pieces[i], pieces[i - 1])
        contracted = pieces[i - 1].endswith("'") and spelled[words[i]] in CONTRACTED
        if words[i] == words[i - 1] or hyphenated or contracted:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def between_words(
    weights: Tensor, source: Sequence[Sequence[int]], target: Sequence[Sequence[int]]
) -> Tensor:
    """Turn weights between tokens, (..., T, S), into weights between the words that they spell.

    ``source`` and ``target`` are positions grouped by word.  A source word receives the sum of
    its tokens' weights; a target word is the mean over its tokens.
    """
    columns = torch.stack([weights[..., word].sum(-1) for word in source], dim=-1)
    return torch.stack([columns[..., word, :].mean(-2) for word in target], dim=-2)


@one_thread()
@torch.inference_mode()
def word_attention(
    model: Transformer, tokenizer: Tokenizer, english: str, french: str
) -> tuple[Tensor, list[str], list[str]]:
    """Return the cross-attention between words, (L, H, T, S), and the words themselves.

    The weights of a target token stand in the row that predicts it, one before it.  Weights on
    <eos> are left out, so rows sum to 1 or less.  Raises ValueError for a blank text.
    """
    source, target = tokenizer.encode(english), tokenizer.encode(french)
    for name, ids, text in (("english", source, english), ("french", target, french)):
        checks.require(bool(ids), f"{name} is {text!r}, expected at least one word")
    config = model.config
    read = [[*source, config.eos_id]], [[config.bos_id, *target]]
    device = model.output.weight.device
    maps = attention_maps(model, *(torch.tensor(rows, device=device) for rows in read))
    weights = torch.cat(maps.cross).cpu()  # (L, H, T + 1, S + 1)
    groups = [words_of(tokenizer, ids) for ids in (source, target)]
    english_words, french_words = (
        [tokenizer.decode([ids[i] for i in word]).strip() for word in words]
        for ids, words in zip((source, target), groups, strict=True)
    )
    return between_words(weights, *groups), english_words, french_words


def strongest_links(weights: Tensor) -> Links:
    """Link every target word to the source word it looks at most; ``weights`` is (T, S)."""
    return frozenset((int(s), t) for t, s in enumerate(weights.argmax(dim=1)))


def links_both_ways(weights: Tensor, backward: Tensor | None = None) -> Links:
    """Link every target word to its strongest source word, and every source word likewise.

    So two source words can share a target word ("does see", "voit").  ``weights`` (T, S) choose
    for the target words, and for the source words, too, unless ``backward`` (T, S) do.
    """
    backward = weights if backward is None else backward
    return strongest_links(weights) | {(s, t) for t, s in strongest_links(backward.mT)}


def diagonal_links(n_source: int, n_target: int) -> Links:
    """Link every target word to the source word at the same relative place."""
    checks.at_least("n_source", n_source, 1)
    checks.at_least("n_target", n_target, 1)
    return frozenset((t * n_source // n_target, t) for t in range(n_target))


def near_diagonal(n_source: int, n_target: int, sharpness: float) -> Tensor:
    """Return how near each source word stands to each target word's own relative place, (T, S).

    It is exp(-``sharpness`` d), where d is the distance of two places that run from 0 to 1.
    Source: Dyer et al. (2013), section 2, without the empty word and the normalisation.
    """
    source, target = ((torch.arange(n) + 0.5) / n for n in (n_source, n_target))
    return (-sharpness * (target[:, None] - source).abs()).exp()


def train_ibm1(
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]], *, rounds: int = 5
) -> dict[tuple[str, str], float]:
    """Learn p(target word | source word) from sentence pairs by expectation-maximisation.

    Source: Brown et al. (1993), section 4.1, without the empty word.
    """
    checks.at_least("rounds", rounds, 1)
    pairs = list(pairs)
    checks.require(bool(pairs), "pairs is empty, expected at least one")
    table: dict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    for _ in range(rounds):
        counts: dict[tuple[str, str], float] = defaultdict(float)
        totals: dict[str, float] = defaultdict(float)
        for source, target in pairs:
            for t in target:
                whole = sum(table[s, t] for s in source)
                for s in source:
                    counts[s, t] += table[s, t] / whole
                    totals[s] += table[s, t] / whole
        table = {(s, t): count / totals[s] for (s, t), count in counts.items()}
    return table


def ibm1_scores(
    table: dict[tuple[str, str], float], source: Sequence[str], target: Sequence[str]
) -> Tensor:
    """Return how well each source word explains each target word, (T, S)."""
    return torch.tensor([[table.get((s, t), 0.0) for s in source] for t in target])


def alignment_error_rate(predicted: Iterable[Links], gold: Iterable[Links]) -> float:
    """Return ``1 - 2 |P and G| / (|P| + |G|)`` over all sentences; 0 is perfect.

    ``predicted`` are P and ``gold`` G, one set of links per sentence.
    Source: Och and Ney (2003), "Evaluation Methodology", with every gold link sure.
    """
    found, wanted, both = 0, 0, 0
    for a, g in zip(predicted, gold, strict=True):
        found, wanted, both = found + len(a), wanted + len(g), both + len(a & g)
    checks.require(found + wanted > 0, "predicted and gold are empty, expected at least one link")
    return 1 - 2 * both / (found + wanted)
