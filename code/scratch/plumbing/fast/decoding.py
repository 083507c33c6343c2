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
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.attention import MultiHeadAttention
from scratch.decoder import DecoderLayer
from scratch.embedding import TokenEmbedding
from scratch.encoder import EncoderLayer
from scratch.feedforward import FeedForward
from scratch.plumbing import checks
from scratch.residual import LayerNorm, Residual
from scratch.transformer import Transformer

__all__ = ["Choose", "FastModel", "FastState", "fast_beams", "fast_best", "fast_outputs"]

Choose = Callable[[Tensor, Sequence[int]], Tensor]  # log-probabilities (B, V), rows -> tokens (B,)
Pair = tuple[Tensor, Tensor]  # keys and values
Output = tuple[list[int], float]  # tokens without <bos> and <eos>, and their log-probability

FIRST_ROOM = 16  # positions that the cache has room for at first; it doubles when it is full
LATE = 7 / 8  # sentences that are done leave the batch when no more than this share goes on
BLOCK = 64  # scores at most in a block, the best of which are looked into
BLOCKS = 8  # that the output layer's columns are cut into, at most


class _Linear:
    """Projections of one input, as one: ``weight`` (D_in, D_out) lies as the product reads it."""

    def __init__(self, *linears: nn.Linear) -> None:
        self.weight = torch.cat([a.weight.T for a in linears], dim=1)
        self.bias = torch.cat([a.bias for a in linears])

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``x`` (N, D_in) to (N, D_out)."""
        return torch.addmm(self.bias, x, self.weight)


def _qkv(a: MultiHeadAttention) -> _Linear:
    return _Linear(a.w_query, a.w_key, a.w_value)


def _final(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what a stack ends with: with pre-norm a LayerNorm, otherwise nothing."""
    if isinstance(norm, LayerNorm):
        return lambda x: F.layer_norm(x, (norm.d_model,), norm.scale, norm.shift, norm.eps)
    return norm


class _Norm:
    """A residual connection in evaluation mode, in two halves as the taught one."""

    def __init__(self, residual: Residual) -> None:
        norm, self.pre_norm = residual.norm, residual.pre_norm
        self.settings = ((norm.d_model,), norm.scale, norm.shift, norm.eps)

    def before(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, *self.settings) if self.pre_norm else x

    def after(self, x: Tensor, output: Tensor) -> Tensor:
        x = output.add_(x)
        return x if self.pre_norm else F.layer_norm(x, *self.settings)


class _Feed:
    def __init__(self, f: FeedForward) -> None:
        self.expand, self.contract = _Linear(f.expand), _Linear(f.contract)

    def __call__(self, x: Tensor) -> Tensor:
        return self.contract(self.expand(x).relu_())


