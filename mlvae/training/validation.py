"""The bound over a whole set of observations."""

from __future__ import annotations

import torch
from torch import nn

from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.training.seeding import seeded
from mlvae.training.step import averages

__all__ = ["evaluate_bound"]


@torch.no_grad()
def evaluate_bound(
    model: nn.Module, data: GroupedData, batching: Shuffled | Grouped, *, seed: int = 0
) -> dict[str, float]:
    """The bound and its terms over ``data``, each observation once, from one draw of the latents.

    Order and noise are the same at every call, so that two states of a model can be compared. The
    bound depends on the size of groups, hence on ``batching``.

    Returns:
        Averages in nats, per observation and per group; "loss" is what training minimises, without
        warm-up.
    """
    order, noise = torch.Generator(data.device), torch.Generator(data.device)
    seeded(noise, seed, "validation noise")
    plan = batching.for_evaluation().plan(data, seeded(order, seed, "validation order"))
    training = model.training
    model.eval()
    sums, num_observations, num_groups = 0, 0, 0
    for batch in plan:
        objective = model(batch, generator=noise)
        totals = objective.totals()
        sums = sums + torch.stack(list(totals.values())).double()
        num_observations += objective.num_observations
        num_groups += objective.num_groups
    model.train(training)
    values = dict(zip(totals, sums.tolist(), strict=True))
    return averages(values, num_observations, num_groups)
