"""Training: a loss that forgives a little, a step that clips, a rate that rises and falls.

Chapter 12.  Paper: section 5, "Training".
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from scratch.datasets import Batch, Example, batches
from scratch.plumbing import checks
from scratch.plumbing.threads import one_thread
from scratch.transformer import Transformer

__all__ = [
    "StepRecord",
    "Trainable",
    "TrainingConfig",
    "batch_loss",
    "count_tokens",
    "endless_batches",
    "inverse_sqrt_rate",
    "label_smoothed_loss",
    "linear_rate",
    "make_optimizer",
    "train",
    "train_step",
    "training_steps",
]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train: how long, in what portions, at what rate, with what regularisation.

    ``max_tokens`` is the size of a batch in padded tokens, and ``accumulate`` the number of
    batches to one update; ``peak_rate`` is reached after ``warmup_steps``; ``schedule`` is
    "inverse_sqrt" (the paper) or "linear" (down to zero).
    """

    steps: int
    max_tokens: int = 2048
    peak_rate: float = 1e-3
    warmup_steps: int = 400
    schedule: str = "inverse_sqrt"
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "max_tokens", "warmup_steps", "accumulate"):
            checks.at_least(name, getattr(self, name), 1)
        checks.between("seed", self.seed, 0, 2**32 - 1)
        checks.number("peak_rate", self.peak_rate, 0.0, above=True)
        checks.number("clip_norm", self.clip_norm, 0.0, above=True)
        checks.fraction("label_smoothing", self.label_smoothing)
        checks.one_of("schedule", self.schedule, ("inverse_sqrt", "linear"))

    def rate(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 1."""
        checks.at_least("step", step, 1)
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
    return peak_rate * min(step / warmup_steps, math.sqrt(warmup_steps / step))


def linear_rate(step: int, peak_rate: float, warmup_steps: int, steps: int) -> float:
    """Rise to ``peak_rate`` over ``warmup_steps``, then fall in a line to 0 after ``steps``."""
    left = max(0, steps - step + 1)
    return peak_rate * min(step / warmup_steps, left / max(1, steps - warmup_steps))


def label_smoothed_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy, in nats, of ``logits`` (N, V) against ``labels`` (N,).

    The right token is asked to have probability 1 - smoothing + smoothing/V, every other one
    smoothing/V.
    Source: Szegedy et al. (2016), section 7; Vaswani et al. (2017), section 5.4.
    """
    checks.same_length("labels", labels, "logits", logits)  # gather would take the first ones
    checks.fraction("smoothing", smoothing)
    log_probs = logits.log_softmax(dim=-1)  # (N, V)
    right = log_probs.gather(1, labels[:, None])[:, 0]  # (N,)
    return -((1 - smoothing) * right + smoothing * log_probs.mean(dim=-1)).mean()


def make_optimizer(
    model: nn.Module, groups: list[dict[str, Any]] | None = None
) -> torch.optim.Adam:
    """Return Adam with the paper's moments, over all parameters or over ``groups`` of them.

    The rate is set at every step.  Source: Vaswani et al. (2017), section 5.3.
    """
    parameters = model.parameters() if groups is None else groups
    return torch.optim.Adam(parameters, lr=0.0, betas=(0.9, 0.98), eps=1e-9, fused=True)


def count_tokens(batch: Batch, pad_id: int) -> int:
    """Return how many tokens ``batch`` asks the model to predict: its labels less the padding."""
    return int((batch.labels != pad_id).sum())


def batch_loss(model: Transformer, batch: Batch, smoothing: float) -> Tensor:
    """Return the mean loss per target token of ``batch``; padding is scored nowhere."""
    hidden = model.hidden(batch.source, batch.target)  # (B, T, D)
    real = batch.labels != model.config.pad_id  # (B, T)
    logits = model.output.logits(hidden[real])  # (N, V)
    return label_smoothed_loss(logits, batch.labels[real], smoothing)


class Trainable(Protocol):
    """What training asks of a model, whatever its loss is."""

    config: Any  # its pad_id says which id is padding

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def train(self) -> object: ...


Model = TypeVar("Model", bound=Trainable)
LossOf = Callable[[Model, Batch, float], Tensor]  # (model, batch, label smoothing)


@one_thread()
def train_step(
    model: Model,
    parts: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    *,
    loss_of: LossOf[Model],
) -> tuple[float, float]:
    """Do one update from the batches ``parts``; return the loss and the gradient's norm.

    Each part adds its gradient, weighted by its share of the tokens, so that the sum is that of
    one large batch, in the memory of a small one.  Raises ValueError, and changes no weight,
    when loss or gradient is not a finite number.
    """
    counts = [count_tokens(part, model.config.pad_id) for part in parts]
    checks.require(sum(counts) > 0, "parts hold nothing to predict, expected a token")
    optimizer.zero_grad()
    total = 0.0
    for part, count in zip(parts, counts, strict=True):
        loss = loss_of(model, part, config.label_smoothing) * (count / sum(counts))
        checks.finite("loss", loss.item())
        loss.backward()
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm).item()
    checks.finite("gradient norm", norm)
    optimizer.step()
    return total, norm


