"""A model on disk: it comes back as it was, or is refused in one sentence; nothing is unpickled.

Weights in fewer bytes: no weight is off by more than promised, and damage is refused.
"""

import hashlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from disk import FULL, full_disk
from reference import quick, refuses
from scratch.attention import MultiHeadAttention
from scratch.feedforward import FeedForward
from scratch.plumbing.models import storage as checkpoint
from scratch.plumbing.models.storage import (
    STORED_AS,
    configuration,
    dequantize_rows,
    encode_tensors,
    load_pretrained,
    pack,
    quantize_rows,
    read_tensors,
    save_pretrained,
    set_dropout,
    storage_loss,
    unpack,
)
from scratch.residual import Residual
from scratch.tokens import train_tokenizer
from scratch.transformer import Transformer
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = ("config.json", "tokenizer.json", "model.safetensors")


def book_model(**changes: object) -> Transformer:
    return model(vocab_size=len(tokenizer()), **changes)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds a saved model."""
    save_pretrained(tmp_path / "saved", book_model(), tokenizer())
    return tmp_path / "saved"


def logits(m: Transformer) -> torch.Tensor:
    with torch.inference_mode():
        return m(torch.tensor([[5, 6, 2]]), torch.tensor([[1, 7]]))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_model_comes_back_bit_for_bit(
    tie: bool, positions: str, norm: str, tmp_path: Path
) -> None:
    m = book_model(tie_embeddings=tie, positions=positions, norm=norm)
    save_pretrained(tmp_path, m, tokenizer())
    again, words = load_pretrained(tmp_path)
    assert again.config == m.config
    for (name, a), (other, b) in zip(m.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(a, b)
    assert torch.equal(logits(again), logits(m))
    assert words.encode("Il n'a pas.") == tokenizer().encode("Il n'a pas.")
    assert not again.training
    assert (again.output is again.source_embedding) is tie
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)  # and no unfinished one


def test_half_precision_takes_half_the_room_and_loads_as_float32(tmp_path: Path) -> None:
    m = book_model()
    for kind in ("float32", "float16", "bfloat16"):
        save_pretrained(tmp_path / kind, m, tokenizer(), stored_as=kind)
    again, _ = load_pretrained(tmp_path / "float16")
    for a, b in zip(m.parameters(), again.parameters(), strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(a.half().float(), b)
    assert (logits(again) - logits(m)).abs().max() < 0.05
    sizes = [
        (tmp_path / kind / "model.safetensors").stat().st_size
        for kind in ("float32", "float16", "bfloat16")
    ]
    header = 8_000
    assert sizes[1] == sizes[2] or abs(sizes[1] - sizes[2]) < header
    assert sizes[1] < 0.5 * sizes[0] + header


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_int8_takes_a_quarter_of_the_room_and_loads_as_float32(
    tie: bool, positions: str, tmp_path: Path
) -> None:
    m = book_model(tie_embeddings=tie, positions=positions, d_model=64, d_ff=128)
    save_pretrained(tmp_path / "whole", m, tokenizer())
    save_pretrained(tmp_path / "int8", m, tokenizer(), stored_as="int8")
    again, _ = load_pretrained(tmp_path / "int8")
    for (name, a), b in zip(m.named_parameters(), again.parameters(), strict=True):
        assert b.dtype == torch.float32
        if a.ndim == 1:
            assert torch.equal(a, b), name
        else:
            assert torch.equal(dequantize_rows(*quantize_rows(a.detach())), b), name
            assert not torch.equal(a, b), name
    assert 0 < (logits(again) - logits(m)).abs().max() < 0.5
    files = [(tmp_path / kind / "model.safetensors") for kind in ("int8", "whole")]
    assert files[0].stat().st_size < 0.34 * files[1].stat().st_size
    # what was read can be stored again without a further loss
    save_pretrained(tmp_path / "again", again, tokenizer(), stored_as="int8")
    assert torch.equal(logits(load_pretrained(tmp_path / "again")[0]), logits(again))


def test_a_damaged_int8_file_is_named(tmp_path: Path) -> None:
    save_pretrained(tmp_path, book_model(), tokenizer(), stored_as="int8")
    path = tmp_path / "model.safetensors"
    stored = load_file(path)
    name = "encoder.layers.0.feed_forward.expand.weight"
    scale, matrix = stored[name + ".scale"], stored[name]
    for changes in (
        {name + ".scale": None},
        {name + ".scale": scale[:-1]},
        {name + ".scale": scale * float("nan")},
        {name + ".scale": scale * float("inf")},
        {name: matrix[:-1]},
        {name: matrix[:, :-1].contiguous()},
        {name: matrix[:-1], name + ".scale": scale[:-1]},
        {name: None},
        {name: matrix.int()},
        {"stray.scale": scale.clone()},
        {"source_embedding.weight": None, "source_embedding.weight.scale": None},
    ):
        parts = {**stored, **changes}
        save_file({key: t for key, t in parts.items() if t is not None}, path)
        with pytest.raises(ValueError, match=r"model\.safetensors") as caught:
            load_pretrained(tmp_path)
        message = str(caught.value)
        assert min(changes).removesuffix(".scale") in message
        assert "expected" in message
        assert "\n" not in message
    save_file(stored, path)
    assert logits(load_pretrained(tmp_path)[0]).isfinite().all()


def test_the_first_shipped_model_is_read_as_it_always_was() -> None:
    """float16 numbers become the same float32 numbers, every one of them."""
    folder = checkpoint.PRETRAINED / "grammar-en-fr"
    content = (folder / "model.safetensors").read_bytes()
    digest = "cc878609b34769b18ebe8d6c0e297c0698d54a4ff4ba017ce2d35a3c6fa00260"
    assert hashlib.sha256(content).hexdigest() == digest
    stored = load_file(folder / "model.safetensors")
    m, _ = load_pretrained("grammar-en-fr")
    assert set(stored) == {name for name, _ in m.named_parameters()}
    for name, p in m.named_parameters():
        assert stored[name].dtype == torch.float16
        assert torch.equal(p, stored[name].float())


def test_storing_as_something_else_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    refuses(
        lambda: save_pretrained(tmp_path / "a", book_model(), tokenizer(), stored_as="int4"),
        "stored_as is 'int4'",
        "'int8'",
    )
    broken = book_model()
    with torch.no_grad():
        broken.source_embedding.weight[3, 2] = float("nan")
    refuses(lambda: save_pretrained(tmp_path / "a", broken, tokenizer()), "source_embedding.weight")
    assert not (tmp_path / "a").exists()


def test_a_shared_matrix_is_stored_once(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    assert sum(w.numel() for w in stored.values()) == sum(
        p.numel() for p in book_model().parameters()
    )


def test_saving_again_replaces(folder: Path) -> None:
    other = book_model(seed=5, d_ff=40)
    save_pretrained(folder, other, tokenizer())
    assert torch.equal(logits(load_pretrained(folder)[0]), logits(other))


def test_a_full_disk_leaves_the_old_model_whole(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in FILES}
    for room in (0, 2_000):  # for nothing, and for the configuration alone
        with full_disk(room), pytest.raises(OSError, match=FULL) as caught:
            save_pretrained(folder, book_model(), tokenizer())
        assert any(name in str(caught.value) for name in FILES)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert logits(load_pretrained(folder)[0]).shape == (1, 2, len(tokenizer()))


def test_the_files_are_what_the_libraries_write_and_others_can_read_them(
    folder: Path, tmp_path: Path
) -> None:
    tokenizer().save(tmp_path / "tokenizer.json")
    assert (folder / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    save_file(dict(book_model().named_parameters()), tmp_path / "a.safetensors")
    ours, theirs = (load_file(f) for f in (folder / FILES[2], tmp_path / "a.safetensors"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    shutil.copyfile(tmp_path / "a.safetensors", folder / FILES[2])  # which knows no digest
    assert torch.equal(logits(load_pretrained(folder)[0]), logits(book_model()))
    modes = {path.stat().st_mode for path in (*folder.iterdir(), tmp_path / "tokenizer.json")}
    assert len(modes) == 1  # that of any other file


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refuses(lambda: load_pretrained(folder), str(folder), name)
    (folder / name).mkdir()
    refuses(lambda: load_pretrained(folder), str(folder), name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_named(folder: Path, name: str, share: float) -> None:
    content = (folder / name).read_bytes().strip()
    (folder / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError) as caught:
        load_pretrained(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * 100,
        b"\xff" * 100,
        b"null",
        b"[]",
        b"{}",
        b'{"vocab_size": "many"}',
        b'{"size": 3}',
        b'{"vocab_size": 10, "d_model": 7}',
        b"[" * 100_000,
        pickle.dumps({"weight": [1.0]}),
    ],
    ids=range(10),
)
def test_a_foreign_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_pretrained(folder)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


class Mischief:
    """What runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_unpickled(folder: Path, name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mischief"
    torch.save({"weight": Mischief(mark)}, folder / name)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        load_pretrained(folder)
    (folder / name).write_bytes(pickle.dumps(Mischief(mark)))
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        load_pretrained(folder)
    assert not mark.exists()


def test_parts_of_different_models_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "d_ff": 48}))
    refuses(lambda: load_pretrained(folder), "model.safetensors", "24", "48")
    path.write_text(json.dumps({**config, "n_decoder_layers": 1}))
    refuses(lambda: load_pretrained(folder), "model.safetensors", "decoder.layers.1")
    path.write_text(json.dumps({**config, "n_decoder_layers": 3}))
    refuses(lambda: load_pretrained(folder), "model.safetensors", "decoder.layers.2")
    path.write_text(json.dumps({**config, "vocab_size": 10**15}))  # more than any memory
    refuses(lambda: load_pretrained(folder), "config.json", str(10**15))
    path.write_text(json.dumps(config))
    train_tokenizer([english for english, _ in PAIRS], 280).save(folder / "tokenizer.json")
    refuses(lambda: load_pretrained(folder), "tokenizer.json", "280", str(len(tokenizer())))
    save_file({"weight": torch.zeros(3)}, folder / "model.safetensors")
    refuses(lambda: load_pretrained(folder), "model.safetensors", "shape")


