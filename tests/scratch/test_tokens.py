"""The tokenizer: every text comes back, ids are in range, what is no tokenizer is refused."""

import copy
import json
import pickle
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

from reference import refuses
from scratch.tokens import BOS, EOS, PAD, Tokenizer, byte_pair_backend, train_tokenizer
from small import PAIRS, tokenizer

many = settings(deadline=None, derandomize=True, max_examples=300, database=None)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LINES = [text for pair in PAIRS for text in pair]
AWKWARD = [
    "",
    "   ",
    "\n\t",
    "\u00a0a\u202fb\u00a0!",  # the non-breaking spaces of French
    "e\u0301te\u0301",  # accents by themselves
    " \u0300a",
    "l\u2019homme qu\u2019il a vu aujourd\u2019hui",
    "\U0001f6b2\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",  # right to left
    "\u4f60\u597d\u3000\u4e16\u754c",
    "\x00\x1c\x1f\x7f\ufeff\u200b",
    "<eos><pad> <bos>",
    "''''' ' ",
    "a" * 5_000,
    "1234567890 3,14",
]


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_texts_come_back(text: str) -> None:
    t = tokenizer()
    assert t.decode(t.encode(text)) == t.normalise(text)


def test_pieces_make_up_the_text() -> None:
    t = tokenizer()
    for text in LINES:
        assert "".join(t.pieces(t.encode(text))) == f" {text}"
    assert "\ufffd" in t.pieces(t.encode("\U0001f6b2"))  # a byte of a sign is no text by itself
    assert t.pieces([0, 1, 2]) == [PAD, BOS, EOS]


@many
@given(texts)
def test_every_text_comes_back(text: str) -> None:
    t = tokenizer()
    ids = t.encode(text)
    assert t.decode(ids) == t.normalise(text)
    assert all(3 <= i < len(t) for i in ids)  # never <pad>, <bos> or <eos>


@many
@given(texts)
def test_to_normalise_twice_changes_nothing_more(text: str) -> None:
    once = tokenizer().normalise(text)
    assert tokenizer().normalise(once) == once
    assert once == unicodedata.normalize("NFC", once)
    assert tokenizer().encode(once) == tokenizer().encode(text)


@many
@given(texts, texts)
def test_words_are_encoded_the_same_wherever_they_stand(left: str, right: str) -> None:
    t = tokenizer()
    assert t.encode(f"{left} b {right}") == t.encode(left) + t.encode("b") + t.encode(right)


def test_what_normalise_does() -> None:
    normalise = tokenizer().normalise
    assert normalise(" a \u00a0\n b ") == "a b"
    assert normalise("e\u0301") == "\u00e9"
    assert normalise("l\u2019\u02bc") == "l''"
    assert normalise("É! Ça") == "É! Ça"  # capitals and signs stay


def test_special_tokens_have_ids_0_1_2_and_typed_ones_are_text() -> None:
    t = tokenizer()
    assert [t.backend.token_to_id(name) for name in (PAD, BOS, EOS)] == [0, 1, 2]
    assert (t.pad_id, t.bos_id, t.eos_id) == (0, 1, 2)
    for name in (PAD, BOS, EOS):
        ids = t.encode(f"a {name} b")
        assert not {0, 1, 2} & set(ids)
        assert t.decode(ids) == f"a {name} b"
    assert t.decode([1, *t.encode("a"), 2, 0]) == "a"


def test_special_tokens_in_the_training_text_stay_text() -> None:
    t = train_tokenizer(["<eos> <pad> <bos>"] * 50, 400)
    assert not {0, 1, 2} & set(t.encode("<eos><eos> <pad>"))
    assert t.decode(t.encode("<eos>")) == "<eos>"


def words(text: str) -> list[str]:
    pre = tokenizer().backend.pre_tokenizer
    return [text[a:b].strip() for _, (a, b) in pre.pre_tokenize_str(text)]


def test_elided_words_and_signs_are_words_of_their_own() -> None:
    assert words(" l'homme qu'il n'a pas vu.") == ["l'", "homme", "qu'", "il", "n'", "a"] + [
        "pas",
        "vu",
        ".",
    ]
    assert words(" aujourd'hui, 42 ans!") == ["aujourd'", "hui", ",", "4", "2", "ans", "!"]


def test_no_merge_crosses_a_word() -> None:
    t = train_tokenizer(["l'homme, l'homme. l'homme!"] * 100, 400)
    assert [p.strip() for p in t.pieces(t.encode("l'homme!"))] == ["l'", "homme", "!"]


