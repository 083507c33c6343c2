"""Every fault of the page "My Transformer does not learn" dies by the check that the page names."""

import inspect
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scratch import residual, transformer
from scratch.encoder import Maps
from scratch.plumbing.files import read_log
from scratch.residual import LayerNorm
from scratch.transformer import Transformer, TransformerConfig
from studies import faults as study
from studies import recording
from studies.faults import CAUGHT, CHECKS, FAULTS, RUNS, fault, learn_to_repeat, record, run_one

pytestmark = pytest.mark.usefixtures("one_thread")

BOOK = Path(__file__).parents[2] / "book"
SEEDS = (1, 2, 3)


@pytest.mark.parametrize("name", CHECKS)
def test_nothing_is_found_where_nothing_is_wrong(name: str) -> None:
    check, most = CHECKS[name]
    assert check() <= most


@pytest.mark.parametrize("name", CAUGHT)
def test_a_fault_dies_by_the_check_that_the_page_names(name: str) -> None:
    check, most = CHECKS[CAUGHT[name]]
    with fault(name):
        assert check() > max(10 * most, 0.1)
    if CAUGHT[name] != "by heart":  # which takes a second, and the test above asks it
        assert check() <= most


def test_only_what_does_no_harm_is_caught_by_no_check() -> None:
    harmless = "mask after softmax, renormalised"
    assert {*FAULTS} - {*CAUGHT} == {harmless}
    with fault(harmless):
        assert all(check() <= most for check, most in CHECKS.values())


class EpsOutside(LayerNorm):
    """Divides by D, as it should, and adds eps outside the root."""

    def forward(self, x: Tensor) -> Tensor:
        normal = (x - x.mean(-1, keepdim=True)) / (x.std(-1, correction=0, keepdim=True) + self.eps)
        return normal * self.scale + self.shift


class Detached(Transformer):
    """Keeps the gradient from the encoder."""

    def encode(self, source: Tensor, *, need_weights: bool = False) -> tuple[Tensor, Tensor, Maps]:
        memory, mask, weights = super().encode(source, need_weights=need_weights)
        return memory.detach(), mask, weights


