"""Question: how near are imputed values to hidden ones?

Observed cells of the test are hidden, and the model and simple imputers put values in their place.
All of them are fitted to the same training rows, with the cells that these miss. Where the dataset
has hidden cells, of which the data have the true values, these cells are measured.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from mlvae.data import GroupedData
from mlvae.data.tables.mechanisms import MECHANISMS, cell_values, hidden
from mlvae.errors import InputError, check_choice, check_integer, check_number
from mlvae.evaluation.answer import Answer, Estimate, Table, estimate, not_evaluated
from mlvae.evaluation.measures.imputers import GROUPED, IMPUTERS, Completion, fitted
from mlvae.evaluation.measures.missing import Errors, errors
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject
from mlvae.groups.grouping import UNNAMED
from mlvae.imputation import impute
from mlvae.likelihoods import MixedColumns
from mlvae.models import traits
from mlvae.parts import take_lists

__all__ = ["Imputation"]


@dataclass(frozen=True)
class Imputation:
    """The question and its options.

    The cells that a dataset hides, as ``dataset=uci dataset.hidden=0.5``, are measured as they
    are: those of the test, or of the training rows if there is no test. ``fractions``,
    ``mechanism`` and ``seeds`` then have no effect.

    Args:
        fractions: fractions of the observed cells of the test to hide.
        mechanism: "mcar": at random; "mar": by values of other columns; "mnar": by the own value,
            large ones more often.
        controls: imputers that are fitted to the training rows, by their names in
            :data:`mlvae.evaluation.measures.imputers.IMPUTERS`. Those of groups have an effect
            only if groups have several rows.
        neighbours: number of nearest rows.
        most: largest number of training rows of these imputers.
        samples: samples of the model's latents.
        seeds: number of masks.
    """

    fractions: tuple[float, ...] = (0.3, 0.5, 0.7)
    mechanism: str = "mcar"
    controls: tuple[str, ...] = tuple(IMPUTERS)
    neighbours: int = 10
    most: int = 5_000
    samples: int = 100
    seeds: int = 3

    title: ClassVar[str] = "How near are imputed values to hidden ones?"

    def __post_init__(self) -> None:
        take_lists(self, "evaluation.imputation", "fractions", "controls")
        if not self.fractions:
            raise InputError("evaluation.imputation.fractions must have a fraction, not none")
        for fraction in self.fractions:
            check_number("evaluation.imputation.fractions", fraction, minimum=0, maximum=1)
            if not 0 < fraction < 1:
                raise InputError(
                    f"evaluation.imputation.fractions must be between 0 and 1, not {fraction}"
                )
        check_choice("evaluation.imputation.mechanism", self.mechanism, MECHANISMS)
        for name in self.controls:
            check_choice("evaluation.imputation.controls", name, IMPUTERS)
        check_integer("evaluation.imputation.most", self.most, minimum=2)
        check_question(self, minimum={"neighbours": 1, "samples": 1, "seeds": 1})

    def applies(self, model: Any) -> bool:
        """Whether a model is of the kind that this question is about; see :func:`.applies`."""
        stated = traits(model)
        return stated.missing_cells and isinstance(stated.likelihood, MixedColumns)

    def ask(self, subject: Subject) -> Answer:
        """Hide cells of the test, impute them, and compare with the true values."""
        likelihood: Any = traits(subject.model).likelihood
        data = _measured_rows(subject)
        if not self.applies(subject.model):
            return not_evaluated(self.title, "the model takes no missing cells, as VSAE does")
        if data is None:
            return not_evaluated(self.title, "the data have no test split")
        grouped = int(data.groups.sizes.max()) > 1
        imputers = self._imputers(subject, grouped)
        x, known = _known(data, likelihood)
        records = []
        for fraction, masks in self._masks(data, likelihood, x, known):
            found: dict[str, list[Errors]] = {}
            for cells in masks:
                filled = self._completed(subject, data, x, known & ~cells, imputers)
                for name, features in filled.items():
                    error = errors(features, x, cells, likelihood.columns, known)
                    found.setdefault(name, []).append(error)
            records += [_record(name, fraction, some) for name, some in found.items()]
        if not records:
            return not_evaluated(self.title, "the test has too few cells to hide some")
        tables = [_table(records, measure) for measure in ("numbers", "categories")]
        mechanism = self.mechanism if data.hidden is None else "dataset"
        metrics = {"mechanism": mechanism, "records": records}
        return Answer(self.title, [_words(mechanism)], metrics, [t for t in tables if t])

    def _masks(
        self, data: GroupedData, likelihood: MixedColumns, x: np.ndarray, known: np.ndarray
    ) -> Iterator[tuple[float, list[np.ndarray]]]:
        """The hidden fraction of the known cells, and hidden cells (N, C) of each mask."""
        if data.hidden is not None:
            cells = data.hidden.cells
            if cells.any():
                yield round(float(cells.sum() / known.sum()), 3), [cells]
            return
        inputs = likelihood.inputs(torch.from_numpy(x).double()).numpy()
        values = cell_values(inputs, [column.levels for column in likelihood.columns], known)
        for fraction in self.fractions:
            masks = [
                hidden(values, known, fraction, self.mechanism, seed) for seed in range(self.seeds)
            ]
            yield fraction, [cells for cells in masks if cells.any()]

    def _completed(
        self,
        subject: Subject,
        data: GroupedData,
        x: np.ndarray,
        kept: np.ndarray,
        imputers: dict[str, Any],
    ) -> dict[str, np.ndarray]:
        """Features (N, D) with values in the cells that are not kept, by the imputer's name."""
        found = {"model": self._by_model(subject, data, kept)}
        if int(data.groups.sizes.max()) > 1 and callable(getattr(subject.model, "pooled", None)):
            found["row"] = self._by_model(subject, data, kept, alone=True)
        gaps, index = np.where(_of_features(subject, kept), x, np.nan), data.groups.index.cpu()
        for name, imputer in imputers.items():
            found[name] = imputer(gaps, index.numpy())
        return found

    def _by_model(
        self, subject: Subject, data: GroupedData, kept: np.ndarray, *, alone: bool = False
    ) -> np.ndarray:
        """The features of the test, with values of the model in hidden cells.

        With ``alone`` each row is a group of its own.
        """
        given = {**data.given, "observed": torch.from_numpy(kept).to(data.device)}
        labels: Any = {name: each.labels for name, each in data.groupings.items()}
        if alone:
            labels = {name: np.arange(len(data)) for name in labels}
        if list(labels) == [UNNAMED]:
            rows = GroupedData(data.x, labels[UNNAMED], given=given, kind="array")
        else:
            rows = GroupedData(data.x, groups=labels, given=given, kind="array")
        return impute(subject.model, rows, samples=self.samples).numpy()

    def _imputers(self, subject: Subject, grouped: bool) -> dict[str, Completion]:
        """The controls, fitted to the training rows; those of groups if there are any."""
        train = subject.splits.train
        likelihood: Any = traits(subject.model).likelihood
        seen = _of_features(subject, _observed(train, likelihood))
        rows = np.where(seen, train.batch().x.cpu().double().numpy(), np.nan)
        index = train.groups.index.cpu().numpy()
        return {
            name: fitted(
                name,
                rows,
                index,
                columns=likelihood.columns,
                neighbours=self.neighbours,
                most=self.most,
            )
            for name in self.controls
            if grouped or name not in GROUPED
        }