def endless_batches(
    examples: Sequence[Example], config: TrainingConfig, *, pad_id: int = 0
) -> Iterator[tuple[int, Batch]]:
    """Yield (epoch, batch) for ever; epoch e, counted from 1, is shuffled with seed + e."""
    for epoch in itertools.count(1):
        seed = config.seed + epoch
        for batch in batches(examples, max_tokens=config.max_tokens, seed=seed, pad_id=pad_id):
            yield epoch, batch


def training_steps(
    model: Model,
    streams: Sequence[Iterator[tuple[int, Batch]]],
    optimizer: torch.optim.Optimizer,
    config: TrainingConfig,
    *,
    loss_of: LossOf[Model],
    start: int = 0,
) -> Iterator[StepRecord]:
    """Train ``model`` in place on endless ``streams`` of (epoch, batch); yield a record per step.

    A step takes ``config.accumulate`` batches of each stream, its rate by its number, and draws
    dropout from a state made of seed and number: a run that goes on at ``start``, with the model,
    optimizer and streams of that step, repeats the rest exactly.  Between two steps the caller
    may do with the model what it likes.  An error says where in the run it happened.
    """
    for step in range(start + 1, config.steps + 1):
        drawn = [next(stream) for stream in streams for _ in range(config.accumulate)]
        epoch, parts = drawn[0][0], [batch for _, batch in drawn]
        torch.manual_seed(config.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        model.train()
        try:
            loss, norm = train_step(model, parts, optimizer, config, loss_of=loss_of)
        except ValueError as error:
            shapes = " and ".join(str(tuple(part.target.shape)) for part in parts)
            raise ValueError(f"step {step}, epoch {epoch}, batch {shapes}: {error}") from error
        tokens = sum(count_tokens(part, model.config.pad_id) for part in parts)
        yield StepRecord(step, epoch, loss, config.rate(step), norm, tokens)


def train(
    model: Transformer,
    examples: Sequence[Example],
    config: TrainingConfig,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    start: int = 0,
) -> Iterator[StepRecord]:
    """Train ``model`` on ``examples``, one optimiser step per value drawn from this iterator.

    Batches go to the device that the model is on.  ``start`` is the step that model and
    optimizer stand at; see :func:`training_steps`.
    """
    checks.at_least("start", start, 0)
    device = next(model.parameters()).device
    plan = endless_batches(examples, config, pad_id=model.config.pad_id)
    plan = itertools.islice(plan, start * config.accumulate, None)
    stream = ((epoch, batch.to(device)) for epoch, batch in plan)
    optimizer = optimizer or make_optimizer(model)
    return training_steps(model, [stream], optimizer, config, loss_of=batch_loss, start=start)
