"""The Transformer as two ONNX graphs, operation by operation, for the browser.

They compute what :class:`scratch.transformer.Transformer` computes, return every attention weight
on the way, and have switches that the book's model does not need: heads that can be turned off,
positions and the causal mask likewise.  The letters of shapes are those of ``book/notation``.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto

from press.playground.onnx_writer import Graph, Weights
from scratch.transformer import TransformerConfig

EPSILON = 1e-5  # LayerNorm's default, which the model never changes
LOWEST = float(np.finfo(np.float32).min)
WHOLE, REAL = TensorProto.INT32, TensorProto.FLOAT


def encoder_graph(c: TransformerConfig, weights: Weights) -> ModelProto:
    """Return the graph that reads an English sentence, once for each translation.

    It also prepares the keys and values that the decoder's cross-attention looks up at each step.
    """
    p, seen = Layers(c, Graph(weights)), []
    x = p.embed("source", p.g.constant(0))
    for layer in range(c.n_encoder_layers):
        x, w = p.encoder_layer(x, layer)
        seen.append(w)
    memory = p.final_norm(x, "encoder")
    pairs = [
        p.project(memory, f"decoder.layers.{n}.cross_attention") for n in range(c.n_decoder_layers)
    ]
    p.stack(seen, "attention")
    p.stack([keys for keys, _ in pairs], "cross_keys")
    p.stack([values for _, values in pairs], "cross_values")
    L, H, K = c.n_encoder_layers, c.n_heads, c.d_model // c.n_heads
    prepared = REAL, [c.n_decoder_layers, "B", H, "S", K]
    return p.g.finish(
        "encoder",
        {"tokens": (WHOLE, ["B", "S"]), "positions": (REAL, []), "heads": (REAL, [L, H])},
        {"attention": (REAL, [L, "B", H, "S", "S"]), "cross_keys": prepared,
         "cross_values": prepared},
    )  # fmt: skip


def decoder_graph(c: TransformerConfig, weights: Weights) -> ModelProto:
    """Return the graph that reads T more French tokens after the P that are in the cache.

    T is 1 in a search, and the whole sentence where one is given.  ``rows`` says which row of the
    cache each row of ``tokens`` goes on from, so that a beam can keep its best.  ``causal`` is 1,
    or 0 to let every position see the whole of ``tokens``.
    """
    p = Layers(c, Graph(weights))
    g, steps = p.g, Steps()
    read = g.axis("self_keys", 3)
    mask = causal(g, read)
    old = tuple(g.op("Gather", n, "rows", axis=1) for n in ("self_keys", "self_values"))
    x = p.embed("target", read)
    for layer in range(c.n_decoder_layers):
        x = p.decoder_layer(x, layer, (old[0], old[1]), mask, steps)
    table = g.op("Transpose", g.parameter(f"{p.table('output')}.weight"), perm=[1, 0])
    g.op("MatMul", p.final_norm(x, "decoder"), table, into="logits")
    p.stack(steps.keys, "new_keys")
    p.stack(steps.values, "new_values")
    p.stack(steps.seen, "self_attention")
    p.stack(steps.read, "cross_attention")
    return g.finish("decoder", *decoder_interface(c))


def decoder_interface(c: TransformerConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return types and shapes of what the decoder takes and of what it gives."""
    L, H, K = c.n_decoder_layers, c.n_heads, c.d_model // c.n_heads
    cache, memory = (REAL, [L, "before", H, "P", K]), (REAL, [L, 1, H, "S", K])
    longer = REAL, [L, "B", H, "P + T", K]
    inputs = {
        "tokens": (WHOLE, ["B", "T"]),
        "rows": (WHOLE, ["B"]),
        "self_keys": cache,
        "self_values": cache,
        "cross_keys": memory,
        "cross_values": memory,
        "positions": (REAL, []),
        "causal": (REAL, []),
        "self_heads": (REAL, [L, H]),
        "cross_heads": (REAL, [L, H]),
    }
    outputs = {
        "logits": (REAL, ["B", "T", c.vocab_size]),
        "new_keys": longer,
        "new_values": longer,
        "self_attention": (REAL, [L, "B", H, "T", "P + T"]),
        "cross_attention": (REAL, [L, "B", H, "T", "S"]),
    }
    return inputs, outputs


def causal(g: Graph, read: str) -> str:
    """Return who may see what, (T, P + T): position t sees what came before, and itself."""
    end = g.op("Add", read, g.axis("tokens", 1))
    columns = g.op("Range", g.constant(0), end, g.constant(1))  # (P + T,)
    rows = g.op("Range", read, end, g.constant(1))  # (T,)
    past = g.op("LessOrEqual", columns, g.op("Unsqueeze", rows, g.constant([1])))
    everything = g.op("Less", "causal", g.constant(0.5))
    return g.op("Or", past, everything)


@dataclass
class Steps:
    """What each layer of the decoder leaves: the longer cache, and both kinds of weights."""

    keys: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Base:
    """What every part needs: the sizes, the graph, the tables of embeddings."""

    config: TransformerConfig
    g: Graph

    def table(self, which: str) -> str:
        """Return the name of a table of embeddings; tied, all three are the source's."""
        if self.config.tie_embeddings:
            return "source_embedding"
        return "output" if which == "output" else f"{which}_embedding"

    def embed(self, which: str, start: str) -> str:
        """Look up ``tokens`` (B, T), add positions from ``start`` on: (B, T, D)."""
        g = self.g
        rows = g.op("Gather", g.parameter(f"{self.table(which)}.weight"), "tokens")
        x = g.op("Mul", rows, g.constant(math.sqrt(self.config.d_model)))
        end = g.op("Add", start, g.axis("tokens", 1))
        numbers = g.op("Range", start, end, g.constant(1))
        table = g.op("Gather", g.parameter(f"{which}_positions.table"), numbers)  # (T, D)
        return g.op("Add", x, g.op("Mul", table, "positions"))

    def stack(self, parts: list[str], into: str) -> str:
        """Put one result of each layer side by side, along a new first axis."""
        axes = self.g.constant([0])
        layers = [self.g.op("Unsqueeze", part, axes) for part in parts]
        return self.g.op("Concat", *layers, into=into, axis=0)


