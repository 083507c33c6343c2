"""Training: a loss that forgives a little, a step that clips, a rate that rises and falls.

Chapter 12.  Paper: section 5, "Training".
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from scratch.datasets import Batch, Example, batches
from scratch.plumbing import checks
from scratch.transformer import Transformer

__all__ = [
    "StepRecord",
    "TrainingConfig",
    "endless_batches",
    "inverse_sqrt_rate",
    "label_smoothed_loss",
    "linear_rate",
    "make_optimizer",
    "train",
    "train_step",
]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train: how long, in what portions, at what rate, with what regularisation.

    ``max_tokens`` is the size of a batch in padded tokens; ``peak_rate`` is reached after
    ``warmup_steps``; ``schedule`` is "inverse_sqrt" (the paper) or "linear" (down to zero).
    """

    steps: int
    max_tokens: int = 2048
    peak_rate: float = 1e-3
    warmup_steps: int = 400
    schedule: str = "inverse_sqrt"
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "max_tokens", "warmup_steps"):
            checks.at_least(name, getattr(self, name), 1)
        checks.between("seed", self.seed, 0, 2**32 - 1)
        checks.number("peak_rate", self.peak_rate, 0.0, above=True)
        checks.number("clip_norm", self.clip_norm, 0.0, above=True)
        checks.fraction("label_smoothing", self.label_smoothing)
        checks.one_of("schedule", self.schedule, ("inverse_sqrt", "linear"))

    def rate(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 1."""
        if self.schedule == "linear":
            return linear_rate(step, self.peak_rate, self.warmup_steps, self.steps)
        return inverse_sqrt_rate(step, self.peak_rate, self.warmup_steps)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class StepRecord:
    """What one optimiser step did; ``loss`` is the mean per target token, in nats."""

    step: int
    epoch: int
    loss: float
    rate: float
    grad_norm: float
    tokens: int


def inverse_sqrt_rate(step: int, peak_rate: float, warmup_steps: int) -> float:
    """Rise to ``peak_rate`` over ``warmup_steps``, then fall with the root of ``step``.

    The paper's formula with peak_rate = (d_model * warmup_steps)^-0.5.
    Source: Vaswani et al. (2017), section 5.3, equation 3.
    """
    checks.at_least("step", step, 1)
    checks.at_least("warmup_steps", warmup_steps, 1)
    return peak_rate * min(step / warmup_steps, math.sqrt(warmup_steps / step))


def linear_rate(step: int, peak_rate: float, warmup_steps: int, steps: int) -> float:
    """Rise to ``peak_rate`` over ``warmup_steps``, then fall in a line to 0 after ``steps``."""
    checks.at_least("step", step, 1)
    checks.at_least("warmup_steps", warmup_steps, 1)
    left = max(0, steps - step + 1)
    return peak_rate * min(step / warmup_steps, left / max(1, steps - warmup_steps))


def label_smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy, in nats, of ``logits`` (N, V) against ``labels`` (N,).

    The right token is asked to have probability 1 - smoothing + smoothing/V, every other one
    smoothing/V.  Raises ValueError for shapes, dtypes or labels that do not fit.
    Source: Szegedy et al. (2016), section 7; Vaswani et al. (2017), section 5.4.
    """
    checks.scored(logits, labels)
    checks.fraction("smoothing", smoothing)
    log_probs = logits.log_softmax(dim=-1)  # (N, V)
    right = log_probs.gather(1, labels[:, None])[:, 0]  # (N,)
    return -((1 - smoothing) * right + smoothing * log_probs.mean(dim=-1)).mean()


def make_optimizer(model: torch.nn.Module) -> torch.optim.Adam:
    """Return Adam with the paper's moments; the rate is set at every step.

    Source: Vaswani et al. (2017), section 5.3.
    """
    return torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=True)


def train_step(
    model: Transformer, batch: Batch, optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> tuple[float, float]:
    """Do one forward pass, backward pass and update; return the loss and the gradient's norm.

    Raises ValueError, and changes no weight, when either is not a finite number.
    """
    hidden = model.hidden(batch.source, batch.target)  # (B, T, D)
    real = batch.labels != model.config.pad_id  # (B, T): padding is scored nowhere
    logits = model.output.logits(hidden[real])  # (N, V)
    loss = label_smoothed_loss(logits, batch.labels[real], config.label_smoothing)
    checks.number("loss", loss.item())
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm).item()
    checks.number("gradient norm", norm)
    optimizer.step()
    return loss.item(), norm


def endless_batches(
    examples: Sequence[Example], config: TrainingConfig
) -> Iterator[tuple[int, Batch]]:
    """Yield (epoch, batch) for ever; epoch e, counted from 1, is shuffled with seed + e."""
    for epoch in itertools.count(1):
        for batch in batches(examples, max_tokens=config.max_tokens, seed=config.seed + epoch):
            yield epoch, batch


def train(
    model: Transformer,
    examples: Sequence[Example],
    config: TrainingConfig,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    start: int = 0,
) -> Iterator[StepRecord]:
    """Train ``model`` in place, one optimiser step per value drawn from this iterator.

    Step n draws its dropout from a state made of seed and n, so that a run that begins at
    ``start``, with the model and optimizer of that step, repeats the rest exactly.
    """
    checks.at_least("start", start, 0)
    optimizer = optimizer or make_optimizer(model)
    model.train()
    plan = itertools.islice(endless_batches(examples, config), config.steps)
    for step, (epoch, batch) in enumerate(plan, start=1):
        if step <= start:
            continue
        torch.manual_seed(config.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        loss, norm = train_step(model, batch, optimizer, config)
        tokens = int((batch.labels != model.config.pad_id).sum())
        yield StepRecord(step, epoch, loss, config.rate(step), norm, tokens)
