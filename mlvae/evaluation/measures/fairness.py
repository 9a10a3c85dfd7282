r"""Predictions of an outcome that should not depend on an intervention.

A predictor h is counterfactually fair if :math:`h(x) = h(x')` for the row x' as it would have been
under the other intervention (M. J. Kusner, J. Loftus, C. Russell, R. Silva: Counterfactual
Fairness. NeurIPS 2017, arXiv:1703.06856). Parity compares groups instead: the mean prediction
under both values of the intervention.

Shapes: N training rows, M test rows, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mlvae.evaluation.answer import Estimate

__all__ = ["Fairness", "Predictor", "fairness", "fitted"]

#: From features (M, F) to predictions (M,): a number, or the probability of 1.
Predictor = Callable[[np.ndarray], np.ndarray]


class Fairness(NamedTuple):
    """How good and how fair a predictor is, on test rows.

    Attributes:
        error: of a number the root mean squared error, of a binary outcome the fraction of wrong
            predictions.
        gap: mean absolute change of the prediction under the other intervention.
        parity: mean prediction of the rows with a = 1 minus that of the rows with a = 0.
    """

    error: Estimate
    gap: Estimate
    parity: Estimate


def fitted(x: np.ndarray, y: np.ndarray, *, binary: bool) -> Predictor:
    """A linear regression, or a logistic one of a binary outcome.

    Args:
        x: features, (N, F); without features the prediction is a constant.
        y: outcomes (N,): numbers; of a binary outcome 0, 1 or probabilities.
        binary: whether the outcome is binary.
    """
    scale = x.std(0)
    mean, scale = x.mean(0), np.where(scale > 0, scale, 1.0)
    if x.shape[1] == 0 or (binary and (y.min() == 1 or y.max() == 0)):
        return lambda rows: np.full(len(rows), y.mean())
    z = (x - mean) / scale
    if not binary:
        from sklearn.linear_model import Ridge

        linear = Ridge(alpha=1e-3).fit(z, y)
        return lambda rows: linear.predict((rows - mean) / scale)
    from sklearn.linear_model import LogisticRegression

    labels = np.repeat([1, 0], len(z))  # a probability is two rows with weights
    logistic = LogisticRegression(max_iter=1000).fit(
        np.vstack((z, z)), labels, sample_weight=np.concatenate((y, 1 - y))
    )
    return lambda rows: logistic.predict_proba((rows - mean) / scale)[:, 1]


def fairness(
    prediction: np.ndarray,
    pair: tuple[np.ndarray, np.ndarray],
    y: np.ndarray,
    a: np.ndarray,
    *,
    binary: bool,
) -> Fairness:
    """How good and how fair predictions are, with standard errors over rows.

    Args:
        prediction: of the rows as they are, (M,).
        pair: of the rows under both values of the intervention, (M,) each.
        y: outcomes, (M,).
        a: the intervention, 0 or 1, (M,).
        binary: whether the outcome is binary.

    Example:
        >>> y, a = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0, 0, 1, 1])
        >>> found = fairness(0.2 + 0.6 * a, (np.full(4, 0.8), np.full(4, 0.2)), y, a, binary=True)
        >>> round(found.error.mean, 3), round(found.gap.mean, 3), round(found.parity.mean, 3)
        (0.5, 0.6, 0.6)
    """
    wrong = (prediction > 0.5) != (y > 0.5) if binary else (prediction - y) ** 2
    error = _mean(wrong.astype(float))
    if not binary:  # the root, by the delta method
        root = math.sqrt(error.mean)
        error = Estimate(root, math.nan, error.sampling_error / (2 * root) if root else 0.0)
    groups = [_mean(prediction[a == value]) for value in (1, 0)]
    parity = groups[0].mean - groups[1].mean
    spread = math.hypot(*(group.sampling_error for group in groups))
    gap = _mean(np.abs(pair[0] - pair[1]))
    return Fairness(error, gap, Estimate(parity, math.nan, spread))


def _mean(values: np.ndarray) -> Estimate:
    """The mean with its standard error over rows; NaN of no row."""
    if len(values) == 0:
        return Estimate(math.nan, math.nan)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), math.nan, float(error))
