"""The test of a trained probe, over several draws of the test codes."""

from __future__ import annotations

import torch

from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import Trained
from mlvae.evaluation.measures.leakage.scores import Rows
from mlvae.training.seeding import seeded

__all__ = ["DRAWS", "tested"]

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
