"""The recorded runs of chapter 12: with and without warm-up, and what memorises a few pairs.

``python -m studies.training warmup --seed 1`` trains pre-norm and post-norm models at three rates
and writes ``warmup-1.jsonl``; ``overfitting`` trains on 400 pairs, with dropout, and on four
times as many; ``faults`` trains a healthy model and three that are not.  ``--help`` says more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from tqdm import tqdm

from scratch.datasets import Example, batches, encode_pairs, grammar
from scratch.tokens import train_tokenizer
from scratch.training import (
    TrainingConfig,
    batch_loss,
    count_tokens,
    endless_batches,
    make_optimizer,
    train,
    training_steps,
)
from scratch.transformer import Transformer, TransformerConfig
from studies.recording import computed_on, main

__all__ = [
    "CONDITIONS",
    "FAULTS",
    "RATES",
    "data",
    "fault",
    "mean_loss",
    "overfitting",
    "record",
    "warmup",
]

STEPS, EVERY, LOOKED_AT = 200, 10, 200
NORMS, RATES, WARMUPS = ("pre", "post"), (3e-3, 6e-3, 1.2e-2), (60, 1)
CONDITIONS = {"400 pairs": (400, 0.0), "dropout": (400, 0.3), "1,600 pairs": (1_600, 0.0)}
LONG, LOOK_EVERY = 300, 20
FAULTS, FAULTY = ("healthy", "A", "B", "C"), 220


@cache
def data() -> tuple[int, list[Example], list[Example]]:
    """Return the vocabulary's size, 4,000 examples to train on, and 200 to validate with."""
    splits = grammar()
    chosen = (splits.train[:4_000], splits.seen[:LOOKED_AT])
    train_on, look_at = ([(p.english_text, p.french_text) for p in pairs] for pairs in chosen)
    tokenizer = train_tokenizer([text for pair in train_on for text in pair], vocab_size=800)
    return len(tokenizer), encode_pairs(train_on, tokenizer), encode_pairs(look_at, tokenizer)


def new_model(layers: int, norm: str, dropout: float, seed: int) -> Transformer:
    """Return a small model with random weights."""
    torch.manual_seed(seed)
    size = data()[0]
    return Transformer(
        TransformerConfig(size, 48, 4, 96, layers, layers, dropout=dropout, max_len=64, norm=norm)
    )


@torch.inference_mode()
def mean_loss(model: Transformer, examples: Sequence[Example]) -> float:
    """Return the mean loss per token of ``examples``, without dropout and not smoothed."""
    model.eval()
    total, tokens = 0.0, 0
    for batch in batches(examples, max_tokens=4_096, seed=0):
        count = count_tokens(batch, model.config.pad_id)
        total += count * batch_loss(model, batch, 0.0).item()
        tokens += count
    return total / tokens


def warmup(
    norm: str, rate: float, warmup: int, seed: int, *, steps: int = STEPS
) -> tuple[list[float], float]:
    """Train three layers on each side; return the loss of each step and the validation loss."""
    model = new_model(3, norm, 0.0, seed)
    config = TrainingConfig(steps, 512, rate, warmup, "linear", label_smoothing=0.0, seed=seed)
    losses = [record.loss for record in train(model, data()[1], config)]
    return losses, mean_loss(model, data()[2])


def overfitting(
    pairs: int, dropout: float, seed: int, *, steps: int = LONG
) -> list[tuple[int, float, float]]:
    """Train one layer on each side; return (step, training loss, validation loss) now and then.

    Both losses are of 200 examples, in evaluation mode.
    """
    few, looked_at = data()[1][:pairs], data()[2]
    model, looks = new_model(1, "pre", dropout, seed), []
    config = TrainingConfig(steps, 512, 6e-3, 40, label_smoothing=0.0, seed=seed)
    for record in train(model, few, config):
        if record.step % LOOK_EVERY == 0:
            both = [mean_loss(model, examples) for examples in (few[:LOOKED_AT], looked_at)]
            looks.append((record.step, both[0], both[1]))
    return looks


def fault(name: str, seed: int, *, steps: int = FAULTY) -> tuple[list[float], float]:
    """Train the model ``name`` of ``FAULTS``; return the loss of each step, and one number more.

    It says by how much the loss grows when 64 sentences get the source of their neighbours.
    """
    _, examples, _ = data()
    config = TrainingConfig(steps, 512, 1.2e-2, 40, "linear", label_smoothing=0.0, seed=seed)
    others = [other.source for other in examples[1:] + examples[:1]]
    crossed = [Example(s, e.target) for s, e in zip(others, examples, strict=True)]
    stream = endless_batches(crossed if name == "C" else examples, config)
    if name == "A":
        config = replace(config, peak_rate=30 * config.peak_rate)
    if name == "B":
        stream = ((epoch, replace(batch, labels=batch.target)) for epoch, batch in stream)
    model = new_model(1, "pre", 0.0, seed)
    optimizer = make_optimizer(model)
    run = training_steps(model, [stream], optimizer, config, loss_of=batch_loss)
    losses = [step.loss for step in run]
    return losses, mean_loss(model, crossed[:64]) - mean_loss(model, examples[:64])


def record(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log: a header, then the runs."""
    yield {"name": name, "seed": seed, **computed_on()}
    if name == "overfitting":
        for condition, (pairs, dropout) in tqdm(CONDITIONS.items(), desc=name, unit="run"):
            looks = overfitting(pairs, dropout, seed, steps=LONG)
            yield {"condition": condition, "looks": [(s, *map(_short, both)) for s, *both in looks]}
        return
    if name == "faults":
        for fault_name in tqdm(FAULTS, desc=name, unit="run"):
            losses, grows = fault(fault_name, seed, steps=FAULTY)
            yield {"run": fault_name, "grows": round(grows, 2), "losses": [*map(_short, losses)]}
        return
    runs = [(norm, rate, steps) for norm in NORMS for rate in RATES for steps in WARMUPS]
    for norm, rate, steps in tqdm(runs, desc=name, unit="run"):
        losses, validation = warmup(norm, rate, steps, seed, steps=STEPS)
        means = torch.tensor(losses).view(-1, EVERY).mean(1).tolist()
        settings = {"norm": norm, "rate": rate, "warmup": steps, "validation": _short(validation)}
        yield settings | {"losses": [*map(_short, means)]}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    raise SystemExit(main("training", ("warmup", "overfitting", "faults"), record))
