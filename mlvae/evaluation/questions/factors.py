"""Question: are the known factors in the content or in the style?

Known factors of a collection, such as the direction of the light, are predicted from codes of
single observations. A factor that varies within groups should be in the style and not in the
content. The predictors are trained on the training split. They are tested on unseen groups if
there are any, otherwise on the test split. The score of a quantity is R2. The score of a category
is the information in bits, divided by the entropy of the category.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.errors import check_texts
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.charts import heatmap
from mlvae.evaluation.measures.metrics import calibrated_bits
from mlvae.evaluation.measures.resampling import sampling_error
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import SOURCES, Code, Subject
from mlvae.parts import take_lists

__all__ = ["Factors"]

FEATURES = 64  # largest number of dimensions of a code that a tree considers at each split


@dataclass(frozen=True)
class Factors:
    """The question and its options.

    Args:
        categories: names of categorical factors, such as the shape of a sprite. Factors of two
            columns, such as ``alphabet+drawer``, are always categorical. Categories have an
            accuracy and bits instead of R2, see
            :func:`mlvae.evaluation.measures.metrics.calibrated_bits`.
        trees: number of trees of each forest.
        most: largest number of observations to train a predictor on.
    """

    categories: tuple[str, ...] = ()
    trees: int = 200
    most: int = 5000

    title: ClassVar[str] = "Are the known factors in the content or in the style?"

    def __post_init__(self) -> None:
        take_lists(self, "evaluation.factors", "categories")
        check_texts("evaluation.factors.categories", self.categories)
        check_question(self, minimum={"trees": 1, "most": 10})

    def ask(self, subject: Subject) -> Answer:
        """Predict every factor from every code."""
        train, (name, test) = subject.splits.train, subject.tested()
        if not train.factors or test is None:
            return not_evaluated(self.title, "this dataset has no known factors to test on")
        labels, records = {}, []
        for code in subject.codes():
            labels[code.name] = code.label
            means = [subject.encoded(code, data).mean.cpu() for data in (train, test)]
            for factor in train.factors:
                records += self._records(code, factor, means, (train, test), name == "unseen")
        if not records:
            return not_evaluated(self.title, "no factor is known and varies in both splits")
        return Answer(
            self.title,
            [
                f"A random forest of {self.trees} trees and a linear model predict each factor "
                "from posterior means of single observations. They are trained on the training "
                f"split and tested on {SOURCES[name]}. R2 is the fraction of the variance of a "
                "quantity that the prediction explains: 1 is perfect, 0 or less is no better than "
                "the mean. Bits are a lower bound of the information about a category; its "
                "entropy is the maximum."
            ],
            {"tested_on": name, "records": records},
            [self._table(labels, records, "groups" if name == "unseen" else "observations")],
            [_figure(labels, records)],
        )

    def _records(
        self,
        code: Code,
        factor: str,
        codes: list[Tensor],
        parts: tuple[GroupedData, GroupedData],
        unseen: bool,
    ) -> list[dict[str, Any]]:
        """The score of each predictor for one factor and one code.

        Errors are over observations; over groups if the tested groups are ``unseen``, which are a
        sample.
        """
        known = [data.factors[factor].cpu().isfinite() for data in parts if factor in data.factors]
        if len(known) < 2 or int(known[0].sum()) < 2 or not known[1].any():
            return []  # too few rows to train or to test
        (x, y), (test_x, test_y) = (
            (means[mask].numpy(), data.factors[factor].cpu()[mask].numpy())
            for means, data, mask in zip(codes, parts, known, strict=True)
        )
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: self.most]
        train, test = (x[rows], y[rows]), (test_x, test_y)
        category = factor in self.categories or "+" in factor
        if len(set(train[1].tolist())) == 1 or len(set(test[1].tolist())) == 1:
            return []  # neither R2 nor bits of a constant have a meaning
        groups = parts[1].groups.index.cpu()[known[1]].numpy() if unseen else None
        records = []
        for kind, predictor in self._predictors(category, x.shape[1]).items():
            score = float(predictor.fit(*train).score(*test))
            record: dict[str, Any] = {"code": code.name, "factor": factor, "predictor": kind}
            predicted = predictor.predict(test[0])
            if category:
                error = sampling_error(predicted == test[1], groups=groups)
                found = calibrated_bits(predictor, train, test, groups=groups)
                record |= {"accuracy": score, "accuracy_error": error, "bits": found.bits}
                record |= {"bits_error": found.error, "entropy_bits": found.entropy}
            else:
                columns = (test[1] - predicted) ** 2, test[1], test[1] ** 2
                error = sampling_error(*columns, score=_r2, groups=groups)
                record |= {"r2": score, "r2_error": error}
            records.append(record)
        return records

    def _predictors(self, category: bool, dim: int) -> dict[str, Any]:
        # Local imports: scikit-learn takes seconds, which `import mlvae` does not need.
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        forest = ExtraTreesClassifier if category else ExtraTreesRegressor
        options: dict[str, Any] = {"max_features": min(dim, FEATURES), "n_jobs": 1}
        linear = (
            LogisticRegression(max_iter=1000) if category else RidgeCV([0.1, 1, 10, 100, 1000])
        )
        return {
            "forest": forest(self.trees, random_state=0, **options),
            "linear": make_pipeline(StandardScaler(), linear),
        }

    def _table(self, labels: dict[str, str], records: list[dict], units: str) -> Table:
        cells: dict[str, dict[str, str]] = {code: {} for code in labels}
        for record in records:
            column, row = f"{record['factor']}, {record['predictor']}", cells[record["code"]]
            texts = {
                key: Estimate(record[key], math.nan, record[f"{key}_error"]).text(2)
                for key in ("r2", "accuracy", "bits")
                if key in record
            }
            if "r2" in record:
                row[column] = texts["r2"]
            else:
                row[f"{column} (accuracy)"] = texts["accuracy"]
                row[f"{column} (bits of {record['entropy_bits']:.2f})"] = texts["bits"]
        names = list(dict.fromkeys(name for row in cells.values() for name in row))
        return Table(
            "R2 of quantities; accuracy (fraction) and bits of categories, by code and predictor; "
            f"± standard error over test {units}.",
            ["code", *names],
            [[label, *[cells[code][name] for name in names]] for code, label in labels.items()],
        )


def _r2(residual: np.ndarray, y: np.ndarray, square: np.ndarray, number: np.ndarray) -> np.ndarray:
    """R2 from sums over observations; NaN if they have one value."""
    total = square - y**2 / number
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - residual / total, np.nan)


def _share(record: dict) -> float:
    """R2 of a quantity, at least 0; bits of a category divided by its entropy."""
    if "r2" in record:
        return max(0.0, record["r2"])
    return record["bits"] / record["entropy_bits"] if record["entropy_bits"] else 0.0


def _figure(labels: dict[str, str], records: list[dict]) -> Figure:
    """The scores of the forest by code and factor."""
    cells: dict[str, dict[str, float]] = {}
    for record in records:
        if record["predictor"] == "forest":
            cells.setdefault(labels[record["code"]], {})[record["factor"]] = _share(record)
    return heatmap(
        "factors",
        "Score of a random forest that predicts each known factor from each code: R2 for "
        "quantities, bits divided by entropy for categories. Factors that vary within groups "
        "belong to the style.",
        cells,
        label="R2, or bits / entropy",
    )
