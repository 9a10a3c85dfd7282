"""What an intervention on a column changes in a table, by a model and by simple methods.

Shapes: N training rows, M test rows, K columns that the intervention may change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from mlvae.data import GroupedData
from mlvae.data.chosen import at_equal_distances
from mlvae.evaluation.answer import Estimate
from mlvae.evaluation.measures.effects import (
    Rows,
    effect_of,
    regression,
    strata,
    stratification,
)
from mlvae.evaluation.measures.fairness import fairness, fitted
from mlvae.evaluation.measures.interventions import Interventions
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import PROBE_NAMES
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.strongest import strongest

__all__ = [
    "CausalTable",
    "Cell",
    "counterfactual_records",
    "effect_records",
    "latent_records",
    "predictor_records",
]

#: The columns of each predictor, by its name.
PREDICTORS = {
    "constant": (),
    "rest": ("rest",),
    "unaware": ("caused", "rest"),
    "all": ("intervention", "caused", "rest"),
}

#: From rows (N, D) to the features (N, F) of a predictor.
Features = Callable[[torch.Tensor], np.ndarray]

#: Kinds of outcomes of which predictors are trained.
NUMBERS = ("real", "positive", "count")


class Cell(NamedTuple):
    """Rows with the same values of some columns.

    Attributes:
        train: which training rows, booleans (N,).
        test: which test rows, booleans (M,).
    """

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class CausalTable:
    """A model of counterfactuals with its data.

    Args:
        through: the model.
        train: rows that controls, predictors and probes are fitted to.
        held: rows that choose a probe.
        test: rows of all results.
        seed: seed of bootstrap and probes.
    """

    through: Interventions
    train: GroupedData
    held: GroupedData
    test: GroupedData
    seed: int = 0

    def rows(self, data: GroupedData) -> Rows:
        """The intervention, and the columns that it may change, in their own units."""
        x = data.batch().x.cpu().double().numpy()
        places = list(self.through.affected.values())
        return Rows(x[:, self.through.of_role("intervention")[0]], x[:, places])

    def rest(self, data: GroupedData) -> np.ndarray:
        """A number for each cell of the rest, (N, columns)."""
        x, numbers = data.batch().x, self.through.model.columns["rest"]
        if not numbers:
            return np.zeros((len(x), 0))
        return np.stack([self.through.values(number, x) for number in numbers], 1)

    @property
    def truth(self) -> np.ndarray | None:
        """The affected columns of the test under the other intervention, (M, K), if known.

        They are the factors ``<column>_other`` of the data.
        """
        names = [f"{name}_other" for name in self.through.affected]
        factors = self.test.factors
        if not set(names) <= set(factors):
            return None
        return np.stack([factors[name].cpu().double().numpy() for name in names], 1)

    def sign(self) -> np.ndarray:
        """1 of a test row whose intervention is 0, and -1 of the others, (M, 1)."""
        return 1 - 2 * self.rows(self.test).a[:, None]


def effect_records(
    table: CausalTable, cells: Mapping[str, Cell], bins: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Effects on all affected columns, and effects on the outcome in each cell.

    Args:
        table: the model and its data.
        cells: rows of each cell, by its name.
        bins: number of quantiles at which stratification divides a column of numbers.
    """
    through, train = table.through, table.rows(table.train)
    number, place, names = len(table.train), len(table.test), list(through.affected)
    tests = [np.ones(place, bool), *(cell.test for cell in cells.values())]
    own = through.effects(table.test.batch().x)
    found = {"model": [_mean_effects(own[rows]) for rows in tests]}
    if table.truth is not None:
        change = (table.truth - table.rows(table.test).y) * table.sign()
        found["truth"] = [_mean_effects(change[rows]) for rows in tests]
    x = [through.inputs(data.batch().x, "rest") for data in (table.train, table.test)]
    index = strata(table.rest(table.train), table.rest(table.test), bins)
    for name, method in (
        ("stratification", stratification(train, *index)),
        ("regression", regression(train, *x)),
    ):
        found[name] = effect_of(method, number, tests, seed=table.seed)
    found["observed"] = []
    for inside in (Cell(np.ones(number, bool), tests[0]), *cells.values()):  # no adjustment
        some = stratification(train, *(np.where(rows, 0, 1) for rows in inside))
        found["observed"] += effect_of(some, number, [inside.test], seed=table.seed)
    outcome = names.index(through.name_of_role("outcome")) if cells else 0
    effects = [
        {"method": method, "column": column, "effect": effect}
        for method, values in found.items()
        for column, effect in zip(names, values[0], strict=True)
    ]
    by_cell = [
        {"method": method, "cell": name, "rows": int(cell.test.sum()), "effect": value[outcome]}
        for method, values in found.items()
        for (name, cell), value in zip(cells.items(), values[1:], strict=True)
    ]
    return effects, by_cell


def _mean_effects(effects: np.ndarray) -> list[Estimate]:
    """The mean (K,) of effects of rows, with its standard error over these rows."""
    error = effects.std(0, ddof=min(1, len(effects) - 1)) / math.sqrt(len(effects))
    return [
        Estimate(float(mean), math.nan, float(each))
        for mean, each in zip(effects.mean(0), error, strict=True)
    ]


