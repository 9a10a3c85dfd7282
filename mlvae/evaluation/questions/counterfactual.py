"""Question: what does an intervention change, and do predictions change with it?

A model of counterfactuals infers the latents of each test row, and decodes them under both values
of the intervention. The controls need no such model: the difference of the groups, which also has
what common causes add, and two adjustments by the columns that the intervention does not change.
They are fitted to the same training rows.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np

from mlvae.data.tables.frames import columns_like
from mlvae.errors import InputError, check_choice, check_texts
from mlvae.evaluation.answer import Answer, Table, not_evaluated
from mlvae.evaluation.measures.causal_table import (
    CausalTable,
    Cell,
    counterfactual_records,
    effect_records,
    latent_records,
    predictor_records,
)
from mlvae.evaluation.measures.interventions import Interventions, states_counterfactuals
from mlvae.evaluation.measures.leakage.kinds import PROBES
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject
from mlvae.parts import take_lists

__all__ = ["Counterfactual"]

#: Kinds of columns whose values define cells.
DISCRETE = ("binary", "ordinal", "categorical")

#: Nats above which a latent is in use.
ALIVE = 0.1

METHODS = {
    "truth": "the truth",
    "model": "the model",
    "observed": "difference of the groups",
    "stratification": "stratification",
    "regression": "linear regression",
}

PREDICTORS = {
    "constant": "constant",
    "rest": "columns of the rest",
    "unaware": "all columns but {a}",
    "all": "all columns",
    "fair columns": "counterfactually fair columns",
    "outcomes of the model": "all columns, trained on outcomes of the model",
}


@dataclass(frozen=True)
class Counterfactual:
    """The question and its options.

    Args:
        cells: names of binary, ordinal or categorical columns that the intervention does not
            change. Each combination of their values is a cell with an effect of its own. None: all
            such binary columns.
        samples: samples of the latents of each row.
        bins: columns with more values are divided at this number of quantiles, for stratification.
        most: largest number of training rows of predictors and probes.
        probes: kinds of probes of the intervention in a latent: "logistic", "mlp", "large_mlp",
            "knn", "plda", "trees". Of several kinds, their mixture is tested.
        seed: seed of samples, bootstrap and probes.
    """

    cells: tuple[str, ...] | None = None
    samples: int = 8
    bins: int = 10
    most: int = 20_000
    probes: tuple[str, ...] = PROBES
    seed: int = 0

    title: ClassVar[str] = "What does the intervention change?"

    def __post_init__(self) -> None:
        check_question(
            self,
            "probes",
            minimum={"samples": 1, "bins": 2, "most": 2, "seed": 0},
            choices={"probes": PROBES},
        )
        if self.cells is not None:
            take_lists(self, "evaluation.counterfactual", "cells")
            check_texts("evaluation.counterfactual.cells", self.cells)

    def applies(self, model: Any) -> bool:
        """Whether a model is of the kind that this question is about; see :func:`.applies`."""
        return states_counterfactuals(model)

    def ask(self, subject: Subject) -> Answer:
        """Compare the model with the controls, and with the truth where the data have it."""
        if not self.applies(subject.model):
            return not_evaluated(self.title, "the model has no counterfactuals, as DCEVAE has")
        _, test = subject.tested()
        if test is None:
            return not_evaluated(self.title, "the data have no test split")
        table = self._table(subject, test)
        name = table.through.name_of_role("intervention")
        for part, data in (("training", table.train), ("held-out", table.held), ("test", test)):
            if len(np.unique(table.rows(data).a)) < 2:
                reason = f"the {part} rows have only one value of {name}"
                return not_evaluated(self.title, reason)
        effects, by_cell = effect_records(table, self._cells(table), self.bins)
        metrics: dict[str, Any] = {
            "intervention": name,
            "outcome": table.through.name_of_role("outcome"),
            "effects": effects,
            "cells": by_cell,
            "counterfactuals": counterfactual_records(table),
            "predictors": predictor_records(table, self.most),
            "latents": latent_records(table, self.probes, self.most),
        }
        return Answer(self.title, _words(metrics), metrics, _tables(metrics))

    def _table(self, subject: Subject, test: Any) -> CausalTable:
        train, held = subject.splits.train, subject.splits.validation
        if held is None or len(held) < 10:  # a fifth of the training rows chooses the probes
            rows = np.arange(len(train))
            train, held = train.subset(rows[rows % 5 > 0]), train.subset(rows[rows % 5 == 0])
        through = Interventions(subject.model, self.samples, self.seed)
        return CausalTable(through, train, held, test, self.seed)

    def _cells(self, table: CausalTable) -> dict[str, Cell]:
        """The rows of each combination of values, by its name."""
        through = table.through
        columns = through.likelihood.columns
        rest = {columns[number].column: number for number in through.model.columns["rest"]}
        known = [name for name, number in rest.items() if columns[number].kind in DISCRETE]
        chosen = self.cells
        if chosen is None:
            chosen = tuple(name for name in known if columns[rest[name]].kind == "binary")
        if chosen and not known:
            raise InputError(
                "evaluation.counterfactual.cells must be empty, because the table has no binary, "
                f"ordinal or categorical column without a role, not {', '.join(chosen)}"
            )
        for name in chosen:
            check_choice("evaluation.counterfactual.cells", name, known)
        levels = {column.name: column.categories or (0, 1) for column in _columns(table)}
        parts = [data.batch().x for data in (table.train, table.test)]
        values = {name: [through.values(rest[name], x) for x in parts] for name in chosen}
        found = {}
        for numbers in product(*(range(len(levels[name])) for name in chosen)) if chosen else ():
            pairs = list(zip(chosen, numbers, strict=True))
            inside = [
                np.logical_and.reduce([values[name][part] == number for name, number in pairs])
                for part in (0, 1)
            ]
            if inside[1].any():
                title = ", ".join(f"{name}={levels[name][number]}" for name, number in pairs)
                found[title] = Cell(*inside)
        return found


def _columns(table: CausalTable) -> Sequence[Any]:
    """The columns of the features, with the values of their levels."""
    return columns_like(table.test).features


def _words(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences on the total effect, on the latents, and on what the results assume."""
    a, y = metrics["intervention"], metrics["outcome"]
    total = {r["method"]: r["effect"] for r in metrics["effects"] if r["column"] == y}
    texts = []
    if total:
        parts = [f"{METHODS[name]} {total[name].text(3)}" for name in METHODS if name in total]
        texts.append(f"Total effect of {a} on {y}: {', '.join(parts)}.")
    for record in metrics["latents"]:
        use = "" if record["kl"] > ALIVE else " It is hardly used, so that it cannot have much."
        texts.append(
            f"The latent {record['latent']} has {record['kl']:.2f} nats, and a sample of it at "
            f"least {record['bits'].text(3)} bits of {a} (AUC {record['auc']:.3f}, "
            f"{record['probe']}).{use}"
        )
    texts.append(
        "Effects are causal only if the roles of the columns are right, and if no unknown cause "
        f"acts on both {a} and {y}. The adjustments assume more: that the columns without a role "
        "are all common causes. Only a table with known counterfactuals shows whether a model "
        "finds them."
    )
    return texts


