"""The recorded runs of chapter 14: their first 20 steps give their losses and their scores."""

import copy
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pytest
import torch

from scratch.finetuning import LowRankAdapter, merge_adapters
from scratch.plumbing.training.run import read_log
from studies.finetuning import CONDITIONS, LOOK_AT, Study, bleu, moved

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = Path(__file__).parents[2] / "book/runs/finetuning"
SEEDS = (1, 2, 3)


def test_every_condition_was_run_with_every_seed() -> None:
    expected = {f"{name}-{seed}.jsonl" for name in CONDITIONS for seed in SEEDS}
    assert {path.name for path in RUNS.glob("*.jsonl")} == expected
    for path in RUNS.glob("*.jsonl"):
        header, *entries, last = read_log(path)
        name, _, seed = path.stem.rpartition("-")
        assert header["command"] == f"python -m studies.finetuning {name} --seed {seed}"
        # as JSON has it: a tuple becomes a list
        condition = asdict(CONDITIONS[name]) | {"learns": list(CONDITIONS[name].learns)}
        assert header["condition"] == condition
        assert [entry["step"] for entry in entries if "recipes" in entry] == list(LOOK_AT)
        assert [entry["step"] for entry in entries] == list(range(101))
        assert set(last) == {"moved"}


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_first_steps_repeat_the_log(name: str) -> None:
    header, *entries = read_log(RUNS / f"{name}-1.jsonl")
    logged = {entry["step"]: entry for entry in entries if "step" in entry}
    study = Study(name, 1)
    assert header["training"] == study.config.to_dict()
    losses = [record.loss for record in islice(study.steps(), 20)]
    # other processors round differently, and twenty steps of Adam enlarge that
    assert losses == pytest.approx([logged[step]["loss"] for step in range(1, 21)], rel=1e-2)
    assert losses[-1] < losses[0] - 0.3
    # a word here and there of 100 sentences; without its adapters a model scores 99.68 and 4.28
    expected = {domain: logged[20][domain] for domain in ("grammar", "recipes")}
    assert study.look() == pytest.approx(expected, abs=3)


def test_scores_and_distances_are_those_of_the_merged_model() -> None:
    study = Study("adapters", 1)
    tokenizer, pairs = study.tokenizer, study.held_out["grammar"][:20]
    assert bleu(study.model, tokenizer, pairs) > 99
    for module in study.model.modules():
        if isinstance(module, LowRankAdapter):
            torch.nn.init.normal_(module.up, std=0.3)
    before = copy.deepcopy(study.model.state_dict())
    found, distances = bleu(study.model, tokenizer, pairs), moved(study.model)
    after = study.model.state_dict()  # still in two parts, which go on learning
    assert before.keys() == after.keys() and all(torch.equal(after[k], before[k]) for k in before)
    merge_adapters(study.model)
    assert found == bleu(study.model, tokenizer, pairs) < 95
    assert distances == moved(study.model)
    assert distances["embedding"] == 0 and distances["encoder"] > 0.1
