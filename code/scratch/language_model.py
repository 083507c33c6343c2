"""Half of the machine is enough to write: the decoder-only model.

Chapter 15.  The same blocks rearranged, with a switch for each change of
:mod:`scratch.variants`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from scratch.attention import causal_mask
from scratch.datasets import Batch
from scratch.embedding import TokenEmbedding
from scratch.feedforward import FeedForward
from scratch.plumbing import checks
from scratch.positional import SinusoidalPositions
from scratch.residual import LayerNorm, Residual
from scratch.training import label_smoothed_loss
from scratch.transformer import initialise
from scratch.variants import GatedFeedForward, RMSNorm, grouped_attention, rotate

__all__ = [
    "CausalBlock",
    "CausalSelfAttention",
    "KeyValueCache",
    "LanguageModel",
    "LanguageModelConfig",
    "Vocabulary",
    "generate",
    "language_loss",
    "make_feed_forward",
    "make_norm",
    "make_residual",
]


@dataclass
class KeyValueCache:
    """Keys and values (B, G, T, K) of the T positions that a layer has read; they only grow."""

    keys: Tensor
    values: Tensor

    @property
    def length(self) -> int:
        """The number of positions read so far."""
        return self.keys.shape[2]

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store the newest positions' ``keys`` and ``values``; return those of all positions.

        All take the dtype of the newest, which autocast may have changed.
        """
        self.keys = torch.cat((self.keys.to(keys.dtype), keys), dim=2)
        self.values = torch.cat((self.values.to(values.dtype), values), dim=2)
        return self.keys, self.values


class CausalSelfAttention(nn.Module):
    """Self-attention that sees no future, with G heads of keys and values for H of queries.

    With G = H and no rotation it is chapter 5's multi-head attention under a causal mask.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_kv_heads: int,
        *,
        rotary: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        checks.divisible("d_model", d_model, "n_heads", n_heads)
        self.d_head, self.n_kv_heads = d_model // n_heads, n_kv_heads
        self.rotary, self.dropout = rotary, dropout
        narrow = n_kv_heads * self.d_head
        self.w_query, self.w_output = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.w_key, self.w_value = nn.Linear(d_model, narrow), nn.Linear(d_model, narrow)

    def split_heads(self, x: Tensor) -> Tensor:
        """Cut the last axis of ``x`` (B, T, heads * K) into heads: (B, heads, T, K)."""
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)

    def start_cache(self, batch: int) -> KeyValueCache:
        """Return the cache of ``batch`` sequences of which nothing is read yet."""
        empty = self.w_key.weight.new_zeros(batch, self.n_kv_heads, 0, self.d_head)
        return KeyValueCache(empty, empty)

    def forward(
        self, x: Tensor, cache: KeyValueCache, *, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map ``x`` (B, T, D), the positions that follow those in ``cache``, to (B, T, D).

        Also returns the weights (B, H, T, read), or None.
        """
        start, parts = cache.length, (self.w_query, self.w_key, self.w_value)
        query, key, value = (self.split_heads(part(x)) for part in parts)  # H, G and G heads
        if self.rotary:
            query, key = rotate(query, start=start), rotate(key, start=start)
        key, value = cache.append(key, value)
        mask = causal_mask(cache.length, device=x.device)[:, :, start:]  # (1, 1, T, read)
        p = self.dropout if self.training else 0.0
        heads, weights = grouped_attention(
            query, key, value, mask=mask, need_weights=need_weights, dropout=p
        )
        return self.w_output(heads.transpose(1, 2).flatten(-2)), weights


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes of a decoder-only model, and a switch for each change; the defaults are of 2017.

    ``norm`` is "post" or "pre", ``norm_kind`` "layer" or "rms", ``positions`` "sinusoidal" or
    "rotary", ``feed_forward`` "relu" or "swiglu"; ``n_kv_heads`` is the number of heads of keys
    and values.  ``d_ff`` is the width of the plain network; the gated one gets two thirds of it.
    """

    vocab_size: int
    d_model: int = 64
    n_heads: int = 4
    n_kv_heads: int = 4
    d_ff: int = 192
    n_layers: int = 3
    max_len: int = 128
    dropout: float = 0.0
    norm: str = "post"
    norm_kind: str = "layer"
    positions: str = "sinusoidal"
    feed_forward: str = "relu"
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_layers", "max_len"):
            checks.at_least(name, getattr(self, name), 1)
        checks.divisible("d_model", self.d_model, "n_heads", self.n_heads)
        checks.divisible("n_heads", self.n_heads, "n_kv_heads", self.n_kv_heads)
        checks.fraction("dropout", self.dropout)
        checks.one_of("norm", self.norm, ("post", "pre"))
        checks.one_of("norm_kind", self.norm_kind, ("layer", "rms"))
        checks.one_of("positions", self.positions, ("sinusoidal", "rotary"))
        checks.one_of("feed_forward", self.feed_forward, ("relu", "swiglu"))
        checks.divisible("d_model / n_heads", self.d_model // self.n_heads, "a pair", 2)
        checks.divisible("d_ff", self.d_ff, "three thirds", 3)
        checks.special_ids(self.pad_id, self.bos_id, self.eos_id, self.vocab_size)


def make_norm(config: LanguageModelConfig) -> nn.Module:
    """Return the normalisation that ``config`` asks for."""
    return {"layer": LayerNorm, "rms": RMSNorm}[config.norm_kind](config.d_model)


def make_residual(config: LanguageModelConfig) -> Residual:
    """Return chapter 7's residual connection with the normalisation that ``config`` asks for."""
    residual = Residual(config.d_model, norm=config.norm, dropout=config.dropout)
    residual.add_module("norm", make_norm(config))  # in the place of its LayerNorm
    return residual


