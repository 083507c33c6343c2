"""Batches: every pair once, shifted, padded and within bounds; files that are whole or refused."""

import gzip
import hashlib
import os
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import quick, refuses
from scratch.datasets import (
    Batch,
    Example,
    batches,
    collate,
    encode_pairs,
    group_references,
    multi30k,
    pad_rows,
    read_tsv,
    tatoeba,
)
from scratch.plumbing.data import fetch
from scratch.splits import sentence_key
from scratch.tokens import train_tokenizer
from small import PAIRS, tokenizer

SPLITS = {"train": 29_000, "val": 1_014, "test_2016_flickr": 1_000}


def example(source_length: int, target_length: int, tag: int = 3) -> Example:
    return Example([tag] * (source_length - 1) + [2], [1] + [tag] * (target_length - 2) + [2])


def random_examples(count: int, seed: int = 0) -> list[Example]:
    draw = random.Random(seed)
    return [example(draw.randint(1, 20), draw.randint(2, 20), 3 + i) for i in range(count)]


def rows(batch: Batch) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The examples of a batch, without padding and with the target's shift undone."""
    result = []
    for source, target, labels in zip(batch.source, batch.target, batch.labels, strict=True):
        whole = [*target[:1].tolist(), *labels.tolist()]
        result.append(
            (tuple(i for i in source.tolist() if i != 0), tuple(i for i in whole if i != 0))
        )
    return result


def test_pad_rows_pads_on_the_right() -> None:
    padded = pad_rows([[5], [6, 7, 8]], 9)
    assert padded.tolist() == [[5, 9, 9], [6, 7, 8]]
    assert padded.dtype == torch.int64


def test_rows_that_hold_nothing_are_refused() -> None:
    refuses(lambda: pad_rows([], 0), "rows")
    refuses(lambda: pad_rows([[1], []], 0), "rows")


def test_collate_shifts_the_target_by_one() -> None:
    batch = collate([Example([5, 2], [1, 6, 7, 2]), Example([8, 9, 2], [1, 4, 2])], 0)
    assert batch.source.tolist() == [[5, 2, 0], [8, 9, 2]]
    assert batch.target.tolist() == [[1, 6, 7], [1, 4, 2]]
    assert batch.labels.tolist() == [[6, 7, 2], [4, 2, 0]]
    assert batch.labels.dtype == torch.int64


def test_a_batch_whose_parts_do_not_fit_is_refused() -> None:
    two, three = torch.ones(2, 3, dtype=torch.int64), torch.ones(3, 3, dtype=torch.int64)
    refuses(lambda: Batch(two, three, three), "target has a batch of 3", "2")
    refuses(lambda: Batch(two, two, two[:, :2]), "labels has shape (2, 2)", "(2, 3)")
    refuses(lambda: Batch(two.float(), two, two), "source has dtype")
    refuses(lambda: Batch(two, two[0], two[0]), "target has shape (3,)")
    refuses(lambda: Batch([[1]], two, two), "source is a list")  # type: ignore[arg-type]
    refuses(lambda: collate([], 0), "rows")
    refuses(lambda: collate([Example([2], [1])], 0), "target has shape (1, 0)")
    refuses(lambda: collate([Example([], [1, 2])], 0), "rows")


def test_a_batch_moves() -> None:
    batch = collate([example(3, 4)], 0)
    moved = batch.to("meta")
    assert {t.device.type for t in (moved.source, moved.target, moved.labels)} == {"meta"}


@quick
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(2, 20)), min_size=1, max_size=40),
    st.integers(1, 120),
    st.integers(0, 2**32),
)
def test_an_epoch_holds_every_example_once_and_keeps_the_bound(
    lengths: list[tuple[int, int]], max_tokens: int, seed: int
) -> None:
    examples = [example(s, t, 3 + i) for i, (s, t) in enumerate(lengths)]
    found: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    for batch in batches(examples, max_tokens=max_tokens, seed=seed):
        found.update(rows(batch))
        for part in (batch.source, batch.target, batch.labels):
            assert part.numel() <= max_tokens or len(part) == 1
    assert found == Counter((tuple(e.source), tuple(e.target)) for e in examples)


def test_batches_are_as_full_as_they_may_be() -> None:
    examples = [example(4, 5)] * 10
    sizes = sorted(len(b.source) for b in batches(examples, max_tokens=12, seed=0))
    assert sizes == [1, 3, 3, 3]


