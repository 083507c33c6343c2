"""The training step: forward, label-smoothed loss, backward, fused Adam; by several hands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

import harness
from contestants import CONTESTANTS, MAX_LEN, PAD, SIZES, Contestant, fixed_batch, flop_count
from scratch.datasets import Batch, batches, encode_pairs, multi30k
from scratch.tokens import train_tokenizer
from scratch.training import count_tokens

REFERENCE, MATRICES = "nn.Transformer", "matrix products"
SMOOTHING = 0.1
REAL_BATCHES = 10  # of Multi30k, from all over an epoch
# What the command sets for all, and what the last of these tables is measured without.
ALLOCATOR = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


class Trainee:
    """A contestant with its optimizer, which can do steps."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        parameters = contestant.model.parameters()
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4, betas=(0.9, 0.98), fused=True)

    def step(self, batch: Batch) -> float:
        """Do one step and return the loss."""
        self.optimizer.zero_grad()
        loss = self.contestant.loss(self.contestant.model, batch, SMOOTHING)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def measure(rounds: int, quick: bool) -> dict[str, Any]:
    """Time everybody at every size, then on real batches; weigh each in a process of its own."""
    real = [] if quick else real_batches()
    results: dict[str, Any] = {"machine": harness.describe("x-transformers", "transformers")}
    results["sizes"] = {size: {} for size in (["tiny"] if quick else SIZES)}
    for size, found in results["sizes"].items():
        trainees = _trainees(size)
        found |= {"sizes": asdict(SIZES[size]), "flops": flop_count(SIZES[size])}
        found["seconds"] = _fixed(trainees, fixed_batch(SIZES[size]), rounds, size)
        if size == "tiny" and real:
            results["real"] = _real(trainees, real, rounds)
        del trainees  # the next ones need the memory
        found["memory"] = {} if quick else _memory(size)
    results["allocator"] = harness.apart(_tiny, rounds, without=ALLOCATOR)
    return results


def _tiny(rounds: int) -> dict[str, list[float]]:
    """Time everybody at the tiny size, as :func:`measure` does, in the process that calls."""
    return _fixed(
        _trainees("tiny"), fixed_batch(SIZES["tiny"]), rounds, "tiny, the system's allocator"
    )


def _trainees(size: str) -> dict[str, Trainee]:
    return {name: Trainee(make(SIZES[size])) for name, make in CONTESTANTS.items()}


def _fixed(
    trainees: Mapping[str, Trainee], batch: Batch, rounds: int, size: str
) -> dict[str, list[float]]:
    runners: dict[str, Callable[[], object]] = {
        name: lambda trainee=trainee: trainee.step(batch)  # type: ignore[misc]
        for name, trainee in trainees.items()
    }
    runners[MATRICES] = harness.matrix_product()
    return harness.race(runners, rounds, label=f"training, {size}")


def real_batches() -> list[Batch]:
    """Return batches as the book's training makes them: Multi30k, by length, padded."""
    pairs = multi30k("train")
    tokenizer = train_tokenizer((text for pair in pairs for text in pair), SIZES["tiny"].vocab_size)
    examples = encode_pairs(pairs, tokenizer, max_len=MAX_LEN)
    size = SIZES["tiny"].rows * SIZES["tiny"].length
    return list(itertools.islice(batches(examples, max_tokens=size, seed=1), REAL_BATCHES))


def _real(trainees: Mapping[str, Trainee], real: list[Batch], rounds: int) -> dict[str, Any]:
    def run(trainee: Trainee) -> None:
        for batch in real:
            trainee.step(batch)

    runners: dict[str, Callable[[], object]] = {
        name: lambda trainee=trainee: run(trainee)  # type: ignore[misc]
        for name, trainee in trainees.items()
    }
    rounds = max(1, rounds // 2)  # each takes as long as several of the fixed batch
    tokens = sum(count_tokens(batch, PAD) for batch in real)
    sides = [ids for batch in real for ids in (batch.source, batch.labels)]
    padding = sum(int((ids == PAD).sum()) for ids in sides) / sum(ids.numel() for ids in sides)
    seconds = harness.race(runners, rounds, label="training, real batches", warmup=0)
    return {"tokens": tokens, "padding": round(padding, 4), "seconds": seconds}


def _memory(size: str) -> dict[str, float]:
    names = tqdm(CONTESTANTS, desc=f"memory, {size}", dynamic_ncols=True)
    return {name: harness.alone(two_steps, name, size) for name in names}


def two_steps(name: str, size: str) -> None:
    """Do what is weighed: two steps, since the optimizer's moments come with the first."""
    trainee = Trainee(CONTESTANTS[name](SIZES[size]))
    for _ in range(2):
        trainee.step(fixed_batch(SIZES[size]))


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Return a table for each size, one for real batches, and one of what it ran on."""
    made = {size: _size_table(found) for size, found in results["sizes"].items()}
    if "real" in results:
        made["real"] = _real_table(results["real"])
    made["allocator"] = _allocator_table(results["allocator"])
    return made | {"machine": _machine_table(results)}


def _size_table(found: dict[str, Any]) -> str:
    seconds = found["seconds"]
    ratios = harness.ratios(seconds, REFERENCE)
    rate = harness.matrix_rate(seconds[MATRICES])
    rows = [
        [
            name,
            f"{1000 * median(seconds[name]):,.0f}",
            f"{ratios[name]:.2f}",
            f"{100 * found['flops'] / median(seconds[name]) / rate:.0f} %",
            f"{found['memory'][name]:,.0f}" if found["memory"] else "–",
        ]
        for name in CONTESTANTS
    ]
    head = ["Implementation", "ms a step", "speed", "of the matrix rate", "peak memory, MiB"]
    return harness.markdown(head, rows)


def _real_table(real: dict[str, Any]) -> str:
    ratios = harness.ratios(real["seconds"], REFERENCE)
    rows = [
        [name, f"{real['tokens'] / median(seconds):,.0f}", f"{ratios[name]:.2f}"]
        for name, seconds in real["seconds"].items()
    ]
    return harness.markdown(["Implementation", "target tokens a second", "speed"], rows)


def _allocator_table(seconds: dict[str, list[float]]) -> str:
    ratios = harness.ratios(seconds, REFERENCE)
    rows = [
        [name, f"{1000 * median(seconds[name]):,.0f}", f"{ratios[name]:.2f}"]
        for name in CONTESTANTS
    ]
    return harness.markdown(["Implementation", "ms a step", "speed"], rows)


def _machine_table(results: dict[str, Any]) -> str:
    rates = [
        f"{size}: {harness.matrix_rate(found['seconds'][MATRICES]) / 1e9:.0f}"
        for size, found in results["sizes"].items()
    ]
    rows = [["Matrix products, GFLOP a second", ", ".join(rates)]]
    if "real" in results:
        rows.append(["Padding in the real batches", f"{100 * results['real']['padding']:.0f} %"])
    return harness.machine_table(results["machine"], rows)
