"""Decoding, faster: the outputs of the taught searches, and tests that say so.

At small sizes a step of generation costs little arithmetic and many small calls.  So here

- arguments are checked once, and projections of one input are one matrix product;
- weights are laid out anew, as a product of few rows reads them fastest;
- the cache is allocated ahead and never moves: outputs of a beam share their sentence's cache,
  and a mask tells each of them its ancestors' positions from those of the others;
- the encoder's keys and values stand there once for each sentence, not once for each output;
- a sentence that is done leaves the batch;
- the best of V scores are sought in the best blocks of them.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.attention import MultiHeadAttention
from scratch.decoder import Decoder, DecoderLayer
from scratch.embedding import TokenEmbedding
from scratch.encoder import Encoder, EncoderLayer
from scratch.feedforward import FeedForward
from scratch.plumbing import checks
from scratch.plumbing.fast.step import Dropout, after, before, encoded, final
from scratch.positional import LearnedPositions, SinusoidalPositions
from scratch.residual import LayerNorm, Residual
from scratch.search import Hypothesis, Sampler, gnmt_penalty, longest_output
from scratch.transformer import Transformer

__all__ = ["FastModel", "FastState", "fast_beams", "fast_best", "fast_outputs"]

Pair = tuple[Tensor, Tensor]  # keys and values

# What the functions here know the insides of: anything else in a model would go unnoticed.
KNOWN = {Encoder, EncoderLayer, Decoder, DecoderLayer, MultiHeadAttention, FeedForward, Residual}
KNOWN |= {LayerNorm, TokenEmbedding, SinusoidalPositions, LearnedPositions}
KNOWN |= {nn.ModuleList, nn.Linear, nn.Dropout, nn.Identity}

FIRST_ROOM = 16  # positions that the cache has room for at first; it doubles when it is full
LATE = 7 / 8  # sentences that are done leave the batch when no more than this share goes on
BLOCK = 64  # scores at most in a block, the best of which are looked into
BLOCKS = 8  # that the output layer's columns are cut into, at most


class _Linear:
    """Projections of one input, as one: ``weight`` (D_in, D_out) lies as the product reads it."""

    def __init__(self, *layers: nn.Linear) -> None:
        linears = [getattr(layer, "merged", lambda layer=layer: layer)() for layer in layers]
        self.weight = torch.cat([a.weight.T for a in linears], dim=1)
        self.bias = torch.cat([a.bias for a in linears])

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``x`` (N, D_in) to (N, D_out)."""
        return torch.addmm(self.bias, x, self.weight)


def _qkv(a: MultiHeadAttention) -> _Linear:
    return _Linear(a.w_query, a.w_key, a.w_value)


class _Feed:
    def __init__(self, f: FeedForward) -> None:
        self.expand, self.contract = _Linear(f.expand), _Linear(f.contract)

    def __call__(self, x: Tensor) -> Tensor:
        return self.contract(self.expand(x).relu_())


class _DecoderLayer:
    def __init__(self, layer: DecoderLayer) -> None:
        own, cross = layer.self_attention, layer.cross_attention
        self.n_heads = own.n_heads
        self.qkv, self.out = _qkv(own), _Linear(own.w_output)
        self.query, self.cross_out = _Linear(cross.w_query), _Linear(cross.w_output)
        self.key_value = _Linear(cross.w_key, cross.w_value)
        self.feed = _Feed(layer.feed_forward)
        self.residuals = layer.residual_1, layer.residual_2, layer.residual_3

    def cross_cache(self, memory: Tensor, B: int) -> Pair:
        """Return keys and values of ``memory`` (B * S, D), (B, H, S, K) each."""
        K = memory.shape[1] // self.n_heads
        split = self.key_value(memory).view(B, -1, 2, self.n_heads, K)
        keys, values = split.permute(2, 0, 3, 1, 4).contiguous().unbind(0)
        return keys, values

    def __call__(self, x: Tensor, number: int, state: "FastState") -> Tensor:
        """Map the newest position of B x M outputs, ``x`` (B * M, D), to (B * M, D)."""
        B, M, start = *state.shape, state.length * state.shape[1]
        first, second, third = self.residuals
        qkv = self.qkv(before(first, x)).view(B, M, 3, self.n_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, M, K) each
        keys, values = state.own[number]
        keys[:, :, start : start + M], values[:, :, start : start + M] = k, v
        keys, values = keys[:, :, : start + M], values[:, :, : start + M]
        heads = F.scaled_dot_product_attention(q, keys, values, attn_mask=state.seen)
        x = after(first, x, self.out(heads.transpose(1, 2).reshape(B * M, -1)))
        q = self.query(before(second, x)).view(B, M, self.n_heads, -1).transpose(1, 2)
        keys, values = state.cross[number]
        heads = F.scaled_dot_product_attention(q, keys, values, attn_mask=state.memory_mask)
        x = after(second, x, self.cross_out(heads.transpose(1, 2).reshape(B * M, -1)))
        return after(third, x, self.feed(before(third, x)))


