"""The kinds of probes, each trained on codes and chosen by held-out codes.

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.neighbours import fit_neighbours
from mlvae.evaluation.measures.leakage.networks import Fit, Schedule, fit_networks
from mlvae.evaluation.measures.leakage.plda import fit_plda, plda_applies
from mlvae.evaluation.measures.leakage.trees import fit_trees, trees_apply
from mlvae.training.seeding import seeded

__all__ = [
    "FIRST",
    "MOST_CODES",
    "NETWORKS",
    "PROBES",
    "PROBE_NAMES",
    "Frequencies",
    "Trained",
    "applies",
    "fit_probes",
]

#: Hidden layers and schedule of the probes that are networks. The MLP is fast and learns from few
#: codes. The large MLP is slow: an encoder that a critic has pressed hides a group in fine
#: structure, which takes thousands of steps at a low rate (docs/guide/separation.md).
NETWORKS: dict[str, tuple[tuple[int, ...], Schedule]] = {
    "logistic": ((), Schedule(rate=2e-2, full=1)),
    "mlp": ((128, 128), Schedule()),
    "large_mlp": ((256, 256), Schedule(epochs=40, most=8000, rate=1e-3, patience=5)),
}

PROBES = (*NETWORKS, "knn", "plda", "trees")

#: Kinds that are trained on every source of codes. The others are trained on the source that is
#: best for these.
FIRST = ("logistic", "mlp")

#: Largest number of codes that a kind is trained on: their time grows faster than their result.
MOST_CODES = {"knn": 10_000, "plda": 10_000, "trees": 10_000}

PROBE_NAMES = {
    "logistic": "logistic regression",
    "mlp": "MLP",
    "large_mlp": "large MLP",
    "knn": "nearest neighbours",
    "plda": "PLDA",
    "trees": "boosted trees",
    "mixture": "mixture",
    "none": "label frequencies",
}


class Trained(Protocol):
    """A trained probe."""

    @property
    def held_out(self) -> float:
        """Cross-entropy of the held-out codes in nats."""
        ...

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), for codes (M, D)."""
        ...


class Frequencies:
    """The probe that ignores the code: the label frequencies of the training codes."""

    def __init__(self, fit: Fit) -> None:
        counts = torch.bincount(fit.train.y, minlength=fit.labels).double() + 1e-3
        self.logs = (counts / counts.sum()).log()
        self.held_out = float(-self.logs[fit.held.y].mean())

    def log_probabilities(self, x: Tensor) -> Tensor:
        """The logarithm of the frequencies, for every code."""
        return self.logs.expand(len(x), -1)


def applies(kind: str, fit: Fit) -> bool:
    """Whether a kind of probe fits the codes; see :mod:`.trees` and :mod:`.plda`."""
    if kind == "trees":
        return trees_apply(fit.labels, fit.train.dim)
    return kind != "plda" or plda_applies(fit)


def fit_probes(kind: str, fits: Sequence[Fit]) -> Sequence[Trained]:
    """Train a probe of one kind for each of ``fits``; see :func:`.networks.fit_networks`.

    The others are trained on at most :data:`MOST_CODES` codes.
    """
    if kind in NETWORKS:
        return fit_networks(fits, *NETWORKS[kind])
    fits = [fit._replace(train=_some(fit.train, MOST_CODES[kind], fit.seed)) for fit in fits]
    if kind == "plda":
        return [fit_plda(fit) for fit in fits]
    fit_one = {"knn": fit_neighbours, "trees": fit_trees}[kind]
    return [fit_one(fit.train, fit.held, fit.labels, fit.seed) for fit in fits]


def _some(codes: Drawn, most: int, seed: int) -> Drawn:
    """The codes, or ``most`` of them that are drawn at random."""
    if len(codes) <= most:
        return codes
    generator = seeded(torch.Generator(codes.labels.device), seed, "some of the codes")
    order = torch.randperm(len(codes), generator=generator, device=generator.device)
    return codes.part(order[:most])
