"""The recorded runs of chapter 7: five ways to stack eight layers, several rates and seeds.

``python -m studies.stacks reversal --seed 1`` trains every form of stack at every rate to reverse
six digits, and writes ``reversal-1.jsonl``: a first line that says what ran, then a line for each
run.  ``--help`` says more.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from scratch.attention import MultiHeadAttention
from scratch.feedforward import FeedForward
from scratch.plumbing import checks
from scratch.residual import LayerNorm
from studies.recording import computed_on, main

__all__ = ["FORMS", "Reverser", "SelfAttention", "Stack", "record", "train"]

Sublayer = Callable[[Tensor], Tensor]
FORMS: dict[str, Callable[[Sublayer, Sublayer, Tensor], Tensor]] = {
    "neither": lambda f, norm, x: f(x),
    "residual only": lambda f, norm, x: x + f(x),
    "norm only": lambda f, norm, x: norm(f(x)),
    "post-norm": lambda f, norm, x: norm(x + f(x)),
    "pre-norm": lambda f, norm, x: x + f(norm(x)),
}
D, H, DEPTH = 32, 4, 8
LENGTH, DIGITS, BATCH, STEPS, EVERY, TESTED = 6, 8, 24, 400, 20, 1_000
RATES, WARMUP = (1e-3, 2e-3, 5e-3), 100
WITHOUT_WARMUP = ("post-norm", "pre-norm")  # these are also run without it


class SelfAttention(MultiHeadAttention):
    """Multi-head attention of a sequence to itself: (B, T, D) in, (B, T, D) out."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return the output without the weights."""
        return super().forward(x, x, x)[0]


class Stack(nn.Module):
    """``depth`` layers of attention and feed-forward network, put together in one of ``FORMS``."""

    def __init__(self, form: str, depth: int) -> None:
        super().__init__()
        checks.one_of("form", form, tuple(FORMS))
        self.step = FORMS[form]
        kinds = (lambda: SelfAttention(D, H), lambda: FeedForward(D, 2 * D))
        self.parts = nn.ModuleList(kind() for _ in range(depth) for kind in kinds)
        self.norms = nn.ModuleList(LayerNorm(D) for _ in self.parts)
        self.last = LayerNorm(D) if form == "pre-norm" else nn.Identity()
        for module in self.parts.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, T, D) to (B, T, D)."""
        for part, norm in zip(self.parts, self.norms, strict=True):
            x = self.step(part, norm, x)
        return self.last(x)


class Reverser(nn.Module):
    """Digits (B, 6) in, scores of the digits in reverse order (B, 6, 8) out."""

    def __init__(self, form: str, depth: int = DEPTH) -> None:
        super().__init__()
        self.digits, self.places = nn.Embedding(DIGITS, D), nn.Parameter(torch.randn(LENGTH, D))
        self.stack, self.answer = Stack(form, depth), nn.Linear(D, DIGITS)

    def forward(self, digits: Tensor) -> Tensor:
        """Return the scores of each digit at each place."""
        return self.answer(self.stack(self.digits(digits) + self.places))


def train(
    form: str, rate: float, warmup: int, seed: int, *, depth: int = DEPTH, steps: int = STEPS
) -> tuple[list[float], int]:
    """Return the loss of each step, and how many of 1,000 new rows are then reversed exactly.

    The rate grows to ``rate`` over the first ``warmup`` steps and stays there.
    """
    torch.manual_seed(seed)
    model = Reverser(form, depth)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    draw, losses = torch.Generator().manual_seed(seed), []
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, step / warmup)
        digits = torch.randint(DIGITS, (BATCH, LENGTH), generator=draw)
        loss = F.cross_entropy(model(digits).flatten(0, 1), digits.flip(1).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    digits = torch.randint(DIGITS, (TESTED, LENGTH), generator=draw)
    with torch.inference_mode():
        right = (model(digits).argmax(-1) == digits.flip(1)).all(1).sum()
    return losses, int(right)


def record(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log: a header, then the runs."""
    sizes = {"depth": DEPTH, "width": D, "heads": H, "digits": LENGTH, "batch": BATCH}
    yield {"name": name, "seed": seed, "steps": STEPS, **sizes, **computed_on()}
    runs = [(form, rate, WARMUP) for form in FORMS for rate in RATES]
    runs += [(form, rate, 1) for form in WITHOUT_WARMUP for rate in RATES]
    for form, rate, warmup in tqdm(runs, desc=name, unit="run"):
        losses, right = train(form, rate, warmup, seed, steps=STEPS)
        means = torch.tensor(losses).view(-1, EVERY).mean(1).tolist()
        settings = {"form": form, "rate": rate, "warmup": warmup, "right": right}
        yield settings | {"losses": [float(f"{mean:.4g}") for mean in means]}


if __name__ == "__main__":
    raise SystemExit(main("stacks", ("reversal",), record))
