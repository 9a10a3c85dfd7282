r"""A lower bound on the information about a category, from a calibrated classifier.

The probabilities of a forest cannot be used directly: a label without the vote of any tree has
probability 0, and an infinite cross-entropy where it is the right label. Calibration mixes the
probabilities with the frequencies f of the labels, and sharpens or flattens the result,

.. math:: q(y \mid \text{code}) \propto
    \bigl( (1 - w) \, p(y \mid \text{code}) + w \, f(y) \bigr)^a,

with the w and a of the least cross-entropy on held-out training rows.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from mlvae.errors import InputError
from mlvae.evaluation.measures.leakage.scores import entropy, surprise
from mlvae.evaluation.measures.metrics.table import split_rows
from mlvae.evaluation.measures.resampling import sampling_error

__all__ = ["Bits", "Classifier", "calibrated_bits"]

#: The values of w and a to choose from. With w = 1 and a = 1, q is the frequencies.
WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)
EXPONENTS = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)


class Classifier(Protocol):
    """The methods of a scikit-learn classifier that :func:`calibrated_bits` uses."""

    def fit(self, x: np.ndarray, y: np.ndarray, /) -> Classifier:
        """Train on codes (N, D) and labels (N,), and return the classifier itself."""
        ...

    def predict_proba(self, x: np.ndarray, /) -> ArrayLike:
        """Probability of each training label in sorted order, (N, labels)."""
        ...


class Bits(NamedTuple):
    """Information about a factor.

    Attributes:
        bits: lower bound of the information, at least 0.
        entropy: entropy of the test labels in bits.
        error: standard error of ``bits`` over test rows or groups, to which both the entropy and
            the cross-entropy contribute.
    """

    bits: float
    entropy: float
    error: float


def calibrated_bits(
    classifier: Classifier,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> Bits:
    r"""Information about a factor that a classifier finds, and the factor's entropy, in bits.

    .. math:: H(y) - \mathbb E[-\log_2 q(y \mid \text{code})] \le I(y; \text{code})

    (Barber and Agakov 2003) on the test rows, up to their sampling error. The head of this module
    defines q. A negative value is replaced by zero, which is also a lower bound.

    Args:
        classifier: a classifier of scikit-learn, or with the same methods. It is trained again,
            on four fifths of the training rows.
        train: codes (N, D) and labels (N,), at least two rows.
        test: codes and labels. Rows whose label does not occur in training are left out.
        groups: index of the group of each test row, for a standard error over groups; None: over
            rows.
        seed: seed of the choice of the last fifth, which calibrates the classifier.

    Raises:
        InputError: if there are fewer than two training rows.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> labels = np.arange(100) % 2
        >>> pair = labels[:, None] - 0.5, labels
        >>> [round(bits, 1) for bits in calibrated_bits(LogisticRegression(), pair, pair)]
        [1.0, 1.0, 0.0]
    """
    if len(train[0]) < 2:
        raise InputError(f"train must have at least two rows, not {len(train[0])}")
    rest, held = split_rows(len(train[0]), max(0.2, 1 / len(train[0])), seed)
    x, y = train
    labels, count = np.unique(y[rest], return_counts=True)
    if groups is not None:
        groups = groups[np.isin(test[1], labels)]
    test = _known(test, labels)
    if not len(test[0]):
        return Bits(0.0, 0.0, 0.0)
    label_entropy = entropy(torch.from_numpy(test[1]))
    held = _known((x[held], y[held]), labels)
    if len(labels) < 2 or not len(held[0]):
        return Bits(0.0, label_entropy, 0.0)
    classifier = classifier.fit(x[rest], y[rest])
    frequency = count / count.sum()
    probabilities = np.asarray(classifier.predict_proba(held[0]))
    weight, exponent = min(
        ((w, a) for w in WEIGHTS for a in EXPONENTS),
        key=lambda choice: _cross_entropy(probabilities, held[1], frequency, *choice).mean(),
    )
    probabilities = np.asarray(classifier.predict_proba(test[0]))
    remaining = _cross_entropy(probabilities, test[1], frequency, weight, exponent)
    bits = max(0.0, label_entropy - float(remaining.mean()))
    gained = surprise(torch.from_numpy(test[1])).numpy() - remaining
    return Bits(bits, label_entropy, sampling_error(gained, groups=groups, seed=seed))


def _known(
    part: tuple[np.ndarray, np.ndarray], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose label is one of ``labels``, with labels as indices into ``labels``."""
    x, y = part
    rows = np.isin(y, labels)
    return x[rows], np.searchsorted(labels, y[rows])


def _cross_entropy(
    probabilities: np.ndarray, y: np.ndarray, frequency: np.ndarray, weight: float, exponent: float
) -> np.ndarray:
    """Minus the logarithm to base 2 of the calibrated probability of the right label, (N,)."""
    logits = exponent * np.log((1 - weight) * probabilities + weight * frequency)
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return -logits[np.arange(len(y)), y] / np.log(2)
