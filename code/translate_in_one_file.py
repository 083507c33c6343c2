"""The whole translator once more, in NumPy and the standard library: English in, French out.

    echo "The small cat sees the red bicycle." | python code/translate_in_one_file.py

It reads the three files of a model (weights, sizes, vocabulary) and imports nothing of the book:
this is what is left of a Transformer that no longer learns.  D is the model's width, H the number
of heads, K = D / H, S and T are lengths, V the vocabulary, M how many outputs are written at once.
"""

import argparse
import json
import math
import re
import struct
import sys
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np

SHIPPED = Path(__file__).parent / "scratch" / "pretrained" / "en-fr"
PAD, BOS, EOS = 0, 1, 2  # padding, beginning and end of a sentence
ALPHA = 0.6  # of the length penalty
KIND = "pre", "sinusoidal", True  # LayerNorm, positions, one table for everything


def read_weights(path):
    """Return every matrix and vector of a safetensors file as float32, by name.

    The file begins with the length of a JSON header, which says where each tensor lies.  A matrix
    of small whole numbers (int8) has beside it a scale for each row: their product is the weight.
    """
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    kinds = {"F32": np.float32, "F16": np.float16, "I8": np.int8}
    found = {}
    for name, tensor in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__":
            first, last = tensor["data_offsets"]
            part = raw[8 + size + first : 8 + size + last]
            found[name] = np.frombuffer(part, kinds[tensor["dtype"]]).reshape(tensor["shape"])
    return {
        name: w * found[name + ".scale"][:, None] if w.dtype == np.int8 else w.astype(np.float32)
        for name, w in found.items()
    }


class Vocabulary:
    """Cuts text into tokens by byte-pair encoding, and puts tokens together again."""

    def __init__(self, path):
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        self.ids = model["vocab"]
        self.rank = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
        self.token = {id_: token for token, id_ in self.ids.items()}
        # a byte is written as a visible letter: as itself, or as one from number 256 on
        visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in visible]
        self.letter = {b: chr(b) for b in visible} | {b: chr(256 + n) for n, b in enumerate(others)}
        self.byte = {letter: byte for byte, letter in self.letter.items()}

    def encode(self, text):
        """Return the ids of ``text``: clean it, cut it into words, merge the bytes of each."""
        text = re.sub("[\u2019\u02bc]", "'", unicodedata.normalize("NFC", text))
        text = " " + re.sub(r"\s+", " ", text).strip()
        return [self.ids[part] for word in self.words(text) for part in self.merge(word)]

    def words(self, text):
        """Cut ``text`` into words with the space before them, digits, and what else there is."""
        kinds = [c if c in " '" else unicodedata.category(c)[0] for c in text]  # L letter, N digit
        shape = "".join(kind if kind in " 'LN" else "o" for kind in kinds)
        return [text[slice(*m.span())] for m in re.finditer(r" ?L+'?| ?N| ?[^ LN]+| +", shape)]

    def merge(self, word):
        """Join the two neighbours whose merge was learned first, until none is left."""
        parts = [self.letter[byte] for byte in word.encode()]
        while len(parts) > 1:
            ranks = [self.rank.get(pair, math.inf) for pair in pairwise(parts)]
            i = ranks.index(min(ranks))
            if ranks[i] == math.inf:
                break
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return parts

    def decode(self, ids):
        """Return the text of ``ids``."""
        letters = "".join(self.token[id_] for id_ in ids)
        return bytes(self.byte[letter] for letter in letters).decode(errors="replace").strip(" ")


def softmax(x):
    """Turn scores into positive numbers that sum to 1, along the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def positions(length, D):
    """Return the table of sines and cosines (length, D)."""
    angle = np.outer(np.arange(length), 10_000 ** (-np.arange(0, D, 2) / D))
    return np.stack((np.sin(angle), np.cos(angle)), axis=-1).reshape(length, D).astype(np.float32)


class Layers:
    """What encoder and decoder are made of; each part finds its weights by their name."""

    def __init__(self, folder):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if (config["norm"], config["positions"], config["tie_embeddings"]) != KIND:
            raise ValueError(f"{folder} holds another kind of model, expected {KIND}")
        self.w = read_weights(folder / "model.safetensors")
        self.n_heads, self.max_len = config["n_heads"], config["max_len"]
        self.layers = config["n_encoder_layers"], config["n_decoder_layers"]
        self.table = self.w["source_embedding.weight"]  # (V, D), of both languages and the output
        self.positions = positions(self.max_len, config["d_model"])

    def embed(self, ids, start=0):
        """Look up ``ids`` (..., T), from position ``start`` on, as vectors (..., T, D)."""
        x = self.table[ids] * np.float32(math.sqrt(self.table.shape[1]))
        return x + self.positions[start : start + x.shape[-2]]

    def linear(self, name, x):
        """Return x Wᵀ + b."""
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name, x):
        """Give each position's features mean 0 and variance 1, then stretch and shift them."""
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-5))
        return x * self.w[f"{name}.scale"] + self.w[f"{name}.shift"]

    def heads(self, name, x):
        """Map ``x`` (..., T, D) and split it into heads, (..., H, T, K)."""
        x = self.linear(name, x)
        return x.reshape(*x.shape[:-1], self.n_heads, -1).swapaxes(-3, -2)

    def attend(self, name, query, keys, values):
        """Let ``query`` (..., T, D) look into ``keys`` and ``values`` (..., H, S, K)."""
        q = self.heads(f"{name}.w_query", query)
        weights = softmax(q @ keys.swapaxes(-1, -2) / np.float32(math.sqrt(q.shape[-1])))
        mixed = (weights @ values).swapaxes(-3, -2)  # (..., T, H, K)
        return self.linear(f"{name}.w_output", mixed.reshape(query.shape))

    def keys_values(self, name, x):
        """Return what others may look for in ``x``, and what they find."""
        return self.heads(f"{name}.w_key", x), self.heads(f"{name}.w_value", x)

    def feed_forward(self, layer, x):
        """Map each position by itself."""
        name = f"{layer}.feed_forward"
        return self.linear(f"{name}.contract", np.maximum(self.linear(f"{name}.expand", x), 0))


