"""Token embeddings against NumPy and PyTorch's own table, and vectors read from files."""

import gzip
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import DTYPES, assert_same, quick, refuses
from scratch.embedding import TokenEmbedding, place_vectors, read_vectors

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.tensor([[3, 0, 4], [4, 4, 1]])


def test_vectors_are_rows_times_the_root_of_the_width() -> None:
    embedding = TokenEmbedding(5, 9)
    table = embedding.weight.detach().numpy()
    expected = np.array([[table[i] * math.sqrt(9) for i in row] for row in IDS.numpy()])
    np.testing.assert_allclose(embedding(IDS).detach().numpy(), expected, rtol=1e-6)


def test_int32_ids_are_read_too() -> None:
    embedding = TokenEmbedding(5, 4)
    assert torch.equal(embedding(IDS.int()), embedding(IDS))


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_and_gradient_equal_pytorch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours = TokenEmbedding(5, 8).to(dtype)
    theirs = nn.Embedding(5, 8, _weight=ours.weight.detach().clone())
    x, y = ours(IDS), theirs(IDS) * 8**0.5
    assert_same(x, y)
    # used on both ends, the one matrix collects the gradients of both uses
    ours_logits, their_logits = ours.logits(x), F.linear(y, theirs.weight)
    assert_same(ours_logits, their_logits, "logits")
    weights = torch.randn_like(ours_logits)
    (ours_logits * weights).sum().backward()
    (their_logits * weights).sum().backward()
    assert ours.weight.grad is not None
    assert theirs.weight.grad is not None
    assert_same(ours.weight.grad, theirs.weight.grad, "gradient of the table")


def test_logits_take_any_leading_shape() -> None:
    embedding = TokenEmbedding(5, 4)
    x = torch.randn(2, 3, 4)
    expected = np.einsum("btd,vd->btv", x.numpy(), embedding.weight.detach().numpy())
    np.testing.assert_allclose(embedding.logits(x).detach().numpy(), expected, atol=1e-5)
    assert embedding.logits(x[0, 0]).shape == (5,)


def test_rows_start_with_about_unit_length() -> None:
    torch.manual_seed(0)
    rows = TokenEmbedding(2_000, 64).weight.detach()
    # 128,000 draws of a normal distribution: the spread is within 1 % of 64^-0.5
    assert rows.std().item() == pytest.approx(64**-0.5, rel=0.01)
    assert rows.norm(dim=1).mean().item() == pytest.approx(1.0, rel=0.01)


EMBEDDING = TokenEmbedding(5, 4)
BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: TokenEmbedding(0, 4), ("vocab_size is 0", "at least 1")),
    (lambda: TokenEmbedding(5.0, 4), ("vocab_size is 5.0",)),  # type: ignore[arg-type]
    (lambda: TokenEmbedding(5, -4), ("d_model is -4",)),
    (lambda: TokenEmbedding(True, 4), ("vocab_size is True",)),
    (lambda: EMBEDDING(torch.tensor([[0, 5]])), ("ids holds the id 5", "from 0 to 4")),
    (lambda: EMBEDDING(torch.tensor([[-1, 2]])), ("ids holds the id -1",)),
    (lambda: EMBEDDING(torch.tensor([0, 1])), ("ids has shape (2,)", "(batch, length)")),
    (lambda: EMBEDDING(torch.tensor([[0.0]])), ("ids has dtype torch.float32", "torch.int64")),
    (lambda: EMBEDDING(torch.tensor([[True]])), ("ids has dtype torch.bool",)),
    (lambda: EMBEDDING(torch.zeros(1, 0, dtype=torch.int64)), ("ids has shape (1, 0)",)),
    (lambda: EMBEDDING(np.zeros((1, 2), int)), ("ids is a ndarray", "torch.Tensor")),
    (lambda: EMBEDDING([[0, 1]]), ("ids is a list",)),
    (lambda: EMBEDDING.logits(torch.zeros(2, 3)), ("x has shape (2, 3)", "4 wide")),
    (lambda: EMBEDDING.logits(torch.zeros(0, 4)), ("x has shape (0, 4)",)),
    (lambda: EMBEDDING.logits(torch.zeros(4).double()), ("x has dtype torch.float64", "float32")),
    (lambda: EMBEDDING.logits(torch.zeros(4).long()), ("x has dtype torch.int64",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)


def write_vectors(path: Path, words: list[str], vectors: Tensor, header: bool = False) -> Path:
    """Write the GloVe format as its authors do, or word2vec's, with a header and ends in spaces."""
    lines = [f"{len(words)} {vectors.shape[1]}"] if header else []
    end = " " if header else ""  # nine digits are enough for any float32
    for word, vector in zip(words, vectors.tolist(), strict=True):
        lines.append(" ".join([word, *(f"{x:.9g}" for x in vector)]) + end)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="")
    return path


