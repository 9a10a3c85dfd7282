"""The objective over a whole set of observations."""

from __future__ import annotations

import torch
from torch import nn

from mlvae.arguments import check_type
from mlvae.data import BATCHINGS, Grouped, GroupedData, Shuffled
from mlvae.errors import check_integer, check_part
from mlvae.training.ranks import Ranks
from mlvae.training.seeding import seeded
from mlvae.training.sums import averages, counted, sum_dtype

__all__ = ["evaluate_bound"]


@torch.no_grad()
def evaluate_bound(
    model: nn.Module,
    data: GroupedData,
    batching: Shuffled | Grouped,
    *,
    seed: int = 0,
    ranks: Ranks = Ranks(),
) -> dict[str, float]:
    """The loss, the bound and its terms over ``data``, from one sample of the latents.

    Each observation counts once. Order and noise are the same at every call, so that two states of
    a model compare. The bound depends on the sizes of groups, hence on ``batching``. Several
    ``ranks`` divide the work.

    Args:
        model: the model.
        data: observations, with the ``given`` values that the model needs.
        batching: how batches are drawn.
        seed: seed of the order and of the noise.
        ranks: the processes that work together.

    Returns:
        Averages; the name of each says its unit. "loss" is the model's loss in evaluation mode,
        without warm-up and without the costs of training alone: per group, or per observation for
        a model without groups.
    """
    check_type("model", model, nn.Module, "a model, as MLVAE(shape)")
    check_type("data", data, GroupedData, "GroupedData")
    check_part("batching", batching, BATCHINGS, ("plan", "num_batches", "for_evaluation"))
    check_integer("seed", seed, minimum=0)
    order, noise = torch.Generator(data.device), torch.Generator(data.device)
    seeded(noise, seed, "validation noise")
    batching = batching.for_evaluation()
    plan = batching.plan(data, seeded(order, seed, "validation order"))
    training = model.training
    model.eval()
    dtype = sum_dtype(data.device)
    names, units, sums = [], {}, torch.zeros((), dtype=dtype, device=data.device)
    for batch in ranks.share(plan, span=batching.span_ranks):
        objective = model(batch, generator=ranks.noise(noise, batch))
        totals, units = counted(objective, batch.groups)
        names = list(totals)
        sums = sums + torch.stack(list(totals.values())).to(dtype)
    model.train(training)
    return averages(dict(zip(names, ranks.sum(sums).tolist(), strict=True)), units)
