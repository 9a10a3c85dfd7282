"""The parts of a training step: the forward pass, the players and the update.

:func:`mlvae.training.loop.training_step` puts them together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from mlvae.errors import InputError
from mlvae.groups import Groups
from mlvae.models.protocol import traits
from mlvae.optimizers import Recipe
from mlvae.training.players import players_of
from mlvae.training.ranks import Ranks
from mlvae.training.settings import Speed
from mlvae.training.speed.compiling import compiled
from mlvae.training.speed.update import CompiledUpdate, Update, compilable
from mlvae.training.sums import Passed, RunningSums, forward_of, sum_dtype

__all__ = ["Buffers", "StepParts"]


class StepParts:
    """Everything that a training step uses.

    If a loss, a term or the gradient of a step is not finite, the device itself skips the update
    of this step and of all later ones. Parameters and buffers keep the values of the last good
    step until :meth:`mlvae.training.sums.RunningSums.failure` is read.

    Args:
        model: returns an :class:`~mlvae.objectives.Objective` for a batch.
        recipe: the optimiser of all players, or of each player by name.
        speed: precision and compilation.
        ranks: the processes that train together; losses, gradients and sums are those of whole
            batches.

    Attributes:
        forward: from a batch to :class:`~mlvae.training.sums.Passed`.
        players: parameters and optimisers.
        names: names of the players.
        sums: running sums of the steps.
        buffers: the model's buffers before the present step.
        update: norms, sums and optimisers.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe | Mapping[str, Recipe],
        *,
        speed: Speed = Speed(),
        ranks: Ranks = Ranks(),
    ) -> None:
        self.ranks, self.speed = ranks, speed
        self.players = players_of(model, recipe)
        self.names = {player.name for player in self.players}
        self.device = self.players[0].parameters[0].device
        self.sums = RunningSums(self.device)
        cuda = self.device.type == "cuda"
        half = speed.precision == "bfloat16"
        self.autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half)
        if speed.compile:
            layers = None if cuda and not half else speed.precision
            several = len(self.players) > 1
            self.forward = compiled(model, one_size=cuda, layers=layers, several_losses=several)
        else:
            self.forward = forward_of(model)
        # On a CPU an update is long and threads are few: PyTorch's own is as fast.
        fast = speed.compile and cuda and compilable(self.players)
        self.update = (CompiledUpdate if fast else Update)(self.players, self.sums)
        self.buffers = Buffers(model, self.sums)
        ranks.broadcast([*model.parameters(), *model.buffers()])

    def over_ranks(
        self, passed: Passed, groups: Groups
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """This rank's part of the whole batch's losses, and the totals of the whole batch.

        The sum of the parts over ranks is the loss of the whole batch.
        """
        if not self.ranks.several:
            return passed.losses, passed.totals
        totals = passed.totals
        flat = self.ranks.sum(torch.stack(list(totals.values())).to(sum_dtype(self.device)))
        whole = dict(zip(totals, flat, strict=True))
        losses = {}
        for player, loss in passed.losses.items():
            name = "loss" if player == "model" else f"loss_{player}"
            share = self.ranks.counted(groups) * passed.count
            losses[player] = loss * (share / whole[f"{passed.units[name]}s"]).to(loss.dtype)
        return losses, {name: total.to(totals[name].dtype) for name, total in whole.items()}

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Replace the gradient of every player's parameters by that of its loss.

        Raises:
            InputError: unless there is one loss for each player.
        """
        if losses.keys() != self.names:
            raise InputError(
                f"the objective must have a loss for each player of {sorted(self.names)}, not for "
                f"{sorted(losses)}; a model names its players in `players`"
            )
        for player in self.players:
            player.optimizer.zero_grad(set_to_none=True)
        alone = len(self.players) == 1
        for number, player in enumerate(self.players, start=1):
            player.backward(losses[player.name], keep=number < len(self.players), alone=alone)
        if self.ranks.several:
            for player in self.players:
                player.reduce()
            self.ranks.average(self.buffers.floats)

    @contextlib.contextmanager
    def products(self) -> Iterator[None]:
        """Matrix products of float32 factors in TF32, if that is the precision."""
        if self.speed.precision != "tf32":  # a setting of the user's own stays
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


class Buffers:
    """The buffers that a step may change and a checkpoint holds, and their values before the step.

    Batch normalisation changes its buffers in the forward pass, before it is known whether the
    step is finite.
    """

    def __init__(self, model: nn.Module, sums: RunningSums) -> None:
        self.sums = sums
        saved, scale = model.state_dict().keys(), traits(model).standardise
        constant = set() if scale is None else {id(buffer) for buffer in scale.buffers()}
        self.buffers = [
            buffer
            for name, buffer in model.named_buffers()
            if name in saved and id(buffer) not in constant
        ]
        self.floats = [b for b in self.buffers if b.is_floating_point()]
        self.before = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def hold(self) -> None:
        """Remember the present values."""
        for before, buffer in zip(self.before, self.buffers, strict=True):
            before.copy_(buffer)

    @torch.no_grad()
    def restore(self) -> None:
        """Set the values back where the step was not finite."""
        for before, buffer in zip(self.before, self.buffers, strict=True):
            buffer.copy_(torch.where(self.sums.good, buffer, before))
