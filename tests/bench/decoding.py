"""Decoding: sentences a second, greedily and with a beam, one by one and 64 at a time.

The same weights in every hand; greedy outputs have to be identical, and beams are compared without
a length penalty, since the peers have others than the book.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

import harness
from decoding_peers import Decode, ctranslate2_decoder, hugging_face_decoder
from scratch.datasets import grammar, multi30k
from scratch.plumbing.data.fetch import is_cached
from scratch.plumbing.models.storage import PRETRAINED, load_pretrained
from scratch.search import beam_search, greedy_search
from scratch.transformer import Transformer, TransformerConfig
from scratch.translation import translate_ids

OURS, TAUGHT, ENGINE = "this book", "this book, as taught", "CTranslate2"
PEERS = {"post": "Marian", "pre": "M2M100"}  # the one of Hugging Face that has such layers
BEAMS, BATCHES = (1, 5), {1: 16, 64: 128}  # beam sizes; sentences, by how many at a time
LENGTH = 18  # of the random sources


def measure(rounds: int, quick: bool) -> dict[str, Any]:
    """Compare and time everybody on random and on shipped models; weigh each by itself."""
    results: dict[str, Any] = {"machine": harness.describe("transformers", "ctranslate2")}
    results["models"] = {}
    for name in ["tiny, post-norm"] if quick else models():
        results["models"][name] = _measure_model(name, rounds, quick)
    return results


def models() -> list[str]:
    """Return the models by name: random ones of the preset tiny, and those that ship."""
    names = ["tiny, post-norm", "tiny, pre-norm", "grammar-en-fr"]
    shipped = (PRETRAINED / "en-fr").is_dir() and is_cached("multi30k/test_2016_flickr.en.gz")
    return names + ["en-fr"] * shipped


def load(name: str) -> tuple[Transformer, list[list[int]]]:
    """Return a model and 128 sources for it, shortest first; random ones are equally long."""
    if name.startswith("tiny"):
        torch.manual_seed(0)
        norm = name.removeprefix("tiny, ").removesuffix("-norm")
        model = Transformer(TransformerConfig.preset("tiny", norm=norm)).eval()
        ids = torch.randint(3, model.config.vocab_size, (128, LENGTH - 1)).tolist()
        return model, [[*row, model.config.eos_id] for row in ids]
    model, tokenizer = load_pretrained(name)
    texts = [pair.english_text for pair in grammar().unseen[:128]]
    if name == "en-fr":
        texts = [english for english, _ in multi30k("test_2016_flickr")[:128]]
    return model, sorted(([*tokenizer.encode(t), tokenizer.eos_id] for t in texts), key=len)


def our_decoder(model: Transformer) -> Decode:
    """Return the book's decoding as ``python -m scratch translate`` calls it."""

    def decode(sources: Sequence[list[int]], beam_size: int, batch_size: int) -> list[list[int]]:
        settings = {"beam_size": beam_size, "batch_size": batch_size, "length_penalty": 0.0}
        return [h.tokens for h in translate_ids(model, sources, **settings)]

    return decode


def taught_decoder(model: Transformer) -> Decode:
    """Return the searches as the chapter shows them."""
    from scratch.datasets import pad_rows

    def decode(sources: Sequence[list[int]], beam_size: int, batch_size: int) -> list[list[int]]:
        found: list[list[int]] = []
        for first in range(0, len(sources), batch_size):
            batch = pad_rows(sources[first : first + batch_size], model.config.pad_id)
            if beam_size == 1:
                hypotheses = greedy_search(model, batch)
            else:
                hypotheses = beam_search(model, batch, beam_size=beam_size, length_penalty=0.0)
            found += [h.tokens for h in hypotheses]
        return found

    return decode