class Sublayers(Base):
    """Linear layers, norms and the feed-forward network: what knows nothing of attention."""

    def norm(self, x: str, name: str) -> str:
        parts = self.g.parameter(f"{name}.scale"), self.g.parameter(f"{name}.shift")
        return self.g.op("LayerNormalization", x, *parts, axis=-1, epsilon=EPSILON)

    def final_norm(self, x: str, stack: str) -> str:
        return self.norm(x, f"{stack}.final_norm") if self.config.norm == "pre" else x

    def before(self, x: str, residual: str) -> str:
        return self.norm(x, f"{residual}.norm") if self.config.norm == "pre" else x

    def after(self, x: str, output: str, residual: str) -> str:
        x = self.g.op("Add", x, output)
        return x if self.config.norm == "pre" else self.norm(x, f"{residual}.norm")

    def linear(self, x: str, name: str) -> str:
        matrix = self.g.op("Transpose", self.g.parameter(f"{name}.weight"), perm=[1, 0])
        return self.g.op("Add", self.g.op("MatMul", x, matrix), self.g.parameter(f"{name}.bias"))

    def feed_forward(self, x: str, layer: str, residual: str) -> str:
        h = self.linear(self.before(x, residual), f"{layer}.feed_forward.expand")
        h = self.linear(self.g.op("Relu", h), f"{layer}.feed_forward.contract")
        return self.after(x, h, residual)


class Attention(Sublayers):
    """Multi-head attention in its two halves, with a switch for each head."""

    def split_heads(self, x: str) -> str:
        """(B, T, D) becomes (B, H, T, K)."""
        shape = self.g.constant([0, 0, self.config.n_heads, -1])
        return self.g.op("Transpose", self.g.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    def project(self, x: str, attention: str) -> tuple[str, str]:
        """Return keys and values (B, H, S, K) of ``x`` (B, S, D)."""
        keys = self.split_heads(self.linear(x, f"{attention}.w_key"))
        return keys, self.split_heads(self.linear(x, f"{attention}.w_value"))

    def attend(
        self, x: str, pair: tuple[str, str], attention: str, gates: str, mask: str = ""
    ) -> tuple[str, str]:
        """Return the output (B, T, D) and the weights (B, H, T, S); ``gates`` (1, H, 1, 1)."""
        c, g = self.config, self.g
        query = self.split_heads(self.linear(x, f"{attention}.w_query"))
        scores = g.op("MatMul", query, g.op("Transpose", pair[0], perm=[0, 1, 3, 2]))
        scores = g.op("Div", scores, g.constant(math.sqrt(c.d_model // c.n_heads)))
        if mask:
            scores = g.op("Where", mask, scores, g.constant(LOWEST))
        weights = g.op("Softmax", scores, axis=-1)
        heads = g.op("Mul", g.op("MatMul", weights, pair[1]), gates)
        heads = g.op("Transpose", heads, perm=[0, 2, 1, 3])
        joined = g.op("Reshape", heads, g.constant([0, 0, c.d_model]))
        return self.linear(joined, f"{attention}.w_output"), weights

    def gates(self, switches: str, layer: int) -> str:
        """Return a layer's row of ``switches`` (L, H), ready to multiply heads: (1, H, 1, 1)."""
        row = self.g.op("Gather", switches, self.g.constant(layer), axis=0)
        return self.g.op("Reshape", row, self.g.constant([1, -1, 1, 1]))


class Layers(Attention):
    """The layers of both stacks, before or after which norms stand."""

    def encoder_layer(self, x: str, layer: int) -> tuple[str, str]:
        name = f"encoder.layers.{layer}"
        attention, residual = f"{name}.self_attention", f"{name}.residual_1"
        h = self.before(x, residual)
        gates = self.gates("heads", layer)
        h, weights = self.attend(h, self.project(h, attention), attention, gates)
        x = self.after(x, h, residual)
        return self.feed_forward(x, name, f"{name}.residual_2"), weights

    def decoder_layer(
        self, x: str, layer: int, old: tuple[str, str], mask: str, steps: Steps
    ) -> str:
        """``old`` are keys and values of all layers, for the tokens read before these."""
        g, name, number = self.g, f"decoder.layers.{layer}", self.g.constant(layer)
        attention, residual = f"{name}.self_attention", f"{name}.residual_1"
        h = self.before(x, residual)
        new = self.project(h, attention)
        k, v = (
            g.op("Concat", g.op("Gather", a, number, axis=0), b, axis=2)
            for a, b in zip(old, new, strict=True)
        )
        h, seen = self.attend(h, (k, v), attention, self.gates("self_heads", layer), mask)
        x = self.after(x, h, residual)
        attention, residual = f"{name}.cross_attention", f"{name}.residual_2"
        memory = tuple(g.op("Gather", n, number, axis=0) for n in ("cross_keys", "cross_values"))
        h = self.before(x, residual)
        gates = self.gates("cross_heads", layer)
        h, read = self.attend(h, (memory[0], memory[1]), attention, gates)
        x = self.after(x, h, residual)
        for kept, what in zip((steps.keys, steps.values, steps.seen, steps.read),
                              (k, v, seen, read), strict=True):  # fmt: skip
            kept.append(what)
        return self.feed_forward(x, name, f"{name}.residual_3")