class FastState:
    """Where a generation of B sentences, M outputs each, stands.

    In the cache ``own``, keys and values (B, H, room * M, K) of each layer, position t of output
    m is row t * M + m and stays there.  ``seen`` (B, 1, M, (length + 1) * M) is 0 where an output
    may look, in its ancestors' rows, and -inf elsewhere; it is None when M is 1.
    """

    def __init__(
        self, cross: list[Pair], memory_mask: Tensor | None, limits: Tensor, n_outputs: int
    ) -> None:
        keys = cross[0][0]
        B, H, _, K = keys.shape
        self.cross, self.memory_mask, self.length = cross, memory_mask, 0
        self._limit(limits)
        self.shape, room = (B, n_outputs), FIRST_ROOM * n_outputs
        self.own: list[Pair] = [
            (keys.new_empty(B, H, room, K), keys.new_empty(B, H, room, K)) for _ in cross
        ]
        self.newest = keys.new_full((n_outputs, n_outputs), -math.inf).fill_diagonal_(0.0)
        self.seen = self.newest.expand(B, 1, -1, -1) if n_outputs > 1 else None

    def _limit(self, limits: Tensor) -> None:
        """Note how many tokens each output may have, ``limits`` (B,)."""
        self.limits = limits
        self.shortest, self.longest = (int(n) for n in limits.aminmax())

    def advance(self, parents: Tensor | None = None) -> None:
        """Go on to the next position; with several outputs, m descends from ``parents`` (B, M)."""
        self.length += 1
        if self.seen is not None and parents is not None:
            seen = self.seen.gather(2, parents[:, None, :, None].expand_as(self.seen))
            self.seen = torch.cat((seen, self.newest.expand(len(seen), 1, -1, -1)), dim=-1)
        if self.length * self.shape[1] == self.own[0][0].shape[2]:
            self.own = [(_twice(keys), _twice(values)) for keys, values in self.own]

    def check_room(self) -> None:
        """Refuse to go on where every output should have ended: weights that are NaN end none."""
        good = self.length < self.longest
        checks.require(good, "model's scores are not numbers, expected finite weights")

    def keep(self, sentences: list[int]) -> None:
        """Go on with the ``sentences`` only."""
        self.shape = (len(sentences), self.shape[1])
        places = torch.tensor(sentences, device=self.limits.device)
        self._limit(self.limits[places])
        for pairs in (self.own, self.cross):
            pairs[:] = [(k.index_select(0, places), v.index_select(0, places)) for k, v in pairs]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask[places]
        if self.seen is not None:
            self.seen = self.seen[places]


def _twice(x: Tensor) -> Tensor:
    """Return ``x`` (B, H, room, K) with room for as many rows again."""
    return torch.cat((x, torch.empty_like(x)), dim=2)


def _check_insides(model: Transformer) -> None:
    """Refuse a model with a part that is neither known here nor an adapter to be merged."""
    for name, part in model.named_modules():
        good = part is model or type(part) in KNOWN or hasattr(part, "merged")
        kind = type(part).__name__
        checks.require(good, f"model's {name} is a {kind}, expected a layer of the book's own")