def test_an_unknown_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    refuses(lambda: load_pretrained("nonsense"), "model is 'nonsense'", "config.json")
    save_pretrained(tmp_path / "shipped" / "one", book_model(), tokenizer())
    for name in ("nonsense", "", ".", "../one", "\x00"):
        refuses(lambda n=name: load_pretrained(n), repr(name), "one of: one")  # type: ignore[misc]


def test_a_shipped_model_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path / "shipped")
    save_pretrained(tmp_path / "shipped" / "one", book_model(), tokenizer())
    assert torch.equal(logits(load_pretrained("one")[0]), logits(book_model()))


# -- what is not as it was written


def test_a_file_of_tensors_is_known_again(tmp_path: Path) -> None:
    """Not one bit of it can change without a word."""
    path, draw = tmp_path / "a.safetensors", random.Random(0)
    tensors = {
        "b": torch.arange(6.0).view(2, 3), "a": torch.tensor([1, 2], dtype=torch.int8),
        "step": torch.tensor(3.0), "c": torch.ones(3, dtype=torch.bfloat16), "d": torch.ones(0, 2),
    }  # fmt: skip
    content = encode_tensors(tensors, {"step": "3", "seed": "1"})
    path.write_bytes(content)
    found, kept = read_tensors(path)
    assert kept == {"step": "3", "seed": "1"}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    numbers = range(8 + int.from_bytes(content[:8], "little"), len(content))
    assert len(numbers) == 24 + 2 + 4 + 6
    places = [(at, 1 << draw.randrange(8)) for at in numbers]
    places += [(content.index(b'"step":"3"') + 8, 1), (content.index(b'"seed":"1"') + 8, 2)]
    places += [(content.index(b'"shape":[2,3]') + 9, 1), (content.index(b'"shape":[2,3]') + 11, 1)]
    for at, bit in places:
        path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
        refuses(lambda: read_tensors(path), str(path))
    path.write_bytes(content.replace(b'"a":{', b'"e":{'))
    refuses(lambda: read_tensors(path), str(path), "damaged")