def _tables(metrics: Mapping[str, Any]) -> list[Table]:
    """The tables of the report."""
    a, y = metrics["intervention"], metrics["outcome"]
    found = [
        _crossed(
            metrics["effects"],
            "column",
            "effect",
            f"Mean effect of {a} on the test rows: the expected value under 1 minus that under 0, "
            "in units of the column. ± standard error: of the model over test rows, of the others "
            "over training rows.",
        )
    ]
    if metrics["cells"]:
        found.append(
            _crossed(
                metrics["cells"], "cell", "effect", f"Effect of {a} on {y} by cell, likewise."
            )
        )
    if metrics["counterfactuals"]:
        found.append(
            _crossed(
                metrics["counterfactuals"],
                "column",
                "rmse",
                f"Root mean squared error of the values under the other {a} against the truth, in "
                "units of the column.",
            )
        )
    if metrics["predictors"]:
        found.append(_predictor_table(metrics))
    rows = [
        [r["latent"], f"{r['kl']:.2f}", f"{r['auc']:.3f}", r["bits"].text(3), r["probe"]]
        for r in metrics["latents"]
    ]
    caption = (
        f"Mean KL of each latent in nats on the test rows, and {a} in a sample of it by the "
        "strongest probe: area under the ROC curve, 0.5 of a probe that finds nothing, and bits."
    )
    return [*found, Table(caption, ["latent", "KL", "AUC", "bits", "probe"], rows)]


def _crossed(records: Sequence[Mapping], across: str, value: str, caption: str) -> Table:
    """A row for each method, and a column for each value of ``across``."""
    names = list(dict.fromkeys(record[across] for record in records))
    cells = {(record["method"], record[across]): record[value].text(3) for record in records}
    methods = [*METHODS, "unchanged"]
    shown = [m for m in methods if any((m, name) in cells for name in names)]
    titles = {**METHODS, "unchanged": "values as they are"}
    return Table(
        caption,
        ["", *names],
        [[titles[m], *[cells.get((m, name), "") for name in names]] for m in shown],
    )


def _predictor_table(metrics: Mapping[str, Any]) -> Table:
    """Error, gap and parity of each predictor."""
    a, records = metrics["intervention"], metrics["predictors"]
    binary = records[0]["binary"]
    error = "wrong, percent" if binary else "RMSE"
    rows = [
        [
            PREDICTORS[record["predictor"]].format(a=a),
            record["error"].text(1 if binary else 3, scale=100 if binary else 1),
            record["gap"].text(3),
            record["parity"].text(3),
        ]
        for record in records
    ]
    model = "logistic regressions" if binary else "linear regressions"
    return Table(
        f"Predictors of {metrics['outcome']}, {model}. Counterfactual gap: mean absolute change "
        f"of the prediction under the other {a}. Parity: mean prediction where {a} is 1 minus "
        "that where it is 0. Counterfactually fair columns are means over both interventions. "
        "± standard error over test rows.",
        ["predictor from", error, "counterfactual gap", "parity"],
        rows,
    )
