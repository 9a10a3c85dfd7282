r"""Rows of a table under both values of an intervention, by a model of counterfactuals.

Shapes: N rows, D features, F features of predictors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.evaluation.measures.fairness import Predictor
from mlvae.likelihoods import MixedColumns
from mlvae.models import traits
from mlvae.training.seeding import seeded

__all__ = ["Interventions", "states_counterfactuals"]

#: Largest number of rows that are decoded at once.
ROWS = 20_000

#: Kinds whose cells keep the noise of their row.
NOISY = ("real", "positive")


def states_counterfactuals(model: object) -> bool:
    """Whether a model of a table has counterfactuals, as DCEVAE."""
    likelihood = traits(model).likelihood
    return callable(getattr(model, "counterfactual", None)) and isinstance(
        likelihood, MixedColumns
    )


@dataclass(frozen=True, eq=False)
class Interventions:
    """A model, and the features of each role.

    Args:
        model: a model with ``counterfactual`` and with ``columns``, the numbers of the columns of
            each role.
        samples: samples of the latents of each row, for expected values.
        seed: seed of the samples.
    """

    model: Any
    samples: int = 8
    seed: int = 0

    @property
    def likelihood(self) -> MixedColumns:
        """The columns of the table."""
        return self.model.likelihood

    @cached_property
    def features(self) -> list[list[int]]:
        """The features of each column."""
        place, found = 0, []
        for column in self.likelihood.columns:
            found.append(list(range(place, place + column.levels)))
            place += column.levels
        return found

    def of_role(self, role: str) -> list[int]:
        """The features of the columns of a role."""
        return [f for column in self.model.columns[role] for f in self.features[column]]

    def name_of_role(self, role: str) -> str:
        """The name of the only column of a role."""
        return self.likelihood.columns[self.model.columns[role][0]].column

    def values(self, number: int, x: Tensor) -> np.ndarray:
        """A number for each cell of a column, (N,): that of its level, where it has levels."""
        cells = x[:, self.features[number]].cpu().double().numpy()
        return cells[:, 0] if cells.shape[1] == 1 else cells.argmax(1).astype(float)

    @cached_property
    def affected(self) -> dict[str, int]:
        """The columns with one feature that the intervention may change: name and feature."""
        numbers = [*self.model.columns["outcome"], *self.model.columns["caused"]]
        columns = self.likelihood.columns
        return {
            columns[number].column: self.features[number][0]
            for number in numbers
            if columns[number].levels == 1
        }

    @torch.no_grad()
    def effects(self, x: Tensor) -> np.ndarray:
        """Expected affected columns under 1 minus those under 0, of each row, (N, affected).

        They are means over samples of the latents. Of a binary column, the value at the posterior
        mean is another one than the mean over samples.
        """
        places = list(self.affected.values())
        parts = []
        for number, part in enumerate(x.split(ROWS)):
            total = torch.zeros(len(part), len(places), device=x.device)
            for sample in range(self.samples):
                # A part has noise of its own.
                one, zero = self._pair(part, sample + number * self.samples)
                total += (one - zero)[:, places]
            parts.append(total / self.samples)
        return torch.cat(parts).cpu().double().numpy()

    @torch.no_grad()
    def expected(self, x: Tensor) -> np.ndarray:
        """Expected affected columns of rows as they are, (N, affected): means over samples."""
        places, a = list(self.affected.values()), x[:, self.of_role("intervention")]
        total = torch.zeros(len(x), len(places), device=x.device)
        for sample in range(self.samples):
            one, zero = self._pair(x, sample)
            total += torch.where(a == 1, one, zero)[:, places]
        return (total / self.samples).cpu().double().numpy()

    def _pair(self, x: Tensor, draw: int) -> Iterator[Tensor]:
        """Expected features under 1 and under 0, with the same latents."""
        for value in (1.0, 0.0):
            generator = seeded(torch.Generator(x.device), self.seed, "interventions", draw)
            yield self.model.counterfactual(x, value, keep_noise=False, generator=generator)

    @torch.no_grad()
    def under(self, x: Tensor, value: float) -> Tensor:
        """Features (N, D) of all rows under an intervention, from the means of the latents.

        Real and positive numbers keep the noise of their row. Other columns have expected values,
        also in rows that the intervention does not change.
        """
        found = self.model.counterfactual(x, value, keep_noise=False)
        numbers = [
            self.features[number][0]
            for number, column in enumerate(self.likelihood.columns)
            if column.kind in NOISY
        ]
        kept = self.model.counterfactual(x, value)
        found[:, numbers] = kept[:, numbers]
        return found

    def inputs(self, x: Tensor, *roles: str) -> np.ndarray:
        """Standardised features of the columns of some roles, (N, F)."""
        places = [place for role in roles for place in self.of_role(role)]
        return self.likelihood.inputs(x)[:, places].cpu().double().numpy()

    def fair(self, x: Tensor, outcome: Predictor, deviation: float) -> np.ndarray:
        """Features (N, F) that an intervention does not change, made without the outcome.

        Caused columns are the mean of both interventions, and the rest stays. The latents depend
        on the outcome, which a prediction does not have. So it is predicted from the other
        columns, and the features are means over its distribution: both values of a binary one,
        and samples of others.

        Args:
            x: rows. Their outcome is not used.
            outcome: predicts the standardised outcome from intervention, caused and rest.
            deviation: standard deviation of its errors; 0 of a binary outcome.
        """
        mean = outcome(self.inputs(x, "intervention", "caused", "rest"))
        random = np.random.default_rng(self.seed)
        if deviation == 0:
            cases = [(np.zeros(len(x)), 1 - mean), (np.ones(len(x)), mean)]
        else:
            noise = random.normal(size=(self.samples, len(x))) * deviation
            cases = [(mean + each, np.full(len(x), 1 / self.samples)) for each in noise]
        (place,) = self.of_role("outcome")
        total = np.zeros((len(x), len(self.of_role("caused"))))
        for value, weight in cases:
            inputs = self.likelihood.inputs(x).clone()
            inputs[:, place] = torch.from_numpy(value).to(inputs)
            rows = self.likelihood.restored(inputs)
            pair = [self.inputs(self.under(rows, a), "caused") for a in (0.0, 1.0)]
            total += weight[:, None] * (pair[0] + pair[1]) / 2
        return np.hstack((total, self.inputs(x, "rest")))