class Transformer(Layers):
    """An encoder and a decoder, both pre-norm: each sublayer reads a normalised copy."""

    def encode(self, ids):
        """Read the English ``ids``; return keys and values for each layer of the decoder."""
        x = self.embed(ids)  # (S, D)
        for n in range(self.layers[0]):
            layer = f"encoder.layers.{n}"
            y = self.norm(f"{layer}.residual_1.norm", x)
            own = f"{layer}.self_attention"
            x = x + self.attend(own, y, *self.keys_values(own, y))
            x = x + self.feed_forward(layer, self.norm(f"{layer}.residual_2.norm", x))
        memory = self.norm("encoder.final_norm", x)
        names = [f"decoder.layers.{n}.cross_attention" for n in range(self.layers[1])]
        return [self.keys_values(name, memory) for name in names]

    def decode(self, tokens, position, memory, cache):
        """Read the newest ``tokens`` (M,) of M outputs; return log-probabilities (M, V).

        ``cache`` holds keys and values (M, H, written, K) of each layer, and grows by one: a
        position sees itself and what was written before, so no mask is needed.
        """
        x = self.embed(tokens[:, None], position)  # (M, 1, D)
        for n in range(self.layers[1]):
            layer = f"decoder.layers.{n}"
            y = self.norm(f"{layer}.residual_1.norm", x)
            own = f"{layer}.self_attention"
            new = self.keys_values(own, y)
            old = cache[n] or [part[:, :, :0] for part in new]
            cache[n] = [np.concatenate(both, axis=2) for both in zip(old, new, strict=True)]
            x = x + self.attend(own, y, *cache[n])
            y = self.norm(f"{layer}.residual_2.norm", x)
            x = x + self.attend(f"{layer}.cross_attention", y, *memory[n])
            x = x + self.feed_forward(layer, self.norm(f"{layer}.residual_3.norm", x))
        logits = self.norm("decoder.final_norm", x[:, 0]) @ self.table.T  # (M, V)
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def search(model, source, beam):
    """Return the score of the best French for the English ids ``source``, and its ids.

    At each step the ``beam`` best outputs are kept, until as many have ended.  The score is the
    log-probability; with a beam it is divided by the length penalty.
    """
    memory, cache = model.encode(source), [None] * model.layers[1]
    limit = min(2 * len(source) + 10, model.max_len)
    written, totals, ended = [[BOS]], np.zeros(1, np.float32), []
    while len(ended) < beam and written:
        log_probs = model.decode(np.array(written)[:, -1], len(written[0]) - 1, memory, cache)
        log_probs[:, [PAD, BOS]] = -np.inf
        if len(written[0]) == limit:
            log_probs[:, EOS + 1 :] = -np.inf
        sums = (totals[:, None] + log_probs).ravel()
        best = np.argsort(-sums, kind="stable")[: 2 * beam]
        going = []
        for rank, i in enumerate(best[sums[best] > -np.inf]):
            parent, token = divmod(int(i), log_probs.shape[1])
            if token != EOS and len(going) < beam:
                going.append((parent, token, sums[i]))
            elif token == EOS and rank < beam and len(ended) < beam:
                penalty = ((5 + len(written[parent])) / 6) ** ALPHA if beam > 1 else 1.0
                ended.append((float(sums[i]) / penalty, written[parent][1:]))
        rows = [parent for parent, _, _ in going]
        cache = [[part[rows] for part in pair] for pair in cache]
        totals = np.array([total for _, _, total in going], np.float32)
        written = [[*written[parent], token] for parent, token, _ in going]
    return max(ended, key=lambda output: output[0])


def translate(model, vocabulary, text, beam=1):
    """Return the French for one English sentence, and its score."""
    source = [*vocabulary.encode(text), EOS] if text.strip() else []
    if len(source) > model.max_len:
        raise ValueError(f"{text[:40]!r} has {len(source)} tokens, expected {model.max_len}")
    score, ids = search(model, source, beam) if source else (0.0, [])
    return vocabulary.decode(ids), score


def main():
    """Translate standard input, line by line."""
    parser = argparse.ArgumentParser(description="English lines in, French lines out.")
    parser.add_argument("--beam", type=int, default=1, help="outputs kept at each step (1: greedy)")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="folder of a model")
    asked = parser.parse_args()
    try:
        model, vocabulary = Transformer(asked.model), Vocabulary(asked.model / "tokenizer.json")
        for line in sys.stdin:
            print(translate(model, vocabulary, line, asked.beam)[0], flush=True)
    except (ValueError, OSError) as error:
        sys.exit(f"translate_in_one_file: {error}")


if __name__ == "__main__":
    main()
