"""Pairs of languages: each runs from its files to a score, and sees nothing that judges it."""

from dataclasses import replace
from pathlib import Path

import pytest

from scratch.plumbing import cli
from scratch.plumbing.data import corpora, fetch
from scratch.plumbing.data.corpora import PAIRS, LanguagePair
from scratch.plumbing.files import read_log
from scratch.plumbing.scoring.evaluation import load_set, sets_of
from scratch.plumbing.training.recipes import RECIPES
from scratch.splits import sentence_key
from small import PAIRS as SENTENCES

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"d_model": 16, "n_heads": 2, "d_ff": 24, "n_encoder_layers": 1, "n_decoder_layers": 1}


def there(pair: str) -> None:
    missing = [name for name in PAIRS[pair].files if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}")


def test_every_pair_has_a_recipe_and_files_that_are_known() -> None:
    assert set(RECIPES) == {"grammar", *PAIRS}
    for name, pair in PAIRS.items():
        assert RECIPES[name].corpus == name
        assert set(pair.files) <= set(fetch.CHECKSUMS)
        assert corpora.checksums_of(name) == {f: fetch.CHECKSUMS[f] for f in pair.files}
        assert list(corpora.checksums_of(name)) == list(pair.files)


@pytest.mark.parametrize(
    ("pair", "trained", "held"), [("en-de", 28_998, 2_014), ("en-hi", 2_569, 327)]
)
def test_a_pair_runs_from_its_files_to_its_scores(
    pair: str, trained: int, held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(pair)
    recipe = RECIPES[pair]
    training = replace(recipe.training, max_tokens=200)
    small = replace(recipe, vocab_size=400, training=training, model=recipe.model | SMALL)
    monkeypatch.setitem(RECIPES, pair, small)
    run = str(tmp_path / "run")
    words = ["train", "--pair", pair, "--steps", "3", "--processes", "1", "--out", run]
    assert cli.main(words) == 0
    header, *entries = read_log(tmp_path / "run/log.jsonl")
    assert (header["examples"], len(corpora.held_out_pairs(pair))) == (trained, held)
    assert header["data"] == corpora.checksums_of(pair)
    assert set(entries[-1]["dev_bleu"]) == set(corpora.dev_sets(pair))
    name = sets_of(pair)[-1]
    found = load_set(name, pair)
    one = replace(found, sources=found.sources[:3], references=found.references[:3])
    monkeypatch.setattr("scratch.plumbing.scoring.evaluation.load_set", lambda *_: one)
    words = ["evaluate", "--pair", pair, "--set", name, "--model", run, "--beam", "1"]
    assert cli.main(words) == 0


@pytest.mark.parametrize("pair", ["en-de", "en-hi"])
def test_what_judges_a_pair_is_in_no_training_text(pair: str) -> None:
    there(pair)
    sides = [set(map(sentence_key, side)) for side in zip(*corpora.load_pairs(pair), strict=True)]
    for held in corpora.held_out_pairs(pair):
        for side, text in zip(sides, held, strict=True):
            assert sentence_key(text) not in side


def test_hindi_comes_back_from_its_tokens() -> None:
    there("en-hi")
    from scratch.tokens import train_tokenizer

    pairs = corpora.load_pairs("en-hi")[:300]
    tokenizer = train_tokenizer([text for pair in pairs for text in pair], 600)
    for _, hindi in pairs:
        assert tokenizer.decode(tokenizer.encode(hindi)) == tokenizer.normalise(hindi)
    assert any("\u0900" <= letter <= "\u097f" for _, hindi in pairs for letter in hindi)


def test_the_other_direction_is_the_same_turned() -> None:
    pair = LanguagePair(lambda: SENTENCES[:2], {"a-dev": lambda: SENTENCES[2:3]}, ("x",)).turned()
    assert pair.train() == [(french, english) for english, french in SENTENCES[:2]]
    assert pair.held_out["a-dev"]() == [SENTENCES[2][::-1]]
    assert PAIRS["fr-en"].files == PAIRS["en-fr"].files
    assert list(PAIRS["fr-en"].held_out) == list(PAIRS["en-fr"].held_out)
    assert not RECIPES["fr-en"].extras.noise  # which is made for English