def spelled(text: str) -> bool:
    """Whether ``text`` may be a word: no space at either end or twice, and no number at its end."""
    last = text.split(" ")[-1]
    alone = " " not in text
    try:
        float(last)
    except ValueError:
        return all(text.split(" "))
    return alone and text != ""


# neither half a surrogate pair nor a newline nor the mark that some editors put before a text
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\ufeff")
WORDS = st.lists(
    st.text(LETTERS, min_size=1, max_size=6).filter(spelled), min_size=1, max_size=5, unique=True
)


@quick
@given(WORDS, st.integers(2, 4), st.booleans(), st.data())
def test_a_file_of_vectors_comes_back(
    words: list[str], width: int, header: bool, data: st.DataObject
) -> None:
    number = st.floats(width=32, allow_nan=False, allow_infinity=False)
    rows = [data.draw(st.lists(number, min_size=width, max_size=width)) for _ in words]
    if not header:  # the first line says how wide a vector is, so its word is a single one
        words = [words[0].replace(" ", "_"), *words[1:]]
        words = list(dict.fromkeys(words))
    vectors = torch.tensor(rows[: len(words)], dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = write_vectors(Path(folder, "vectors.txt"), words, vectors, header)
        assert_read(path, words, vectors)


def assert_read(path: Path, words: list[str], vectors: Tensor) -> None:
    found, read = read_vectors(path)
    assert found == words
    assert read.dtype == torch.float32
    assert torch.equal(read, vectors)


def test_words_with_spaces_windows_lines_and_gzip_are_read(tmp_path: Path) -> None:
    text = ", 1 2\r\n. . . 3 4.5\r\nat name@domain.com -1e-3 0\r\nété\u00a0\u2028\x85 .5 6\r\n"
    words = [",", ". . .", "at name@domain.com", "été\u00a0\u2028\x85"]
    vectors = torch.tensor([[1, 2], [3, 4.5], [-1e-3, 0], [0.5, 6]])
    plain, packed = tmp_path / "v.txt", tmp_path / "v.txt.gz"
    plain.write_bytes(text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    assert_read(plain, words, vectors)
    assert_read(packed, words, vectors)


BAD_FILES = [
    (b"", ("is empty",)),
    (b"\n\n", ("is empty",)),
    (b"cat\ndog\n", ("the width in line 1 of", "is 0")),
    (b"cat 1 2 3\ndog 1 2\n", ("line 2 of", "'dog 1 2'", "a word and 3 numbers")),  # torn
    (b"cat 1 2 3\ndog 1 2 3 4\n", ("line 2 of", "more than 3 numbers")),
    (b"cat 1 2\na dog 3 4 5\n", ("line 2 of", "more than 2 numbers")),
    (b"cat 1 2\n 3 4\n", ("line 2 of", "' 3 4'")),
    (b"cat 1 2\n3 4\n", ("line 2 of", "'3 4'")),
    (b"cat 1 2\ndog  3 4\n", ("line 2 of", "'dog  3 4'")),
    (b"cat 1 2\n\ndog 3 4\n", ("line 2 of", "''")),
    (b"cat 1 2\ndog 3 x\n", ("line 2 of", "'dog 3 x'")),
    (b"cat 1 2\ndog 3 nan\n", ("line 2 of", "nan or infinity", "finite")),
    (b"cat 1 2\ndog -inf 3\n", ("line 2 of", "nan or infinity", "finite")),
    (b"cat 1 2\ndog 1e39 3\n", ("line 2 of", "nan or infinity", "float32")),
    (b"cat 1 2\ndog 3 4\ncat 1 2\n", ("line 3 of", "repeats 'cat'")),
    (b"cat 1 2\n\xff 3 4\n", ("line 2 of", "not UTF-8")),
    (b"3 2\ncat 1 2\ndog 3 4\n", ("holds 2 vectors", "expected 3")),  # cut short
    (b"1 2\ncat 1 2\ndog 3 4\n", ("holds 2 vectors", "expected 1")),
    (b"0 2\n", ("holds 0 vectors",)),
    (b"2 0\ncat\ndog\n", ("the width in line 1 of", "is 0")),
]


@pytest.mark.parametrize(("content", "parts"), BAD_FILES)
def test_a_bad_file_of_vectors_is_named(
    tmp_path: Path, content: bytes, parts: tuple[str, ...]
) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    refuses(lambda: read_vectors(path), str(path), *parts)


def test_a_missing_file_of_vectors_is_named(tmp_path: Path) -> None:
    refuses(lambda: read_vectors(tmp_path / "none.txt"), "none.txt", "a text file")


VOCABULARY = ["<pad>", "cat", "dog", "sees", "the"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_placed_vectors_come_out_of_the_layer_as_they_are(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    embedding = TokenEmbedding(5, 8).to(dtype)
    before = embedding.weight.detach().clone()
    words, vectors = ["the", "horse", "cat", "dog"], torch.randn(4, 8)
    assert place_vectors(embedding, VOCABULARY, words, vectors) == ["<pad>", "sees"]
    output = embedding(torch.tensor([[4, 1, 2]]))[0]
    assert_same(output, vectors[[0, 2, 3]].to(dtype))
    assert torch.equal(embedding.weight[[0, 3]], before[[0, 3]])
    assert embedding.weight.dtype == dtype
    assert embedding.weight.requires_grad and embedding.weight.is_leaf


def test_a_frozen_table_can_be_filled_too_and_words_may_have_no_vector() -> None:
    embedding = TokenEmbedding(5, 4).requires_grad_(False)
    before = embedding.weight.clone()
    assert place_vectors(embedding, VOCABULARY, ["horse"], torch.ones(1, 4)) == VOCABULARY
    assert torch.equal(embedding.weight, before)
    place_vectors(embedding, VOCABULARY, ["cat"], torch.ones(1, 4))
    assert not embedding.weight.requires_grad
    assert torch.equal(embedding(torch.tensor([[1]])), torch.ones(1, 1, 4))


VECTORS = torch.zeros(2, 4)
BAD_PLACES: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: place_vectors(EMBEDDING, ["a"], ["a", "b"], VECTORS), ("vocabulary holds 1", "5")),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, ["a"], VECTORS), ("words holds 1", "vectors, 2")),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, ["a", "a"], VECTORS), ("words holds 2",)),
    (
        lambda: place_vectors(EMBEDDING, VOCABULARY, ["a", "b"], torch.zeros(2, 3)),
        ("vectors has shape (2, 3)", "4 wide"),
    ),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, ["a"], VECTORS[0]), ("vectors has shape (4,)",)),
    (lambda: place_vectors(EMBEDDING, VOCABULARY, [], [[0.0]]), ("vectors is a list",)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "parts"), BAD_PLACES)
def test_vectors_that_do_not_fit_are_named(
    call: Callable[[], object], parts: tuple[str, ...]
) -> None:
    refuses(call, *parts)