def make_feed_forward(config: LanguageModelConfig) -> FeedForward:
    """Return the feed-forward network that ``config`` asks for; both have about one size."""
    if config.feed_forward == "swiglu":
        return GatedFeedForward(config.d_model, 2 * config.d_ff // 3, dropout=config.dropout)
    return FeedForward(config.d_model, config.d_ff, dropout=config.dropout)


class CausalBlock(nn.Module):
    """A decoder layer without cross-attention: there is nothing to look across at."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.attention = CausalSelfAttention(
            config.d_model,
            config.n_heads,
            config.n_kv_heads,
            rotary=config.positions == "rotary",
            dropout=config.dropout,
        )
        self.residual_1 = make_residual(config)
        self.feed_forward = make_feed_forward(config)
        self.residual_2 = make_residual(config)

    def forward(
        self, x: Tensor, cache: KeyValueCache, *, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Map ``x`` (B, T, D), the positions that follow those in ``cache``, to (B, T, D).

        Also returns the weights (B, H, T, read), or None.
        """
        h = self.residual_1.before(x)
        h, weights = self.attention(h, cache, need_weights=need_weights)
        x = self.residual_1.after(x, h)
        h = self.feed_forward(self.residual_2.before(x))
        return self.residual_2.after(x, h), weights


class LanguageModel(nn.Module):
    """The decoder-only model: a sequence of ids in, scores of each next one out.

    Source: Radford et al. (2018), section 3.1, with the switches of the configuration.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        checks.instance("config", config, LanguageModelConfig)
        self.config = c = config
        self.embedding = TokenEmbedding(c.vocab_size, c.d_model)
        added = c.positions == "sinusoidal"  # rotary positions act inside attention
        self.positions = SinusoidalPositions(c.d_model, c.max_len) if added else None
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList([CausalBlock(c) for _ in range(c.n_layers)])
        self.final_norm = make_norm(c) if c.norm == "pre" else nn.Identity()
        initialise(self)

    def start(self, batch: int) -> list[KeyValueCache]:
        """Return one empty cache per layer for ``batch`` sequences."""
        return [cast(CausalBlock, block).attention.start_cache(batch) for block in self.blocks]

    def hidden(
        self, ids: Tensor, cache: list[KeyValueCache] | None = None, *, need_weights: bool = False
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Read ``ids`` (B, T), which follow what ``cache`` holds: states (B, T, D), weights."""
        cache = self.start(len(ids)) if cache is None else cache
        start, c = cache[0].length, self.config
        checks.readable("ids", ids, c.vocab_size, c.max_len, start=start)
        x, weights = self.embedding(ids), []
        x = self.dropout(x if self.positions is None else self.positions(x, start=start))
        for block, layer_cache in zip(self.blocks, cache, strict=True):
            x, w = block(x, layer_cache, need_weights=need_weights)
            weights.append(w)
        return self.final_norm(x), weights

    def forward(self, ids: Tensor, cache: list[KeyValueCache] | None = None) -> Tensor:
        """Score every next token: ids (B, T) give logits (B, T, V)."""
        return self.embedding.logits(self.hidden(ids, cache)[0])


def language_loss(model: LanguageModel, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Return the mean negative log-likelihood, in nats, of each next token of ``batch``.

    Padding stands on the right, where no real position can see it, and is scored nowhere.
    """
    hidden, _ = model.hidden(batch.target)  # (B, T, D)
    real = batch.labels != model.config.pad_id  # (B, T)
    logits = model.embedding.logits(hidden[real])  # (N, V)
    return label_smoothed_loss(logits, batch.labels[real], smoothing)


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompt: Tensor,
    *,
    seed: int,
    temperature: float = 1.0,
    cached: bool = True,
) -> list[list[int]]:
    """Continue each row of ``prompt`` (B, T) by drawing one token after another.

    A row ends at <eos>, or at ``max_len`` tokens; what is returned has neither <bos> nor <eos>.
    ``cached=False`` reads everything again for each token: slower, and the same tokens.
    """
    checks.number("temperature", temperature, 0.0, above=True)
    c, draw = model.config, torch.Generator().manual_seed(seed)
    ids, cache = prompt, model.start(len(prompt))
    done = torch.zeros(len(prompt), dtype=torch.bool)
    while not done.all() and ids.shape[1] < c.max_len:
        cache = cache if cached else model.start(len(prompt))
        logits = model(ids[:, cache[0].length :], cache)[:, -1]  # (B, V)
        logits[:, [c.pad_id, c.bos_id]] = -torch.inf  # these follow nothing
        probabilities = (logits / temperature).softmax(dim=-1)
        choice = torch.multinomial(probabilities, 1, generator=draw)  # (B, 1)
        ids = torch.cat((ids, choice.masked_fill(done[:, None], c.eos_id)), dim=1)
        done |= choice[:, 0] == c.eos_id
    return [[i for i in row if i not in (c.bos_id, c.eos_id)] for row in ids.tolist()]


class Vocabulary:
    """One id for each unit: characters when it is made from texts, words from lists of words.

    Ids 0, 1 and 2 are <pad>, <bos> and <eos>, as in chapter 2.
    """

    def __init__(self, sequences: Iterable[Sequence[str]]) -> None:
        self.units = ["<pad>", "<bos>", "<eos>", *sorted({u for s in sequences for u in s})]
        self.ids = {unit: i for i, unit in enumerate(self.units)}

    def __len__(self) -> int:
        """Return the number of units, special ones included."""
        return len(self.units)

    def encode(self, sequence: Sequence[str]) -> list[int]:
        """Return the ids of ``sequence``, <bos> and <eos> included."""
        unknown = next((unit for unit in sequence if unit not in self.ids), None)
        checks.require(unknown is None, f"sequence holds {unknown!r}, expected known units")
        return [1, *(self.ids[unit] for unit in sequence), 2]

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the units of ``ids`` without the special ones."""
        checks.id_list("ids", ids, len(self))
        return [self.units[i] for i in ids if i > 2]
