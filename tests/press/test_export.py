"""The exported graphs, run by ONNX Runtime, beside the model that they were written from."""

from __future__ import annotations

import json
import math
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from press.__main__ import main
from press.book import PressError
from press.playground.export import export, size_note, stored_weights, write_graphs
from press.site.serve import server
from scratch.plumbing.cli import DEFAULT_MODEL
from scratch.plumbing.models.storage import PRETRAINED, load_pretrained, pack, unpack
from scratch.search import longest_output
from scratch.transformer import (
    AttentionMaps,
    DecoderState,
    Transformer,
    TransformerConfig,
    attention_maps,
)
from scratch.translation import translate_ids

SMALL = TransformerConfig(40, 12, 3, 20, 2, 2, dropout=0.0, max_len=24, norm="pre")


class Exported:
    """The two graphs of a folder, called as the browser calls them."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options)
            for name in ("encoder", "decoder")
        )
        sizes = {i.name: i.shape for i in self.decoder.get_inputs()}
        self.layers, _, self.heads, _, self.width = sizes["self_keys"]
        self.encoder_layers = {i.name: i.shape for i in self.encoder.get_inputs()}["heads"][0]

    def read(self, ids: list[int], **switches: Any) -> dict[str, np.ndarray]:
        return run(
            self.encoder,
            tokens=np.array([ids], np.int32),
            positions=np.float32(switches.get("positions", 1)),
            heads=switches.get("heads", np.ones((self.encoder_layers, self.heads), np.float32)),
        )

    def write(
        self, ids: list[int], memory: dict[str, np.ndarray], before: Any = None, **switches: Any
    ) -> dict[str, np.ndarray]:
        empty = np.zeros((self.layers, 1, self.heads, 0, self.width), np.float32)
        on = np.ones((self.layers, self.heads), np.float32)
        return run(
            self.decoder,
            tokens=np.array([ids], np.int32),
            rows=np.zeros(1, np.int32),
            self_keys=before["new_keys"] if before else empty,
            self_values=before["new_values"] if before else empty,
            cross_keys=memory["cross_keys"],
            cross_values=memory["cross_values"],
            positions=np.float32(switches.get("positions", 1)),
            causal=np.float32(switches.get("causal", 1)),
            self_heads=switches.get("self_heads", on),
            cross_heads=switches.get("cross_heads", on),
        )

    def greedy(self, source: list[int], config: TransformerConfig, limit: int) -> list[int]:
        """Translate one sentence one token at a time, with the cache."""
        memory, step, found = self.read(source), None, [config.bos_id]
        while len(found) <= limit:
            step = self.write(found[-1:], memory, step)
            logits = step["logits"][0, -1]
            logits[[config.pad_id, config.bos_id]] = -math.inf
            found.append(int(logits.argmax()) if len(found) < limit else config.eos_id)
            if found[-1] == config.eos_id:
                break
        return found[1:-1]


def run(session: onnxruntime.InferenceSession, **inputs: Any) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {k: np.asarray(v) for k, v in inputs.items()})
    return dict(zip(names, values, strict=True))


def maps_of(model: Transformer, source: list[int], target: list[int]) -> AttentionMaps:
    with torch.inference_mode():
        return attention_maps(model, torch.tensor([source]), torch.tensor([target]))


def close(found: np.ndarray, expected: Tensor | tuple[Tensor, ...], most: float = 1e-5) -> None:
    if isinstance(expected, tuple):
        expected = torch.stack(expected)
    np.testing.assert_allclose(found, expected.numpy(), atol=most, rtol=0)


def write_small(folder: Path, **changes: Any) -> tuple[Transformer, Exported]:
    """A small untrained model, and its graphs."""
    torch.manual_seed(3)
    model = Transformer(replace(SMALL, **changes)).eval()
    for p in model.parameters():  # biases and norms too, which are drawn as 0 and 1
        p.data += 0.1 * torch.randn_like(p)
    stored = pack(dict(model.named_parameters()), "float32")
    write_graphs(model, stored_weights(model, stored), folder)
    return model, Exported(folder)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("model")
    return folder, export(DEFAULT_MODEL, folder)


def test_the_shipped_model_writes_the_same_tokens(
    shipped: tuple[Path, dict[str, Any]], sentences: list[str]
) -> None:
    model, tokenizer = load_pretrained(DEFAULT_MODEL)
    exported = Exported(shipped[0])
    sources = [[*tokenizer.encode(text), tokenizer.eos_id] for text in sentences]
    expected = [h.tokens for h in translate_ids(model, sources, beam_size=1)]
    found = [
        exported.greedy(ids, model.config, int(longest_output(model, torch.tensor([ids]))))
        for ids in sources
    ]
    assert found == expected
    assert len({tuple(tokens) for tokens in found}) > 40, "the sentences are too much alike"


def test_the_shipped_model_looks_at_the_same_places(
    shipped: tuple[Path, dict[str, Any]], sentences: list[str]
) -> None:
    model, tokenizer = load_pretrained(DEFAULT_MODEL)
    exported = Exported(shipped[0])
    sources = [[*tokenizer.encode(text), tokenizer.eos_id] for text in sentences[:20]]
    written = translate_ids(model, sources, beam_size=1)
    for source, output in zip(sources, written, strict=True):
        target = [tokenizer.bos_id, *output.tokens]
        expected = maps_of(model, source, target)
        memory = exported.read(source)
        found = exported.write(target, memory)
        # two runtimes round differently, and the more the wider the model is
        close(memory["attention"], expected.encoder, 1e-4)
        close(found["self_attention"], expected.decoder, 1e-4)
        close(found["cross_attention"], expected.cross, 1e-4)
        for weights in (memory["attention"], found["self_attention"], found["cross_attention"]):
            np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "post"}, {"positions": "learned"}, {"tie_embeddings": False}],
    ids=lambda changes: "".join(f"{k}={v}" for k, v in changes.items()) or "tied, pre-norm",
)
def test_every_kind_of_model_can_be_exported(tmp_path: Path, changes: dict[str, Any]) -> None:
    model, exported = write_small(tmp_path, **changes)
    source, target = [5, 9, 33, 7, 2], [1, 8, 30, 12, 11]
    with torch.inference_mode():
        logits = model(torch.tensor([source]), torch.tensor([target]))
    memory = exported.read(source)
    found = exported.write(target, memory)
    np.testing.assert_allclose(found["logits"], logits.numpy(), atol=1e-4)
    close(found["cross_attention"], maps_of(model, source, target).cross)
    step = None  # token by token, the cache gives what the full pass gives
    for t, token in enumerate(target):
        step = exported.write([token], memory, step)
        np.testing.assert_allclose(step["logits"][0, 0], found["logits"][0, t], atol=1e-4)
    assert step is not None
    np.testing.assert_allclose(step["self_attention"][..., -1, :],
                               found["self_attention"][..., -1, :], atol=1e-5)  # fmt: skip


def test_a_beam_goes_on_from_the_rows_it_names(tmp_path: Path) -> None:
    _, exported = write_small(tmp_path)
    memory = exported.read([5, 9, 2])
    one, other = exported.write([1], memory), exported.write([6], memory)
    both = {n: np.concatenate([one[n], other[n]], axis=1) for n in ("new_keys", "new_values")}
    on = np.ones((2, 3), np.float32)
    step = run(
        exported.decoder, tokens=np.array([[7], [8], [9]], np.int32),
        rows=np.array([1, 0, 1], np.int32), self_keys=both["new_keys"],
        self_values=both["new_values"], cross_keys=memory["cross_keys"],
        cross_values=memory["cross_values"], positions=np.float32(1), causal=np.float32(1),
        self_heads=on, cross_heads=on,
    )  # fmt: skip
    for row, (token, before) in enumerate([(7, other), (8, one), (9, other)]):
        alone = exported.write([token], memory, before)
        np.testing.assert_allclose(step["logits"][row], alone["logits"][0], atol=1e-5)


def test_a_head_that_is_switched_off_gives_nothing(tmp_path: Path) -> None:
    """As if the columns that read this head in the output's projection were 0."""
    model, exported = write_small(tmp_path)
    source, target = [5, 9, 33, 2], [1, 8, 30]
    on = np.ones((2, 3), np.float32)
    off = on.copy()
    off[1, 2] = 0
    parts: dict[str, Any] = {
        "heads": model.encoder.layers[1].self_attention,
        "self_heads": model.decoder.layers[1].self_attention,
        "cross_heads": model.decoder.layers[1].cross_attention,
    }
    for switch, part in parts.items():
        weight: Any = part.w_output.weight
        kept = weight.detach().clone()
        weight.data[:, 8:12] = 0
        with torch.inference_mode():
            expected = model(torch.tensor([source]), torch.tensor([target])).numpy()
        weight.data.copy_(kept)
        found = exported.write(target, exported.read(source, **{switch: off}), **{switch: off})
        np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
        intact = exported.write(target, exported.read(source))["logits"]
        assert np.abs(found["logits"] - intact).max() > 1e-2, f"{switch} does nothing"


