"""Recorded runs: each is repeated for its first steps and must give the losses of its log."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from scratch.plumbing.data import fetch
from scratch.plumbing.data.corpora import checksums_of
from scratch.plumbing.files import read_log
from scratch.plumbing.training.recipes import RECIPES
from scratch.plumbing.training.run import Run
from scratch.training import TrainingConfig

PRETRAINED = Path(__file__).parents[2] / "code/scratch/pretrained"
LOGS = {"grammar": PRETRAINED / "grammar-en-fr/log.jsonl", "en-fr": PRETRAINED / "en-fr/log.jsonl"}
# Steps to repeat, and how near.  Other processors round differently, and twenty steps of Adam
# enlarge that a little; the translator was trained with products in bfloat16, in two processes
# whose dropout differs, and is repeated in float32 by one.
REPEATED = {"grammar": (20, 2e-3), "en-fr": (5, 1e-2)}


def log_of(name: str) -> list[dict[str, Any]]:
    if not LOGS[name].is_file():
        pytest.skip(f"the model {name} that ships is older than its recipe: it has five logs")
    return read_log(LOGS[name])


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", LOGS)
def test_the_log_belongs_to_the_recipe_as_it_stands(name: str) -> None:
    header, *entries = log_of(name)
    recipe = RECIPES[name]
    assert header["recipe"] == name
    assert TrainingConfig(**header["training"]) == recipe.training
    assert recipe.model.items() <= header["model"].items()
    if "extras" in header:  # which the older log leaves out
        assert header["extras"] == asdict(recipe.extras)
    if "data" in header:
        assert header["data"] == checksums_of(recipe.corpus)
    assert max(entry["step"] for entry in entries) == recipe.training.steps


@pytest.mark.parametrize("name", LOGS)
def test_the_first_steps_repeat_the_log(name: str) -> None:
    missing = [f for f in checksums_of(RECIPES[name].corpus) if not fetch.is_cached(f)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: nothing to train on")
    steps, near = REPEATED[name]
    logged = [entry["loss"] for entry in log_of(name)[1:] if entry["step"] <= steps]
    losses = []
    for record in Run(RECIPES[name]).steps():
        losses.append(record.loss)
        if record.step == steps:
            break
    assert len(logged) == steps
    assert losses == pytest.approx(logged, rel=near)
    assert losses[-1] < losses[0]
