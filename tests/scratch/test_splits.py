"""Splits: nothing held out was trained on."""

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import quick, refuses
from scratch.splits import hold_out, sentence_key, split_pairs, without_shared


@pytest.mark.parametrize("sizes", [(3_000, 200, 200), (500, 20, 60)])
def test_splits_do_not_leak(sizes: tuple[int, int, int]) -> None:
    splits = split_pairs(*sizes, seed=4)
    parts = (splits.train, splits.seen, splits.unseen)
    assert tuple(map(len, parts)) == sizes
    assert len({p.english_text for part in parts for p in part}) == sum(sizes)
    known = {use for p in splits.train for use in p.combination}
    words = {word for p in splits.train for word in (*p.english, *p.french)}
    assert all(known.issuperset(p.combination) for p in splits.seen)
    for p in splits.unseen:
        assert any(all(use) and use not in known for use in p.combination)
        assert words.issuperset((*p.english, *p.french))
    assert split_pairs(*sizes, seed=4) == splits


def test_sizes_that_cannot_be_had_are_refused() -> None:
    for sizes, name in (((0, 1, 1), "n_train"), ((9, 0, 1), "n_seen"), ((9, 1, 0), "n_unseen")):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            split_pairs(*sizes, seed=0)
    with pytest.raises(ValueError, match=r"n_train is 1\.5"):  # which no loop would ever reach
        split_pairs(1.5, 5, 5, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected at most"):
        split_pairs(2, 500, 500, seed=0)


# -- sentences of others


def test_a_key_is_what_all_ways_to_write_a_sentence_share() -> None:
    assert sentence_key("Don\u2019t go\u202f!") == sentence_key(" don't GO.") == "don t go"
    assert sentence_key("\u00c9t\u00e9") == sentence_key("e\u0301te\u0301") == "\u00e9t\u00e9"
    assert sentence_key("It's 8_30") == "it s 8 30"
    assert sentence_key("...") == ""
    assert sentence_key("ou") != sentence_key("o\u00f9")
    refuses(lambda: sentence_key(None), "text is a NoneType")  # type: ignore[arg-type]


def test_pairs_that_share_a_side_are_left_out() -> None:
    pairs = [("Go.", "Va !"), ("Leave.", "Pars."), ("Off!", "pars"), ("Run.", "Cours.")]
    assert without_shared(pairs, [("go", "x"), ("y", "PARS !")]) == [("Run.", "Cours.")]
    assert without_shared(pairs, []) == pairs
    assert without_shared([], pairs) == []


words = st.sampled_from(["a", "b", "c", "A!", "b?", "d", "e f", "E, f", "g"])


@quick
@given(st.lists(st.tuples(words, words), max_size=30), st.integers(0, 3), st.integers(0, 3))
def test_nothing_held_out_is_trained_on(
    pairs: list[tuple[str, str]], n_dev: int, n_test: int
) -> None:
    if len({sentence_key(source) for source, _ in pairs}) <= n_dev + n_test:
        refuses(lambda: hold_out(pairs, n_dev, n_test), "n_dev + n_test is")
        return
    held = hold_out(pairs, n_dev, n_test)
    sources = [{sentence_key(s) for s, _ in part} for part in (held.dev, held.test, held.train)]
    assert [len(keys) for keys in sources[:2]] == [n_dev, n_test]
    assert not (sources[0] & sources[1] or (sources[0] | sources[1]) & sources[2])
    assert len({source for source, _ in held.dev + held.test}) == n_dev + n_test
    targets = {sentence_key(target) for _, target in held.dev + held.test}
    assert not targets & {sentence_key(target) for _, target in held.train}
    for part in (held.dev, held.test):  # all translations of a sentence that is held out
        assert {p for p in pairs if p[0] in dict(part)} == set(part)
    assert hold_out(pairs, n_dev, n_test) == held
    assert set(hold_out(pairs[::-1], n_dev, n_test).train) <= set(pairs)


def test_more_dev_sentences_leave_the_test_sentences_alone() -> None:
    pairs = [(f"sentence {i}", f"phrase {i}") for i in range(50)]
    assert hold_out(pairs, 5, 10).test == hold_out(pairs, 20, 10).test
    assert hold_out(pairs, 50 - 1, 0).train
    refuses(lambda: hold_out(pairs, 50, 0), "n_dev + n_test is 50", "0 to 49")
    refuses(lambda: hold_out(pairs, 1, -1), "n_test is -1")  # a slice would hold out nearly all
    refuses(lambda: hold_out(pairs, -1, 2), "n_dev is -1")
    refuses(lambda: hold_out(pairs, 1.0, 2), "n_dev is 1.0")  # type: ignore[arg-type]


def test_the_hash_decides_and_nothing_that_changes_from_day_to_day() -> None:
    pairs = [(f"sentence {i}", f"phrase {i}") for i in range(50)]
    held = hold_out(pairs, 1, 2)
    chosen = sorted(range(50), key=lambda i: hashlib.sha256(f"sentence {i}".encode()).hexdigest())
    assert {source for source, _ in held.test} == {f"sentence {i}" for i in chosen[:2]}
    assert [source for source, _ in held.dev] == [f"sentence {chosen[2]}"]


def test_what_is_left_may_share_every_target_with_what_is_held_out() -> None:
    pairs = [(f"sentence {i}", "the same") for i in range(9)]
    held = hold_out(pairs, 1, 0)
    assert (held.train, len(held.dev)) == ([], 1)
    assert hold_out(pairs, 0, 0).train == pairs


def test_many_sentences_are_held_out_as_fast_as_few() -> None:
    """In seconds of this process, so that others do not count; once it was thirty times as long."""
    pairs = [(f"sentence {i}", f"phrase {i}") for i in range(10_000)]
    seconds = []
    for size in (1, 2_500):
        begun = time.process_time()
        hold_out(pairs, size, size)
        seconds.append(time.process_time() - begun)
    assert seconds[1] < 5 * seconds[0]
