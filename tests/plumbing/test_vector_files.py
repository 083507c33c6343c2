"""Vectors in files: what is written comes back, and what is damaged is named."""

import gzip
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference import quick, refuses
from scratch.plumbing.data.vector_files import read_vectors

pytestmark = pytest.mark.usefixtures("one_thread")


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
    (b"", ("holds 0 vectors",)),
    (b"\n\n", ("line 1 of", "''", "a new word and its finite numbers")),
    (b"cat\ndog\n", ("line 1 of", "'cat'", "a new word and its finite numbers")),
    (b"cat 1 2 3\ndog 1 2\n", ("line 2 of", "'dog 1 2'", "a new word and 3 finite numbers")),
    (b"cat 1 2 3\ndog 1 2 3 4\n", ("line 2 of", "'dog 1 2 3 4'")),  # torn
    (b"cat 1 2\na dog 3 4 5\n", ("line 2 of", "'a dog 3 4 5'")),
    (b"cat 1 2\na nan 3 4\n", ("line 2 of", "'a nan 3 4'")),
    (b"cat 1 2\n 3 4\n", ("line 2 of", "' 3 4'")),
    (b"cat 1 2\n3 4\n", ("line 2 of", "'3 4'")),
    (b"cat 1 2\ndog  3 4\n", ("line 2 of", "'dog  3 4'")),
    (b"cat 1 2\n\ndog 3 4\n", ("line 2 of", "''")),
    (b"cat 1 2\ndog 3 x\n", ("line 2 of", "'dog 3 x'")),
    (b"cat 1 2\ndog 3 nan\n", ("line 2 of", "'dog 3 nan'")),
    (b"cat 1 2\ndog -inf 3\n", ("line 2 of", "'dog -inf 3'")),
    (b"cat 1 2\ndog 1e39 3\n", ("line 2 of", "'dog 1e39 3'")),  # more than float32 holds
    (b"cat 1 2\ndog 3 4\ncat 1 2\n", ("line 3 of", "'cat 1 2'", "a new word")),
    (b"cat 1 2\n\xff 3 4\n", ("line 2 of", "not UTF-8")),
    (b"3 2\ncat 1 2\ndog 3 4\n", ("holds 2 vectors", "expected 3")),  # cut short
    (b"1 2\ncat 1 2\ndog 3 4\n", ("holds 2 vectors", "expected 1")),
    (b"2 2\ncat 1 2\ndog 3 x\n", ("line 3 of", "'dog 3 x'")),
    (b"0 2\n", ("holds 0 vectors",)),
    (b"2 0\ncat\ndog\n", ("line 2 of", "'cat'")),
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
