"""The bound over a whole set of observations."""

from __future__ import annotations

import torch
from torch import nn

from mlvae.data import Grouped, GroupedData, Shuffled
from mlvae.training.ranks import Ranks
from mlvae.training.seeding import seeded
from mlvae.training.sums import averages, counted

__all__ = ["evaluate_bound"]


@torch.no_grad()
def evaluate_bound(
    model: nn.Module,
    data: GroupedData,
    batching: Shuffled | Grouped,
    *,
    seed: int = 0,
    ranks: Ranks = Ranks(),  # noqa: B008 (frozen)
) -> dict[str, float]:
    """The bound and its terms over ``data``, each observation once, from one draw of the latents.

    Order and noise are the same at every call, so that two states of a model can be compared. The
    bound depends on the size of groups, hence on ``batching``. Several ``ranks`` share the work.

    Returns:
        Averages in nats, per observation and per group; "loss" is the model's loss as
        it is outside training: without warm-up, and without what belongs to training alone.
    """
    order, noise = torch.Generator(data.device), torch.Generator(data.device)
    seeded(noise, seed, "validation noise")
    batching = batching.for_evaluation()
    plan = batching.plan(data, seeded(order, seed, "validation order"))
    training = model.training
    model.eval()
    sums = 0
    for batch in ranks.share(plan, span=batching.span_ranks):
        objective = model(batch, generator=ranks.noise(noise, batch))
        totals = counted(objective, batch.groups)
        sums = sums + torch.stack(list(totals.values())).double()
    model.train(training)
    values = dict(zip(totals, ranks.sum(sums).tolist(), strict=True))
    return averages(values, *map(values.pop, ("observations", "groups")))
