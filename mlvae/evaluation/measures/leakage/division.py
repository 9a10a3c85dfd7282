"""A division of labelled codes into those to test on, to hold out, and to train on."""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.training.seeding import seeded

__all__ = ["LEAST", "divided"]

#: Fractions of the codes of each label that are tested on, and held out to weight the probes.
TEST, HELD = 0.3, 0.1

#: Least number of codes of a label: one of each part.
LEAST = 3


def divided(y: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the codes to test on, to hold out, and to train on; of each label its share.

    Args:
        y: labels, integers in [0, L), (M,); at least :data:`LEAST` codes of each label.
        seed: seed of the random order.

    Example:
        >>> [part.tolist() for part in divided(torch.tensor([0, 0, 0, 1, 1, 1]), seed=0)]
        [[1, 4], [0, 5], [2, 3]]
    """
    sizes = torch.bincount(y)
    generator = seeded(torch.Generator(y.device), int(seed), "split of codes")
    order = torch.randperm(len(y), generator=generator, device=y.device)
    order = order[y[order].argsort(stable=True)]
    rank = torch.arange(len(y), device=y.device) - (sizes.cumsum(0) - sizes)[y[order]]
    tested = (TEST * sizes).long().clamp_min(1)[y[order]]
    kept = (HELD * sizes).long().clamp_min(1)[y[order]]
    test, held = rank < tested, (rank >= tested) & (rank < tested + kept)
    return order[test], order[held], order[~(test | held)]