def test_positions_can_be_switched_off(tmp_path: Path) -> None:
    """Without them the encoder cannot tell two orders of the same words apart."""
    _, exported = write_small(tmp_path)
    forward, backward = (exported.read(ids, positions=0) for ids in ([5, 9, 7], [7, 9, 5]))
    np.testing.assert_allclose(
        forward["cross_keys"], backward["cross_keys"][..., ::-1, :], atol=1e-5
    )
    with_them = exported.read([5, 9, 7])["cross_keys"]
    assert np.abs(with_them - forward["cross_keys"]).max() > 1e-2
    memory = exported.read([5, 9, 7])
    on, off = (exported.write([1, 8, 8], memory, positions=p)["logits"] for p in (1, 0))
    assert np.abs(on - off).max() > 1e-2


def test_the_causal_mask_can_be_switched_off(tmp_path: Path) -> None:
    model, exported = write_small(tmp_path)
    memory = exported.read([5, 9, 2])
    with_it = exported.write([1, 8, 30], memory)["self_attention"]
    without = exported.write([1, 8, 30], memory, causal=0)["self_attention"]
    above = np.triu_indices(3, 1)
    assert np.all(with_it[..., above[0], above[1]] == 0)
    assert np.all(without[..., above[0], above[1]] > 0)
    with torch.inference_mode():  # the first layer, by hand
        x = model.target_positions(model.target_embedding(torch.tensor([[1, 8, 30]])))
        state: DecoderState = model.start(torch.tensor([[5, 9, 2]]))
        layer: Any = model.decoder.layers[0]
        h = layer.residual_1.before(x)
        _, expected = layer.self_attention(h, h, h, need_weights=True)
    assert state.length == 0
    close(without[0], expected)


