"""Who takes part in the training benchmark: the same model, by several hands.

Each has one tied embedding, pre-norm layers (Marian, which has none, post-norm ones) and dropout
wherever it offers any.  Masks are given where a batch has padding, and left out where it has none,
which is the faster way for everybody.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.datasets import Batch
from scratch.plumbing.fast.step import Dropout, FastLoss
from scratch.positional import sinusoidal_table
from scratch.training import batch_loss
from scratch.transformer import Transformer, TransformerConfig

PAD, MAX_LEN = 0, 128


@dataclass(frozen=True)
class Sizes:
    """How large the model and the fixed batch are."""

    d_model: int
    n_heads: int
    d_ff: int
    n_layers: int
    vocab_size: int = 8_000
    rows: int = 128
    length: int = 18
    dropout: float = 0.1


SIZES = {"tiny": Sizes(128, 4, 256, 4), "base": Sizes(512, 8, 2048, 6)}


@dataclass(frozen=True)
class Contestant:
    """A model in training mode and its loss; call :meth:`loss` like ``scratch``'s ``LossOf``."""

    model: nn.Module
    loss: Callable[[Any, Batch, float], Tensor]


def fixed_batch(sizes: Sizes) -> Batch:
    """Return the batch that everybody trains on: random ids, no padding."""
    draw = torch.Generator().manual_seed(0)
    shape = (sizes.rows, sizes.length + 1)
    source, target = (
        torch.randint(3, sizes.vocab_size, shape, generator=draw) for _ in ("source", "target")
    )
    return Batch(source[:, 1:], target[:, :-1], target[:, 1:])


def flop_count(sizes: Sizes) -> int:
    """Return the floating-point operations of the matrix products of one step on the batch.

    A multiplication and an addition count as two; backward costs twice what forward costs, since
    it makes two gradients.  Nothing else counts: no softmax, no normalisation, no optimiser, and
    no product that is only made again.
    """
    D, S = sizes.d_model, sizes.length
    square, fed = D * D, 2 * D * sizes.d_ff  # weights of a projection, of a feed-forward network
    attended = 2 * S * D  # scores and averages of one position, the future included
    encoder = 4 * square + attended + fed
    decoder = 8 * square + 2 * attended + fed
    position = sizes.n_layers * (encoder + decoder) + sizes.vocab_size * D
    return 3 * 2 * sizes.rows * S * position


def _loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """PyTorch's own label-smoothed loss, which all but ours use."""
    flat = logits.flatten(0, 1)
    return F.cross_entropy(flat, labels.flatten(), ignore_index=PAD, label_smoothing=smoothing)


def _padding(ids: Tensor) -> Tensor | None:
    """Return where padding stands, or None where there is none."""
    padded = ids == PAD
    return padded if bool(padded.any()) else None


# -- ours


def _ours(sizes: Sizes) -> Transformer:
    s = sizes
    config = TransformerConfig(
        s.vocab_size,
        s.d_model,
        s.n_heads,
        s.d_ff,
        s.n_layers,
        s.n_layers,
        dropout=s.dropout,
        max_len=MAX_LEN,
        norm="pre",
    )
    return Transformer(config).train()


def ours(sizes: Sizes) -> Contestant:
    """The step of the book's long runs."""
    p = sizes.dropout
    return Contestant(_ours(sizes), FastLoss(Dropout(residual=p, attention=p, hidden=p)))


def ours_as_taught(sizes: Sizes) -> Contestant:
    """The step of the chapters."""
    return Contestant(_ours(sizes), batch_loss)


# -- PyTorch's


class PyTorchs(nn.Module):
    """``nn.Transformer`` between an embedding and its transpose."""

    table: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        s = sizes
        self.embedding = nn.Embedding(s.vocab_size, s.d_model)
        nn.init.normal_(self.embedding.weight, std=s.d_model**-0.5)
        self.register_buffer("table", sinusoidal_table(MAX_LEN, s.d_model))
        self.dropout = nn.Dropout(s.dropout)
        shape = (s.d_model, s.n_heads, s.n_layers, s.n_layers, s.d_ff, s.dropout)
        with warnings.catch_warnings():  # it says that inference has a faster way for post-norm
            warnings.simplefilter("ignore", UserWarning)
            self.transformer = nn.Transformer(*shape, batch_first=True, norm_first=True)

    def embed(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(x + self.table[: ids.shape[1]])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        padding, T = _padding(source), target.shape[1]
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        hidden = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=future,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight)


def _logits_loss(model: nn.Module, batch: Batch, smoothing: float) -> Tensor:
    return _loss(model(batch.source, batch.target), batch.labels, smoothing)


def pytorchs(sizes: Sizes) -> Contestant:
    return Contestant(PyTorchs(sizes).train(), _logits_loss)


# -- others'


def x_transformers(sizes: Sizes) -> Contestant:
    from x_transformers import Decoder, Encoder, TransformerWrapper

    s = sizes
    layers = {
        "dim": s.d_model,
        "depth": s.n_layers,
        "heads": s.n_heads,
        "attn_dim_head": s.d_model // s.n_heads,
        "attn_flash": True,
        "attn_dropout": s.dropout,
        "ff_dropout": s.dropout,
        "ff_mult": s.d_ff / s.d_model,
        "ff_custom_activation": nn.ReLU(),
    }
    around = {"num_tokens": s.vocab_size, "max_seq_len": MAX_LEN, "emb_dropout": s.dropout}
    encoder = TransformerWrapper(attn_layers=Encoder(**layers), return_only_embed=True, **around)
    decoder = TransformerWrapper(
        attn_layers=Decoder(cross_attend=True, **layers), tie_embedding=True, **around
    )
    decoder.token_emb = encoder.token_emb

    def loss(model: Any, batch: Batch, smoothing: float) -> Tensor:
        padding = _padding(batch.source)
        mask = None if padding is None else ~padding
        memory = model[0](batch.source, mask=mask, return_embeddings=True)
        logits = model[1](batch.target, context=memory, context_mask=mask)
        return _loss(logits, batch.labels, smoothing)

    return Contestant(nn.ModuleList([encoder, decoder]).train(), loss)


def marian(sizes: Sizes) -> Contestant:
    from transformers import MarianConfig, MarianMTModel

    s = sizes
    config = MarianConfig(
        vocab_size=s.vocab_size,
        d_model=s.d_model,
        encoder_layers=s.n_layers,
        decoder_layers=s.n_layers,
        encoder_attention_heads=s.n_heads,
        decoder_attention_heads=s.n_heads,
        encoder_ffn_dim=s.d_ff,
        decoder_ffn_dim=s.d_ff,
        max_position_embeddings=MAX_LEN,
        activation_function="relu",
        dropout=s.dropout,
        attention_dropout=s.dropout,
        activation_dropout=s.dropout,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        decoder_start_token_id=PAD,
        attn_implementation="sdpa",
    )

    def loss(model: Any, batch: Batch, smoothing: float) -> Tensor:
        padding = _padding(batch.source)
        mask = None if padding is None else (~padding).long()
        output = model(batch.source, mask, decoder_input_ids=batch.target, use_cache=False)
        return _loss(output.logits, batch.labels, smoothing)

    return Contestant(MarianMTModel(config).train(), loss)


CONTESTANTS: dict[str, Callable[[Sizes], Contestant]] = {
    "nn.Transformer": pytorchs,
    "x-transformers": x_transformers,
    "Hugging Face Marian": marian,
    "this book, as taught": ours_as_taught,
    "this book, fast": ours,
}
