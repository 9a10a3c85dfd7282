r"""A mixture of trained probes, which finds more than the best of them if they err on other codes.

The probability of a label y for a code x is the weighted mean

.. math:: p(y \mid x) = \sum_i w_i \, p_i(y \mid x), \qquad w_i \ge 0, \quad \sum_i w_i = 1

of the probabilities by the probes i. The weights maximise the log-likelihood of the held-out codes
(P. Smyth and D. Wolpert: Linearly combining density estimators via stacking. Machine Learning 36,
1999). It is concave in the weights, and expectation maximisation reaches its maximum. On the
held-out codes no probe is better than the mixture. A few weights hardly fit their noise, while the
best of several probes is often best by chance where few codes are held out.

Shapes: M codes, I probes, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mlvae.evaluation.measures.leakage.kinds import Trained
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.training.seeding import seeded

__all__ = ["Mixture", "fit_mixture", "maximum_weights"]

#: Probes of a smaller weight are left out, for the time of their predictions.
LEAST_WEIGHT = 0.02

#: Held-out codes are drawn until there are this many, at most :data:`DRAWS` times.
ENOUGH, DRAWS = 2000, 4

ITERATIONS = 300

#: A source of codes and a kind of probe.
Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Mixture:
    """The weighted mean of the probabilities by several probes.

    Attributes:
        probes: probes by source and kind.
        weights: weight of each.
        held_out: cross-entropy of the held-out codes in nats.
    """

    probes: Mapping[Key, Trained]
    weights: Mapping[Key, float]
    held_out: float

    @property
    def largest(self) -> Key:
        """Source and kind of the probe of the largest weight."""
        return max(self.weights, key=lambda key: self.weights[key])

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), for codes (M, D)."""
        total = None
        for key, probe in self.probes.items():
            logs = probe.log_probabilities(x).double() + math.log(self.weights[key])
            total = logs if total is None else torch.logaddexp(total, logs)
        assert total is not None
        return total


def fit_mixture(probes: Mapping[Key, Trained], fit: Fit) -> Mixture:
    """The mixture of ``probes`` whose weights maximise the likelihood of the held-out codes.

    Args:
        probes: trained probes by source and kind.
        fit: the held-out codes of all sources, and the seed.
    """
    held = fit.held
    generator = seeded(torch.Generator(held.labels.device), fit.seed, "mixture")
    x, y = held.draws(max(1, min(DRAWS, ENOUGH // len(held))), generator)
    logs = [probe.log_probabilities(x).gather(1, y[:, None])[:, 0] for probe in probes.values()]
    right = torch.stack([each.double() for each in logs], 1).exp()
    weights = maximum_weights(right)
    weights = torch.where(weights < LEAST_WEIGHT, 0, weights)
    weights /= weights.sum()
    loss = float(-(right @ weights).clamp_min(torch.finfo(right.dtype).tiny).log().mean())
    kept = {key: w for key, w in zip(probes, weights.tolist(), strict=True) if w > 0}
    return Mixture({key: probes[key] for key in kept}, kept, loss)


def maximum_weights(right: Tensor) -> Tensor:
    """Weights (I,) of the largest log-likelihood, by expectation maximisation.

    Args:
        right: probability of the right label of each code by each probe, (M, I).

    Example:
        >>> right = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
        >>> maximum_weights(right)
        tensor([0.8125, 0.1875], dtype=torch.float64)
    """
    right = right.double().clamp_min(torch.finfo(torch.float64).tiny)
    weights = right.new_full((right.shape[1],), 1 / right.shape[1])
    for _ in range(ITERATIONS):
        shares = right * weights
        weights = (shares / shares.sum(1, keepdim=True)).mean(0)
    return weights
