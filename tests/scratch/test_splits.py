"""Splits: nothing held out was trained on."""

import pytest

from scratch.splits import split_pairs


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
    with pytest.raises(ValueError, match="expected at most"):
        split_pairs(2, 500, 500, seed=0)