def counterfactual_records(table: CausalTable) -> list[dict[str, Any]]:
    """Root mean squared errors of counterfactual numbers against the truth, if it is known."""
    truth = table.truth
    if truth is None:
        return []
    through, x = table.through, table.test.batch().x
    a = x[:, through.of_role("intervention")[0]]
    with torch.no_grad():
        model = through.model.counterfactual(x, 1 - a).cpu().double().numpy()
    factual = table.rows(table.test).y
    inputs = [through.inputs(data.batch().x, "rest") for data in (table.train, table.test)]
    effects = regression(table.rows(table.train), *inputs)(np.ones(len(table.train)))
    found = {
        "model": model[:, list(through.affected.values())],
        "regression": factual + effects * table.sign(),
        "unchanged": factual,
    }
    records = []
    for method, values in found.items():
        square = (values - truth) ** 2
        for column, mean, spread in zip(
            through.affected, square.mean(0), square.std(0, ddof=1), strict=True
        ):
            root = math.sqrt(mean)
            error = spread / math.sqrt(len(square)) / (2 * root) if root else 0.0
            record = {"method": method, "column": column}
            records.append({**record, "rmse": Estimate(root, math.nan, float(error))})
    return records


def predictor_records(table: CausalTable, most: int) -> list[dict[str, Any]]:
    """Errors and fairness of predictors of the outcome; none of an outcome with levels.

    Args:
        table: the model and its data.
        most: largest number of training rows.
    """
    through = table.through
    (number,) = through.model.columns["outcome"]
    column = through.likelihood.columns[number]
    if column.kind not in ("binary", *NUMBERS):
        return []
    binary = column.kind == "binary"
    unit = column.deviation if column.kind == "real" else 1.0
    some = at_equal_distances(len(table.train), most)
    train, test = table.train.batch().x[some.to(table.train.device)], table.test.batch().x
    right, a = through.inputs(test, "outcome")[:, 0], table.rows(table.test).a
    pair, records = _pair(table), []
    for name, (columns, target) in _predictors(through, train, column.column, binary).items():
        predictor = fitted(columns(train), target, binary=binary)
        before, after = (predictor(columns(x)) for x in pair)
        found = fairness(predictor(columns(test)), (before, after), right, a, binary=binary)
        scaled = {k: Estimate(*(unit * v for v in each)) for k, each in found._asdict().items()}
        records.append({"predictor": name, "binary": binary, **scaled})
    return records


def _predictors(
    through: Interventions, train: torch.Tensor, outcome: str, binary: bool
) -> dict[str, tuple[Features, np.ndarray]]:
    """The features and the standardised targets of each predictor, by its name."""
    y = through.inputs(train, "outcome")[:, 0]

    def inputs(*roles: str) -> Features:
        return lambda x: through.inputs(x, *roles)

    found = {name: (inputs(*roles), y) for name, roles in PREDICTORS.items()}
    everything = inputs(*PREDICTORS["all"])
    first = fitted(everything(train), y, binary=binary)
    deviation = 0.0 if binary else float((y - first(everything(train))).std())
    found["fair columns"] = (lambda x: through.fair(x, first, deviation), y)
    modelled = train.clone()
    expected = through.expected(train)[:, list(through.affected).index(outcome)]
    modelled[:, through.of_role("outcome")] = torch.from_numpy(expected).to(train)[:, None]
    target = through.inputs(modelled, "outcome")[:, 0]
    found["outcomes of the model"] = (everything, target)
    return found


def _pair(table: CausalTable) -> list[torch.Tensor]:
    """The features of the test rows under both values of the intervention: true ones, if known."""
    through, x = table.through, table.test.batch().x
    if table.truth is None:
        return [through.under(x, value) for value in (0.0, 1.0)]
    other = x.clone()
    other[:, list(through.affected.values())] = torch.from_numpy(table.truth).to(x)
    place = through.of_role("intervention")
    other[:, place] = 1 - x[:, place]
    return [x, other]


def latent_records(table: CausalTable, probes: tuple[str, ...], most: int) -> list[dict[str, Any]]:
    """Nats of each latent, and what a sample of it has of the intervention.

    Args:
        table: the model and its data.
        probes: kinds of probes.
        most: largest number of training rows.
    """
    parts = {"train": table.train, "held": table.held, "test": table.test}
    a = {name: torch.from_numpy(table.rows(data).a).long() for name, data in parts.items()}
    rows = at_equal_distances(len(table.train), most)
    records = []
    with torch.no_grad():
        posteriors = {n: table.through.model.codes(data.batch()) for n, data in parts.items()}
    for latent in posteriors["test"]:
        codes = {name: found[latent] for name, found in posteriors.items()}
        drawn = {name: Drawn(q, a[name].to(q.mean.device)) for name, q in codes.items()}
        train = drawn["train"].part(rows.to(table.train.device))
        fit = Fit(train, drawn["held"], 2, table.seed)
        found = strongest({"train": fit}, drawn["test"], probes, curve=False)
        record = {"latent": latent, "kl": float(codes["test"].kl().mean())}
        record["bits"] = Estimate(found.bits, math.nan, found.bits_error)
        records.append({**record, "auc": found.auc, "probe": PROBE_NAMES[found.probe]})
    return records