class NeverCalled(Transformer):
    """Has a layer that it does not use."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.spare = torch.nn.Linear(2, 2)


def no_padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    return torch.ones_like(ids, dtype=torch.bool)[:, None, None, :]


@pytest.mark.parametrize(
    ("owner", "name", "broken", "check"),
    [
        (residual, "LayerNorm", EpsOutside, "PyTorch"),
        (transformer, "padding_mask", no_padding_mask, "padding"),
        (study, "Transformer", Detached, "gradient"),
        (study, "Transformer", NeverCalled, "gradient"),
    ],
)
def test_a_check_finds_what_else_the_page_says(
    owner: object, name: str, broken: object, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    found, most = CHECKS[check]
    assert found() > max(10 * most, 0.01)


def test_an_unmasked_reading_without_a_cache_changes_scores_from_two_layers_on() -> None:
    source, target = (torch.tensor([ids]) for ids in (study.EIGHT[0].source, study.EIGHT[0].target))

    @torch.inference_mode()
    def last_differs(layers: int) -> float:
        torch.manual_seed(0)
        config = replace(study.small_model().config, n_decoder_layers=layers)
        model = transformer.Transformer(config).eval()
        state = model.start(source)
        for t in range(target.shape[1]):
            hidden, _, _ = model.decode(target[:, t : t + 1], state)
        cached = model.output.logits(hidden)[:, -1]
        return (cached - model(source, target)[:, -1]).abs().max().item()

    with fault("causal mask only in training"):
        assert last_differs(1) < 1e-5
        assert last_differs(2) > 0.1
    assert last_differs(2) < 1e-5


def test_shared_tables_favour_the_token_just_read() -> None:
    def first_losses(tied: bool) -> list[float]:
        torch.manual_seed(0)
        model = Transformer(replace(study.small_model().config, tie_embeddings=tied))
        losses = [study.first_loss(model)]
        with fault("labels not shifted"):
            return [*losses, study.first_loss(model)]

    healthy, not_shifted = first_losses(tied=True)
    assert healthy > 0.5 and not_shifted < -1
    assert min(first_losses(tied=False)) > 0


def test_a_fault_leaves_the_code_as_it_was() -> None:
    before = [getattr(owner, name) for owner, name, _ in FAULTS.values()]
    for name in FAULTS:
        with fault(name):
            pass
    assert before == [getattr(owner, name) for owner, name, _ in FAULTS.values()]


def test_the_page_shows_these_very_faults_and_checks() -> None:
    cells = json.loads((BOOK / "does_not_learn.ipynb").read_text(encoding="utf-8"))["cells"]
    page = "\n".join("".join(cell["source"]) for cell in cells)
    shown = ("first_loss", "future_moves_past", "padding_moves_loss", "without_gradient")
    broken = [getattr(part, "func", part) for _, _, part in FAULTS.values()]
    for part in (*broken, *(getattr(study, name) for name in shown), study.cached_and_fresh_differ):
        whole = inspect.unwrap(part)
        assert inspect.getsource(whole).strip() in page, whole.__name__
    for number in range(1, 11):
        assert page.count(f"\n## {number} · ") == 1
    places = [line.strip("()=\n") for line in page.splitlines() if line.startswith("(fault-")]
    assert len(places) == 12 and all(f"](#{place})" in page for place in places)


def test_weights_of_one_rotation_mean_nothing_in_the_other() -> None:
    model, test = learn_to_repeat()

    def share_right() -> float:
        right = model(test.target).argmax(-1) == test.labels
        return right[:, 2:].float().mean().item()

    assert share_right() > 0.95
    with fault("rotation of halves"):
        assert share_right() < 0.5  # as the page prints


@pytest.mark.parametrize("seed", SEEDS)
def test_the_log_holds_every_run_once(seed: int) -> None:
    header, *runs = read_log(BOOK / f"runs/faults/reversal-{seed}.jsonl")
    assert header["command"] == f"python -m studies.faults reversal --seed {seed}"
    assert [(run["fault"], run["model"]) for run in runs] == RUNS
    assert {len(run["losses"]) for run in runs} == {header["steps"] // study.EVERY}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_forgetful_beam_gains_less(seed: int) -> None:
    header, reordered, forgetful = read_log(BOOK / f"runs/faults/beam-{seed}.jsonl")
    assert header["command"] == f"python -m studies.faults beam --seed {seed}"
    assert (reordered["fault"], forgetful["fault"]) == ("none", "cache not reordered")
    assert reordered["greedy"] == forgetful["greedy"] < reordered["beam"] > forgetful["beam"]


@pytest.mark.parametrize(("name", "model"), RUNS)
def test_the_first_steps_repeat_the_log(
    name: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = read_log(BOOK / "runs/faults/reversal-1.jsonl")[1:]
    logged = next(run for run in log if (run["fault"], run["model"]) == (name, model))
    monkeypatch.setattr(study, "TESTED", 1)
    run = run_one(name, model, 1, steps=study.EVERY)
    # other processors round differently, and twenty steps of Adam enlarge that a little
    assert run["losses"][0] == pytest.approx(logged["losses"][0], rel=5e-3)


@pytest.mark.parametrize("name", ["reversal", "beam"])
def test_a_run_writes_its_log(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = {"STEPS": study.EVERY, "UNSURE": study.EVERY, "TESTED": 5, "RUNS": RUNS[:2]}
    for setting, value in shorter.items():
        monkeypatch.setattr(study, setting, value)
    words = [name, "--seed", "3", "--out", str(tmp_path)]
    assert recording.main("faults", ("reversal", "beam"), record, words) == 0
    header, *runs = read_log(tmp_path / f"{name}-3.jsonl")
    assert (header["seed"], header["steps"], len(runs)) == (3, study.EVERY, 2)
    assert all(0 <= run["right" if name == "reversal" else "beam"] <= 5 for run in runs)
