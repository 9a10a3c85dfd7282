r"""Ranks: several processes, on one machine or many, that train one model together.

``torchrun --nproc-per-node=4 scripts/train.py ...`` starts the same training four times;
:func:`join` finds the number of each process. All ranks make the same plan of an epoch, and each
takes a share of every batch (:mod:`mlvae.data.sharing`). With the loss :math:`L_r` of a share of
:math:`G_r` groups the loss of the batch is

.. math:: L = \frac{\sum_r G_r L_r}{\sum_r G_r}

So loss, gradient, clipping and reports are those of one process up to rounding, for any number of
ranks and any shares. The noise is also the same (:mod:`mlvae.noise`). A checkpoint does not depend
on the ranks. Two things differ from one process: each rank draws its own dropout, and batch
normalisation uses the statistics of each rank's share (its running averages are means over ranks).
Memory and time are divided between groups, or with ``batching.span_ranks`` between observations
(:class:`mlvae.groups.shares.SpanningShare`). In the first case, ranks beyond the number of groups
of a batch are idle.

Rank 0 writes the run. Every rank reads the data, and the run that is resumed, so their folders
must be visible on all machines.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from mlvae.batch import Batch
from mlvae.data import Plan
from mlvae.data.sharing import share
from mlvae.errors import InputError, RankLost
from mlvae.evidence.rules import SUM_RULES
from mlvae.groups import Groups, Share
from mlvae.models.protocol import traits

__all__ = ["Ranks", "check_shared", "join"]

#: Limit of a wait for other ranks, which may prepare data. torchrun notices a process that ended.
PATIENCE = timedelta(hours=6)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Ranks:
    """The place of this process among the processes that train together; by default one process.

    With one process, every method returns its argument, and torch.distributed is not used.

    Attributes:
        device: device of this process.
        rank: number of this process, in [0, count).
        count: number of processes.
        local: number of this process on its machine.
    """

    device: torch.device = torch.device("cpu")
    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def several(self) -> bool:
        """Whether there is more than one process."""
        return self.count > 1

    @property
    def first(self) -> bool:
        """Whether this process writes the run."""
        return self.rank == 0

    def share(self, plan: Plan, *, span: bool) -> Plan:
        """This rank's share of the batches of ``plan``."""
        if not self.several:
            return plan
        return share(plan, rank=self.rank, ranks=self.count, span=span)

    @staticmethod
    def noise(generator: torch.Generator, batch: Batch) -> torch.Generator:
        """A generator that draws a share's rows of the numbers of ``generator`` for a batch."""
        if not isinstance(batch.groups, Share):
            return generator
        return batch.groups.generator(generator)

    def own(self, purpose: str) -> str:
        """A purpose of random numbers that differs between ranks."""
        return f"{purpose}/{self.rank}" if self.rank else purpose

    @staticmethod
    def counted(groups: Groups) -> int:
        """1 if the observations with these groups are counted on this rank, else 0."""
        return int(groups.counts) if isinstance(groups, Share) else 1

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copy the values of ``tensors`` on rank 0 to all ranks."""
        if self.several:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace ``tensors`` by their means over ranks."""
        if self.several:
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor.div_(self.count)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over ranks, on all of them."""
        if self.several:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is true on any rank; the same answer on all ranks."""
        if not self.several:
            return flags
        found = torch.tensor(flags, dtype=torch.uint8)  # on the host: no wait for a device
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return tuple(map(bool, found.tolist()))

    def from_first(self, value: Value) -> Value:
        """The ``value`` of rank 0, broadcast to all ranks."""
        values = [value]
        if self.several:
            distributed.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]

    def wait(self) -> None:
        """Wait until all ranks have made this call."""
        self.agree(False)

    def in_turn(self, work: Callable[[], Value]) -> Value:
        """The result of ``work``, done first by one rank of each machine and then by the others.

        The others find the files that the first one writes, such as prepared data.
        """
        if self.local == 0:
            result = work()
            with self.watch():
                self.wait()
            return result
        with self.watch():
            self.wait()
        return work()

    @contextmanager
    def watch(self, advice: Callable[[], str] = lambda: "start again") -> Iterator[None]:
        """Raise :class:`RankLost` where communication fails because another process ended.

        Args:
            advice: the last part of the message: what the user can do.
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
    """Join the processes that train together, once per process.

    torchrun sets environment variables. Without them, or if WORLD_SIZE is 1, the process is alone.
    CPUs communicate by gloo. CUDA devices, one per rank, communicate by NCCL, and by gloo for
    values on the host. A process group that exists already is used as it is.

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
        _import_before_group()
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
            **_store_of_attempt(),
        )
        atexit.register(_leave)
    return Ranks(device, distributed.get_rank(), distributed.get_world_size(), local)


