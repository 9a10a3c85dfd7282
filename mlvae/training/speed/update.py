r"""The last part of a training step: gradient norms, running sums, optimisers.

Shapes: P parameters that have a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mlvae.training.players import Player
from mlvae.training.speed.compiling import TOGETHER, compiled_alone
from mlvae.training.sums import RunningSums

__all__ = ["CompiledUpdate", "Update", "compilable"]


class Update:
    """Clip the gradients, add the step to the sums, and move the parameters if all is finite.

    Args:
        players: whose parameters are moved.
        sums: running sums; they decide whether a step is finite.
    """

    def __init__(self, players: Sequence[Player], sums: RunningSums) -> None:
        self.players, self.sums = players, sums
        self.one = torch.ones((), device=sums.device)
        for player in players:
            if player.fused:
                player.optimizer.found_inf = sums.failed  # a fused optimiser skips where it is 1

    def __call__(self, totals: Mapping[str, Tensor], units: Mapping[str, str]) -> None:
        """Use the gradients that the parameters hold.

        Args:
            totals: sums over the batch by name, shape () each.
            units: the unit of each term; see :class:`~mlvae.training.sums.Passed`.
        """
        norms = {f"gradient_norm{p.suffix}": p.norm_and_clip() for p in self.players}
        self._add(totals, units, norms)
        for player in self.players:
            player.move(self.sums.good)

    def _add(
        self, totals: Mapping[str, Tensor], units: Mapping[str, str], norms: Mapping[str, Tensor]
    ) -> None:
        totals = dict(totals)
        counts = {name: totals.pop(name) for name in ("observations", "groups")}
        units = {**units, **dict.fromkeys(norms, "batch")}
        self.sums.add({**totals, **norms, **counts, "batches": self.one}, units)


def compilable(players: Sequence[Player]) -> bool:
    """Whether :class:`CompiledUpdate` is the update of these players."""
    if len(players) != 1:
        return False
    optimizer = players[0].optimizer
    plain = (
        not any(group["amsgrad"] or group["maximize"] for group in optimizer.param_groups)
        if type(optimizer) is torch.optim.AdamW
        else False
    )
    return plain and len(optimizer.param_groups) == 1


class CompiledUpdate(Update):
    r"""The update of one player's AdamW in few compiled kernels, for a CUDA device.

    .. math:: m \leftarrow m + (1 - \beta_1) (g - m), \quad
        v \leftarrow v + (1 - \beta_2) (g^2 - v), \quad
        \theta \leftarrow \theta - \eta \lambda \theta -
        \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    (Kingma and Ba 2015, algorithm 1, with the decay :math:`\lambda` of Loshchilov and Hutter
    2019.) PyTorch's fused optimiser gives 65,536 elements to one block of threads, so a million
    parameters occupy a seventh of an H100. Here a thread has a few elements. The state is the
    optimiser's own, also in checkpoints, and equal up to rounding.

    Raises:
        ValueError: if the update of these players is not this formula; see :func:`compilable`.
    """

    def __init__(
        self, players: Sequence[Player], sums: RunningSums, *, backend: str = "inductor"
    ) -> None:
        super().__init__(players, sums)
        if not compilable(players):
            raise ValueError("CompiledUpdate is for one AdamW with one group, without amsgrad")
        self.player = players[0]
        together = TOGETHER if backend == "inductor" else {}
        self._prepare, self._move = (
            partial(compiled_alone(function, backend=backend, options=together), self)
            for function in (CompiledUpdate._prepare, CompiledUpdate._move)
        )

    def __call__(self, totals: Mapping[str, Tensor], units: Mapping[str, str]) -> None:
        """As :class:`Update` does."""
        parameters = [p for p in self.player.parameters if p.grad is not None]
        state = self.player.optimizer.state
        if any(p not in state for p in parameters):
            super().__call__(totals, units)  # the optimiser creates its state
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        means, squares, counts = (
            [state[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        (group,) = self.player.optimizer.param_groups
        # Two functions: the results of the first are in memory, not computed again by each thread.
        with torch.no_grad():
            factors = self._prepare(totals, units, gradients, counts, group["lr"])
            self._move(parameters, gradients, means, squares, factors)

    def _prepare(
        self,
        totals: Mapping[str, Tensor],
        units: Mapping[str, str],
        gradients: list[Tensor],
        counts: list[Tensor],
        rate: Tensor,
    ) -> dict[str, Tensor]:
        """Add the step to the sums; the factors of the update, shape (P,) or ()."""
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        self._add(totals, units, {f"gradient_norm{self.player.suffix}": norm})
        (group,) = self.player.optimizer.param_groups
        beta_1, beta_2 = group["betas"]
        count = torch.stack(counts) + 1
        for steps in counts:
            steps.add_(self.sums.good)
        clip = torch.ones_like(norm)
        if (largest := self.player.recipe.gradient_clip) is not None:
            clip = (largest / (norm + 1e-6)).clamp(max=1)
        return {
            "size": rate / _one_minus_power(beta_1, count),
            "scale": _one_minus_power(beta_2, count).rsqrt(),
            "kept": 1 - rate * group["weight_decay"],
            "clip": clip,
        }

    def _move(
        self,
        parameters: Sequence[Tensor],
        gradients: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        factors: dict[str, Tensor],
    ) -> None:
        group: dict[str, Any]
        (group,) = self.player.optimizer.param_groups
        beta_1, beta_2 = group["betas"]
        good = self.sums.good
        for number, (theta, gradient, mean, square) in enumerate(
            zip(parameters, gradients, means, squares, strict=True)
        ):
            g = gradient * factors["clip"]
            m = mean + (1 - beta_1) * (g - mean)
            v = square + (1 - beta_2) * (g * g - square)
            step = factors["size"][number] * m
            step = step / (v.sqrt() * factors["scale"][number] + group["eps"])
            theta.copy_(torch.where(good, theta * factors["kept"] - step, theta))
            mean.copy_(torch.where(good, m, mean))
            square.copy_(torch.where(good, v, square))


def _one_minus_power(base: float, exponent: Tensor) -> Tensor:
    """1 - base^exponent, with full relative precision where the power is close to 1."""
    return -(exponent * (math.log(base) if base else -math.inf)).expm1()
