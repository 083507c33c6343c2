"""Fine-tuning: a trained model learns something new, with parts held still, slowed or added.

Chapter 14.  Adapters: Hu et al. (2022), section 4.1.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.datasets import Example
from scratch.plumbing import checks
from scratch.training import (
    StepRecord,
    TrainingConfig,
    batch_loss,
    endless_batches,
    make_optimizer,
    training_steps,
)
from scratch.transformer import Transformer

__all__ = [
    "LowRankAdapter",
    "adapt",
    "add_adapters",
    "freeze",
    "grouped_optimizer",
    "is_under",
    "merge_adapters",
    "parameter_groups",
    "parameters_under",
    "train_only",
]


def is_under(name: str, prefix: str) -> bool:
    """Say whether ``name`` is ``prefix`` or a part of it; everything is a part of ``""``."""
    return not prefix or f"{name}.".startswith(f"{prefix}.")


def parameters_under(model: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    """Return the parameters of the module, or the one parameter, called ``prefix``; ``""`` is all.

    A shared parameter has several names and is found under each of them.
    """
    named = model.named_parameters(remove_duplicate=False)
    found = {name: parameter for name, parameter in named if is_under(name, prefix)}
    parts = ", ".join(dict.fromkeys(name.split(".")[0] for name, _ in model.named_parameters()))
    expected = f"expected a module or parameter, for example one of: {parts}"
    checks.require(bool(found), f"name is {prefix!r}, {expected}")
    return found


def freeze(model: nn.Module, *names: str) -> list[str]:
    """Hold everything under ``names`` still; return all names of what no longer learns.

    Read the list: a matrix that is shared is still under its other names too.
    """
    for parameter in [p for name in names for p in parameters_under(model, name).values()]:
        parameter.requires_grad_(False)
        parameter.grad = None  # an optimiser would still apply an old one
    named = model.named_parameters(remove_duplicate=False)
    return [name for name, parameter in named if not parameter.requires_grad]


def train_only(model: nn.Module, *names: str) -> list[str]:
    """Let what is under ``names`` learn and nothing else; return all names of what stays still."""
    chosen = [p for name in names for p in parameters_under(model, name).values()]
    still = freeze(model, "")
    for parameter in chosen:
        parameter.requires_grad_(True)
    learning = {id(parameter) for parameter in chosen}
    return [name for name in still if id(model.get_parameter(name)) not in learning]


def parameter_groups(model: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """Sort what learns into groups for an optimiser, one for each prefix of ``rates``.

    ``rates`` gives each prefix a factor of the learning rate, the group's "scale"; of several
    prefixes the longest wins, and "" takes the rest.  A shared parameter is in one group, by its
    first name.  Raises ValueError for a prefix of nothing and for a parameter without a group.
    """
    for prefix, rate in rates.items():
        checks.number(f"rates[{prefix!r}]", rate, 0.0)
        parameters_under(model, prefix)
    groups: dict[str, list[nn.Parameter]] = {prefix: [] for prefix in rates}
    for name, parameter in model.named_parameters():  # a shared one is listed once
        if parameter.requires_grad:
            fitting = [prefix for prefix in rates if is_under(name, prefix)]
            checks.require(bool(fitting), f'rates has no prefix of {name}, expected one, or ""')
            groups[max(fitting, key=len)].append(parameter)
    return [{"params": groups[p], "scale": rates[p], "name": p} for p in rates if groups[p]]


def grouped_optimizer(model: nn.Module, rates: Mapping[str, float]) -> torch.optim.Adam:
    """Return the book's Adam over :func:`parameter_groups`, for any loop that sets the rate.

    Each step multiplies the rate that the loop has set for it by the group's scale.
    """
    optimizer = make_optimizer(model, parameter_groups(model, rates))

    def scale(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] *= group["scale"]

    optimizer.register_step_pre_hook(scale)
    return optimizer


class LowRankAdapter(nn.Linear):
    """A linear layer that stays as it is, plus a product of two thin matrices that learns.

    h = x Wᵀ + b + (alpha / rank) · x downᵀ upᵀ for a row x, with ``down`` (rank, in) drawn at
    random and ``up`` (out, rank) zero: at first the layer does what it did.
    Source: Hu et al. (2022), section 4.1, equation 3.
    """

    def __init__(self, linear: nn.Linear, rank: int, *, alpha: float | None = None) -> None:
        """Take over the parameters of ``linear``; ``alpha`` is ``rank`` unless given."""
        sizes = (linear.in_features, linear.out_features)
        super().__init__(*sizes, bias=linear.bias is not None, device="meta")
        checks.between("rank", rank, 1, min(sizes))
        checks.number("alpha", rank if alpha is None else alpha, 0.0, above=True)
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = 1.0 if alpha is None else alpha / rank
        self.down = nn.Parameter(self.weight.new_empty(rank, sizes[0]))
        self.up = nn.Parameter(self.weight.new_zeros(sizes[1], rank))
        nn.init.normal_(self.down, std=sizes[0] ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (..., in) to (..., out); the product up @ down is never formed."""
        return super().forward(x) + self.scale * F.linear(F.linear(x, self.down), self.up)

    def merged(self) -> nn.Linear:
        """Return one plain layer with the same output: W + (alpha / rank) · up @ down."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, "meta")
        product = self.scale * self.up @ self.down  # (out, in)
        linear.weight = nn.Parameter((self.weight + product).detach())
        linear.bias = self.bias
        return linear


def add_adapters(
    model: nn.Module,
    rank: int,
    *,
    parts: Sequence[str] = ("w_query", "w_value"),
    alpha: float | None = None,
) -> list[str]:
    """Freeze ``model``, put an adapter on each linear layer called one of ``parts``; return names.

    Queries and values are Hu et al.'s choice (2022, section 7.1).  Raises ValueError when no
    layer has such a name.
    """
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.split(".")[-1] in parts
    ]
    checks.require(bool(layers), f"parts is {parts!r}, expected names of linear layers")
    adapted = any(isinstance(layer, LowRankAdapter) for _, layer in layers)
    checks.require(not adapted, "model has adapters, expected none; merge_adapters(model) first")
    freeze(model, "")
    for name, layer in layers:
        model.set_submodule(name, LowRankAdapter(layer, rank, alpha=alpha))
    return [name for name, _ in layers]


def merge_adapters(model: nn.Module) -> None:
    """Replace each adapter by the plain layer with the same output, and let everything learn."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LowRankAdapter):
            model.set_submodule(name, layer.merged())
    model.requires_grad_(True)


def adapt(
    model: Transformer,
    examples: Sequence[Example],
    config: TrainingConfig,
    *,
    rehearsed: Sequence[Example] = (),
    optimizer: torch.optim.Optimizer | None = None,
) -> Iterator[StepRecord]:
    """Train ``model`` in place on ``examples``, each step with as much of ``rehearsed`` as well.

    The batches make one update, each token counting once.  Without ``rehearsed`` this is
    :func:`scratch.training.train`.  Only what requires a gradient learns.
    """
    corpora = [examples, rehearsed] if rehearsed else [examples]
    pad_id = model.config.pad_id
    streams = [endless_batches(corpus, config, pad_id=pad_id) for corpus in corpora]
    optimizer = optimizer or make_optimizer(model)
    return training_steps(model, streams, optimizer, config, loss_of=batch_loss)