def check_shared(model: nn.Module, ranks: Ranks, *, span: bool) -> None:
    """Raise :class:`InputError` if groups span ranks and the model cannot be trained so.

    Args:
        model: the model; see :attr:`mlvae.models.Traits.spans_ranks`. The loss of a model of your
            own must be a mean over ``count``, of terms of single groups. For terms that compare
            groups see :meth:`mlvae.groups.shares.Share.whole`.
        ranks: the processes that train together.
        span: whether the members of a group are on several ranks.
    """
    stated = traits(model)
    several = len(stated.grouping_of) > 1
    if ranks.several and several and not stated.spans_ranks:
        raise InputError(
            "several groupings over several ranks need a model that adds the evidence of all "
            f"members: MLVAE with evidence_from=all and accumulation={', '.join(SUM_RULES[:-1])} "
            f"or {SUM_RULES[-1]}"
        )
    if ranks.several and stated.nested and not span:
        raise InputError(
            "nested groupings over several ranks need batching.span_ranks=true, which divides "
            "batches at any observation"
        )
    if ranks.several and span and not stated.spans_ranks:
        raise InputError(
            "batching.span_ranks needs a model that adds the evidence of all members: MLVAE with "
            f"evidence_from=all and accumulation={', '.join(SUM_RULES[:-1])} or {SUM_RULES[-1]}; "
            "set it to false"
        )


def _check_environment() -> None:
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise InputError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} means that several processes train together, "
            f"but {', '.join(missing)} is not set; start them with torchrun, or unset WORLD_SIZE"
        )


def _check_devices(local: int) -> None:
    devices = torch.cuda.device_count()
    if local >= devices:
        raise InputError(
            f"each rank needs a CUDA device of its own, but there are {devices} for rank "
            f"{local + 1} of this machine; use --nproc-per-node={devices}, or device=cpu"
        )


def _store_of_attempt() -> dict[str, Any]:
    """The arguments of a process group in a part of torchrun's store that this attempt has.

    After a restart, PyTorch 2.14 uses the same store again, with the addresses of the processes
    that ended, and gloo fails to connect to them. The part has the number of restarts and of
    processes in its name. Without torchrun's store: no arguments.
    """
    environment = os.environ
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    world = int(environment["WORLD_SIZE"])
    store = distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
        environment["MASTER_ADDR"],
        int(environment["MASTER_PORT"]),
        is_master=False,
        timeout=PATIENCE,
    )
    attempt = f"mlvae/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}/{world}"
    part = distributed.PrefixStore(attempt, store)  # pyright: ignore[reportPrivateImportUsage]
    return {"store": part, "rank": int(environment["RANK"]), "world_size": world}


def _import_before_group() -> None:
    """Import the functions of torch.distributed that have the present group as default values.

    PyTorch imports them in the first backward pass. With a group they would keep it, and gloo's
    threads would still run when Python ends, where a thread that releases a tensor aborts the
    process. Without a group their default value is None, which means the same.
    """
    import torch.distributed.nn.functional  # noqa: F401


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _of_communication(error: RuntimeError) -> bool:
    """Whether another process could not be reached. gloo has no class of exceptions for that."""
    if type(error) is RuntimeError:
        return any(word in str(error) for word in ("gloo", "NCCL", "Connection closed by peer"))
    return isinstance(error, distributed.DistError)
