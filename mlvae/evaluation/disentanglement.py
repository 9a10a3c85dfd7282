"""Does each dimension of the latent stand for one known factor?

The metrics of :mod:`mlvae.evaluation.metrics`, of everything a model says of an observation:
content and style side by side. They ask for more than a model of groups promises, which is that a
factor is in the right one of the two, and not that it has a dimension of its own; so the controls
beside it say more than the numbers by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_integer
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, estimate
from mlvae.evaluation.charts import heatmap
from mlvae.evaluation.codes import encode, representations
from mlvae.evaluation.metrics import METRICS, SCORES, TREES, scores
from mlvae.evaluation.subject import Subject
from mlvae.parts import take_lists

__all__ = ["Disentanglement"]

FEWEST = 20  # observations whose factors are known
MOST_SHOWN = 50  # dimensions in a figure
FIXED = ("mig", "modularity")  # scores that do not depend on a seed


@dataclass(frozen=True)
class Disentanglement:
    """The question, and how it is asked.

    Args:
        categories: names of factors whose numbers are only names; the others are quantities.
        metrics: of "mig", "sap", "dci", "beta_vae", "factor_vae" and "modularity".
        trees: of DCI, "forest" or "boosting", see :func:`mlvae.evaluation.metrics.dci.dci`.
        bins: intervals that a dimension is cut into where values are counted.
        factor_bins: intervals of a quantity there, if it has more values.
        seeds: repetitions, each with its own draws and its own observations to test on.
        most: observations at most, drawn at random.
    """

    categories: tuple[str, ...] = ()
    metrics: tuple[str, ...] = METRICS
    trees: str = "forest"
    bins: int = 20
    factor_bins: int = 10
    seeds: int = 3
    most: int = 5000

    def __post_init__(self) -> None:
        where = "evaluation.disentanglement"
        take_lists(self, where, "categories", "metrics")
        if not self.metrics:
            raise InputError(f"{where}.metrics must not be an empty list")
        for metric in self.metrics:
            check_choice(f"{where}.metrics", metric, METRICS)
        check_choice(f"{where}.trees", self.trees, TREES)
        for name, least in (("bins", 2), ("factor_bins", 2), ("seeds", 1), ("most", FEWEST)):
            check_integer(f"{where}.{name}", getattr(self, name), minimum=least)

    def ask(self, subject: Subject) -> Answer:
        """Compute every metric of the model and of its controls."""
        title = "Does each dimension of the latent stand for one known factor?"
        name = "test" if subject.splits.unseen is None else "unseen"
        data, factors = self._known(getattr(subject.splits, name))
        if not factors:
            return Answer(title, ["Not asked: this dataset has no known factors to test on."])
        labels, records, figures = {}, [], []
        for code, (label, model) in _models(subject).items():
            x, dimensions = _means(model, data)
            if len(dimensions) < 2:  # nothing to compare
                continue
            found, importance = self._scores(x, data, factors)
            records.append({"code": code} | found)
            labels[code] = label
            if code == "model" and importance is not None and len(dimensions) <= MOST_SHOWN:
                figures.append(_importance(importance, dimensions, factors))
        if not records:
            return Answer(title, ["Not asked: a latent of one dimension cannot be compared."])
        facts = {"tested_on": name, "factors": factors, "num_observations": len(data)}
        return Answer(
            title,
            self._words(name, data, factors),
            {**facts, "records": records},
            [_table(labels, records)],
            [_figure(labels, records), *figures],
        )

    def _known(self, data: GroupedData | None) -> tuple[GroupedData | None, list[str]]:
        """Observations of which every factor is known, and the factors that can be asked for."""
        factors = [] if data is None else list(data.factors)
        factors = [factor for factor in factors if data.factors[factor].isfinite().any()]
        if not factors:
            return data, []
        known = torch.stack([data.factors[factor].isfinite() for factor in factors]).all(0)
        rows = known.nonzero()[:, 0].cpu()
        draw = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: self.most]
        if len(draw) < FEWEST:
            return data, []
        data = data.subset(rows[draw].sort()[0].to(data.device))
        return data, [factor for factor in factors if self._countable(factor, data)]

    def _countable(self, factor: str, data: GroupedData) -> bool:
        """Whether it has two values, and not so many that hardly one occurs twice."""
        number = len(data.factors[factor].unique())
        return number > 1 and (factor not in self.categories or 2 * number <= len(data))

    def _scores(
        self, x: np.ndarray, data: GroupedData, factors: list[str]
    ) -> tuple[dict[str, Estimate], np.ndarray | None]:
        """Every score over the seeds, and the importance of dimensions at the first one."""
        y = np.column_stack([data.factors[factor].cpu().numpy() for factor in factors])
        found = [
            scores(
                x,
                y,
                continuous=[factor not in self.categories for factor in factors],
                metrics=self.metrics,
                trees=self.trees,
                bins=self.bins,
                factor_bins=self.factor_bins,
                seed=seed,
            )
            for seed in range(self.seeds)
        ]
        values = {
            name: estimate([of_seed[name] for of_seed, _ in found[: 1 if name in FIXED else None]])
            for name in found[0][0]
        }
        return values, found[0][1]

    def _words(self, name: str, data: GroupedData, factors: list[str]) -> list[str]:
        of = "groups never seen in training" if name == "unseen" else "the test split"
        words = [
            f"Metrics of the posterior means of {len(data):,} single observations of {of} and "
            f"their factors {', '.join(factors)}; 1 is the best. A model of groups promises "
            "that a factor is in the content or in the style, and not that it has a dimension of "
            "its own: compare with the controls.",
            f"Standard errors are over {self.seeds} choices of what is drawn and tested on; MIG "
            "and modularity draw nothing. FactorVAE counts only dimensions with a standard "
            "deviation of 0.05 or more, and SAP reads little from codes of small numbers: a "
            "control that was never trained can fail them by its scale alone.",
        ]
        if len(factors) == 1:
            words.append("Of a single factor there are only MIG and SAP; the others compare.")
        return words


def _models(subject: Subject) -> dict[str, tuple[str, nn.Module]]:
    """The model and its controls with their labels, by name."""
    own = " and ".join(representations(subject.model, subject.splits.train))
    models = {"model": (own, subject.model)}
    if subject.vae is not None:
        models["vae"] = ("plain VAE, latent", subject.vae)
    if (untrained := subject.untrained()) is not None:
        models["untrained"] = (f"untrained encoder, {own}", untrained)
    return models


def _means(model: nn.Module, data: GroupedData) -> tuple[np.ndarray, list[str]]:
    """All of a model's posterior means side by side, (N, D), and a name for each dimension."""
    parts = {
        name: encode(representation, data).mean.flatten(1).cpu().numpy()
        for name, representation in representations(model, data).items()
    }
    names = [f"{name} {i + 1}" for name, x in parts.items() for i in range(x.shape[1])]
    return np.concatenate(list(parts.values()), axis=1), names


def _table(labels: dict[str, str], records: list[dict]) -> Table:
    shown = [score for score in SCORES if score in records[0]]
    return Table(
        "Metrics of disentanglement, from 0 to 1.",
        ["latent", *[SCORES[score] for score in shown]],
        [[labels[r["code"]], *[r[score].text(2) for score in shown]] for r in records],
    )


def _figure(labels: dict[str, str], records: list[dict]) -> Figure:
    """The scores as a matrix, for they are too many for bars."""
    return heatmap(
        "disentanglement",
        "Metrics of disentanglement of the whole latent and of its controls: means over "
        "repetitions.",
        {
            labels[record["code"]]: {
                SCORES[score]: record[score].mean for score in SCORES if score in record
            }
            for record in records
        },
        label="score",
    )


def _importance(importance: np.ndarray, dimensions: list[str], factors: list[str]) -> Figure:
    """What DCI is computed from."""
    rows = {
        dimension: dict(zip(factors, row.tolist(), strict=True))
        for dimension, row in zip(dimensions, importance, strict=True)
    }
    return heatmap(
        "importance",
        "How much trees that predict a factor rely on each dimension of the model's latent: "
        "columns sum to 1. A disentangled latent has one dark cell in a column.",
        rows,
        label="importance",
    )
