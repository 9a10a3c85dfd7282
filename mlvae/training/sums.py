"""Running sums of what training steps see, and the verdict whether all of it was finite.

Both stay on the device; nothing waits for it until they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import InputError
from mlvae.groups import Groups
from mlvae.objectives import Objective
from mlvae.observations import as_floats
from mlvae.shares import Share

__all__ = ["Forward", "Passed", "RunningSums", "averages", "counted", "forward_of"]


class Passed(NamedTuple):
    """What a training step needs of a model's objective, and nothing else is computed.

    Attributes:
        loss: what is minimised, shape (): nats per group.
        num_groups: that the loss is a mean over.
        totals: what the batch adds to the sums, shape () each, without gradient.
    """

    loss: Tensor
    num_groups: int
    totals: dict[str, Tensor]


#: From a batch, and a generator by that name, to what a step needs of its objective.
Forward = Callable[..., Passed]


class RunningSums:
    """Sums over steps. After the first step that was not finite, nothing more is added.

    All tensors are written in place: a CUDA graph knows them by their addresses.

    Args:
        device: of the steps.

    Attributes:
        number: of the step that is added next, shape (); each that is added counts.
        good: whether all was finite so far, shape ().
        failed: the contrary as a float, as fused optimisers want it.
        names: of the sums: terms, and what was counted.
        totals: the sums, float64, in the order of ``names``; None before the first step.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.number = torch.zeros((), dtype=torch.int64, device=device)
        self.good = torch.ones((), dtype=torch.bool, device=device)
        self.failed = torch.zeros((), device=device)
        self.failed_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.names: list[str] = []
        self.totals: Tensor | None = None
        self.witness: Tensor | None = None  # the terms of the last step, or the one that failed

    def reset(self) -> None:
        """Begin new sums."""
        if self.totals is not None:
            self.totals.zero_()

    @torch.no_grad()
    def add(self, totals: dict[str, Tensor]) -> None:
        """Add a step, from then on the last one if something in it is not finite."""
        self.names = list(totals)
        now = torch.stack(list(totals.values())).double()
        if self.witness is None:
            self.witness = torch.zeros_like(now)
        if self.totals is None:
            self.totals = torch.zeros_like(now)
        # What failed stays, and so does the verdict on it. Few kernels: they are short, but many.
        torch.where(self.good, now, self.witness, out=self.witness)
        torch.where(self.good, self.number, self.failed_step, out=self.failed_step)
        largest = torch.linalg.vector_norm(self.witness, torch.inf)  # NaN if one is
        torch.lt(largest, torch.inf, out=self.good)
        torch.logical_not(self.good, out=self.failed)
        torch.where(self.good, self.totals + now, self.totals, out=self.totals)
        self.number += 1

    def failure(self) -> tuple[int, str] | None:
        """The first step that was not finite and what was not, or None. Waits for the device."""
        if not self.failed.item():
            return None
        values = dict(zip(self.names, self.witness.tolist(), strict=True))
        wrong = {name: v for name, v in values.items() if not abs(v) < float("inf")}
        # The loss and the bound are sums of the terms: name a term where one is at fault.
        terms = {k: v for k, v in wrong.items() if k not in ("loss", "elbo")} or wrong
        if len(terms) > 1:
            terms.pop("gradient_norm", None)
        return int(self.failed_step), ", ".join(f"{name} is {v}" for name, v in terms.items())

    def read(self) -> dict[str, float]:
        """Averages since the last :meth:`reset`. Waits for the device."""
        totals = dict(zip(self.names, self.totals.tolist(), strict=True))
        observations, groups, batches = map(totals.pop, ("observations", "groups", "batches"))
        norm = totals.pop("gradient_norm") / batches
        return {**averages(totals, observations, groups), "gradient_norm": norm}

    def state_dict(self) -> dict[str, object]:
        """The sums, for a checkpoint."""
        return {"names": self.names, "sums": None if self.totals is None else self.totals.clone()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue the sums of a checkpoint."""
        self.names = state["names"]
        self.totals = None if state["sums"] is None else state["sums"].to(self.device)


def forward_of(model: nn.Module) -> Forward:
    """What a step calls: the model, and of its objective what the step needs.

    Images of bytes will do: where all is compiled, to make floats of them is no pass of its own.
    """

    def forward(batch: Batch, *, generator: torch.Generator | None = None) -> Passed:
        batch = Batch(as_floats(batch.x), batch.groups)
        objective = model(batch, generator=generator)
        if not isinstance(objective, Objective):
            raise InputError(
                "a model that is trained returns an mlvae.objectives.Objective for a batch, not a "
                f"{type(objective).__name__}"
            )
        return Passed(objective.loss, objective.num_groups, counted(objective, batch.groups))

    return forward


def counted(objective: Objective, groups: Groups) -> dict[str, Tensor]:
    """What a batch adds to the sums, shape () each: totals in nats, observations, groups.

    Of a share of a batch it is what is counted here, so that a sum over ranks has all once.
    """
    totals = objective.totals()
    like = totals["loss"]
    counts = groups_count = 1
    if isinstance(groups, Share):
        counts, groups_count = groups.counts, groups.counts_groups
        totals = {name: counts * total for name, total in totals.items()}
    totals["observations"] = torch.full_like(like, counts * objective.num_observations)
    totals["groups"] = torch.full_like(like, groups_count * objective.num_groups)
    return totals


def averages(totals: dict[str, float], num_observations: int, num_groups: int) -> dict[str, float]:
    """Every total in nats per observation and per group; the loss is per group by definition."""
    result = {"loss": totals["loss"] / num_groups}
    for name, total in totals.items():
        if name != "loss":
            result[f"{name}_per_observation"] = total / num_observations
            result[f"{name}_per_group"] = total / num_groups
    return result
