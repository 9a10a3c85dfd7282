r"""The score of a probe on test codes.

The cross-entropy of a probe is an upper bound of the conditional entropy,

.. math:: H(Y \mid \text{code}) \le
    \mathbb E[-\log_2 p_{\text{probe}}(y \mid \text{code})] \quad \text{bits},

for every probe (Barber and Agakov 2003). So H(Y) minus the cross-entropy is a lower bound of the
information about the label. The ideal is H(Y) for content and 0 for style.

Shapes: M codes, L labels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from mlvae.arguments import integer_tensor
from mlvae.errors import InputError, shown
from mlvae.evaluation.measures.resampling import sampling_error

__all__ = ["ProbeScore", "Rows", "entropy", "surprise"]


class ProbeScore(NamedTuple):
    """Accuracy and cross-entropy of a probe.

    Attributes:
        accuracy: fraction of test codes whose label is predicted correctly.
        conditional_entropy: cross-entropy on the test codes in bits, mean over codes: an upper
            bound of H(Y | code).
        num_codes: number of test codes.
    """

    accuracy: float
    conditional_entropy: float
    num_codes: int


def entropy(labels: Tensor) -> float:
    """Entropy H(Y) of the frequencies of ``labels``, (M,), in bits.

    Raises:
        InputError: if the labels are no numbers (M,), or there is none.

    Example:
        >>> import torch
        >>> entropy(torch.tensor([0, 0, 1, 1]))
        1.0
    """
    expected = "numbers of shape (M,)"
    floats = isinstance(labels, Tensor) and labels.is_floating_point()
    numbers = labels if floats else integer_tensor("labels", labels, expected)
    if numbers.ndim != 1 or len(numbers) == 0 or not numbers.isfinite().all():
        raise InputError(f"labels must be {expected}, not {shown(labels)}")
    frequency = numbers.unique(return_counts=True)[1].double() / len(numbers)
    return float(-(frequency * frequency.log2()).sum())


def surprise(labels: Tensor) -> Tensor:
    """Minus the logarithm to base 2 of the frequency of each label among ``labels`` (M,): (M,).

    Its mean is their :func:`entropy`. Minus the bits of a probe for each code it has the mean
    H(Y) minus the cross-entropy, and the standard error of this difference to first order: the
    derivative of the entropy by the frequency of a label is minus its logarithm, up to a constant.

    Example:
        >>> import torch
        >>> surprise(torch.tensor([0, 0, 0, 1]))
        tensor([0.4150, 0.4150, 0.4150, 2.0000], dtype=torch.float64)
    """
    _, index, count = labels.unique(return_inverse=True, return_counts=True)
    return -(count.double() / len(labels)).log2()[index]


class Rows(NamedTuple):
    """The result of each test code, a mean over draws of it.

    Attributes:
        correct: fraction of draws whose label is predicted correctly, (M,).
        bits: minus the logarithm to base 2 of the probability of the right label, (M,).
    """

    correct: Tensor
    bits: Tensor

    @classmethod
    def of(cls, logs: Tensor, y: Tensor, draws: int) -> Rows:
        """Results of log-probabilities (draws x M, L) for labels (draws x M,)."""
        bits = -logs.gather(1, y[:, None])[:, 0] / math.log(2)
        correct = (logs.argmax(1) == y).double()
        return cls(correct.view(draws, -1).mean(0), bits.double().view(draws, -1).mean(0))

    def score(self) -> ProbeScore:
        """Means over the test codes."""
        return ProbeScore(float(self.correct.mean()), float(self.bits.mean()), len(self.bits))

    def errors(self, seed: int = 0) -> tuple[float, float]:
        """Standard errors of both means over test codes, by bootstrap."""
        correct, bits = (sampling_error(values.cpu().numpy(), seed=seed) for values in self)
        return correct, bits

    def information_error(self, y: Tensor, seed: int = 0) -> float:
        """Standard error of H(Y) minus the mean of ``bits`` over test codes of labels y (M,)."""
        return sampling_error((surprise(y) - self.bits).cpu().numpy(), seed=seed)
