"""Several processes: two with half of each batch are one with the whole batch."""

import copy
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scratch.datasets import collate, encode_pairs
from scratch.plumbing.fast.step import Dropout, FastLoss
from scratch.plumbing.models.storage import read_tensors
from scratch.plumbing.training import run as trainer
from scratch.plumbing.training.engine import Engine, Machine
from scratch.plumbing.training.recipes import RECIPES, Extras, Recipe
from scratch.plumbing.training.run import Run, read_log, start_run
from scratch.training import TrainingConfig, make_optimizer, train_step
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

HERE = Path(__file__)
SIZES = {"d_model": 16, "n_heads": 2, "d_ff": 24, "n_encoder_layers": 1, "n_decoder_layers": 1}
SHARED = Recipe(
    corpus="shared",
    vocab_size=300,
    training=TrainingConfig(steps=9, max_tokens=90, warmup_steps=5, accumulate=2, seed=3),
    model={**SIZES, "max_len": 64, "norm": "pre"},
    extras=Extras(Dropout(0.2), noise=True),
)


def prepare() -> None:
    """Make the recipe of these tests known, in whatever process."""
    torch.set_num_threads(1)
    RECIPES["shared"] = SHARED
    trainer.load_pairs = lambda corpus: PAIRS
    trainer.dev_sets = lambda corpus: {"a": [(a, [b]) for a, b in PAIRS]}


def one_step() -> tuple[float, float, dict[str, torch.Tensor]]:
    """Loss, norm and gradients of a step whose second part has one row, too few for two."""
    m = model(vocab_size=len(tokenizer()), max_len=64, dropout=0.0).train()
    parts = [collate(encode_pairs(pairs, tokenizer()), 0) for pairs in (PAIRS, PAIRS[:1])]
    engine = Engine(m, FastLoss(), Machine())
    config = TrainingConfig(steps=1, clip_norm=1e9)
    loss, norm = train_step(m, parts, make_optimizer(m), config, loss_of=engine)
    return loss, norm, {n: p.grad.clone() for n, p in m.named_parameters() if p.grad is not None}


def in_each_process(folder: Path) -> None:
    """What torchrun runs below."""
    prepare()
    loss, norm, gradients = one_step()
    if os.environ["RANK"] == "0":
        numbers = {"loss": torch.tensor(loss), "norm": torch.tensor(norm)}
        save_file(gradients | numbers, folder / "step.safetensors")
    start_run("shared", folder / "whole")
    steps = Run.steps

    def some(self: Run, *ready: Any) -> Iterator[Any]:
        for record in steps(self, *ready):
            yield record
            if record.step == 6:
                raise RuntimeError("switched off")

    trainer.SAVE_EVERY = 4
    Run.steps = some  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="switched off"):
        start_run("shared", folder / "died")
    Run.steps = steps  # type: ignore[method-assign]
    start_run("shared", folder / "died", resume=True)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 1"):
        stop_one_process(folder / "stopped")
    start_run("shared", folder / "stopped", resume=True)


def stop_one_process(folder: Path) -> None:
    """Ask the process that does not write to stop, as torchrun would; the other saves slowly."""
    steps, save = Run.steps, trainer.write_whole

    def some(self: Run, *ready: Any) -> Iterator[Any]:
        for record in steps(self, *ready):
            if record.step == 1 and self.engine.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield record

    def slow(path: Path, content: bytes | str) -> None:
        time.sleep(0.5 if path.name == "checkpoint.safetensors" else 0)
        save(path, content)

    Run.steps, trainer.write_whole = some, slow  # type: ignore[method-assign, assignment]
    try:
        start_run("shared", folder)
    finally:
        Run.steps, trainer.write_whole = steps, save  # type: ignore[method-assign]
        _, kept = read_tensors(folder / "checkpoint.safetensors")
        assert kept["step"] == "1", "this process has left before the save"


@pytest.fixture(scope="module")
def two_processes(
    tmp_path_factory: pytest.TempPathFactory, in_processes: Callable[..., str]
) -> Path:
    folder = tmp_path_factory.mktemp("two")
    in_processes(HERE, str(folder))
    return folder


def test_two_processes_make_the_gradient_of_one(two_processes: Path) -> None:
    found = load_file(two_processes / "step.safetensors")
    loss, norm, gradients = one_step()
    assert found.pop("loss").item() == pytest.approx(loss, rel=1e-6)
    assert found.pop("norm").item() == pytest.approx(norm, rel=1e-5)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_two_processes_that_died_end_with_the_very_same_weights(two_processes: Path) -> None:
    whole, *others = (two_processes / name for name in ("whole", "died", "stopped"))
    a, log = load_file(whole / "model.safetensors"), read_log(whole / "log.jsonl")
    assert log[0]["processes"] == 2
    losses = [(e["step"], e["loss"]) for e in log if "loss" in e]
    assert [step for step, _ in losses] == list(range(1, 10))
    for folder in others:
        b, log = load_file(folder / "model.safetensors"), read_log(folder / "log.jsonl")
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert [(e["step"], e["loss"]) for e in log if "loss" in e] == losses
        assert [e["resumed"]["processes"] for e in log if "resumed" in e] == [2]
        assert not list(folder.glob("*.part"))


def test_one_process_computes_as_if_there_were_no_engine() -> None:
    m = model(vocab_size=len(tokenizer()), max_len=64).train()
    batch = collate(encode_pairs(PAIRS, tokenizer()), 0)
    engine = Engine(copy.deepcopy(m), FastLoss(Dropout(0.1)), Machine())
    results = []
    for loss_of in (engine, FastLoss(Dropout(0.1))):
        torch.manual_seed(0)
        results.append(loss_of(m if loss_of is not engine else engine.module.model, batch, 0.1))  # type: ignore[arg-type]
    assert torch.equal(*results)
    assert engine.any(True)
    assert not engine.any(False)
    engine.wait()


if __name__ == "__main__":
    in_each_process(Path(sys.argv[1]))