def test_a_frequent_word_is_one_token() -> None:
    t = tokenizer()
    assert t.pieces(t.encode("the"))[0] == " the"
    assert len(t.encode("The man rides")) < len(" The man rides")


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer().save(path)
    again = Tokenizer.load(path)
    assert len(again) == len(tokenizer())
    for text in AWKWARD + LINES:
        assert again.encode(text) == tokenizer().encode(text)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert again.encode("<eos>") and 2 not in again.encode("<eos>")


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_takes_typed_special_tokens_for_text_too(
    how: Callable[[Tokenizer], Tokenizer],
) -> None:
    again = how(tokenizer())
    text = "a <eos> b <pad> <bos>"
    assert again.encode(text) == tokenizer().encode(text)
    assert again.decode(again.encode(text)) == text
    assert (again.pad_id, again.bos_id, again.eos_id, len(again)) == (0, 1, 2, len(tokenizer()))


def test_a_fresh_process_trains_the_same_vocabulary(tmp_path: Path) -> None:
    code = (
        "import sys; from scratch.tokens import train_tokenizer\n"
        "train_tokenizer(sys.argv[2:], 320).save(sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t"), *LINES], check=True, timeout=60
    )
    tokenizer().save(tmp_path / "here")
    assert (tmp_path / "t").read_bytes() == (tmp_path / "here").read_bytes()


def test_the_vocabulary_is_never_larger_than_asked_for() -> None:
    assert len(train_tokenizer(LINES, 259)) == 259
    assert len(train_tokenizer(LINES, 300)) == 300
    assert len(train_tokenizer(["a"], 1_000)) <= 261
    for nothing in ([], ["", ""]):  # every text can be written in bytes
        t = train_tokenizer(nothing, 300)
        assert len(t) == 259
        assert t.decode(t.encode("déjà \U0001f6b2")) == "déjà \U0001f6b2"


@pytest.mark.parametrize("size", [0, -1, 258, 300.0, "300", True, None, 10**12, 10**30])
def test_a_bad_vocab_size_is_named(size: object) -> None:
    refuses(lambda: train_tokenizer(LINES, size), "vocab_size", repr(size), "259")  # type: ignore[arg-type]


def test_bad_lines_are_named() -> None:
    refuses(lambda: train_tokenizer("one text", 300), "lines is a str")
    refuses(lambda: train_tokenizer(None, 300), "lines is a NoneType")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        train_tokenizer(["a", 3], 300)  # type: ignore[list-item]
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        train_tokenizer(["\ud800"], 300)


def test_bad_texts_and_ids_are_named() -> None:
    t = tokenizer()
    refuses(lambda: t.encode("a\udfff"), "text", "surrogate")
    refuses(lambda: t.encode(b"a"), "text is a bytes")  # type: ignore[arg-type]
    refuses(lambda: t.encode(None), "text is a NoneType")  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        t.normalise("a\udfff")
    for back in (t.decode, t.pieces):
        refuses(lambda f=back: f([len(t)]), "ids", str(len(t)))  # type: ignore[misc]
        refuses(lambda f=back: f([-1]), "ids holds -1")  # type: ignore[misc]
        refuses(lambda f=back: f("12"), "ids is a str")  # type: ignore[misc]
        refuses(lambda f=back: f([1.0]), "ids holds 1.0")  # type: ignore[misc]
    assert t.decode([]) == ""
    assert t.pieces([]) == []


def test_a_foreign_backend_is_refused() -> None:
    refuses(lambda: Tokenizer(None), "backend is a NoneType")  # type: ignore[arg-type]
    refuses(lambda: Tokenizer(Backend(models.BPE())), "backend")
    refuses(lambda: Tokenizer(byte_pair_backend()), "<pad>", "None")


def test_files_that_hold_no_tokenizer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    refuses(lambda: Tokenizer.load(path), str(path), "tokenizer file")
    refuses(lambda: Tokenizer.load(tmp_path), str(tmp_path))
    tokenizer().save(path)
    good = path.read_text()
    for bad in ["", "{}", "[]", "null", good[: len(good) // 2], good[:-2], "\x00" * 20]:
        path.write_text(bad)
        refuses(lambda: Tokenizer.load(path), str(path))
    for part in ("normalizer", "pre_tokenizer", "decoder", "model", "added_tokens"):
        path.write_text(json.dumps({**json.loads(good), part: None}))
        refuses(lambda: Tokenizer.load(path), str(path))
    path.write_bytes(b"\xff\xfe\x00")
    refuses(lambda: Tokenizer.load(path), str(path))


def test_a_tokenizer_is_not_saved_into_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        tokenizer().save(tmp_path / "missing" / "tokenizer.json")
