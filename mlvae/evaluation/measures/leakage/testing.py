"""The test of a trained probe, over several draws of the test codes."""

from __future__ import annotations

import math

import torch

from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import Trained
from mlvae.evaluation.measures.leakage.scores import Rows
from mlvae.training.seeding import seeded

__all__ = ["DRAWS", "area", "tested"]

#: Draws of every test code.
DRAWS = 4


def tested(probe: Trained, test: Drawn, seed: int, *, draws: int = DRAWS) -> Rows:
    """The result of a probe for each test code, a mean over draws of it.

    Args:
        probe: the probe.
        test: codes to test on.
        seed: seed of the draws; the first draws are the same for every number of draws.
        draws: number of draws.
    """
    generator = seeded(torch.Generator(test.labels.device), seed, "test draws")
    x, y = test.draws(draws, generator)
    return Rows.of(probe.log_probabilities(x), y, len(y) // len(test))


def area(probe: Trained, test: Drawn, seed: int) -> float:
    """The area under the ROC curve of one draw of the test codes, at least 0.5.

    It is the probability that the probe orders two codes of different labels correctly. NaN unless
    the test codes have two labels.
    """
    x, y = test.draws(1, seeded(torch.Generator(test.labels.device), seed, "test draws"))
    if len(y.unique()) != 2 or int(y.max()) > 1:
        return math.nan
    from sklearn.metrics import roc_auc_score  # seconds to import

    logs = probe.log_probabilities(x)
    found = float(roc_auc_score(y.cpu().numpy(), (logs[:, 1] - logs[:, 0]).cpu().numpy()))
    return max(found, 0.5)
