r"""Information on a category that a classifier finds, whatever its probabilities are worth.

Probabilities of a forest are none to bet on: a label that none of its trees votes for has 0, and
costs infinitely many bits where it is the right one. So they are mixed with the frequencies f of
the labels and sharpened or flattened,

.. math:: q(y \mid \text{code}) \propto
    \bigl( (1 - w) \, p(y \mid \text{code}) + w \, f(y) \bigr)^a,

by the w and a that leave least unknown of training rows that the classifier has not seen.
"""

from __future__ import annotations

import numpy as np
import torch

from mlvae.errors import InputError
from mlvae.evaluation.metrics.table import split_rows
from mlvae.evaluation.probes import entropy

__all__ = ["calibrated_bits"]

#: What w and a are chosen from. With w = 1 and a = 1 only the frequencies are left.
WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0)
EXPONENTS = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)


def calibrated_bits(
    classifier: object,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    *,
    seed: int = 0,
) -> tuple[float, float]:
    r"""Information in bits that a classifier finds of a factor, and the entropy of that factor.

    .. math:: H(y) - \mathbb E[-\log_2 q(y \mid \text{code})] \le I(y; \text{code})

    (Barber and Agakov 2003) on the test rows, and up to their sampling error; q is calibrated, see
    :mod:`mlvae.evaluation.metrics.calibration`. Below zero it is replaced by zero, a bound too.

    Args:
        classifier: with ``fit``, ``predict_proba`` and ``classes_`` as in scikit-learn. It is
            trained anew, on four fifths of the rows.
        train: codes (N, D) and labels (N,), at least two rows.
        test: codes and labels. Labels that the classifier was not trained on are left out.
        seed: of the choice of the last fifth, which calibrates it.

    Returns:
        Information and entropy of the test labels, both in bits and at least 0.

    Raises:
        InputError: if there are fewer than two rows to train on.

    Example:
        >>> from sklearn.linear_model import LogisticRegression
        >>> labels = np.arange(100) % 2
        >>> pair = labels[:, None] - 0.5, labels
        >>> [round(bits, 1) for bits in calibrated_bits(LogisticRegression(), pair, pair)]
        [1.0, 1.0]
    """
    if len(train[0]) < 2:
        raise InputError("information needs at least two rows to train on")
    rest, held = split_rows(len(train[0]), max(0.2, 1 / len(train[0])), seed)
    x, y = train
    labels, count = np.unique(y[rest], return_counts=True)
    test = _known(test, labels)
    if not len(test[0]):
        return 0.0, 0.0
    most = entropy(torch.from_numpy(test[1]))
    held = _known((x[held], y[held]), labels)
    if len(labels) < 2 or not len(held[0]):
        return 0.0, most
    classifier = classifier.fit(x[rest], y[rest])
    frequency = count / count.sum()
    probabilities = classifier.predict_proba(held[0])
    weight, exponent = min(
        ((w, a) for w in WEIGHTS for a in EXPONENTS),
        key=lambda choice: _unknown(probabilities, held[1], frequency, *choice),
    )
    probabilities = classifier.predict_proba(test[0])
    return max(0.0, most - _unknown(probabilities, test[1], frequency, weight, exponent)), most


def _known(
    part: tuple[np.ndarray, np.ndarray], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose label is one of ``labels``, and its number among them."""
    x, y = part
    rows = np.isin(y, labels)
    return x[rows], np.searchsorted(labels, y[rows])


def _unknown(
    probabilities: np.ndarray, y: np.ndarray, frequency: np.ndarray, weight: float, exponent: float
) -> float:
    """Cross-entropy of the calibrated probabilities in bits, a mean over rows."""
    logits = exponent * np.log((1 - weight) * probabilities + weight * frequency)
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return float(-np.mean(logits[np.arange(len(y)), y]) / np.log(2))
