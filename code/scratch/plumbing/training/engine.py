"""Where a step is computed: on which device, in which precision, in how many processes.

Large work is shared by processes of one thread each; :mod:`scratch.plumbing.threads` says why.
Every process draws the same batches, takes its share of the rows and computes a gradient; DDP
exchanges the gradients, so that all make the same update.
"""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from scratch.datasets import Batch
from scratch.plumbing import checks
from scratch.plumbing.fast.step import FastLoss, fast_hidden
from scratch.training import LossOf, count_tokens
from scratch.transformer import Transformer

__all__ = ["Engine", "Machine", "asked_to_stop", "processes", "shared_work"]

HERE = "127.0.0.1"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Machine:
    """What computes: ``device`` is "cpu" or "cuda".

    ``bf16`` lets matrix products run in bfloat16, which GPUs and processors with AMX have units
    for; ``compile`` translates the model with ``torch.compile`` (a C++ compiler is needed on a
    processor).
    """

    device: str = "cpu"
    bf16: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        checks.one_of("device", self.device, ("cpu", "cuda"))
        there = self.device == "cpu" or torch.cuda.is_available()
        checks.require(there, "device is 'cuda', but PyTorch finds no GPU, expected 'cpu'")


# -- several processes


def processes() -> tuple[int, int]:
    """Return this process's rank and how many there are; join the others if torchrun says so."""
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return 0, 1
        dist.init_process_group(_backend())
    return dist.get_rank(), dist.get_world_size()


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


@contextmanager
def shared_work(count: int, work: Callable[[], object]) -> Iterator[None]:
    """Let ``count`` processes do ``work``: this one in the block, the others beside it.

    This one is the first.  ``work`` is pickled; what it refuses
    is said once, by this process.  Raises ValueError when another process has died.
    """
    if count == 1:
        yield
        return
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    store = dist.TCPStore(HERE, 0, count, is_master=True, wait_for_workers=False)
    start = multiprocessing.get_context("spawn").Process
    others = [
        start(target=_beside, args=(rank, count, store.port, work), daemon=True)
        for rank in range(1, count)
    ]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which they inherit: only this one asks
    for other in others:
        other.start()
    signal.signal(signal.SIGINT, before)
    try:
        dist.init_process_group(_backend(), store=store, rank=0, world_size=count)
        yield
        for other in others:
            other.join()
    except RuntimeError as error:
        for other in others:
            other.join(5)
        if all(other.exitcode is None for other in others):
            raise
        raise ValueError(f"one of {count} processes has died, go on with --resume") from error
    finally:
        for other in others:
            other.kill()  # it writes nothing that could be left half done
        if dist.is_initialized():
            dist.destroy_process_group()


def _beside(rank: int, count: int, port: int, work: Callable[[], object]) -> None:
    """Do ``work`` as the process number ``rank``, in silence: the first one says what happens."""
    os.environ["LOCAL_RANK"] = str(rank)
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed process leaves behind
    store = dist.TCPStore(HERE, port, count, is_master=False)
    dist.init_process_group(_backend(), store=store, rank=rank, world_size=count)
    try:
        work()
    except (ValueError, OSError, RuntimeError, KeyboardInterrupt):
        raise SystemExit(1) from None


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether there was a Ctrl-C or SIGTERM; no step is cut in half.

    A second one interrupts.
    """
    asked = threading.Event()

    def ask(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # signals never reach another thread
        return
    previous = [signal.signal(number, ask) for number in SIGNALS]
    try:
        yield asked.is_set
    finally:
        for number, handler in zip(SIGNALS, previous, strict=True):
            signal.signal(number, handler)


# -- the loss of a step


class _LossModule(nn.Module):
    """The loss as a module, which is what DDP wraps."""

    def __init__(self, model: Transformer, loss_of: LossOf[Transformer]) -> None:
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, batch: Batch, smoothing: float) -> Tensor:
        return self.loss_of(self.model, batch, smoothing)


class Engine:
    """Computes losses for :func:`scratch.training.train_step` as ``machine`` wants them."""

    def __init__(self, model: Transformer, loss_of: LossOf[Transformer], machine: Machine) -> None:
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
