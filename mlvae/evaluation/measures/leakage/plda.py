r"""A probe of probabilistic linear discriminant analysis (PLDA), which learns from other groups.

A label c has a centre :math:`u_c \sim N(m, B)`, and a code of it is :math:`x \sim N(u_c, W)`
(S. Ioffe: Probabilistic linear discriminant analysis. ECCV 2006). m, B and W are estimated from
other groups, such as those of the training of a model. A label then needs few codes of its own.

In the basis U with :math:`U^\top W U = I` and :math:`U^\top B U = \mathrm{diag}(v)`, in each
dimension, the centre of a label with n codes of the mean :math:`\bar x` is

.. math:: u - m \sim N\left(
    \frac{n (\bar x - m) / r}{1 / v + n / r}, \frac{1}{1 / v + n / r} \right)

where r is the variance within a label of what :math:`\bar x` is a mean of: posterior means, or
codes that are not drawn, whose r is 1.

Shapes: M codes, D dimensions, K of them in the basis U, G other groups, L labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlvae.evaluation.measures.leakage.discriminants import of_labels, projection
from mlvae.evaluation.measures.leakage.drawn import Drawn, Scale
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.training.seeding import seeded

__all__ = ["Plda", "fit_plda", "plda_applies"]

#: Numbers of dimensions to choose from, the most discriminating ones first.
DIMENSIONS = (4, 8, 16, 32, 64, 128, 256)

#: Factors of the log-densities to choose from. Codes that are not normal are less certain.
SHARPNESS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

#: Draws of each code of other groups.
DRAWS = 2

#: Variance that is added to W of standardised codes: codes may be equal within labels.
LEAST_WITHIN = 1e-6

#: Least variance of the centres and of posterior means in a dimension; codes have 1.
LEAST = 1e-4


@dataclass(frozen=True, eq=False)
class Plda:
    """The distribution of the codes of each label.

    Attributes:
        scale: standardisation of the codes.
        centre: m, (D,).
        axes: U, (D, K).
        mean: mean of each label, (L, K).
        variance: variance of each label, (L, K).
        log_shares: logarithm of the frequency of each label, (L,).
        sharpness: factor of the log-densities.
        held_out: cross-entropy of the held-out codes in nats.
    """

    scale: Scale
    centre: Tensor
    axes: Tensor
    mean: Tensor
    variance: Tensor
    log_shares: Tensor
    sharpness: float = 1.0
    held_out: float = math.inf

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), for codes (M, D)."""
        return self.posterior(self.log_densities(x))

    def posterior(self, log_densities: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), from :meth:`log_densities`."""
        return (self.log_shares + self.sharpness * log_densities).log_softmax(1)

    def log_densities(self, x: Tensor) -> Tensor:
        """Log-density in nats of each label up to a constant, (M, L), for codes (M, D)."""
        z = _placed(x, self.scale, self.centre, self.axes)
        squares = z.square() @ (1 / self.variance).T - 2 * z @ (self.mean / self.variance).T
        constants = (self.mean.square() / self.variance + self.variance.log()).sum(1)
        return -0.5 * (squares + constants)

    def of_first(self, number: int) -> Plda:
        """The same in the ``number`` most discriminating dimensions."""
        return replace(
            self,
            axes=self.axes[:, :number],
            mean=self.mean[:, :number],
            variance=self.variance[:, :number],
        )


def plda_applies(fit: Fit) -> bool:
    """Whether a group has two codes, so that W can be estimated."""
    return any(_repeated(codes) for codes in (fit.train, fit.others) if codes is not None)


def fit_plda(fit: Fit) -> Plda:
    """Estimate m, B and W from the training codes or from those of other groups, then the labels.

    The codes that estimate m, B and W, the number of dimensions and the sharpness are those of the
    least held-out cross-entropy.

    Args:
        fit: codes to which :func:`plda_applies`.
    """
    generator = seeded(torch.Generator(fit.train.labels.device), fit.seed, "PLDA")
    x, y = fit.held.draws(1, generator)
    found = []
    for codes in (fit.train, fit.others):
        if codes is None or not _repeated(codes):
            continue
        whole = _of_labels(fit, _moments(codes, fit.seed, generator))
        for number in sorted({min(number, whole.axes.shape[1]) for number in DIMENSIONS}):
            first = whole.of_first(number)
            densities = first.log_densities(x)
            for sharpness in SHARPNESS:
                probe = replace(first, sharpness=sharpness)
                loss = float(functional.nll_loss(probe.posterior(densities), y))
                found.append(replace(probe, held_out=loss))
    return min(found, key=lambda probe: probe.held_out)


def _repeated(codes: Drawn) -> bool:
    return len(codes) > len(codes.y.unique())


class _Moments(NamedTuple):
    """What other groups determine.

    Attributes:
        scale: standardisation of the codes.
        centre: m, (D,).
        axes: U, (D, K).
        between: v, (K,).
        within: r, (K,).
    """

    scale: Scale
    centre: Tensor
    axes: Tensor
    between: Tensor
    within: Tensor


def _of_labels(fit: Fit, moments: _Moments) -> Plda:
    """The distributions of the labels of the training codes."""
    scale, centre, axes, v, r = moments
    own = _placed(fit.train.average(), scale, centre, axes)
    numbers = torch.bincount(fit.train.y, minlength=fit.labels).double()[:, None]
    sums = own.new_zeros(fit.labels, own.shape[1]).index_add_(0, fit.train.y, own)
    precision = 1 / v + numbers / r
    shares = ((numbers[:, 0] + 1 / fit.labels) / (len(own) + 1)).log()
    return Plda(scale, centre, axes, sums / r / precision, 1 + 1 / precision, shares)


def _moments(codes: Drawn, seed: int, generator: torch.Generator) -> _Moments:
    from scipy.linalg import eigh  # local imports: scikit-learn takes seconds
    from sklearn.covariance import ledoit_wolf

    drawn, _ = codes.draws(DRAWS, generator)
    scale = Scale.of(drawn)
    fixed, y = scale(codes.average()).cpu().numpy(), codes.y.cpu().numpy()
    base = projection(fixed, seed)
    fixed = (fixed @ base).astype(np.float64)
    draws = (scale(drawn).cpu().numpy() @ base).reshape(-1, *fixed.shape)
    means, own, numbers = of_labels(fixed, y)
    freedom = len(fixed) / max(1, len(fixed) - len(means))  # the means are estimates
    within, _ = ledoit_wolf((draws - means[own]).reshape(-1, fixed.shape[1]), assume_centered=True)
    between = np.cov(means.T, bias=True).reshape(within.shape)
    within = freedom * within + LEAST_WITHIN * np.eye(len(within))
    raw, axes = eigh(between, within)
    axes = axes[:, ::-1]
    r = freedom * (((fixed - means[own]) @ axes) ** 2).mean(0)
    v = raw[::-1] - r * (1 / numbers).mean()
    found = (base @ means.mean(0), base @ axes, v.clip(LEAST), r.clip(LEAST))
    return _Moments(scale, *(torch.from_numpy(each).double().to(drawn.device) for each in found))


def _placed(x: Tensor, scale: Scale, centre: Tensor, axes: Tensor) -> Tensor:
    """Codes (M, D) in the basis U, (M, K)."""
    return (scale(x.float()).double() - centre) @ axes