class FastModel:
    """A model ready to decode, in evaluation mode.

    It keeps the weights as they are when it is made: make one for each use.
    """

    def __init__(self, model: Transformer) -> None:
        self.model, self.config = model, model.config
        _check_insides(model)
        self.layers = [_DecoderLayer(cast(DecoderLayer, layer)) for layer in model.decoder.layers]
        # a product for each block of columns is faster than one for all: threads share the blocks
        C = _divisor(model.config.vocab_size, BLOCKS)
        self.unembed = model.output.weight.unflatten(0, (C, -1)).mT.contiguous()  # (C, D, V / C)
        never = [model.config.pad_id, model.config.bos_id]
        self.never = torch.tensor(never, device=self.unembed.device)
        self.scores = self.unembed.new_empty(2, 0, model.config.vocab_size)

    def start(self, source: Tensor, n_outputs: int = 1) -> FastState:
        """Read ``source`` ids (B, S) and begin ``n_outputs`` outputs for each."""
        checks.readable("source", source, self.config.vocab_size, self.config.max_len)
        memory, real = encoded(self.model, source, Dropout())  # (B, S, D), (B, 1, 1, S)
        mask = None if real.all() else memory.new_zeros(real.shape).masked_fill_(~real, -math.inf)
        cross = [layer.cross_cache(memory.flatten(0, 1), len(source)) for layer in self.layers]
        return FastState(cross, mask, longest_output(self.model, source), n_outputs)

    def next_log_probs(self, tokens: Tensor, state: FastState) -> Tensor:
        """Read ``tokens`` (B, M) and return log-probabilities (B, M, V), as the taught function.

        The next call writes over what this one returns.
        """
        state.check_room()
        x = F.embedding(tokens.flatten(), self.model.target_embedding.weight)  # (B * M, D)
        x = x * math.sqrt(self.config.d_model) + self.model.target_positions.table[state.length]
        for number, layer in enumerate(self.layers):
            x = layer(x, number, state)
        if self.scores.shape[1] < len(x):
            self.scores = x.new_empty(2, len(x), self.config.vocab_size)
        log_probs, logits = self.scores[0, : len(x)], self.scores[1, : len(x)]
        C, _, size = self.unembed.shape
        blocks = log_probs.view(C, len(x), size)  # the room is free until the next but one line
        torch.bmm(
            final(self.model.decoder.final_norm, x).expand(C, -1, -1), self.unembed, out=blocks
        )
        logits.view(len(x), C, size).copy_(blocks.transpose(0, 1))
        torch.log_softmax(logits, -1, out=log_probs)
        log_probs.index_fill_(1, self.never, -math.inf)
        log_probs = log_probs.view(*tokens.shape, -1)
        if state.length + 1 >= state.shortest:
            ends = log_probs[..., self.config.eos_id].clone()
            log_probs[state.length + 1 >= state.limits] = -math.inf
            log_probs[..., self.config.eos_id] = ends
        return log_probs


def fast_best(log_probs: Tensor, rows: Sequence[int]) -> Tensor:
    """Return the most probable token of each row of ``log_probs`` (B, V), (B,)."""
    if len(log_probs) == 1:
        return log_probs.argmax(dim=-1)
    blocks = _blocks(log_probs)  # (B, C, V / C)
    which = blocks.amax(dim=-1).argmax(dim=-1, keepdim=True)  # (B, 1)
    size = blocks.shape[-1]
    inside = blocks.gather(1, which[:, :, None].expand(-1, -1, size))  # (B, 1, V / C)
    return (which * size + inside.argmax(dim=-1))[:, 0]


