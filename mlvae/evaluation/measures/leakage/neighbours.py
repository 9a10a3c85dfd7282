"""A probe of nearest neighbours, with the metric and the number of neighbours chosen.

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.evaluation.measures.leakage.discriminants import discriminants
from mlvae.evaluation.measures.leakage.drawn import Drawn, Scale
from mlvae.training.seeding import seeded

__all__ = ["Neighbours", "fit_neighbours", "nearest_labels"]

#: Numbers of neighbours to choose from, and draws of every training code.
COUNTS, DRAWS = (5, 15, 50, 150), 2

#: Largest number of distances that are computed at once.
MOST_DISTANCES = 2**24


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Frequencies of labels among the nearest training codes, smoothed by one uniform count.

    Attributes:
        metric: map of codes (M, D) to the space of the Euclidean distance.
        codes: training codes in that space.
        y: their labels.
        labels: L.
        count: number of neighbours.
        held_out: cross-entropy of the held-out codes in nats.
    """

    metric: Metric
    codes: Tensor
    y: Tensor
    labels: int
    count: int
    held_out: float

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), for codes (M, D)."""
        near = nearest_labels(self.codes, self.y, self.metric(x.float()), self.count)
        return _log_frequencies(near, self.labels)


@dataclass(frozen=True, eq=False)
class Metric:
    """A map of codes: as they are, standardised, or to the discriminants of the labels."""

    scale: Scale | None = None
    axes: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Codes in the space of the distance."""
        x = x if self.scale is None else self.scale(x)
        return x if self.axes is None else x @ self.axes


def fit_neighbours(train: Drawn, held: Drawn, labels: int, seed: int) -> Neighbours:
    """The metric and the number of neighbours of the least held-out cross-entropy.

    The metrics are the Euclidean distance of the codes, of the standardised codes, and of two
    estimates of the linear discriminants of the labels.
    """
    generator = seeded(torch.Generator(train.labels.device), seed, "neighbours")
    x, y = train.draws(DRAWS, generator)
    held_x, held_y = held.draws(1, generator)
    best: Neighbours | None = None
    counts = sorted({min(count, len(x)) for count in COUNTS})
    for metric in _metrics(x, y, seed):
        codes = metric(x)
        near = nearest_labels(codes, y, metric(held_x), counts[-1])
        for count in counts:
            logs = _log_frequencies(near[:, :count], labels)
            loss = float(functional.nll_loss(logs, held_y))
            if best is None or loss < best.held_out:
                best = Neighbours(metric, codes, y, labels, count, loss)
    assert best is not None
    return best


def _metrics(x: Tensor, y: Tensor, seed: int) -> Iterator[Metric]:
    scale = Scale.of(x)
    yield from (Metric(), Metric(scale))
    for axes in discriminants(scale(x).cpu().numpy(), y.cpu().numpy(), seed):
        yield Metric(scale, torch.from_numpy(axes).to(x.device))


def nearest_labels(codes: Tensor, y: Tensor, x: Tensor, count: int) -> Tensor:
    """Labels of the ``count`` nearest codes, the nearest first, (M, count)."""
    rows = max(1, MOST_DISTANCES // len(codes))
    parts = [
        y[torch.cdist(part, codes).topk(count, largest=False, dim=1).indices]
        for part in x.split(rows)
    ]
    return torch.cat(parts)


def _log_frequencies(near: Tensor, labels: int) -> Tensor:
    """Smoothed logarithms of the frequencies (M, L) of labels (M, count)."""
    counts = torch.zeros(len(near), labels, dtype=torch.float64, device=near.device)
    counts.scatter_add_(1, near, torch.ones_like(near, dtype=torch.float64))
    return ((counts + 1 / labels) / (near.shape[1] + 1)).log()
