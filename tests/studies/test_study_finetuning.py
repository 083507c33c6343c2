"""The recorded runs of chapter 14: all are there, and their first 20 steps give their losses."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pytest
import torch

from scratch.plumbing.training.run import read_log
from studies.finetuning import CONDITIONS, LOOK_AT, Study

RUNS = Path(__file__).parents[2] / "book/runs/finetuning"
SEEDS = (1, 2, 3)


def test_every_condition_was_run_with_every_seed() -> None:
    expected = {f"{name}-{seed}.jsonl" for name in CONDITIONS for seed in SEEDS}
    assert {path.name for path in RUNS.glob("*.jsonl")} == expected
    for path in RUNS.glob("*.jsonl"):
        header, *entries, last = read_log(path)
        name, _, seed = path.stem.rpartition("-")
        assert header["command"] == f"python -m studies.finetuning {name} {seed}"
        # as JSON has it: a tuple becomes a list
        condition = asdict(CONDITIONS[name]) | {"learns": list(CONDITIONS[name].learns)}
        assert header["condition"] == condition
        assert [entry["step"] for entry in entries if "recipes" in entry] == list(LOOK_AT)
        assert [entry["step"] for entry in entries] == list(range(101))
        assert set(last) == {"moved"}


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_first_steps_repeat_the_log(name: str) -> None:
    header, *entries = read_log(RUNS / f"{name}-1.jsonl")
    logged = [entry["loss"] for entry in entries if 1 <= entry.get("step", 0) <= 20]
    threads = torch.get_num_threads()
    torch.set_num_threads(header["threads"])
    study = Study(name, 1)
    assert header["training"] == study.config.to_dict()
    losses = [record.loss for record in islice(study.steps(), 20)]
    torch.set_num_threads(threads)
    # other processors round differently, and twenty steps of Adam enlarge that
    assert losses == pytest.approx(logged, rel=1e-2)
    assert losses[-1] < losses[0] - 0.3
