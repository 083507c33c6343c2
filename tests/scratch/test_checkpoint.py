"""A model on disk: it comes back as it was, or is refused in one sentence; nothing is unpickled."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reference import refuses
from scratch.plumbing import checkpoint
from scratch.plumbing.checkpoint import load_pretrained, save_pretrained
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
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        save_pretrained(tmp_path / str(dtype), m, tokenizer(), dtype=dtype)
    again, _ = load_pretrained(tmp_path / "torch.float16")
    for a, b in zip(m.parameters(), again.parameters(), strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(a.half().float(), b)
    assert (logits(again) - logits(m)).abs().max() < 0.05
    sizes = [
        (tmp_path / str(d) / "model.safetensors").stat().st_size
        for d in (torch.float32, torch.float16, torch.bfloat16)
    ]
    header = 8_000
    assert sizes[1] == sizes[2] or abs(sizes[1] - sizes[2]) < header
    assert sizes[1] < 0.5 * sizes[0] + header
    refuses(lambda: save_pretrained(tmp_path, m, tokenizer(), dtype=torch.int8), "torch.int8")


def test_a_shared_matrix_is_stored_once(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    assert sum(w.numel() for w in stored.values()) == sum(
        p.numel() for p in book_model().parameters()
    )


def test_saving_again_replaces(folder: Path) -> None:
    other = book_model(seed=5, d_ff=40)
    save_pretrained(folder, other, tokenizer())
    assert torch.equal(logits(load_pretrained(folder)[0]), logits(other))


def test_saving_that_fails_leaves_the_old_model_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "model.safetensors").read_bytes()

    def full(*_: object) -> None:
        (folder / "model.safetensors.part").write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_pretrained(folder, book_model(seed=5), tokenizer())
    assert (folder / "model.safetensors").read_bytes() == before
    assert logits(load_pretrained(folder)[0]).shape == (1, 2, len(tokenizer()))


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
    refuses(lambda: load_pretrained(folder), "model.safetensors", str(10**15))
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
