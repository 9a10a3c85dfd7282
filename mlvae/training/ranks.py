r"""Ranks: several processes, on one machine or many, that train one model together.

``torchrun --nproc-per-node=4 scripts/train.py ...`` starts four of the same training; each finds
out by :func:`join` which one it is. All make the same plan of an epoch, and each takes a share of
every batch (:mod:`mlvae.data.sharing`). With the loss :math:`L_r` of a share of :math:`G_r` groups
the loss of the batch is

.. math:: L = \frac{\sum_r G_r L_r}{\sum_r G_r}

so loss, gradient, clipping and reports are those of one process, to rounding, however many ranks
there are and however unequal their shares; so is the noise (:mod:`mlvae.noise`). A checkpoint
holds nothing of ranks. Only dropout differs: each rank draws its own. Memory and time are shared
between groups, or with ``batching.span_ranks`` between observations
(:class:`mlvae.shares.SpanningShare`); in the first case a rank beyond the number of groups of a
batch has nothing to do.

Rank 0 writes the run. Folders are the same on all machines: data are read, and a run to be resumed
is, by every rank.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from mlvae.batch import Batch
from mlvae.data import Plan
from mlvae.data.sharing import share
from mlvae.errors import InputError, RankLost
from mlvae.shares import Share

__all__ = ["Ranks", "check_shared", "join"]

#: torchrun notices a process that ended; this only bounds how long one may hang, or prepare data.
PATIENCE = timedelta(hours=6)

#: Rules whose posterior is made of sums over a group, so that its members may be anywhere.
SPANNING = ("product", "prior_product", "prior_corrected", "mean")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """What this process is among those that train together; by default it is alone.

    Alone, every method gives back what it was given, and torch.distributed is not touched.

    Attributes:
        device: of this process; None where nobody asks.
        rank: its number, in [0, count).
        count: how many there are.
        local: its number on its machine.
    """

    device: torch.device | None = None
    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, plan: Plan, *, span: bool) -> Plan:
        """This rank's share of the batches of ``plan``."""
        if not self.several:
            return plan
        return share(plan, rank=self.rank, ranks=self.count, span=span)

    @staticmethod
    def noise(generator: torch.Generator | None, batch: Batch) -> torch.Generator | None:
        """What draws for a share of a batch what ``generator`` draws for the whole."""
        if generator is None or not isinstance(batch.groups, Share):
            return generator
        return batch.groups.generator(generator)

    def own(self, purpose: str) -> str:
        """A purpose of random numbers that shall differ between ranks."""
        return f"{purpose}/{self.rank}" if self.rank else purpose

    def parallel(self, model: nn.Module) -> nn.Module:
        """``model``, whose gradients become means over ranks; it begins as that of rank 0."""
        return nn.parallel.DistributedDataParallel(model) if self.several else model

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over ranks, on all of them."""
        if self.several:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Each of ``wishes`` is granted on all ranks, if one rank has it."""
        if not self.several:
            return wishes
        flags = torch.tensor(wishes, dtype=torch.uint8)  # on the host: no wait for a device
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return tuple(map(bool, flags.tolist()))

    def told(self, value: Value) -> Value:
        """What ``value`` is on rank 0."""
        values = [value]
        if self.several:
            distributed.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]

    def wait(self) -> None:
        """Until all ranks are here."""
        self.agree(False)

    def in_turn(self, work: Callable[[], Value]) -> Value:
        """The result of ``work``, done by one rank of each machine and then by its others.

        What the first leaves on the disk, as prepared data, the others find.
        """
        result = work() if self.local == 0 else None
        with self.watch():
            self.wait()
        return result if self.local == 0 else work()

    @contextmanager
    def watch(self, advice: Callable[[], str] = lambda: "start again") -> Iterator[None]:
        """Turn what communication says of a process that is gone into a :class:`RankLost`.

        Args:
            advice: what to do then.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.several or not _of_communication(error):
                raise
            raise RankLost(
                f"rank {self.rank} of {self.count} lost another rank, which ended or was killed; "
                f"{advice()}"
            ) from error


def join(device: torch.device) -> Ranks:
    """Find out which rank this process is, and meet the others, once in the life of a process.

    torchrun says so by environment variables; without them, or if WORLD_SIZE is 1, a process is
    alone. Processes on CPUs talk by gloo; on CUDA devices, one for each rank, by NCCL, and by gloo
    of what is on the host. If torch.distributed has been set up before, it is used as it is.

    Args:
        device: kind of device to train on.

    Raises:
        InputError: if a variable is missing, or there are fewer CUDA devices than ranks here.
    """
    if not distributed.is_available():
        return Ranks(device)
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Ranks(device)
        _check_environment()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        _check_devices(local)
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        cuda = device.type == "cuda"
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            timeout=PATIENCE,
            device_id=device if cuda else None,
        )
        atexit.register(_leave)
    return Ranks(device, distributed.get_rank(), distributed.get_world_size(), local)


def check_shared(model: nn.Module, ranks: Ranks, *, span: bool) -> None:
    """Raise :class:`InputError` for a model whose groups cannot lie on several ranks, if they do.

    It knows the models of this library. One of your own must see to it itself that its loss is a
    mean over ``num_groups``, of what each group has by itself; for what compares groups, see
    :meth:`mlvae.shares.Share.whole`.

    Args:
        model: to be trained.
        ranks: that train it; if there is one, anything goes.
        span: whether groups lie on several ranks.
    """
    if not ranks.several:
        return
    rule, source = getattr(model, "accumulation", None), getattr(model, "evidence_from", None)
    if span and (rule not in SPANNING or source != "all"):
        raise InputError(
            "batching.span_ranks needs a model that adds up the evidence of all members: MLVAE "
            f"with evidence_from=all and accumulation={', '.join(SPANNING[:-1])} or "
            f"{SPANNING[-1]}; set it to false"
        )


def _check_environment() -> None:
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise InputError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} says that several processes train together, "
            f"but {', '.join(missing)} is not set; start them by torchrun, or unset WORLD_SIZE"
        )


def _check_devices(local: int) -> None:
    devices = torch.cuda.device_count()
    if local >= devices:
        raise InputError(
            f"each rank needs a CUDA device of its own, but there are {devices} for rank "
            f"{local + 1} of this machine; use --nproc-per-node={devices}, or device=cpu"
        )


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _of_communication(error: RuntimeError) -> bool:
    """Whether it says that another process could not be reached: gloo has no class for that."""
    if type(error) is RuntimeError:
        return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed by peer"))
    return isinstance(error, distributed.DistError)