@pytest.mark.parametrize("stored_as", STORED_AS)
def test_a_weight_that_was_changed_on_the_disk_is_noticed(tmp_path: Path, stored_as: str) -> None:
    save_pretrained(tmp_path, book_model(), tokenizer(), stored_as=stored_as)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)
    refuses(lambda: load_pretrained(tmp_path), "model.safetensors is damaged", "SHA-256")


@pytest.mark.parametrize("name", ["en-fr", "grammar-en-fr"])
def test_a_shipped_weight_that_was_changed_is_noticed(tmp_path: Path, name: str) -> None:
    """Weights older than the digest inside have one in the file beside them."""
    folder = tmp_path / name
    shutil.copytree(checkpoint.PRETRAINED / name, folder)
    load_pretrained(folder)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)
    refuses(lambda: load_pretrained(folder), "model.safetensors is damaged", "shipped.json")
    (folder / "shipped.json").write_text("5")
    refuses(lambda: load_pretrained(folder), "shipped.json", "object")


@pytest.mark.parametrize("name", ["pad_id", "bos_id", "eos_id"])
def test_special_tokens_are_those_of_the_vocabulary(folder: Path, name: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: 5}))
    refuses(lambda: load_pretrained(folder), "config.json", f"{name} 5", "expected")


# -- dropout


