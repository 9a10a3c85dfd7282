"""A probe of gradient-boosted trees.

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.training.seeding import seeded

__all__ = ["Trees", "fit_trees", "trees_apply"]

#: Boosting takes a time proportional to iterations x L x D. It is left out above these numbers.
MOST_LABELS, MOST_DIM = 30, 128
ITERATIONS, DRAWS, LEAST_PROBABILITY = 150, 2, 1e-6

#: Iterations between two looks at the held-out codes, and the number of iterations without a lower
#: cross-entropy after which boosting ends there. Codes without information need a few only.
STAGE, PATIENCE = 50, 30


@dataclass(frozen=True, eq=False)
class Trees:
    """Boosted trees; the number of iterations is the one of the least held-out cross-entropy.

    Attributes:
        classifier: the trees of scikit-learn.
        iterations: number of iterations that are used; 0 is the frequencies of the labels.
        labels: L.
        held_out: cross-entropy of the held-out codes in nats.
    """

    classifier: Any
    iterations: int
    labels: int
    held_out: float

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), for codes (M, D)."""
        staged = self.classifier.staged_predict_proba(x.cpu().numpy())
        values = next(p for i, p in enumerate(staged, 1) if i == self.iterations)
        return _logs(values, self.classifier.classes_, self.labels).to(x.device)


def trees_apply(labels: int, dim: int) -> bool:
    """Whether boosting is fast enough for ``labels`` labels and ``dim`` dimensions."""
    return labels <= MOST_LABELS and dim <= MOST_DIM


def fit_trees(train: Drawn, held: Drawn, labels: int, seed: int) -> Trees:
    """Boost trees (Friedman 2001) and choose their number by the held-out cross-entropy.

    Boosting ends early if the held-out cross-entropy has long been rising.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # seconds to import

    generator = seeded(torch.Generator(train.labels.device), seed, "trees")
    x, y = train.draws(DRAWS, generator)
    held_x, held_y = held.draws(1, generator)
    classifier = HistGradientBoostingClassifier(
        warm_start=True,  # each fit continues the one before
        learning_rate=0.1,
        max_leaf_nodes=15,
        l2_regularization=1.0,
        early_stopping=False,  # pyright: ignore[reportArgumentType] (scikit-learn states "auto")
        random_state=seed,
    )
    right = held_y.cpu()[:, None]
    losses: list[float] = []
    best = 0
    while len(losses) < ITERATIONS and len(losses) - best <= PATIENCE:
        classifier.set_params(max_iter=len(losses) + STAGE)
        classifier.fit(x.cpu().numpy(), y.cpu().numpy())
        losses = [
            float(-_logs(values, np.asarray(classifier.classes_), labels).gather(1, right).mean())
            for values in classifier.staged_predict_proba(held_x.cpu().numpy())
        ]
        best = int(np.argmin(losses)) + 1
    return Trees(classifier, best, labels, losses[best - 1])


def _logs(values: np.ndarray, classes: np.ndarray, labels: int) -> Tensor:
    """Logarithms of probabilities (M, classes), as (M, L); none is below a least probability."""
    full = np.zeros((len(values), labels))
    full[:, classes] = values
    full = (1 - LEAST_PROBABILITY) * full + LEAST_PROBABILITY / labels
    return torch.from_numpy(np.log(full))
