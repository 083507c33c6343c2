"""Recorded runs: each is repeated for its first 20 steps and must give the losses of its log."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scratch.plumbing.data import fetch
from scratch.plumbing.data.corpora import checksums_of
from scratch.plumbing.files import read_log
from scratch.plumbing.training.chain import misfit
from scratch.plumbing.training.engine import processes
from scratch.plumbing.training.recipes import CHAINS, RECIPES
from scratch.plumbing.training.run import Run
from scratch.training import TrainingConfig

PRETRAINED = Path(__file__).parents[2] / "code/scratch/pretrained"
LOGS = {"grammar": PRETRAINED / "grammar-en-fr/log.jsonl"} | {
    stage: PRETRAINED / f"en-fr/log-{number}.jsonl"
    for number, stage in enumerate(CHAINS["en-fr"], start=1)
}
# the later stages of a chain begin with weights that do not ship
REPEATED = ("grammar", "en-fr-1")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", LOGS)
def test_the_log_belongs_to_the_recipe_as_it_stands(name: str) -> None:
    header, *entries = read_log(LOGS[name])
    recipe = RECIPES[name]
    assert header["recipe"] == name
    assert TrainingConfig(**header["training"]) == recipe.training
    assert misfit(header, name) == ""
    assert entries[-1]["step"] == recipe.training.steps


def losses_of(name: str) -> list[float]:
    losses = []
    for record in Run(RECIPES[name]).steps():
        losses.append(record.loss)
        if record.step == 20:
            break
    return losses


@pytest.mark.parametrize("name", REPEATED)
def test_the_first_steps_repeat_the_log(name: str, in_processes: Callable[..., str]) -> None:
    missing = [f for f in checksums_of(RECIPES[name].corpus) if not fetch.is_cached(f)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: nothing to train on")
    header, *entries = read_log(LOGS[name])
    logged = [entry["loss"] for entry in entries if entry["step"] <= 20]
    n = header.get("processes", 1)
    if n > 1:
        losses = json.loads(in_processes(Path(__file__), name, n=n, timeout=500))
    else:
        losses = losses_of(name)
    assert len(logged) == 20
    # other processors round differently, and twenty steps of Adam enlarge that a little
    assert losses == pytest.approx(logged, rel=2e-3)
    assert losses[-1] < losses[0] - 0.3


if __name__ == "__main__":  # what torchrun runs above
    found = losses_of(sys.argv[1])
    if processes()[0] == 0:
        print(json.dumps(found))
