"""The error of classification by nearest neighbours.

Shapes: M training codes, N test codes, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlvae.evaluation.measures.classes import centred
from mlvae.evaluation.measures.leakage.neighbours import nearest_labels

__all__ = ["neighbour_errors"]


@torch.no_grad()
def neighbour_errors(
    codes: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, counts: Sequence[int]
) -> dict[int, Tensor]:
    """Whether the most frequent label among the k nearest codes is wrong, by k: (N,) each.

    The distance is Euclidean. Of labels with equal frequencies, the one with the nearest code
    counts.

    Args:
        codes: training codes (M, D).
        labels: their labels, integers from 0, (M,).
        test: test codes (N, D).
        test_labels: their labels, (N,).
        counts: numbers k of neighbours; at most M are used.

    Example:
        >>> codes, labels = torch.tensor([[0.0], [0.1], [5.0]]), torch.tensor([0, 0, 1])
        >>> test, truth = torch.tensor([[0.2], [4.0]]), torch.tensor([0, 1])
        >>> neighbour_errors(codes, labels, test, truth, [1])
        {1: tensor([False, False])}
    """
    test, codes = (each.float() for each in centred(test, codes))
    most = min(max(counts), len(codes))
    near = nearest_labels(codes, labels, test, most)
    number = int(labels.max()) + 1
    wrong = {}
    for k in counts:
        first = near[:, : min(k, most)]
        votes = torch.zeros(len(test), number, dtype=torch.float64, device=near.device)
        votes.scatter_add_(1, first, torch.ones_like(first, dtype=torch.float64))
        # The nearest of the most frequent labels: less than one vote for its place.
        for place in reversed(range(first.shape[1])):
            bonus = (first.shape[1] - place) / (first.shape[1] + 1)
            label = first[:, place : place + 1]
            votes.scatter_(1, label, votes.gather(1, label).floor() + bonus)
        wrong[k] = votes.argmax(1) != test_labels
    return wrong
