"""Where a step is computed: on which device, in which precision, in how many processes.

``torchrun`` starts several processes and tells each its rank.  Every one draws the same batches,
takes its share of the rows and computes a gradient; DDP exchanges the gradients, so that all make
the same update.
"""

import os
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scratch.datasets import Batch
from scratch.plumbing import checks
from scratch.plumbing.fast.step import FastLoss, fast_hidden
from scratch.training import LossOf, count_tokens
from scratch.transformer import Transformer

__all__ = ["Engine", "Machine", "processes"]


@dataclass(frozen=True)
class Machine:
    """What computes: ``device`` is "cpu" or "cuda"; ``bf16`` and ``compile`` are for GPUs.

    ``bf16`` lets matrix products run in bfloat16; ``compile`` translates the model with
    ``torch.compile`` (a C++ compiler is needed on a processor).
    """

    device: str = "cpu"
    bf16: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        checks.device("device", self.device)
        if self.bf16 and self.device == "cpu":
            raise ValueError("bf16 is True, expected False with the device 'cpu'")


def processes() -> tuple[int, int]:
    """Return this process's rank and how many there are; join the others if torchrun says so."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return dist.get_rank(), dist.get_world_size()


class _LossModule(nn.Module):
    """The loss as a module, which is what DDP wraps."""

    def __init__(self, model: Transformer, loss_of: LossOf) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, batch: Batch, smoothing: float) -> Tensor:
        return self.loss_of(self.model, batch, smoothing)


class Engine:
    """Computes losses for :func:`scratch.training.train_step` as ``machine`` wants them."""

    def __init__(self, model: Transformer, loss_of: LossOf, machine: Machine) -> None:
        self.machine = machine
        self.rank, self.world = processes()
        self.device = torch.device(machine.device)
        if machine.device == "cuda":
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if machine.compile and isinstance(loss_of, FastLoss):
            loss_of = replace(loss_of, hidden_of=torch.compile(fast_hidden, dynamic=True))
        model.to(self.device)
        self.module: nn.Module = _LossModule(model, loss_of)
        if self.world > 1:
            self.module = nn.parallel.DistributedDataParallel(self.module)

    def __call__(self, model: Transformer, batch: Batch, smoothing: float) -> Tensor:
        """Return the mean loss of the whole ``batch``; its gradient is that of this one's share."""
        mine, share = self._share(batch, model.config.pad_id)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.machine.bf16):
            loss = cast(Tensor, self.module(mine.to(self.device), smoothing))
        if self.world == 1:
            return loss
        total = share * loss.detach()
        dist.all_reduce(total)
        loss = self.world * share * loss  # DDP takes the mean over processes, not the sum
        return loss + (total - loss).detach()

    def _share(self, batch: Batch, pad_id: int) -> tuple[Batch, float]:
        """Return every world-th row, and the fraction of the batch's tokens that they hold."""
        if self.world == 1:
            return batch, 1.0
        rows = slice(self.rank, None, self.world)
        idle = self.rank >= len(batch.source)  # nothing left for this one: a row that counts 0
        part = slice(0, 1) if idle else rows
        mine = Batch(batch.source[part], batch.target[part], batch.labels[part])
        share = count_tokens(mine, pad_id) / count_tokens(batch, pad_id)
        return mine, 0.0 if idle else share

    def any(self, condition: bool) -> bool:
        """Say whether ``condition`` holds in any process, so that all do the same."""
        if self.world == 1:
            return condition
        flag = torch.tensor(int(condition), device=self.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.world > 1:
            dist.barrier()