def _measured_rows(subject: Subject) -> GroupedData | None:
    """The rows of the test; without a test, the training rows if they have hidden cells."""
    tested, train = subject.tested()[1], subject.splits.train
    return train if tested is None and train.hidden is not None else tested


def _observed(data: GroupedData, likelihood: MixedColumns) -> np.ndarray:
    """Which cells of the data are there, booleans (N, C)."""
    found = data.given.get("observed")
    shape = (len(data), len(likelihood.columns))
    return np.ones(shape, bool) if found is None else found.cpu().numpy()


def _known(data: GroupedData, likelihood: MixedColumns) -> tuple[np.ndarray, np.ndarray]:
    """The true features (N, D), and the cells whose true value is known, (N, C)."""
    observed = _observed(data, likelihood)
    if data.hidden is None:
        return data.batch().x.cpu().numpy(), observed
    return data.hidden.x, observed | data.hidden.cells


def _of_features(subject: Subject, cells: np.ndarray) -> np.ndarray:
    """Values of cells (N, C) repeated for each feature, (N, D)."""
    likelihood: Any = traits(subject.model).likelihood
    return likelihood.spread(torch.from_numpy(cells)).numpy()


def _words(mechanism: str) -> str:
    """What is compared."""
    how = {
        "mcar": "at random",
        "mar": "by a logistic function of a column that stays",
        "mnar": "by a logistic function of their own value, large ones more often",
        "dataset": "by the dataset before the training",
    }[mechanism]
    return (
        f"Cells are hidden {how}. All imputers see the same cells, and are fitted to the same "
        "training rows. A method that is not better than the mean has learned nothing; linear "
        "regressions in turn are hard to exceed on small tables of numbers. The model row by row "
        "has each row as a group of its own."
    )


def _record(name: str, fraction: float, some: list[Errors]) -> dict[str, Any]:
    """The errors of an imputer, with their standard errors over masks."""
    found: dict[str, Any] = {"imputer": name, "fraction": fraction, "cells": some[0].cells}
    for measure in ("numbers", "pooled", "categories", "hivae"):
        values = [getattr(each, measure) for each in some]
        if not np.isnan(values).all():
            found[measure] = estimate(values)
    return found


def _table(records: list[dict[str, Any]], measure: str) -> Table | None:
    """The errors of one measure, a row for each imputer."""
    shown = [record for record in records if isinstance(record.get(measure), Estimate)]
    if not shown:
        return None
    fractions = list(dict.fromkeys(record["fraction"] for record in shown))
    cells: dict[str, dict[float, str]] = {}
    for record in shown:
        scale, digits = (1, 3) if measure == "numbers" else (100, 1)
        text = record[measure].text(digits, scale=scale)
        cells.setdefault(record["imputer"], {})[record["fraction"]] = text
    what = {
        "numbers": "Root mean squared error of hidden numbers over the standard deviation of the "
        "column, mean over columns; 1 is the error of the column's mean",
        "categories": "Wrong categories of hidden cells in percent, mean over columns",
    }[measure]
    names = {"model": "the model", "row": "the model, row by row", **IMPUTERS}
    return Table(
        f"{what}. ± standard error over masks.",
        ["imputer", *[f"{fraction:.0%} hidden" for fraction in fractions]],
        [[names[name], *[row.get(f, "") for f in fractions]] for name, row in cells.items()],
    )