def decoders(model: Transformer, folder: Path) -> dict[str, Decode]:
    """Return everybody, by name."""
    return {
        OURS: our_decoder(model),
        TAUGHT: taught_decoder(model),
        PEERS[model.config.norm]: hugging_face_decoder(model),
        ENGINE: ctranslate2_decoder(model, folder),
    }


def _measure_model(name: str, rounds: int, quick: bool) -> dict[str, Any]:
    model, sources = load(name)
    sources = sources[:8] if quick else sources
    found: dict[str, Any] = {"norm": model.config.norm, "same": {}, "seconds": {}, "sentences": {}}
    with tempfile.TemporaryDirectory() as folder:
        everybody = decoders(model, Path(folder))
        for beam_size in BEAMS:
            outputs = {who: decode(sources, beam_size, 64) for who, decode in everybody.items()}
            found["same"][f"beam {beam_size}"] = _agreement(outputs, beam_size)
            for size, n in BATCHES.items():
                label = f"beam {beam_size}, batch {size}"
                n = min(n, len(sources))
                runners = _runners(everybody, sources[:n], beam_size, size)
                found["seconds"][label] = harness.race(runners, rounds, label=f"{name}, {label}")
                found["sentences"][label] = n
    found["memory"] = {} if quick else _memory(name, list(everybody))
    return found


def _runners(
    everybody: dict[str, Decode], sources: Sequence[list[int]], beam_size: int, batch_size: int
) -> dict[str, Callable[[], object]]:
    def run(decode: Decode) -> Callable[[], object]:
        return lambda: decode(sources, beam_size, batch_size)

    return {who: run(decode) for who, decode in everybody.items()}


def _agreement(outputs: dict[str, list[list[int]]], beam_size: int) -> dict[str, float]:
    """Return the share of outputs that are ours; greedily, Hugging Face's have to be all."""
    same = {
        who: sum(a == b for a, b in zip(found, outputs[OURS], strict=True)) / len(found)
        for who, found in outputs.items()
    }
    for who in (TAUGHT, *PEERS.values()):
        if beam_size == 1 and same.get(who, 1.0) < 1.0:
            raise ValueError(f"{who} has the same greedy output for {same[who]:.1%}, expected all")
    return same


def _memory(name: str, everybody: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the peak memory of a process that decodes 64 sentences at once, in MiB."""
    return {
        who: {f"beam {beam}": harness.alone(_decode_once, name, who, beam) for beam in BEAMS}
        for who in everybody
    }


def _decode_once(name: str, who: str, beam_size: int) -> None:
    model, sources = load(name)
    with tempfile.TemporaryDirectory() as folder:
        make = {
            OURS: our_decoder,
            TAUGHT: taught_decoder,
            ENGINE: lambda m: ctranslate2_decoder(m, Path(folder)),
        }.get(who, hugging_face_decoder)
        make(model)(sources[:64], beam_size, 64)


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Make tables of speed and of memory, and one of what they were measured on."""
    speed, memory = [], []
    for name, found in results["models"].items():
        for label, seconds in found["seconds"].items():
            peer = PEERS[found["norm"]]
            rate = {who: found["sentences"][label] / median(s) for who, s in seconds.items()}
            same = found["same"][label.split(",")[0]][peer]
            cells = [f"{rate[who]:,.1f}" for who in (OURS, TAUGHT, peer, ENGINE)]
            times = [f"{rate[OURS] / rate[peer]:.2f}", f"{100 * same:.0f} %"]
            speed.append([f"{name}: {label}", *cells, *times])
        for who, peaks in found["memory"].items():
            memory.append([f"{name}: {who}", *(f"{peak:,.0f}" for peak in peaks.values())])
    head = ["sentences a second", OURS, "as taught", "Hugging Face", ENGINE]
    return {
        "speed": harness.markdown([*head, f"{OURS} / Hugging Face", "same outputs"], speed),
        "memory": harness.markdown(["peak memory in MiB, batch 64", "greedy", "beam 5"], memory),
        "machine": harness.machine_table(results["machine"]),
    }