def test_whole_numbers_and_scales_give_the_model_that_python_loads(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = Transformer(SMALL).eval()
    stored = pack(dict(model.named_parameters()), "int8")
    model.load_state_dict(unpack(stored), strict=False)
    write_graphs(model, stored_weights(model, stored), tmp_path)
    exported = Exported(tmp_path)
    source, target = [5, 9, 33, 7, 2], [1, 8, 30, 12, 11]
    with torch.inference_mode():
        logits = model(torch.tensor([source]), torch.tensor([target]))
    found = exported.write(target, exported.read(source))["logits"]
    np.testing.assert_allclose(found, logits.numpy(), atol=1e-4)
    sizes = [max(a.nbytes, 64) for a in stored_weights(model, stored).arrays.values()]
    assert (tmp_path / "weights.bin").stat().st_size < sum(sizes) + 200 * len(sizes)
    stored["source_embedding.weight"][0, 0] ^= 1
    with pytest.raises(PressError, match=r"source_embedding\.weight as stored is not"):
        stored_weights(model, stored)


def test_the_list_describes_the_files(shipped: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = shipped
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert manifest["model"] == DEFAULT_MODEL
    assert manifest["config"] == json.loads(
        (PRETRAINED / DEFAULT_MODEL / "config.json").read_text()
    )
    for name, file in manifest["files"].items():
        assert (folder / name).stat().st_size == file["bytes"] >= file["transferred"] > 0
        assert len(file["sha256"]) == 64
    stored = (PRETRAINED / DEFAULT_MODEL / "model.safetensors").stat().st_size
    weights = manifest["files"]["weights.bin"]["bytes"]
    assert weights < stored + 300_000, "matrices are stored as they ship"
    assert manifest["files"]["decoder.onnx"]["bytes"] < 200_000, "the weights stand beside it"
    for name in ("encoder", "decoder"):
        onnx.checker.check_model(folder / f"{name}.onnx", full_check=True)


def test_what_the_list_says_is_what_is_transferred(shipped: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = shipped
    (folder / "index.html").write_text("x")
    with server(folder) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        for name, file in manifest["files"].items():
            request = urllib.request.Request(f"http://127.0.0.1:{running.server_port}/{name}")
            request.add_header("Accept-Encoding", "gzip")
            with urllib.request.urlopen(request) as answer:
                assert int(answer.headers["Content-Length"]) == file["transferred"], name
                assert len(answer.read()) == file["transferred"], name
                assert answer.headers["Cache-Control"] == "no-cache"
            request.add_header("If-Modified-Since", answer.headers["Last-Modified"])
            with pytest.raises(urllib.error.HTTPError, match="304"):
                urllib.request.urlopen(request)
        running.shutdown()
    smaller = {name for name, f in manifest["files"].items() if f["transferred"] < f["bytes"]}
    assert smaller == {"tokenizer.json"}, "weights and graphs travel as they are"


def test_an_export_is_the_same_bytes_each_time(
    shipped: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert export(DEFAULT_MODEL, tmp_path)["files"] == shipped[1]["files"]


def test_files_of_the_runtime_travel_along(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime.wasm"
    runtime.write_bytes(b"0" * 5_000_000)
    manifest = export(DEFAULT_MODEL, tmp_path / "out", [runtime])
    assert (tmp_path / "out" / "runtime.wasm").read_bytes() == runtime.read_bytes()
    assert manifest["files"]["runtime.wasm"]["bytes"] == 5_000_000
    note = size_note({"weights.bin": {"bytes": 9_000_000, "transferred": 2_000_000},
                      "a.wasm": {"bytes": 4_000_000, "transferred": 1_000_000}})  # fmt: skip
    assert "<strong>3.0 MB</strong>" in note and "(13 MB" in note and "2.0 MB are the model" in note


def test_what_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PressError, match=r"model is 'nothing', expected"):
        export("nothing", tmp_path)
    with pytest.raises(PressError, match=r"gone\.wasm is not there"):
        export(DEFAULT_MODEL, tmp_path, [tmp_path / "gone.wasm"])


def test_the_command_writes_the_model_that_ships(
    root: Path, shipped: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: Any
) -> None:
    assert main(["--root", str(root), "export", str(tmp_path / "model")]) == 0
    written = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert written == shipped[1]
    assert f"export: {DEFAULT_MODEL}, 4 files" in capsys.readouterr().out
    command = ["--root", str(root), "export", str(tmp_path / "other"), "--model", "nothing"]
    assert main(command) == 1
    assert "model is 'nothing', expected" in capsys.readouterr().err