def best_continuations(log_probs: Tensor, totals: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ``k`` best sums of ``log_probs`` (B, M, V) and ``totals`` (B, M), best first.

    Three tensors (B, k): the sums, their outputs m and their tokens v.  The k best scores stand
    in the k blocks with the best peaks, so no more than k blocks are sorted.
    """
    V = log_probs.shape[2]
    blocks = _blocks(log_probs)  # (B, M, C, V / C)
    C, size = blocks.shape[2:]
    peaks = (blocks.amax(dim=-1) + totals[:, :, None]).flatten(1)  # (B, M * C)
    which = peaks.topk(min(k, peaks.shape[1])).indices  # (B, k)
    inside = blocks.flatten(1, 2).gather(1, which[:, :, None].expand(-1, -1, size))
    sums = inside + totals.gather(1, which // C)[:, :, None]  # (B, k, V / C)
    best, place = sums.flatten(1).topk(k)
    flat = which.gather(1, place // size) * size + place % size  # m * V + v
    return best, flat // V, flat % V


def _divisor(number: int, most: int) -> int:
    """Return the largest divisor of ``number`` that is at most ``most``."""
    return max(n for n in range(1, most + 1) if number % n == 0)


def _blocks(scores: Tensor) -> Tensor:
    """Cut the last axis of ``scores``, V, into equal blocks of at most :data:`BLOCK`."""
    return scores.unflatten(-1, (-1, _divisor(scores.shape[-1], BLOCK)))


def _without(rows: list[int], done: list[bool]) -> tuple[list[int], list[int] | None]:
    """Leave out the ``rows`` that are ``done``, once they are many; say which places are kept."""
    kept = [place for place, d in enumerate(done) if not d]
    if kept and len(kept) > LATE * len(rows):
        return rows, None
    return [rows[place] for place in kept], kept or None


@torch.inference_mode()
def fast_outputs(fast: FastModel, source: Tensor, sampler: Sampler) -> list[Hypothesis]:
    """Write each output for ``source`` ids (B, S) token by token, as ``sampler`` says."""
    end, rows = fast.config.eos_id, list(range(len(source)))
    state = fast.start(source)
    tokens = source.new_full((len(source), 1), fast.config.bos_id)
    written: list[list[int]] = [[] for _ in rows]
    total, done = [0.0] * len(rows), [False] * len(rows)
    while rows:
        log_probs = fast.next_log_probs(tokens, state)[:, 0]  # (rows, V)
        tokens = sampler(log_probs, rows)[:, None]
        gains = log_probs.gather(1, tokens)[:, 0].tolist()
        for row, token, gain in zip(rows, tokens[:, 0].tolist(), gains, strict=True):
            if not done[row]:
                total[row] += gain
                written[row].append(token)
                done[row] = token == end
        state.advance()
        rows, kept = _without(rows, [done[row] for row in rows])
        if kept is not None:
            tokens = tokens[kept]
            state.keep(kept)
    return [Hypothesis(row[:-1], p, p) for row, p in zip(written, total, strict=True)]


@torch.inference_mode()
def fast_beams(
    fast: FastModel, source: Tensor, beam_size: int, alpha: float
) -> list[list[Hypothesis]]:
    """Return, for each of ``source`` (B, S), the outputs that a beam search files, in order."""
    end, rows = fast.config.eos_id, list(range(len(source)))
    state = fast.start(source, beam_size)
    tokens = source.new_full((len(source), beam_size, 1), fast.config.bos_id)
    totals = torch.full((len(source), beam_size), -math.inf, device=source.device)
    totals[:, 0] = 0.0  # the outputs are still alike: only one of them counts
    ended: list[list[Hypothesis]] = [[] for _ in rows]
    while rows:
        log_probs = fast.next_log_probs(tokens[:, :, -1], state)  # (rows, M, V)
        best, parent, token = best_continuations(log_probs, totals, 2 * beam_size)
        ends = token == end
        filed = best[:, :beam_size].masked_fill(~ends[:, :beam_size], -math.inf)
        for b, m in (filed != -math.inf).nonzero().tolist():
            if len(ended[rows[b]]) < beam_size:
                output, p = tokens[b, parent[b, m], 1:].tolist(), best[b, m].item()
                score = p / gnmt_penalty(len(output) + 1, alpha)
                ended[rows[b]].append(Hypothesis(output, p, score))
        totals, going_on = best.masked_fill(ends, -math.inf).topk(beam_size)
        parent, token = parent.gather(1, going_on), token.gather(1, going_on)
        written = tokens.gather(1, parent[:, :, None].expand_as(tokens))
        tokens = torch.cat((written, token[:, :, None]), dim=2)
        state.advance(parent)
        stuck = (totals[:, 0] == -math.inf).tolist()
        pairs = zip(rows, stuck, strict=True)
        rows, kept = _without(rows, [s or len(ended[row]) >= beam_size for row, s in pairs])
        if kept is not None:
            tokens, totals = tokens[kept], totals[kept]
            state.keep(kept)
    return ended
