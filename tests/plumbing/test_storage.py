"""A model on disk: it comes back as it was, or is refused in one sentence; nothing is unpickled."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reference import refuses
from scratch.plumbing.models import storage as checkpoint
from scratch.plumbing.models.quantize import dequantize_rows, quantize_rows
from scratch.plumbing.models.storage import load_pretrained, save_pretrained
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


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_leaves_the_old_model_whole(folder: Path, name: str) -> None:
    """The unfinished file is one that the system refuses to write: nothing here is pretended."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    before = (folder / name).read_bytes()
    (folder / f"{name}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        save_pretrained(folder, book_model(seed=5), tokenizer())
    assert name in str(caught.value)
    assert (folder / name).read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    assert logits(load_pretrained(folder)[0]).shape == (1, 2, len(tokenizer()))


def test_the_files_are_what_the_libraries_write_and_others_can_read_them(
    folder: Path, tmp_path: Path
) -> None:
    tokenizer().save(tmp_path / "tokenizer.json")
    assert (folder / "tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    save_file(dict(book_model().named_parameters()), tmp_path / "a.safetensors")
    weights = (folder / "model.safetensors").read_bytes()
    assert weights == (tmp_path / "a.safetensors").read_bytes()
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
