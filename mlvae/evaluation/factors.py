"""Where are the known factors, in the content or in the style?

Factors that a collection knows, such as the direction of the light, are predicted from codes of
single observations. A factor that varies within groups should be in the style, and not in the
content. The predictors are trained on groups of the training and tested on others where there are
unseen groups: what they find holds for groups never seen. How much they find is a share of what
there is to know: R2 of a quantity; of a category its information in bits by its entropy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.errors import check_integer
from mlvae.evaluation.answer import Answer, Figure, Table
from mlvae.evaluation.charts import heatmap
from mlvae.evaluation.codes import encode
from mlvae.evaluation.metrics import calibrated_bits
from mlvae.evaluation.subject import Code, Subject
from mlvae.parts import take_lists

__all__ = ["Factors"]

FEATURES = 64  # dimensions of a code that a tree looks at before it splits


@dataclass(frozen=True)
class Factors:
    """The question, and how it is asked.

    Args:
        categories: names of factors whose numbers are only names, such as the shape of a sprite;
            factors of two columns, as ``alphabet+drawer``, always are: accuracy instead of R2, and
            information in bits, see :func:`mlvae.evaluation.metrics.calibrated_bits`.
        trees: of each forest.
        most: observations to train a predictor on, at most.
    """

    categories: tuple[str, ...] = ()
    trees: int = 200
    most: int = 5000

    def __post_init__(self) -> None:
        take_lists(self, "evaluation.factors", "categories")
        check_integer("evaluation.factors.trees", self.trees, minimum=1)
        check_integer("evaluation.factors.most", self.most, minimum=10)

    def ask(self, subject: Subject) -> Answer:
        """Predict every factor from every code."""
        title = "Where are the known factors, in the content or in the style?"
        name = "test" if subject.splits.unseen is None else "unseen"
        train, test = subject.splits.train, getattr(subject.splits, name)
        if not train.factors or test is None:
            return Answer(title, ["Not asked: this dataset has no known factors to test on."])
        records = []
        for code in subject.codes():
            codes = [encode(code.representation, data).mean.cpu() for data in (train, test)]
            for factor in train.factors:
                records += self._records(code, factor, codes, (train, test))
        if not records:
            return Answer(title, ["Not asked: no factor is known of both parts, and varies."])
        labels = {code.name: code.label for code in subject.codes()}
        of = "groups never seen in training" if name == "unseen" else "the test split"
        return Answer(
            title,
            [
                f"Factors are predicted from posterior means of single observations by a random "
                f"forest of {self.trees} trees, trained on the training split and tested on "
                f"{of}; and, as a lower bound, by a linear model. R2 is the share of a factor's "
                "variance that the prediction explains: 1 is all, 0 or less is nothing. Bits are "
                "the information on a category that the predictor finds at least, of its entropy."
            ],
            {"tested_on": name, "records": records},
            [self._table(labels, records)],
            [_figure(labels, records)],
        )

    def _records(
        self,
        code: Code,
        factor: str,
        codes: list[Tensor],
        parts: tuple[GroupedData, GroupedData],
    ) -> list[dict[str, object]]:
        """The score of each kind of predictor of one factor from one code."""
        known = [data.factors[factor].cpu().isfinite() for data in parts if factor in data.factors]
        if len(known) < 2 or int(known[0].sum()) < 2 or not known[1].any():
            return []  # nothing to learn from, or to test on
        (x, y), (test_x, test_y) = (
            (each[mask].numpy(), data.factors[factor].cpu()[mask].numpy())
            for each, data, mask in zip(codes, parts, known, strict=True)
        )
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: self.most]
        train, test = (x[rows], y[rows]), (test_x, test_y)
        category = factor in self.categories or "+" in factor
        if category and len(set(train[1].tolist())) == 1:
            return []
        records = []
        for kind, predictor in self._predictors(category, x.shape[1]).items():
            score = float(predictor.fit(*train).score(*test))
            record = {"code": code.name, "factor": factor, "predictor": kind}
            if category:
                bits, entropy = calibrated_bits(predictor, train, test)
                record |= {"accuracy": score, "bits": bits, "entropy_bits": entropy}
            else:
                record["r2"] = score
            records.append(record)
        return records

    def _predictors(self, category: bool, dim: int) -> dict[str, object]:
        # Seconds that `import mlvae` need not take.
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        forest = ExtraTreesClassifier if category else ExtraTreesRegressor
        linear = (
            LogisticRegression(max_iter=1000) if category else RidgeCV([0.1, 1, 10, 100, 1000])
        )
        return {
            "forest": forest(
                self.trees, max_features=min(dim, FEATURES), random_state=0, n_jobs=1
            ),
            "linear": make_pipeline(StandardScaler(), linear),
        }

    def _table(self, labels: dict[str, str], records: list[dict]) -> Table:
        cells: dict[str, dict[str, str]] = {code: {} for code in labels}
        for r in records:
            column, row = f"{r['factor']}, {r['predictor']}", cells[r["code"]]
            if "r2" in r:
                row[column] = f"{r['r2']:.2f}"
            else:
                row[f"{column} (accuracy)"] = f"{r['accuracy']:.2f}"
                row[f"{column} (bits of {r['entropy_bits']:.2f})"] = f"{r['bits']:.2f}"
        names = list(dict.fromkeys(name for row in cells.values() for name in row))
        return Table(
            "R2 of each factor by code and predictor; of categories, accuracy and bits.",
            ["code", *names],
            [[label, *[cells[code][name] for name in names]] for code, label in labels.items()],
        )


def _share(record: dict) -> float:
    """What the predictor finds of all there is to know."""
    if "r2" in record:
        return max(0.0, record["r2"])
    return record["bits"] / record["entropy_bits"] if record["entropy_bits"] else 0.0


def _figure(labels: dict[str, str], records: list[dict]) -> Figure:
    """The forest's scores: a leakage matrix."""
    cells: dict[str, dict[str, float]] = {}
    for record in records:
        if record["predictor"] == "forest":
            cells.setdefault(labels[record["code"]], {})[record["factor"]] = _share(record)
    return heatmap(
        "factors",
        "How much of each known factor a random forest reads from each code: R2, or for "
        "categories the share of their entropy. Factors that vary within groups belong to the "
        "style.",
        cells,
        label="share of the factor",
    )