class _EncoderLayer:
    def __init__(self, layer: EncoderLayer) -> None:
        self.n_heads = layer.self_attention.n_heads
        self.qkv, self.out = _qkv(layer.self_attention), _Linear(layer.self_attention.w_output)
        self.feed = _Feed(layer.feed_forward)
        self.norms = _Norm(layer.residual_1), _Norm(layer.residual_2)

    def __call__(self, x: Tensor, B: int, mask: Tensor | None) -> Tensor:
        """Map B sentences ``x`` (B * S, D) to (B * S, D); ``mask`` is added to the scores."""
        first, second = self.norms
        qkv = self.qkv(first.before(x)).view(B, -1, 3, self.n_heads, x.shape[1] // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, S, K) each
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = first.after(x, self.out(heads.transpose(1, 2).reshape(x.shape)))
        return second.after(x, self.feed(second.before(x)))


class _DecoderLayer:
    def __init__(self, layer: DecoderLayer) -> None:
        own, cross = layer.self_attention, layer.cross_attention
        self.n_heads = own.n_heads
        self.qkv, self.out = _qkv(own), _Linear(own.w_output)
        self.query, self.cross_out = _Linear(cross.w_query), _Linear(cross.w_output)
        self.key_value = _Linear(cross.w_key, cross.w_value)
        self.feed = _Feed(layer.feed_forward)
        residuals = (layer.residual_1, layer.residual_2, layer.residual_3)
        self.first, self.second, self.third = (_Norm(residual) for residual in residuals)

    def cross_cache(self, memory: Tensor, B: int) -> Pair:
        """Return keys and values of ``memory`` (B * S, D), (B, H, S, K) each."""
        K = memory.shape[1] // self.n_heads
        split = self.key_value(memory).view(B, -1, 2, self.n_heads, K)
        keys, values = split.permute(2, 0, 3, 1, 4).contiguous().unbind(0)
        return keys, values

    def __call__(self, x: Tensor, number: int, state: "FastState") -> Tensor:
        """Map the newest position of B x M outputs, ``x`` (B * M, D), to (B * M, D)."""
        B, M, start = *state.shape, state.length * state.shape[1]
        qkv = self.qkv(self.first.before(x)).view(B, M, 3, self.n_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, M, K) each
        keys, values = state.own[number]
        keys[:, :, start : start + M], values[:, :, start : start + M] = k, v
        keys, values = keys[:, :, : start + M], values[:, :, : start + M]
        heads = F.scaled_dot_product_attention(q, keys, values, attn_mask=state.seen)
        x = self.first.after(x, self.out(heads.transpose(1, 2).reshape(B * M, -1)))
        q = self.query(self.second.before(x)).view(B, M, self.n_heads, -1).transpose(1, 2)
        keys, values = state.cross[number]
        heads = F.scaled_dot_product_attention(q, keys, values, attn_mask=state.memory_mask)
        x = self.second.after(x, self.cross_out(heads.transpose(1, 2).reshape(B * M, -1)))
        return self.third.after(x, self.feed(self.third.before(x)))


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


class FastModel:
    """A model ready to decode, in evaluation mode.

    It keeps the weights as they are when it is made: make one for each use.
    """

    def __init__(self, model: Transformer) -> None:
        self.model, self.config = model, model.config
        encoder, decoder = model.encoder.layers, model.decoder.layers
        self.encoder = [_EncoderLayer(cast(EncoderLayer, layer)) for layer in encoder]
        self.decoder = [_DecoderLayer(cast(DecoderLayer, layer)) for layer in decoder]
        self.finals = _final(model.encoder.final_norm), _final(model.decoder.final_norm)
        # a product for each block of columns is faster than one for all: threads share the blocks
        C = _divisor(model.config.vocab_size, BLOCKS)
        self.unembed = model.output.weight.unflatten(0, (C, -1)).mT.contiguous()  # (C, D, V / C)
        never = [model.config.pad_id, model.config.bos_id]
        self.never = torch.tensor(never, device=self.unembed.device)
        self.scores = self.unembed.new_empty(2, 0, model.config.vocab_size)

    def start(self, source: Tensor, limits: Tensor, n_outputs: int = 1) -> FastState:
        """Read ``source`` ids (B, S) and begin ``n_outputs`` outputs of ``limits`` (B,) each."""
        c = self.config
        checks.readable("source", source, c.vocab_size, c.max_len)
        real = (source != c.pad_id)[:, None, None, :]  # (B, 1, 1, S)
        x = self._embed(self.model.source_embedding, source)
        x += self.model.source_positions.table[: source.shape[1]]
        x = x.flatten(0, 1)  # (B * S, D)
        mask = None if real.all() else x.new_zeros(real.shape).masked_fill_(~real, -math.inf)
        for layer in self.encoder:
            x = layer(x, len(source), mask)
        x = self.finals[0](x)
        cross = [layer.cross_cache(x, len(source)) for layer in self.decoder]
        return FastState(cross, mask, limits, n_outputs)

    def _embed(self, embedding: TokenEmbedding, ids: Tensor) -> Tensor:
        return F.embedding(ids, embedding.weight) * math.sqrt(self.config.d_model)

    def next_log_probs(self, tokens: Tensor, state: FastState) -> Tensor:
        """Read ``tokens`` (B, M) and return log-probabilities (B, M, V), as the taught function.

        The next call writes over what this one returns.
        """
        state.check_room()
        x = self._embed(self.model.target_embedding, tokens.flatten())  # (B * M, D)
        x += self.model.target_positions.table[state.length]
        for number, layer in enumerate(self.decoder):
            x = layer(x, number, state)
        if self.scores.shape[1] < len(x):
            self.scores = x.new_empty(2, len(x), self.config.vocab_size)
        log_probs, logits = self.scores[0, : len(x)], self.scores[1, : len(x)]
        C, _, size = self.unembed.shape
        blocks = log_probs.view(C, len(x), size)  # the room is free until the next but one line
        torch.bmm(self.finals[1](x).expand(C, -1, -1), self.unembed, out=blocks)
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


def _file_ended(
    ended: list[list[Output]], rows: list[int], tokens: Tensor, best: Tensor, parent: Tensor
) -> None:
    """File outputs that end now: those of the first M of ``best`` (B, 2M) that are not -inf."""
    M = tokens.shape[1]
    for b, m in (best[:, :M] > -math.inf).nonzero().tolist():
        if len(ended[rows[b]]) < M:
            output = tokens[b, parent[b, m], 1:].tolist(), best[b, m].item()
            ended[rows[b]].append(output)


@torch.inference_mode()
def fast_outputs(fast: FastModel, source: Tensor, limits: Tensor, choose: Choose) -> list[Output]:
    """Write each output for ``source`` ids (B, S) token by token, as ``choose`` says."""
    end, rows = fast.config.eos_id, list(range(len(source)))
    state = fast.start(source, limits)
    tokens = source.new_full((len(source), 1), fast.config.bos_id)
    written: list[list[int]] = [[] for _ in rows]
    total, done = [0.0] * len(rows), [False] * len(rows)
    while rows:
        log_probs = fast.next_log_probs(tokens, state)[:, 0]  # (rows, V)
        tokens = choose(log_probs, rows)[:, None]
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
    return [(row[:-1], p) for row, p in zip(written, total, strict=True)]


@torch.inference_mode()
def fast_beams(
    fast: FastModel, source: Tensor, limits: Tensor, beam_size: int
) -> list[list[Output]]:
    """Return, for each of ``source`` (B, S), the outputs that a beam search files, in order."""
    end, rows = fast.config.eos_id, list(range(len(source)))
    state = fast.start(source, limits, beam_size)
    tokens = source.new_full((len(source), beam_size, 1), fast.config.bos_id)
    totals = torch.full((len(source), beam_size), -math.inf, device=source.device)
    totals[:, 0] = 0.0  # the outputs are still alike: only one of them counts
    ended: list[list[Output]] = [[] for _ in rows]
    while rows:
        log_probs = fast.next_log_probs(tokens[:, :, -1], state)  # (rows, M, V)
        best, parent, token = best_continuations(log_probs, totals, 2 * beam_size)
        ends = token == end
        _file_ended(ended, rows, tokens, best.masked_fill(~ends, -math.inf), parent)
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