def test_a_configuration_says_where_its_model_drops_values(folder: Path) -> None:
    m = book_model()
    assert configuration(m) == m.config.to_dict()
    places = {"residual": 0.1, "attention": 0.0, "hidden": 0.25}
    set_dropout(m, places)
    assert configuration(m) == m.config.to_dict() | {"dropout": places}
    save_pretrained(folder, m, tokenizer())
    assert json.loads((folder / "config.json").read_text())["dropout"] == places
    again, _ = load_pretrained(folder)
    assert again.config == m.config
    assert configuration(again) == configuration(m)
    for module in again.modules():
        if isinstance(module, MultiHeadAttention):
            assert module.dropout == 0.0
        elif isinstance(module, FeedForward):
            assert module.dropout.p == 0.25
        elif isinstance(module, Residual):
            assert module.dropout.p == 0.1
    assert torch.equal(logits(again), logits(m))


@pytest.mark.parametrize(
    "dropout",
    ["0.1", None, [0.1], 1.5, {}, {"residual": 0.1}, {"residual": 0.1, "attention": 0, "else": 0},
     {"residual": 0.1, "attention": 0.0, "hidden": 2.0},
     {"residual": 0.1, "attention": 0.0, "hidden": 0.0, "more": 0.0}],
    ids=range(9),
)  # fmt: skip
def test_a_dropout_that_is_none_is_refused(folder: Path, dropout: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dropout": dropout}))
    refuses(lambda: load_pretrained(folder), "config.json")


# -- weights in fewer bytes


def test_quantised_by_hand() -> None:
    matrix = torch.tensor([[1.27, -0.634, 0.0], [0.0, 0.0, 0.0], [-254.0, 1.0, 3.0]])
    whole, scale = quantize_rows(matrix)
    assert whole.dtype == torch.int8
    assert whole.tolist() == [[127, -63, 0], [0, 0, 0], [-127, 0, 2]]  # halves go to even numbers
    torch.testing.assert_close(scale, torch.tensor([0.01, 1.0, 2.0]))
    expected = torch.tensor([[1.27, -0.63, 0.0], [0.0, 0.0, 0.0], [-254.0, 0.0, 4.0]])
    torch.testing.assert_close(dequantize_rows(whole, scale), expected)


@given(seed=st.integers(0, 2**31), exponent=st.integers(-44, 37))
@quick
def test_no_weight_is_off_by_more_than_half_a_step(seed: int, exponent: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(5, 7, generator=generator) * 10.0**exponent
    matrix[1] = 0.0
    whole, scale = quantize_rows(matrix)
    again = dequantize_rows(whole, scale)
    # half a step, and the float32 roundings of a quotient and a product
    half_steps = (again.double() - matrix.double()).abs() / scale.double()[:, None]
    assert half_steps.max() <= 0.5 + 1e-4
    assert torch.isfinite(again).all()
    assert whole.min() >= -127
    assert (scale > 0).all()
    assert not again[1].any()


def test_numpy_computes_the_same_weights_to_the_bit() -> None:
    """What ONNX's DequantizeLinear says: (x - zero point) * scale, in float32."""
    whole, scale = quantize_rows(torch.randn(40, 30, generator=torch.Generator().manual_seed(1)))
    expected = (whole.numpy().astype(np.float32) - np.float32(0)) * scale.numpy()[:, None]
    assert expected.dtype == np.float32
    assert np.array_equal(dequantize_rows(whole, scale).numpy(), expected)


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "a.weight": torch.randn(6, 4, generator=generator),
        "a.bias": torch.randn(6, generator=generator),
        "norm.scale": torch.randn(4, generator=generator),
    }


def test_matrices_become_int8_and_vectors_stay() -> None:
    packed = pack(weights(), "int8")
    assert {name: (str(t.dtype), tuple(t.shape)) for name, t in packed.items()} == {
        "a.weight": ("torch.int8", (6, 4)),
        "a.weight.scale": ("torch.float32", (6,)),
        "a.bias": ("torch.float32", (6,)),
        "norm.scale": ("torch.float32", (4,)),  # a layer norm's, nothing's row scale
    }
    again = unpack(packed)
    assert list(again) == list(weights())
    assert torch.equal(again["norm.scale"], weights()["norm.scale"])
    assert torch.equal(again["a.weight"], dequantize_rows(*quantize_rows(weights()["a.weight"])))
    # what has been stored once is stored again without a further loss
    assert torch.equal(unpack(pack(again, "int8"))["a.weight"], again["a.weight"])


def test_what_storing_loses_is_measured() -> None:
    found = {kind: storage_loss(weights(), kind) for kind in STORED_AS}
    assert found["float32"].worst == found["float32"].overall == 0.0
    assert 0 < found["float16"].worst <= 2**-11
    assert 2**-11 < found["bfloat16"].worst <= 2**-8
    assert 1e-3 < found["int8"].worst <= 0.5 / 127 + 1e-6
    one = {"w": torch.tensor([[127.0, 0.25], [3.0, 4.0]])}
    assert storage_loss(one, "int8").worst == pytest.approx(0.25 / 127)
    four = torch.tensor(4.0 / 127)
    error = (0.25**2 + (95 * four - 3.0) ** 2) ** 0.5
    length = (127.0**2 + 0.25**2 + 25) ** 0.5
    assert storage_loss(one, "int8").overall == pytest.approx(float(error / length), rel=1e-4)


def change(name: str, made: Callable[[Tensor], Tensor | None]) -> dict[str, Tensor]:
    packed = pack(weights(), "int8")
    new = made(packed.pop(name))
    return packed if new is None else packed | {name: new}


@pytest.mark.parametrize(
    "made",
    [
        lambda s: None,
        lambda s: s[:-1],
        lambda s: s[:, None],
        lambda s: s * float("nan"),
        lambda s: s * float("inf"),
        lambda s: s.index_fill(0, torch.tensor([2]), 0.0),
        lambda s: -s,
        lambda s: s.to(torch.int32),
    ],
    ids=range(8),
)
def test_a_damaged_scale_is_refused(made: Callable[[Tensor], Tensor | None]) -> None:
    refuses(lambda: unpack(change("a.weight.scale", made)), "a.weight.scale")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.weight", lambda w: w[None]),
        ("a.weight", lambda w: w.to(torch.int32)),
        ("a.bias", lambda b: b * float("nan")),
        ("a.bias", lambda b: b.to(torch.int8)),
        ("a.bias", lambda b: b.double()),
    ],
    ids=range(5),
)
def test_a_damaged_weight_is_refused(name: str, made: Callable[[Tensor], Tensor]) -> None:
    refuses(lambda: unpack(change(name, made)), name)


def test_what_cannot_be_stored_is_refused() -> None:
    refuses(lambda: pack(weights(), "int4"), "stored_as is 'int4'")
    large = {"w": torch.full((2, 2), 1e5)}
    refuses(lambda: pack(large, "float16"), "w holds", "float16")
    assert pack(large, "bfloat16")["w"].isfinite().all()
    for kind in STORED_AS:
        for bad in (float("nan"), float("inf")):
            refuses(lambda k=kind, b=bad: pack({"w": torch.tensor([[b, 1.0]])}, k), "w")  # type: ignore[misc]
