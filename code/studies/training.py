"""The recorded runs of chapter 12: with and without warm-up, and what memorises a few pairs.

``python -m studies.training warmup --seed 1`` trains pre-norm and post-norm models at three rates
and writes ``warmup-1.jsonl``; ``overfitting`` trains on 400 pairs, with dropout, and on four
times as many.  ``--help`` says more.
"""

import itertools
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
    "RATES",
    "data",
    "faulty_runs",
    "mean_loss",
    "overfitting",
    "record",
    "warmup",
]

STEPS, EVERY, LOOKED_AT = 200, 10, 200
NORMS, RATES, WARMUPS = ("pre", "post"), (3e-3, 6e-3, 1.2e-2), (60, 1)
CONDITIONS = {"400 pairs": (400, 0.0), "dropout": (400, 0.3), "1,600 pairs": (1_600, 0.0)}
LONG, LOOK_EVERY = 300, 20


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


def faulty_runs(n_steps: int = 180) -> dict[str, tuple[list[float], Transformer]]:
    """Train a healthy model and three with a fault; return the losses and the model of each."""
    _, examples, _ = data()
    plain = TrainingConfig(n_steps, 512, 1.2e-2, 40, "linear", label_smoothing=0.0)
    dealt = [b for _, b in itertools.islice(endless_batches(examples, plain), n_steps)]
    rolled = zip(examples, examples[1:] + examples[:1], strict=True)
    mixed = [Example(e.source, other.target) for e, other in rolled]
    versions = {
        "healthy": (dealt, plain),
        "A": (dealt, replace(plain, peak_rate=0.36)),
        "B": ([replace(b, labels=b.target) for b in dealt], plain),
        "C": ([b for _, b in itertools.islice(endless_batches(mixed, plain), n_steps)], plain),
    }
    found = {}
    for name, (chosen, config) in versions.items():
        model, stream = new_model(1, "pre", 0.0, 0), iter([(1, batch) for batch in chosen])
        steps = training_steps(model, [stream], make_optimizer(model), config, loss_of=batch_loss)
        found[name] = [step.loss for step in steps], model
    return found


def record(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log: a header, then the runs."""
    yield {"name": name, "seed": seed, **computed_on()}
    if name == "overfitting":
        for condition, settings in tqdm(CONDITIONS.items(), desc=name, unit="run"):
            looks = overfitting(*settings, seed, steps=LONG)
            yield {"condition": condition, "looks": [(s, *map(_short, both)) for s, *both in looks]}
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
    raise SystemExit(main("training", ("warmup", "overfitting"), record))
