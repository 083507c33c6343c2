"""Chains: stages follow one another, each from the weights before, and survive an interruption."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from reference import refuses
from scratch.plumbing.fast.step import Dropout
from scratch.plumbing.models import storage
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.training import chain, recipes
from scratch.plumbing.training import run as trainer
from scratch.plumbing.training.chain import start_chain
from scratch.plumbing.training.log import locked
from scratch.plumbing.training.recipes import CHAINS, RECIPES, Extras
from scratch.plumbing.training.run import read_log
from scratch.training import TrainingConfig
from small import PAIRS

pytestmark = pytest.mark.usefixtures("one_thread")

FIRST = recipes.Recipe(
    corpus="pairs",
    vocab_size=300,
    training=TrainingConfig(steps=6, max_tokens=60, warmup_steps=2, seed=3),
    model={
        "d_model": 16,
        "n_heads": 2,
        "d_ff": 24,
        "n_encoder_layers": 1,
        "n_decoder_layers": 1,
        "max_len": 64,
        "norm": "pre",
    },
    extras=Extras(Dropout(0.1), bpe_dropout=0.1),
)
SECOND = replace(
    FIRST,
    training=replace(FIRST.training, steps=5, seed=4, schedule="linear"),
    extras=Extras(Dropout(0.3)),
)


@pytest.fixture(autouse=True)
def pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "one", FIRST)
    monkeypatch.setitem(RECIPES, "two", SECOND)
    monkeypatch.setitem(CHAINS, "pair", ("one", "two"))
    monkeypatch.setattr(trainer, "load_pairs", lambda corpus: PAIRS)
    monkeypatch.setattr(trainer, "dev_sets", lambda corpus: {})


def test_each_stage_begins_where_the_one_before_ended(tmp_path: Path) -> None:
    assert start_chain("pair", tmp_path, command="the command") == tmp_path / "two"
    first, second = (read_log(tmp_path / stage / "log.jsonl")[0] for stage in ("one", "two"))
    assert (first["recipe"], second["recipe"]) == ("one", "two")
    assert first["command"] == second["command"] == "the command"
    assert first["changes"]["begin_with"] is None
    assert second["changes"]["begin_with"] == str(tmp_path / "one")
    assert second["vocabulary"] == first["vocabulary"]
    assert load_pretrained(tmp_path / "two")[0].config.dropout == 0.3
    by_hand = trainer.start_run("two", tmp_path / "by hand", begin_with=str(tmp_path / "one"))
    assert by_hand.step == 5
    a, b = (load_file(tmp_path / run / "model.safetensors") for run in ("two", "by hand"))
    assert all(a[name].equal(b[name]) for name in a)
    refuses(lambda: start_chain("pair", tmp_path), str(tmp_path / "one"), "--resume")


def test_a_chain_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_chain("pair", tmp_path / "whole")
    started: list[str] = []

    def start_run(name: str, folder: Path, **how: object) -> None:
        started.append(name)
        if started == ["one", "two"]:
            raise KeyboardInterrupt
        trainer.start_run(name, folder, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(chain, "start_run", start_run)
    with pytest.raises(KeyboardInterrupt):
        start_chain("pair", tmp_path / "stopped")
    start_chain("pair", tmp_path / "stopped", resume=True)
    assert started == ["one", "two", "two"]  # the finished stage is not run again
    a, b = (load_file(tmp_path / r / "two" / "model.safetensors") for r in ("whole", "stopped"))
    assert all(a[name].equal(b[name]) for name in a)
    start_chain("pair", tmp_path / "stopped", resume=True)
    assert len(started) == 3


def test_a_stage_that_is_under_way_goes_on_and_its_neighbours_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_chain("pair", tmp_path / "whole")

    def switched_off(*_: object) -> None:
        raise KeyboardInterrupt

    fit = trainer._fit
    for stage in ("one", "two"):
        with monkeypatch.context() as patch:
            off = stage
            patch.setattr(
                trainer, "_fit", lambda run, folder, *rest: (
                    switched_off() if folder.name == off else fit(run, folder, *rest)  # noqa: B023
                )
            )  # fmt: skip
            with pytest.raises(KeyboardInterrupt):
                start_chain("pair", tmp_path / "died", resume=stage == "two")
    monkeypatch.setattr(storage, "load_pretrained", switched_off)  # the checkpoint has the weights
    start_chain("pair", tmp_path / "died", resume=True)
    a, b = (load_file(tmp_path / r / "two" / "model.safetensors") for r in ("whole", "died"))
    assert all(a[name].equal(b[name]) for name in a)


def test_nothing_is_resumed_where_nothing_was_begun(tmp_path: Path) -> None:
    refuses(lambda: start_chain("pair", tmp_path / "new", resume=True), "new", "nothing to resume")
    assert not (tmp_path / "new").exists()


def test_a_finished_stage_counts_if_it_is_what_is_asked_for(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"steps": 2}
    trainer.start_run("one", tmp_path / "one", **changes)
    for other, part in (
        ({}, "steps 2 and not 6"),
        ({"steps": 3}, "steps 2 and not 3"),
        ({"steps": 2, "seed": 9}, "seed 3 and not 9"),
        ({"steps": 2, "begin_with": "else"}, "begin_with '' and not 'else'"),
    ):
        refuses(
            lambda c=other: start_chain("pair", tmp_path, resume=True, **c),  # type: ignore[misc]
            f"{tmp_path / 'one'} has finished with {part}",
        )
        assert not (tmp_path / "two").exists()
    assert start_chain("pair", tmp_path, resume=True, **changes) == tmp_path / "two"
    log = tmp_path / "two" / "log.jsonl"
    log.write_text(log.read_text().replace('"recipe": "two"', '"recipe": "three"', 1))
    refuses(lambda: start_chain("pair", tmp_path, resume=True, **changes), "recipe 'three'")


def test_no_stage_goes_on_without_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "checkpoint.safetensors").write_text("")
    refuses(lambda: start_chain("pair", tmp_path, resume=True), str(tmp_path / "two"), "follows")
    assert not (tmp_path / "one").exists()
    refuses(lambda: start_chain("pair", tmp_path), str(tmp_path / "two"), "already holds a run")


def test_a_stage_takes_the_seed_after_that_of_the_one_before(tmp_path: Path) -> None:
    start_chain("pair", tmp_path, steps=2, seed=7)
    headers = [read_log(tmp_path / stage / "log.jsonl")[0] for stage in ("one", "two")]
    assert [header["training"]["seed"] for header in headers] == [7, 8]
    assert [header["changes"]["seed"] for header in headers] == [7, 8]


def test_the_chains_of_the_book_hold_together() -> None:
    for stages in CHAINS.values():
        first, *others = (RECIPES[stage] for stage in stages)
        for other in others:  # the weights and the vocabulary have to fit
            assert other.model == first.model
            assert other.vocab_size == first.vocab_size
            # or texts would be cut, and values dropped, as in the stage before
            assert other.training.seed != first.training.seed


def test_a_chain_is_locked_as_a_whole(tmp_path: Path) -> None:
    with locked(tmp_path):
        refuses(lambda: start_chain("pair", tmp_path), str(tmp_path), "in use by another run")
    with locked(tmp_path / "two"):
        refuses(
            lambda: start_chain("pair", tmp_path), f"{tmp_path / 'two'} is in use by another run"
        )
    assert (tmp_path / "one" / "model.safetensors").exists()


def test_only_chains_are_known(tmp_path: Path) -> None:
    refuses(lambda: start_chain("one", tmp_path), "recipe is 'one'", "'en-fr'")
