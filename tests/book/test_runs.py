"""Recorded runs: each is repeated for its first 20 steps and must give the losses of its log."""

from pathlib import Path

import pytest
import torch

from scratch.plumbing import fetch
from scratch.plumbing.recipes import RECIPES
from scratch.plumbing.trainer import Run, read_log
from scratch.training import TrainingConfig

ROOT = Path(__file__).parents[2]
LOGS = {
    "grammar": ROOT / "code/scratch/pretrained/grammar-en-fr/log.jsonl",
    "multi30k": ROOT / "book/runs/multi30k/log.jsonl",
}


@pytest.mark.parametrize("name", LOGS)
def test_the_log_belongs_to_the_recipe_as_it_stands(name: str) -> None:
    header, *entries = read_log(LOGS[name])
    recipe = RECIPES[name]
    assert header["recipe"] == name
    assert TrainingConfig(**header["training"]) == recipe.training
    assert {key: header["model"][key] for key in recipe.model} == recipe.model
    assert entries[-1]["step"] == recipe.training.steps


@pytest.mark.parametrize("name", LOGS)
def test_the_first_steps_repeat_the_log(name: str) -> None:
    files = [f for f in fetch.CHECKSUMS if f.startswith(f"{name}/train")]
    missing = [f for f in files if not fetch.is_cached(f)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: nothing to train on")
    header, *entries = read_log(LOGS[name])
    logged = [entry["loss"] for entry in entries if entry["step"] <= 20]
    threads = torch.get_num_threads()
    torch.set_num_threads(header["threads"])
    losses = []
    for record in Run(RECIPES[name]).steps():
        losses.append(record.loss)
        if record.step == 20:
            break
    torch.set_num_threads(threads)
    assert len(logged) == 20
    # other processors round differently, and twenty steps of Adam enlarge that a little
    assert losses == pytest.approx(logged, rel=2e-3)
    assert losses[-1] < losses[0] - 0.3
