r"""What a training step does with the gradient: its norm, the sums, Adam.

Shapes: P parameters that have a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mlvae.training.compiling import TOGETHER, compiled_alone
from mlvae.training.sums import RunningSums

__all__ = ["CompiledUpdate", "Update"]


class Update:
    """Clips the gradient, adds the step to the sums, and if all is finite moves the parameters.

    Args:
        optimizer: a fused optimiser of the parameters.
        parameters: that are trained.
        sums: what a step adds to; their verdict decides.
        gradient_clip: largest norm of the whole gradient, or None.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        sums: RunningSums,
        *,
        gradient_clip: float | None = None,
    ) -> None:
        self.optimizer, self.parameters, self.sums = optimizer, parameters, sums
        self.gradient_clip = gradient_clip
        self.one = torch.ones((), device=sums.device)
        optimizer.found_inf = sums.failed  # fused optimisers skip the update where this is 1

    def __call__(self, totals: dict[str, Tensor]) -> None:
        """Use the gradients that the parameters hold; ``totals`` are those of the step."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = get_total_norm(gradients, foreach=True)
        if self.gradient_clip is not None:
            clip_grads_with_norm_(self.parameters, self.gradient_clip, norm, foreach=True)
        self._add(totals, norm)
        self.optimizer.step()

    def _add(self, totals: dict[str, Tensor], norm: Tensor) -> None:
        totals = dict(totals)
        numbers = {name: totals.pop(name) for name in ("observations", "groups")}
        self.sums.add({**totals, "gradient_norm": norm, **numbers, "batches": self.one})


class CompiledUpdate(Update):
    r"""The same in few kernels, compiled: for a CUDA device, and AdamW alone.

    .. math:: m \leftarrow m + (1 - \beta_1) (g - m), \quad
        v \leftarrow v + (1 - \beta_2) (g^2 - v), \quad
        \theta \leftarrow \theta - \eta \lambda \theta -
        \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    (Kingma and Ba 2015, algorithm 1, with the decay :math:`\lambda` of Loshchilov and Hutter
    2019.) PyTorch's fused optimiser gives 65,536 numbers to one block of threads, so that a
    million parameters occupy a seventh of an H100; here a thread has a few. The state is the
    optimiser's own, also in checkpoints, and equal to rounding.
    """

    def __init__(self, *args: object, backend: str = "inductor", **options: object) -> None:
        super().__init__(*args, **options)
        together = TOGETHER if backend == "inductor" else {}
        self._prepare, self._move = (
            partial(compiled_alone(function, backend=backend, options=together), self)
            for function in (CompiledUpdate._prepare, CompiledUpdate._move)
        )

    def __call__(self, totals: dict[str, Tensor]) -> None:
        """As :class:`Update` does."""
        parameters = [p for p in self.parameters if p.grad is not None]
        state = self.optimizer.state
        if any(p not in state for p in parameters):
            super().__call__(totals)  # the optimiser makes its state itself
            return
        gradients = [p.grad for p in parameters]
        means, squares, counts = (
            [state[p][name] for p in parameters] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        (group,) = self.optimizer.param_groups
        # Two calls: what one of them leaves is a number in memory, not computed by each thread.
        with torch.no_grad():
            factors = self._prepare(totals, gradients, counts, group["lr"])
            self._move(parameters, gradients, means, squares, factors)

    def _prepare(
        self,
        totals: dict[str, Tensor],
        gradients: list[Tensor],
        counts: list[Tensor],
        rate: Tensor,
    ) -> dict[str, Tensor]:
        """Norm, sums, verdict and counts, and what the update takes: shape (P,) or ()."""
        norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
        self._add(totals, norm)
        (group,) = self.optimizer.param_groups
        beta_1, beta_2 = group["betas"]
        count = torch.stack(counts) + 1
        for each in counts:
            each.add_(self.sums.good)
        clip = torch.ones_like(norm)
        if self.gradient_clip is not None:
            clip = (self.gradient_clip / (norm + 1e-6)).clamp(max=1)
        return {
            "size": rate / _one_minus_power(beta_1, count),
            "scale": _one_minus_power(beta_2, count).rsqrt(),
            "kept": 1 - rate * group["weight_decay"],
            "clip": clip,
        }

    def _move(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        means: list[Tensor],
        squares: list[Tensor],
        factors: dict[str, Tensor],
    ) -> None:
        (group,) = self.optimizer.param_groups
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
    """1 - base^exponent, which keeps its digits in float32 where the power is close to 1."""
    return -(exponent * (math.log(base) if base else -math.inf)).expm1()
