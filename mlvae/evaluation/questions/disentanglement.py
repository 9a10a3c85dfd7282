"""Question: does each dimension of the latent represent one known factor?

The metrics of :mod:`mlvae.evaluation.measures.metrics` are applied to the concatenation of all
codes of an observation. A model of groups is trained to put a factor into the right
code, not into a separate dimension, so the metrics require more than the objective. Compare with
the controls rather than with 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from mlvae.data import GroupedData
from mlvae.errors import check_texts
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, estimate, not_evaluated
from mlvae.evaluation.charts import heatmap
from mlvae.evaluation.measures.codes import encode, representations
from mlvae.evaluation.measures.metrics import METRICS, SCORES, TREES, scores
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import SOURCES, Subject
from mlvae.parts import take_lists

__all__ = ["Disentanglement"]

FEWEST = 20  # smallest number of observations with known factors
MOST_SHOWN = 50  # largest number of dimensions in a figure
FIXED = ("mig", "modularity")  # scores that do not depend on a seed


@dataclass(frozen=True)
class Disentanglement:
    """The question and its options.

    Args:
        categories: names of categorical factors; the other factors are quantities.
        metrics: names of metrics: "mig", "sap", "dci", "beta_vae", "factor_vae", "modularity".
        trees: trees of DCI, "forest" or "boosting", see
            :func:`mlvae.evaluation.measures.metrics.dci.dci`.
        bins: number of intervals of a dimension, for metrics that count values.
        factor_bins: number of intervals of a quantity of more values, for the same metrics.
        seeds: number of repetitions, each with separate draws and test observations.
        most: largest number of observations; they are drawn at random.
    """

    categories: tuple[str, ...] = ()
    metrics: tuple[str, ...] = METRICS
    trees: str = "forest"
    bins: int = 20
    factor_bins: int = 10
    seeds: int = 3
    most: int = 5000

    title: ClassVar[str] = "Does each dimension of the latent represent one known factor?"

    def __post_init__(self) -> None:
        take_lists(self, "evaluation.disentanglement", "categories")
        check_texts("evaluation.disentanglement.categories", self.categories)
        minimum = {"bins": 2, "factor_bins": 2, "seeds": 1, "most": FEWEST}
        choices = {"metrics": METRICS, "trees": TREES}
        check_question(self, "metrics", minimum=minimum, choices=choices)

    def ask(self, subject: Subject) -> Answer:
        """Compute every metric for the model and its controls."""
        name, tested = subject.tested()
        data, factors = self._known(tested)
        if data is None:
            return not_evaluated(self.title, "this dataset has no known factors to test on")
        labels, records, figures = {}, [], []
        for code, (label, model) in _models(subject).items():
            x, dimensions = _means(model, data)
            if len(dimensions) < 2:  # the metrics compare dimensions
                continue
            found, importance = self._scores(x, data, factors)
            records.append({"code": code} | found)
            labels[code] = label
            if code == "model" and importance is not None and len(dimensions) <= MOST_SHOWN:
                figures.append(_importance(importance, dimensions, factors))
        if not records:
            return not_evaluated(
                self.title, "the metrics need a latent of at least two dimensions"
            )
        table, figure = _presented(labels, records)
        facts = {"tested_on": name, "factors": factors, "num_observations": len(data)}
        words, metrics = self._words(name, data, factors), {**facts, "records": records}
        return Answer(self.title, words, metrics, [table], [figure, *figures])

    def _known(self, data: GroupedData | None) -> tuple[GroupedData | None, list[str]]:
        """Observations with all factors known, and the factors; (None, []) if there are none."""
        values = {} if data is None else data.factors
        factors = [name for name, numbers in values.items() if numbers.isfinite().any()]
        if data is None or not factors:
            return None, []
        known = torch.stack([data.factors[factor].isfinite() for factor in factors]).all(0)
        rows = known.nonzero()[:, 0].cpu()
        draw = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: self.most]
        if len(draw) < FEWEST:
            return None, []
        data = data.subset(rows[draw].sort()[0].to(data.device))
        factors = [factor for factor in factors if self._countable(factor, data)]
        return (data, factors) if factors else (None, [])

    def _countable(self, factor: str, data: GroupedData) -> bool:
        """Whether a factor has at least two values, and a category at most N / 2 values."""
        number = len(data.factors[factor].unique())
        return number > 1 and (factor not in self.categories or 2 * number <= len(data))

    def _scores(
        self, x: np.ndarray, data: GroupedData, factors: list[str]
    ) -> tuple[dict[str, Estimate], np.ndarray | None]:
        """Every score over the seeds, and the importance of dimensions for the first seed."""
        y = np.column_stack([data.factors[factor].cpu().numpy() for factor in factors])
        quantities = [factor not in self.categories for factor in factors]
        options = {name: vars(self)[name] for name in ("metrics", "trees", "bins", "factor_bins")}
        found = [
            scores(x, y, continuous=quantities, seed=seed, **options) for seed in range(self.seeds)
        ]
        values = {
            name: estimate([run[name] for run, _ in found[: 1 if name in FIXED else None]])
            for name in found[0][0]
        }
        return values, found[0][1]

    def _words(self, name: str, data: GroupedData, factors: list[str]) -> list[str]:
        words = [
            f"Metrics of the posterior means of {len(data):,} single observations of "
            f"{SOURCES[name]} and the factors {', '.join(factors)}; 1 is the best score. A model "
            "of groups is trained to separate content from style, not to use one dimension per "
            "factor: compare with the controls.",
            f"Scores are means ± standard errors over {self.seeds} random repetitions; MIG and "
            "modularity have no random numbers. FactorVAE ignores dimensions with a standard "
            "deviation below 0.05, and SAP is low for codes of small scale: an untrained control "
            "can score low for its scale alone.",
        ]
        if len(factors) == 1:
            words.append(
                "For a single factor there are only MIG and SAP; other metrics compare factors."
            )
        return words


def _models(subject: Subject) -> dict[str, tuple[str, nn.Module]]:
    """By name, the label and the model, for the model and its controls."""
    own = " and ".join(representations(subject.model, subject.splits.train))
    models = {"model": (own, subject.model)}
    for name, (label, model) in subject.controls().items():
        codes = " and ".join(representations(model, subject.splits.train))
        models[name] = (f"{label}, {codes}", model)
    return models


def _means(model: nn.Module, data: GroupedData) -> tuple[np.ndarray, list[str]]:
    """The concatenated posterior means of a model, (N, D), and a name for each dimension."""
    parts = {
        name: encode(representation, data).mean.flatten(1).cpu().numpy()
        for name, representation in representations(model, data).items()
    }
    names = [f"{name} {i + 1}" for name, x in parts.items() for i in range(x.shape[1])]
    return np.concatenate(list(parts.values()), axis=1), names


def _presented(labels: dict[str, str], records: list[dict]) -> tuple[Table, Figure]:
    """The scores as a table and as a heat map."""
    cells = {
        labels[record["code"]]: {SCORES[key]: record[key] for key in SCORES if key in record}
        for record in records
    }
    table = Table(
        "Metrics of disentanglement, from 0 to 1: mean ± standard error over repetitions.",
        ["latent", *next(iter(cells.values()))],
        [[label, *[score.text(2) for score in row.values()]] for label, row in cells.items()],
    )
    means = {
        label: {name: score.mean for name, score in row.items()} for label, row in cells.items()
    }
    caption = (
        "Metrics of disentanglement of the whole latent and of the controls, from 0 to 1: means "
        "over repetitions."
    )
    return table, heatmap("disentanglement", caption, means, label="score")


def _importance(importance: np.ndarray, dimensions: list[str], factors: list[str]) -> Figure:
    """The importance matrix of DCI as a heat map."""
    rows = {
        dimension: dict(zip(factors, row.tolist(), strict=True))
        for dimension, row in zip(dimensions, importance, strict=True)
    }
    return heatmap(
        "importance",
        "Importance of each dimension of the latent of the model for trees that predict a factor. "
        "Columns sum to 1. A disentangled latent has one dark cell per column.",
        rows,
        label="importance",
    )
