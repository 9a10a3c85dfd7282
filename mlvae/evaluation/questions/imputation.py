"""Question: how near are imputed values to hidden ones?

Observed cells of the test are hidden, and the model and simple imputers put values in their place.
All of them are fitted to the same training rows, with the cells that these miss.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_integer, check_number
from mlvae.evaluation.answer import Answer, Estimate, Table, estimate, not_evaluated
from mlvae.evaluation.measures.imputers import GROUPED, IMPUTERS, fitted
from mlvae.evaluation.measures.missing import MECHANISMS, Errors, errors, hidden
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
        data = subject.tested()[1]
        if not self.applies(subject.model):
            return not_evaluated(self.title, "the model takes no missing cells, as VSAE does")
        if data is None:
            return not_evaluated(self.title, "the data have no test split")
        grouped = int(data.groups.sizes.max()) > 1
        imputers = self._imputers(likelihood, subject.splits.train, grouped)
        shares = grouped and callable(getattr(subject.model, "pooled", None))
        index = data.groups.index.cpu().numpy()
        x, observed = data.batch().x.cpu(), _observed(data, likelihood)
        values, deviations = _numbers(likelihood, x, observed)
        records = []
        for fraction in self.fractions:
            found: dict[str, list[Errors]] = {}
            for seed in range(self.seeds):
                cells = hidden(values, observed, fraction, self.mechanism, seed)
                if not cells.any():
                    continue
                kept = observed & ~cells
                completed = {"model": self._by_model(subject, data, kept)}
                if shares:
                    completed["row"] = self._by_model(subject, data, kept, alone=True)
                gaps = _with_gaps(likelihood, x, kept)
                for name, imputer in imputers.items():
                    filled = torch.from_numpy(imputer(gaps, index))
                    completed[name] = likelihood.restored(filled).numpy()
                for name, filled in completed.items():
                    error = errors(filled, x.numpy(), cells, likelihood.columns, deviations)
                    found.setdefault(name, []).append(error)
            records += [_record(name, fraction, some) for name, some in found.items()]
        if not records:
            return not_evaluated(self.title, "the test has too few cells to hide some")
        tables = [_table(records, measure) for measure in ("numbers", "categories")]
        metrics = {"mechanism": self.mechanism, "records": records}
        return Answer(self.title, [self._words()], metrics, [t for t in tables if t])

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

    def _imputers(
        self, likelihood: MixedColumns, train: GroupedData, grouped: bool
    ) -> dict[str, Any]:
        """The controls, fitted to standardised training rows; those of groups if there are any."""
        rows = _with_gaps(likelihood, train.batch().x.cpu(), _observed(train, likelihood))
        index = train.groups.index.cpu().numpy()
        return {
            name: fitted(name, rows, index, neighbours=self.neighbours, most=self.most)
            for name in self.controls
            if grouped or name not in GROUPED
        }

    def _words(self) -> str:
        how = {
            "mcar": "at random",
            "mar": "by a logistic function of a column that stays",
            "mnar": "by a logistic function of their own value, large ones more often",
        }[self.mechanism]
        return (
            f"Cells of the test are hidden {how}. All imputers see the same cells, and are fitted "
            "to the same training rows. A method that is not better than the mean has learned "
            "nothing; linear regressions in turn are hard to exceed on small tables of numbers. "
            "The model row by row has each row as a group of its own."
        )


def _observed(data: GroupedData, likelihood: MixedColumns) -> np.ndarray:
    """Which cells of the data are there, booleans (N, C)."""
    found = data.given.get("observed")
    shape = (len(data), len(likelihood.columns))
    return np.ones(shape, bool) if found is None else found.cpu().numpy()


def _with_gaps(likelihood: MixedColumns, x: torch.Tensor, observed: np.ndarray) -> np.ndarray:
    """Standardised features (N, D), NaN in missing cells."""
    seen = likelihood.spread(torch.from_numpy(observed)).numpy()
    return np.where(seen, likelihood.inputs(x.double()).numpy(), np.nan)


def _numbers(
    likelihood: MixedColumns, x: torch.Tensor, observed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A standardised number for each cell (N, C), and the deviation of each raw column (C,)."""
    inputs = likelihood.inputs(x.double())
    values, deviations, place = [], [], 0
    for number, column in enumerate(likelihood.columns):
        at = slice(place, place + column.levels)
        place += column.levels
        cells, seen = inputs[:, at].numpy(), observed[:, number]
        value = cells.argmax(1).astype(float) if column.levels > 1 else cells[:, 0]
        some = value[seen] if seen.any() else np.zeros(1)
        values.append((value - some.mean()) / (some.std() or 1.0))
        raw = x[:, at].numpy()[seen, 0]
        deviations.append(raw.std() if len(raw) else 0.0)
    return np.stack(values, 1), np.array(deviations)


def _record(name: str, fraction: float, some: list[Errors]) -> dict[str, Any]:
    """The errors of an imputer, with their standard errors over masks."""
    found: dict[str, Any] = {"imputer": name, "fraction": fraction, "cells": some[0].cells}
    for measure in ("numbers", "categories"):
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
