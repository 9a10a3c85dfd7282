"""Running sums of the terms of training steps, and whether all of them were finite.

Both stay on the device. The host waits for it only when it reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.errors import InputError
from mlvae.groups import Groups, Share
from mlvae.objectives import Objective
from mlvae.observations import as_floats

__all__ = ["Forward", "Passed", "RunningSums", "averages", "counted", "forward_of"]


class Passed(NamedTuple):
    """The part of a model's objective that a training step needs.

    Attributes:
        losses: by player, shape () each, a mean over ``count`` units.
        count: number of groups or of observations in the loss.
        totals: sums over the batch by name, shape () each, without gradient: losses, terms,
            "observations" and "groups".
        units: for each term, "observation", "group", "group_speaker" for a group of the grouping
            speaker, or "batch" for a value of the whole batch, which is weighted by the
            observations of the batch.
    """

    losses: dict[str, Tensor]
    count: int
    totals: dict[str, Tensor]
    units: dict[str, str]


#: From a batch, and a generator by that name, to what a step needs of the objective.
Forward = Callable[..., Passed]


class RunningSums:
    """Sums over steps. After the first step that is not finite, nothing more is added.

    All tensors are written in place, because a CUDA graph refers to them by their addresses.

    Args:
        device: the device of the steps.

    Attributes:
        number: number of the next step, shape (); each step adds 1.
        good: whether all steps were finite, shape ().
        failed: 1 where ``good`` is false, as a float for fused optimisers.
        names: names of the sums: losses, terms and counts.
        units: unit of each loss and term.
        totals: the sums, in :func:`sum_dtype`, in the order of ``names``; None before the first
            step.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.number = torch.zeros((), dtype=torch.int64, device=device)
        self.good = torch.ones((), dtype=torch.bool, device=device)
        self.failed = torch.zeros((), device=device)
        self.failed_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.names: list[str] = []
        self.units: dict[str, str] = {}
        self.totals: Tensor | None = None
        self.witness: Tensor | None = None  # the terms of the last step, or of the failed one

    def reset(self) -> None:
        """Begin new sums."""
        if self.totals is not None:
            self.totals.zero_()

    @torch.no_grad()
    def add(self, totals: Mapping[str, Tensor], units: Mapping[str, str]) -> None:
        """Add a step. If it is not finite, it is the last one."""
        if self.totals is not None and self.names != list(totals):
            self._reorder(list(totals))
        self.names, self.units = list(totals), dict(units)
        now = torch.stack(list(totals.values())).to(sum_dtype(self.device))
        if self.witness is None:
            self.witness = torch.zeros_like(now)
        if self.totals is None:
            self.totals = torch.zeros_like(now)
        # The failed step and its verdict stay. Few kernels: each is short, but launches cost.
        torch.where(self.good, now, self.witness, out=self.witness)
        torch.where(self.good, self.number, self.failed_step, out=self.failed_step)
        largest = torch.linalg.vector_norm(self.witness, torch.inf)  # NaN if one is NaN
        torch.lt(largest, torch.inf, out=self.good)
        torch.logical_not(self.good, out=self.failed)
        torch.where(self.good, self.totals + now, self.totals, out=self.totals)
        self.number += 1

    def _reorder(self, names: list[str]) -> None:
        """Sort the sums of a checkpoint by the names of this version's terms."""
        assert self.totals is not None
        place = {name: number for number, name in enumerate(self.names)}
        zero = self.totals.new_zeros(())
        self.totals = torch.stack(
            [self.totals[place[name]] if name in place else zero for name in names]
        )

    def failure(self) -> tuple[int, str] | None:
        """The first step that was not finite and its terms, or None. Waits for the device."""
        if not self.failed.item() or self.witness is None:
            return None
        values = dict(zip(self.names, self.witness.tolist(), strict=True))
        wrong = {name: v for name, v in values.items() if not abs(v) < float("inf")}
        # Losses and bounds are sums of the terms: name a term where one is not finite.
        sums = [name for name in wrong if name.startswith("loss") or name == "elbo"]
        terms = {name: v for name, v in wrong.items() if name not in sums} or wrong
        if any(not name.startswith("gradient_norm") for name in terms):
            terms = {k: v for k, v in terms.items() if not k.startswith("gradient_norm")}
        return int(self.failed_step), ", ".join(f"{name} is {v}" for name, v in terms.items())

    def read(self) -> dict[str, float]:
        """Averages since the last :meth:`reset`, see :func:`averages`. Waits for the device."""
        if self.totals is None:
            return {}
        totals = dict(zip(self.names, self.totals.tolist(), strict=True))
        batches = totals.pop("batches")
        norms = {name: totals.pop(name) / batches for name in [*totals] if "gradient_norm" in name}
        return {**averages(totals, self.units), **norms}

    def state_dict(self) -> dict[str, Any]:
        """The sums, for a checkpoint."""
        totals = self.totals
        if totals is not None:
            totals = totals.clone() if totals.dtype == torch.float64 else totals.cpu().double()
        return {"names": self.names, "sums": totals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the sums of a checkpoint."""
        self.names = state["names"]
        totals = state["sums"]
        self.totals = None if totals is None else totals.to(self.device, sum_dtype(self.device))


def sum_dtype(device: torch.device) -> torch.dtype:
    """The type of sums over steps on ``device``: float64, or float32 on Apple's GPUs (MPS).

    These have no float64.
    """
    return torch.float32 if device.type == "mps" else torch.float64


def forward_of(model: nn.Module) -> Forward:
    """The function that a training step calls: the model, and the totals of its objective.

    uint8 images are converted here, so that a compiler fuses the conversion with the first layer.

    Raises:
        InputError: by the function, if the model does not return an Objective.
    """

    def forward(batch: Batch, *, generator: torch.Generator | None = None) -> Passed:
        batch = replace(batch, x=as_floats(batch.x))
        objective = model(batch, generator=generator)
        if not isinstance(objective, Objective):
            raise InputError(
                "a model that is trained returns an mlvae.objectives.Objective for a batch, not a "
                f"{type(objective).__name__}"
            )
        totals, units = counted(objective, batch.groups)
        return Passed(dict(objective.losses), objective.count, totals, units)

    return forward


def counted(objective: Objective, groups: Groups) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The sums of a batch's terms, shape () each, and the units of the terms.

    In a share of a batch, each observation and each group is counted on one rank only, so that
    the sum over ranks counts it once.
    """
    unit = "observation" if objective.num_groups is None else "group"
    totals, units = {}, {}
    for player, loss in objective.losses.items():
        name = "loss" if player == "model" else f"loss_{player}"
        totals[name], units[name] = loss.detach() * objective.count, unit
    if objective.elbo is not None:
        totals["elbo"], units["elbo"] = objective.elbo.sum(), unit
    for name, values in objective.per_observation.items():
        totals[name], units[name] = values.detach().sum(), "observation"
    for name, values in objective.per_group.items():
        totals[name], units[name] = values.detach().sum(), "group"
    for grouping, each in objective.per_grouping.items():
        totals[f"groups_{grouping}"] = each.num_groups
        for name, values in each.terms.items():
            totals[f"{name}_{grouping}"] = values.detach().sum()
            units[f"{name}_{grouping}"] = f"group_{grouping}"
    for name, value in objective.scalars.items():
        totals[name], units[name] = value.detach() * objective.num_observations, "batch"
    counts = counts_groups = 1
    if isinstance(groups, Share):
        counts, counts_groups = groups.counts, groups.counts_groups
        totals = {name: counts * total for name, total in totals.items()}
    like = next(iter(totals.values()))
    num_groups = objective.num_groups or groups.num_groups
    totals["observations"] = torch.full_like(like, counts * objective.num_observations)
    totals["groups"] = torch.full_like(like, counts_groups * num_groups)
    return totals, units


def averages(totals: Mapping[str, float], units: Mapping[str, str]) -> dict[str, float]:
    """Averages of sums over batches, by name and unit.

    A loss is per unit of its own mean, a term per its unit. The bound is always per observation,
    and per group too where the model has groups. Values of whole batches are means weighted by
    the observations of the batches.

    Args:
        totals: sums by name, with "observations" and "groups".
        units: unit of each loss and term.
    """
    number = {
        "observation": totals["observations"],
        "group": totals["groups"],
        "batch": totals["observations"],
        **{
            name.replace("groups", "group", 1): total
            for name, total in totals.items()
            if name.startswith("groups_")
        },
    }
    result = {}
    for name, unit in units.items():
        if name not in totals:
            continue
        if name.startswith("loss") or unit == "batch":
            result[name] = totals[name] / number[unit]
        else:
            if name == "elbo" and unit == "group":
                result["elbo_per_observation"] = totals[name] / number["observation"]
            of_group = unit.startswith("group")
            result[f"{name}_per_{'group' if of_group else unit}"] = totals[name] / number[unit]
    return result
