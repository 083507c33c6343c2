"""The model as the playground loads it: two ONNX graphs, one file of weights, a list of both.

``python -m press export DIR`` writes them from the weights that ship with the book.  A matrix
stays as it is stored, in one or two bytes a number, and becomes float32 before any arithmetic, in
the browser as in Python.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from press.book import PressError
from press.playground.graphs import decoder_graph, encoder_graph
from press.playground.onnx_writer import Weights
from press.site.serve import transferred
from scratch.plumbing.models.storage import SCALE, configuration, find_pretrained, load_pretrained
from scratch.transformer import Transformer

WEIGHTS = "weights.bin"
MEGA = 1e6


def export(name: str | Path, folder: Path, extra: Sequence[Path] = ()) -> dict[str, Any]:
    """Write the model ``name`` to ``folder``; return the list of files that is written with it.

    ``extra`` are files of the runtime, which are copied there and listed too.  Raises PressError
    when the model is not there, or is not what its own loader makes of it.
    """
    try:
        source = find_pretrained(name)
        model, _ = load_pretrained(source)
    except ValueError as error:
        raise PressError(str(error)) from None
    folder.mkdir(parents=True, exist_ok=True)
    write_graphs(model, stored_weights(model, load_file(source / "model.safetensors")), folder)
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    text = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    names = ["encoder.onnx", "decoder.onnx", WEIGHTS, "tokenizer.json"]
    for path in extra:
        if not path.is_file():
            raise PressError(f"{path} is not there, expected a file of the runtime")
        shutil.copyfile(path, folder / path.name)
        names.append(path.name)
    files = {name: describe(folder / name) for name in names}
    manifest = {"model": source.name, "config": configuration(model), "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    (folder / "size.html").write_text(size_note(files), encoding="utf-8")
    return manifest


def stored_weights(model: Transformer, stored: dict[str, Tensor]) -> Weights:
    """Return what the file holds, checked against what the loader made of it, number by number.

    Raises PressError when a matrix times its scales is not the model's: the browser would differ.
    """
    whole = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    arrays: dict[str, np.ndarray] = {}
    scales: dict[str, np.ndarray] = {}
    for name, tensor in stored.items():
        wide = tensor.float() if tensor.dtype == torch.bfloat16 else tensor  # which NumPy lacks
        matrix = name.removesuffix(SCALE)
        (scales if matrix in whole and matrix != name else arrays)[name] = wide.numpy()
    scales = {name.removesuffix(SCALE): array.astype(np.float32) for name, array in scales.items()}
    for name, parameter in model.named_parameters():
        array = arrays[name].astype(np.float32)
        if name in scales:
            array = array * scales[name][:, None]
        if not np.array_equal(array, parameter.detach().numpy()):
            raise PressError(f"{name} as stored is not {name} as loaded, expected the same numbers")
    for which in ("source", "target"):  # a fixed table is computed, not stored
        table = f"{which}_positions.table"
        if table not in arrays:
            arrays[table] = getattr(model, f"{which}_positions").table.numpy()
    return Weights(arrays, scales, WEIGHTS)


def write_graphs(model: Transformer, weights: Weights, folder: Path) -> None:
    """Write ``encoder.onnx``, ``decoder.onnx`` and the weights of both to ``folder``."""
    graphs = {"encoder": encoder_graph, "decoder": decoder_graph}
    for name, graph in graphs.items():
        text = graph(model.config, weights).SerializeToString(deterministic=True)
        (folder / f"{name}.onnx").write_bytes(text)
    (folder / WEIGHTS).write_bytes(weights.data)


def describe(path: Path) -> dict[str, Any]:
    """Return how long a file is, how much of it travels, compressed or not, and its SHA-256."""
    data = path.read_bytes()
    return {
        "bytes": len(data),
        "transferred": transferred(path),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def size_note(files: dict[str, dict[str, Any]]) -> str:
    """Return the sentence of the page that says what pressing Start will load."""
    runtime = sum(f["transferred"] for n, f in files.items() if n.endswith((".wasm", ".mjs")))
    total = sum(f["transferred"] for f in files.values())
    unpacked = sum(f["bytes"] for f in files.values())
    return (
        f'<p class="pg-size">Start loads <strong>{total / MEGA:.1f} MB</strong> '
        f"({unpacked / MEGA:.0f} MB where the server does not compress): "
        f"{(total - runtime) / MEGA:.1f} MB are the model, {runtime / MEGA:.1f} MB the program "
        "that runs it. Nothing is loaded before, and what you type stays in your browser.</p>\n"
    )
