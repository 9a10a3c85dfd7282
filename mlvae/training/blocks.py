"""Several training steps in one CUDA graph: the host says a word for all of them together.

Between two replays of a graph of one step the host gathers a batch, seeds a generator, copies into
static tensors and launches. For a small model that takes longer than the step. In a block all of
it is in the graph, but for the seeding and one copy of numbers.

Shapes: k steps of a block, n observations in a batch, G groups.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import torch
from torch import nn

from mlvae.data import GroupedData, GroupWarp, Plan, StoredImages
from mlvae.data.batching import Block
from mlvae.training.graphs import MOST_FORMS, WARMUP, capturing
from mlvae.training.kl_schedule import KLSchedule
from mlvae.training.optimizer import Adam
from mlvae.training.seeding import seeded
from mlvae.training.state import TrainingState
from mlvae.training.step import TrainingStep

__all__ = ["Blocks", "blocks_of"]

LOG = logging.getLogger("mlvae")

#: Layers that draw from PyTorch's own generator while training.
DROPOUT = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


class Blocks:
    """Trains on k batches of a plan at once.

    On a CUDA device there is one graph for each form of a block, n and G, captured at its fourth
    time. Before that, beyond eight forms, and once a capture has failed, steps are left to be run
    one by one. On a CPU the same steps run eagerly. The results are those of single steps: what
    differs from step to step is read from a tensor, and each of the k has a generator of its own.

    Args:
        step: what a single step is.
        data: what batches are gathered from, on the device of the step.
        length: k.
        seed: with the number of a step, the state of its generator.
        rate: the learning rate of a step by its number; None: the optimiser has that of all.
        kl_schedule: the scales of the divergences.
    """

    def __init__(
        self,
        step: TrainingStep,
        data: GroupedData,
        *,
        length: int,
        seed: int,
        rate: Callable[[int], float] | None,
        kl_schedule: KLSchedule,
    ) -> None:
        self.step, self.data = step, data
        self.length, self.seed = length, seed
        self.rate, self.kl_schedule = rate, kl_schedule
        self.captured = step.device.type == "cuda"
        self.generators = [torch.Generator(step.device) for _ in range(length)]
        # What each step is told of what moves: its learning rate, scales; exact in float64.
        columns = len(self._told(0))
        self.told = torch.zeros(length, columns, dtype=torch.float64, device=step.device)
        self.seen: Counter[tuple] = Counter()
        self.graphs: dict[tuple, tuple[torch.cuda.CUDAGraph, Block]] = {}
        self.failed = False

    def __call__(self, plan: Plan, batch: int, step: int) -> bool:
        """Train on k batches of ``plan`` from number ``batch`` on, the first as number ``step``.

        Returns:
            Whether that was done; if not, nothing was, and the step is to be run by itself.
        """
        block = None if self.failed else plan.block(batch, self.length)
        if block is None:
            return False
        if not self.captured:
            self._tell(step)
            self._run(block)
            return True
        form = block.order.shape[1], block.sizes.shape[1]
        if form not in self.graphs:
            self.seen[form] += 1
            early = self.seen[form] <= WARMUP or len(self.graphs) == MOST_FORMS
            if early or not self._capture(form, block):
                return False
        self._tell(step)
        graph, static = self.graphs[form]
        for mine, new in zip(static, block, strict=True):
            mine.copy_(new)
        graph.replay()
        return True

    def _told(self, step: int) -> list[float]:
        rate = [] if self.rate is None else [self.rate(step)]
        return [*rate, *self.kl_schedule.at(step)]

    def _tell(self, step: int) -> None:
        """Seed the generators, and say what the steps are: in one copy, which nobody waits for."""
        for i, generator in enumerate(self.generators):
            seeded(generator, self.seed, "noise", step + i)
        if self.told.numel():
            told = [self._told(step + i) for i in range(self.length)]
            told = torch.tensor(told, dtype=torch.float64, pin_memory=self.told.is_cuda)
            self.told.copy_(told, non_blocking=True)
        self.step.sums.number.fill_(step)

    def _run(self, block: Block) -> None:
        """The steps of a block, each as :meth:`_tell` said."""
        for i, generator in enumerate(self.generators):
            told = iter(self.told[i])
            if self.rate is not None:
                Adam.set_rate(self.step.optimizer, next(told))
            self.kl_schedule.give(told)
            self.step.eager(block.batch(i, self.data), generator)

    def _capture(self, form: tuple, block: Block) -> bool:
        """Record the steps, which does not run them; whether that was possible."""
        static = Block(*(tensor.clone() for tensor in block))
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self.graphs.values()))[0].pool() if self.graphs else None
        try:
            with capturing(graph, self.generators, pool=pool):
                self._run(static)
        except RuntimeError as error:
            self.failed = True
            LOG.warning(
                "%d training steps cannot be captured as a CUDA graph (%s); they run one by one",
                self.length,
                str(error).splitlines()[0],
            )
            return False
        self.graphs[form] = graph, static
        return True


def blocks_of(
    state: TrainingState,
    data: GroupedData,
    *,
    length: int,
    kl_schedule: KLSchedule,
    log_every: int | None = None,
    augmentation: GroupWarp | None = None,
) -> Blocks | None:
    """What trains ``state`` on ``length`` batches of ``data`` at once, or None for one by one.

    If blocks were asked for and cannot be, a line of the log says why.
    """
    if length == 1:
        return None
    room = min(state.steps_per_epoch, log_every or state.steps_per_epoch)
    obstacle = _obstacle(state, data, augmentation)
    if obstacle is None and room < length:
        obstacle = f"an epoch, or what is between reports, has only {room}"
    if obstacle is not None:
        if state.ranks.first:
            LOG.info("training steps run one by one, not %d in a graph: %s", length, obstacle)
        return None
    state.set_learning_rate()
    steady = state.recipe.steady()
    return Blocks(
        state.training_step,
        data,
        length=length,
        seed=state.seed,
        rate=None if steady else lambda step: state.recipe.rate(step, state.total_steps),
        kl_schedule=kl_schedule,
    )


def _obstacle(
    state: TrainingState, data: GroupedData, augmentation: GroupWarp | None
) -> str | None:
    """Why steps cannot be run in blocks, None if they can."""
    if state.ranks.several:
        return "several ranks train together"
    if data.device.type == "cuda" and not state.graphs:
        return "CUDA graphs are switched off"
    if isinstance(data.x, StoredImages):
        return "observations are read from the disk"
    if augmentation is not None:
        return "batches are augmented"
    if any(isinstance(layer, DROPOUT) and layer.p > 0 for layer in state.model.modules()):
        return "the model has dropout"
    return None
