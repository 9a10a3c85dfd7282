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

import numpy as np
from torch import Tensor

from mlvae.evaluation.measures.probes import ProbeScore

__all__ = ["Rows"]

RESAMPLES = 200


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
        """Standard errors of both means over test codes, by bootstrap (Efron 1979)."""
        from scipy.stats import bootstrap  # takes a second to import

        correct, bits = (
            float(
                bootstrap(
                    (values.cpu().numpy(),),
                    np.mean,
                    n_resamples=RESAMPLES,
                    method="percentile",
                    rng=np.random.default_rng(seed),
                    batch=16,
                ).standard_error
            )
            for values in self
        )
        return correct, bits