def test_an_example_over_the_bound_is_a_batch_by_itself() -> None:
    examples = [example(30, 2), example(2, 3), example(2, 3)]
    sizes = sorted(tuple(b.source.shape) for b in batches(examples, max_tokens=8, seed=0))
    assert sizes == [(1, 30), (2, 2)]


def test_little_of_a_batch_is_padding() -> None:
    examples = random_examples(2_000)
    padded = real = 0
    for batch in batches(examples, max_tokens=400, seed=3):
        padded += batch.target.numel()
        real += int((batch.target != 0).sum())
    assert real / padded > 0.95


def test_the_seed_decides_the_order() -> None:
    def epoch(seed: int) -> list[list[list[int]]]:
        found = batches(random_examples(200), max_tokens=60, seed=seed)
        return [batch.source.tolist() for batch in found]

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)


def test_an_epoch_is_mixed_twice() -> None:
    """Which sentences of a length share a batch is drawn, and so is the order of batches."""
    examples = [example(n, n, 3 + 50 * n + i) for n in range(3, 8) for i in range(40)]

    def groups(seed: int) -> list[frozenset[tuple[int, ...]]]:
        found = batches(examples, max_tokens=60, seed=seed)
        return [frozenset(source for source, _ in rows(batch)) for batch in found]

    assert set(groups(1)) != set(groups(2))
    lengths = [max(map(len, group)) for group in groups(1)]
    assert lengths != sorted(lengths)


def test_batches_do_not_touch_the_global_random_numbers() -> None:
    random.seed(7)
    state = random.getstate()
    list(batches(random_examples(20), max_tokens=60, seed=1))
    assert random.getstate() == state


def test_bad_arguments_of_batches_are_named() -> None:
    examples = random_examples(3)
    refuses(lambda: list(batches([], max_tokens=9, seed=0)), "examples is empty")
    refuses(lambda: list(batches(examples, max_tokens=9, seed=None)), "seed is None")  # type: ignore[arg-type]
    refuses(lambda: list(batches(examples, max_tokens=9, seed=-1)), "seed is -1")


def test_encoded_pairs_begin_and_end_as_they_should() -> None:
    t = tokenizer()
    (first, *_) = encode_pairs(PAIRS, t)
    english, french = PAIRS[0]
    assert first.source == [*t.encode(english), 2]
    assert first.target == [1, *t.encode(french), 2]
    assert len(encode_pairs(PAIRS, t)) == len(PAIRS)


def test_pairs_that_are_too_long_are_left_out() -> None:
    t = tokenizer()
    lengths = [max(len(e.source), len(e.target)) for e in encode_pairs(PAIRS, t)]
    limit = sorted(lengths)[3]
    kept = encode_pairs(PAIRS, t, max_len=limit)
    assert [max(len(e.source), len(e.target)) for e in kept] == [n for n in lengths if n <= limit]
    assert 0 < len(kept) < len(PAIRS)
    refuses(lambda: encode_pairs(PAIRS, t, max_len=2), "pairs", "2 tokens")
    refuses(lambda: encode_pairs([], t), "pairs")


# -- Multi30k


