"""Training steps, one at a time or several at once, eagerly or as CUDA graphs.

Between two CUDA graphs of one step the host gathers a batch, seeds a generator, copies into static
tensors and launches. For a small model this takes longer than the step. A block of several steps
contains all of it in one graph, except for the seeding and one copy of numbers.

Shapes: k steps of a block, n observations in a batch, G groups.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data import GroupedData, GroupWarp, Plan
from mlvae.data.plan import Block
from mlvae.training.players import set_rates
from mlvae.training.seeding import default_generator, seeded
from mlvae.training.settings import Warmup
from mlvae.training.speed.capture import Recorder
from mlvae.training.step import StepParts
from mlvae.training.sums import sum_dtype

__all__ = ["Stepper"]

LOG = logging.getLogger("mlvae")

#: Trains on a batch with a generator; see :func:`mlvae.training.loop.training_step`.
Step = Callable[[StepParts, Batch, torch.Generator], None]


class Stepper:
    """Takes training steps.

    The results do not depend on the length of a block, nor on whether steps are captured. Values
    that change from step to step are read from a tensor, and each step of a block has a generator
    of its own.

    Args:
        take: takes one step.
        parts: the parts of the step.
        data: training data, on the device of the step.
        seed: with the number of a step, the state of its generators.
        total_steps: steps of the whole training, for the schedules.
        warmup: factors of the KL terms.
        scales: the tensors of these factors, by name.
        augmentation: changes a batch before a step; None: nothing.
        room: largest length of a block: steps of an epoch, or between two reports.
        in_parts: whether each plan has data of its own, of which ``data`` are an example.
    """

    def __init__(
        self,
        take: Step,
        parts: StepParts,
        data: GroupedData,
        *,
        seed: int,
        total_steps: int,
        warmup: Warmup = Warmup(),
        scales: dict[str, Tensor] | None = None,
        augmentation: GroupWarp | None = None,
        room: int = 1,
        in_parts: bool = False,
    ) -> None:
        self.take, self.parts, self.data = take, parts, data
        self.seed, self.total_steps = seed, total_steps
        self.warmup, self.scales = warmup, scales or {}
        self.augmentation = augmentation
        device, several = parts.device, parts.ranks.several
        stored = not isinstance(data.x, Tensor)
        self.in_parts = in_parts
        self.gathers = not (several or stored or in_parts or augmentation is not None)
        graphs = parts.speed.cuda_graphs and device.type == "cuda"
        capturable = all(player.fused for player in parts.players)
        if graphs and (several or not capturable):
            graphs = False
            why = "several ranks train together" if several else "the optimiser is not fused"
            self._log("training steps run eagerly: %s", why)
        self.length = parts.speed.steps_per_graph
        self._check_length(graphs, room)
        self.generators = [torch.Generator(device) for _ in range(self.length)]
        self.warp, self.default = torch.Generator(device), default_generator(device)
        self.recorder = Recorder(enabled=graphs)
        self.moving = [player for player in parts.players if not player.recipe.steady()]
        columns = len(self._values(0))
        self.values = torch.zeros(self.length, columns, dtype=sum_dtype(device), device=device)
        self.checked = self.length == 1 or device.type != "cuda"

    def _check_length(self, graphs: bool, room: int) -> None:
        """Set the length of blocks to 1 if blocks are not possible, and log the reason."""
        obstacles = {
            "several ranks train together": self.parts.ranks.several,
            "observations are read from the disk": not isinstance(self.data.x, Tensor),
            "data are in parts": self.in_parts,
            "batches are augmented": self.augmentation is not None,
            "CUDA graphs are switched off": self.parts.device.type == "cuda" and not graphs,
            f"an epoch, or the interval of reports, has only {room}": room < self.length,
        }
        found = [reason for reason, true in obstacles.items() if true]
        if self.length > 1 and found:
            self._log("training steps run singly, not %d at once: %s", self.length, found[0])
            self.length = 1

    def __call__(self, plan: Plan, position: int, number: int, *, most: int) -> int:
        """Take the step on batch ``position`` of ``plan``, or a block of steps from it on.

        Args:
            plan: the batches of an epoch.
            position: number of the batch in the plan.
            number: number of the step, from 0.
            most: largest number of steps.

        Returns:
            The number of steps.
        """
        if not self.checked:
            self._check_dropout(plan, position, number)
            return 1
        block = self._block(plan, position, most)
        if block is None:
            self._prepare(number, 1)
            batch = self._batch(plan, position, number)
            generators = [self.parts.ranks.noise(self.generators[0], batch)]
            self.recorder(batch, lambda batch: self._run([batch], generators), generators)
            return 1
        self._prepare(number, len(block))
        generators = self.generators[: len(block)]
        self.recorder(block, lambda block: self._run_block(block, generators), generators)
        return len(block)

    def _block(self, plan: Plan, position: int, most: int) -> Block | None:
        """The next block, or the next batch as a block of length 1; None without gathering."""
        if not self.gathers:
            return None
        block = plan.block(position, self.length) if most >= self.length else None
        return plan.block(position, 1) if block is None else block

    def _batch(self, plan: Plan, position: int, number: int) -> Batch:
        """The next batch of data that cannot be gathered in a graph."""
        if self.augmentation is None:
            return plan.kept(position)
        batch = plan[position]
        seeded(self.warp, self.seed, "warp", number)
        return self.augmentation(batch, generator=self.parts.ranks.noise(self.warp, batch))

    def _prepare(self, number: int, length: int) -> None:
        """Seed the generators of the steps, and write their values in one copy."""
        self.number = number
        seeded(self.default, self.seed, self.parts.ranks.own("dropout"), number)
        for i in range(length):
            seeded(self.generators[i], self.seed, "noise", number + i)
        if self.values.shape[1]:
            values = [self._values(number + i) for i in range(length)]
            tensor = torch.tensor(values, dtype=self.values.dtype, pin_memory=self.values.is_cuda)
            self.values[:length].copy_(tensor, non_blocking=True)
        self.parts.sums.number.fill_(number)

    def _values(self, number: int) -> list[float]:
        """Learning rates and factors that change, at step ``number``."""
        rates = [
            rate
            for player in self.moving
            for rate in player.recipe.rates(number, self.total_steps)
        ]
        return [*rates, *self.warmup.at(number, self.total_steps).values()]

    def _run_block(self, block: Block, generators: Sequence[torch.Generator]) -> None:
        batches = (block.batch(i, self.data) for i in range(len(block)))
        self._run(batches, generators)

    def _run(self, batches: Iterable[Batch], generators: Sequence[torch.Generator]) -> None:
        """Take the steps on ``batches``, with the values that :meth:`_prepare` wrote."""
        names = list(self.warmup.at(0, self.total_steps))
        for i, (batch, generator) in enumerate(zip(batches, generators, strict=True)):
            if i and self.default.device.type == "cpu":  # a CUDA graph seeds nothing
                purpose = self.parts.ranks.own("dropout")
                seeded(self.default, self.seed, purpose, self.number + i)
            values = iter(self.values[i])
            for player in self.moving:
                groups = player.optimizer.param_groups
                set_rates(player.optimizer, [next(values) for _ in groups])
            for name, value in zip(names, values, strict=True):
                self.scales[name].fill_(value)
            self.take(self.parts, batch, generator)

    def _check_dropout(self, plan: Plan, position: int, number: int) -> None:
        """Take one step, and find out whether the model draws from PyTorch's default generator.

        A graph of several steps would draw other numbers than single steps.
        """
        self.checked = True
        length, self.length = self.length, 1
        self(plan, position, number, most=1)  # which seeds the default generator
        if self.default.get_offset():
            self._log("training steps run singly, not %d at once: the model has dropout", length)
        else:
            self.length = length

    def _log(self, message: str, *values: object) -> None:
        if self.parts.ranks.first:
            LOG.info(message, *values)
