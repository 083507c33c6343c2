"""The recorded runs of chapter 14: their first 20 steps give their losses and their scores."""

import copy
import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from scratch.finetuning import LowRankAdapter, merge_adapters
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.training.run import read_log
from studies.finetuning import LOOK_AT, RANKS, SAID, WAYS, Study, moved, score, settings, truncated

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS = Path(__file__).parents[2] / "book/runs/finetuning"
SEEDS = (1, 2, 3)


def runs(seed: int) -> list[dict[str, Any]]:
    return [line for line in read_log(RUNS / f"sweep-{seed}.jsonl") if "rate" in line]


def test_every_way_was_run_at_every_rate_with_every_seed() -> None:
    assert {path.name for path in RUNS.glob("*.jsonl")} == {f"sweep-{s}.jsonl" for s in SEEDS}
    for seed in SEEDS:
        header, *lines = read_log(RUNS / f"sweep-{seed}.jsonl")
        assert header["command"] == f"python -m studies.finetuning sweep --seed {seed}"
        assert header["training"] == settings(1e-4, seed).to_dict()
        assert [line["rank"] for line in lines if "rank" in line] == list(RANKS)
        expected = [(name, rate) for name, way in WAYS.items() for rate in way.rates]
        assert [(run["way"], run["rate"]) for run in runs(seed)] == expected
        for run in runs(seed):
            assert [look["step"] for look in run["looks"]] == list(LOOK_AT)
            assert len(run["said"]) == len(SAID)


@pytest.mark.parametrize("name", WAYS)
def test_the_first_steps_repeat_the_log(name: str) -> None:
    rate = WAYS[name].rates[-1]
    (logged,) = [run for run in runs(1) if (run["way"], run["rate"]) == (name, rate)]
    study = Study(name, rate, 1)
    first = study.look()
    assert {"step": 0, **first} == pytest.approx(logged["looks"][0], abs=2e-3)
    losses = [record.loss for record in islice(study.steps(), 20)]
    # other processors round differently, and twenty steps of Adam enlarge that
    assert losses == pytest.approx(logged["losses"], rel=1e-2)
    found, expected = study.look(), logged["looks"][2]
    assert expected["step"] == 20
    assert found == pytest.approx({k: expected[k] for k in found}, rel=0.05, abs=0.01)
    assert found["recipes"] < first["recipes"] - 0.5


def test_scores_and_distances_are_those_of_the_merged_model() -> None:
    study = Study("adapters", 1e-2, 1)
    tokenizer, pairs = study.tokenizer, study.held_out["grammar"][:20]
    right, bleu = score(study.model, tokenizer, pairs)
    assert right >= 18 and bleu > 98
    for module in study.model.modules():
        if isinstance(module, LowRankAdapter):
            torch.nn.init.normal_(module.up, std=0.3)
    before = copy.deepcopy(study.model.state_dict())
    found, distances = score(study.model, tokenizer, pairs), moved(study.model)
    after = study.model.state_dict()  # still in two parts, which go on learning
    assert before.keys() == after.keys() and all(torch.equal(after[k], before[k]) for k in before)
    merge_adapters(study.model)
    assert found == score(study.model, tokenizer, pairs) and found[1] < 95
    assert distances == moved(study.model)
    assert distances["matrix"] == 0 and distances["layers"] > 0.1


def test_a_change_cut_to_its_full_rank_is_the_change() -> None:
    before, _ = load_pretrained("grammar-en-fr")
    torch.manual_seed(1)
    after = copy.deepcopy(before)
    with torch.no_grad():
        for p in after.parameters():
            p.add_(0.1 * torch.randn_like(p))
    whole, share = truncated(before, after, 96)
    assert share == pytest.approx(1, abs=1e-4)
    for p, q in zip(whole.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-5)
    one, small = truncated(before, after, 1)
    name = "encoder.layers.0.self_attention.w_query.weight"
    change = one.get_parameter(name) - before.get_parameter(name)
    values = torch.linalg.svdvals(change)
    assert values[0] > 1 and values[1] < 1e-4 and 0 < small < 0.1


def test_the_figure_to_play_with_has_the_recorded_numbers() -> None:
    page = (RUNS.parents[1] / "14_finetuning.ipynb").read_text(encoding="utf-8")
    cells = ["".join(cell["source"]) for cell in json.loads(page)["cells"]]
    (trace,) = [json.loads(t) for c in cells for t in re.findall(r"data-trace='([^']*)'", c)]
    cut = [line for line in read_log(RUNS / "sweep-1.jsonl") if "rank" in line]
    assert trace == [
        {
            "rank": line["rank"],
            "share": round(line["share"], 2),
            "recipes": line["recipes"][0],
            "grammar": line["grammar"][0],
        }
        for line in cut
    ]