def fake_cache(folder: Path, monkeypatch: pytest.MonkeyPatch, split: str, lines: list[str]) -> None:
    """Put files of our own where Multi30k's would be, and say that they are the right ones."""
    checksums = dict(fetch.CHECKSUMS)
    for language in ("en", "fr"):
        name = f"multi30k/{split}.{language}.gz"
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.writelines(f"{line} {language}\n" for line in lines)
        checksums[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(fetch, "CHECKSUMS", checksums)
    monkeypatch.setenv("SCRATCH_DATA", str(folder))


def test_lines_of_a_file_are_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["un", "", "deux\u2028trois", "\x85 quatre "]  # none of these signs ends a line
    fake_cache(tmp_path, monkeypatch, "val", lines)
    assert multi30k("val") == [(f"{line} en", f"{line} fr") for line in lines]


def test_an_unknown_split_is_named() -> None:
    refuses(lambda: multi30k("test"), "split is 'test'", "test_2016_flickr")
    refuses(lambda: multi30k(None), "split is None")  # type: ignore[arg-type]
    refuses(lambda: multi30k("val", "xx"), "multi30k/val.xx.gz")


@pytest.fixture
def in_cache() -> None:
    names = [f"multi30k/{split}.{lang}.gz" for split in SPLITS for lang in ("en", "fr")]
    missing = [name for name in names if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()} (or not whole)")


@pytest.mark.usefixtures("in_cache")
def test_multi30k_has_the_sizes_its_authors_say() -> None:
    for split, size in SPLITS.items():
        pairs = multi30k(split)
        assert len(pairs) == size
        assert all(english and french for english, french in pairs)
    assert multi30k("val")[0][0].startswith("A group of men")


@pytest.mark.usefixtures("in_cache")
def test_multi30k_held_out_pairs_are_not_in_training() -> None:
    train = set(multi30k("train"))
    assert not train & set(multi30k("test_2016_flickr"))
    # one caption of the validation split is so plain that someone wrote it twice
    twice = "A man in a black shirt is singing into a microphone."
    assert {english for english, _ in train & set(multi30k("val"))} == {twice}


@pytest.mark.usefixtures("in_cache")
def test_real_captions_come_back_from_tokens() -> None:
    pairs = multi30k("val")
    t = train_tokenizer([text for pair in pairs[:300] for text in pair], 1_000)
    for pair in pairs:
        for text in pair:
            assert t.decode(t.encode(text)) == t.normalise(text)


# -- Tatoeba, and files of one's own


@pytest.fixture
def tatoeba_in_cache() -> None:
    if not fetch.is_cached("tatoeba/fra.txt"):
        pytest.skip(f"tatoeba/fra.txt not in {fetch.cache_folder()} (or not whole)")


@pytest.mark.usefixtures("tatoeba_in_cache")
def test_tatoeba_is_split_by_english_sentence() -> None:
    train, dev, test = (tatoeba(split) for split in ("train", "dev", "test"))
    assert (len(train), len(dev), len(test)) == (72_370, 1_643, 1_502)
    assert len(group_references(dev)) == len(group_references(test)) == 1_000
    keys = [{sentence_key(english) for english, _ in part} for part in (train, dev, test)]
    assert [len(k) for k in keys[1:]] == [1_000, 1_000]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    french = {sentence_key(french) for _, french in dev + test}
    assert not french & {sentence_key(french) for _, french in train}
    # the hash decides, and nothing that could differ from day to day
    assert [english for english, _ in group_references(dev)[:3]] == [
        "I'm ill.",
        "Back off.",
        "He's wet.",
    ]
    assert not any(f.endswith("Mes dents   ") for _, f in train + dev + test)


def test_an_unknown_part_of_tatoeba_is_named() -> None:
    refuses(lambda: tatoeba("val"), "split is 'val'", "'train', 'dev', 'test'")


def test_translations_of_one_sentence_are_gathered() -> None:
    pairs = [("Go!", "Va !"), ("I see.", "Je vois."), ("Go!", "Allez !"), ("Go!", "Va !")]
    assert group_references(pairs) == [("Go!", ["Va !", "Allez !"]), ("I see.", ["Je vois."])]
    assert group_references([]) == []


def test_two_columns_are_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_bytes("\ufeffGo.\tVa !\r\n L'été\u2028x \t Été\n".encode())
    assert read_tsv(path) == [("Go.", "Va !"), (" L'été\u2028x ", " Été")]


@pytest.mark.parametrize(
    "line", ["", "Go.", "Go.\t", "\tVa !", "Go.\t \t", "Go.\tVa !\tmore", "a b"]
)
def test_lines_that_are_no_pair_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text(f"Go.\tVa !\n{line}\nStop.\tStop.\n")
    refuses(lambda: read_tsv(path), f"line 2 of {path} is {line!r}", "a tab")


def test_an_open_file_is_no_path() -> None:
    """``True`` is file 1: standard output would be read, and closed."""
    for number in (True, 1):
        with pytest.raises(TypeError, match="PathLike"):
            read_tsv(number)  # type: ignore[arg-type]
    os.fstat(1)


def test_files_that_hold_no_pairs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    refuses(lambda: read_tsv(tmp_path / "a"), "a is empty", "a pair")
    refuses(lambda: read_tsv(tmp_path / "b"), "b'", "text file")
    (tmp_path / "a").write_bytes(b"Go.\tVa !\nd\xe9\t\n")
    refuses(lambda: read_tsv(tmp_path / "a"), "line 2", "UTF-8")
