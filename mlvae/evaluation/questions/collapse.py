"""Question: do the codes depend on the observations, or has the posterior collapsed?

A posterior that is equal to the prior for every observation has no information. The KL of the
code shows it. Weights of the decoder and nearest neighbours do not: weights that are not used keep
their initial values, and neighbours have no scale, so that they find labels in differences of any
size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.data.chosen import at_equal_distances
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table
from mlvae.evaluation.charts import curves
from mlvae.evaluation.measures.activity import (
    ACTIVE,
    COLLAPSED,
    Activity,
    activity,
    column_norms,
)
from mlvae.evaluation.measures.codes import common_labels, principal_components
from mlvae.evaluation.measures.neighbour_error import neighbour_errors
from mlvae.evaluation.measures.resampling import sampling_error
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import CONTROLS, Code, Subject
from mlvae.models import traits

__all__ = ["Collapse"]


@dataclass(frozen=True)
class Collapse:
    """The question and its options.

    Args:
        neighbours: numbers k of neighbours.
        most: largest number of training observations among which the neighbours are, at equal
            distances.
    """

    neighbours: tuple[int, ...] = (3, 5, 10)
    most: int = 20_000

    title: ClassVar[str] = "Do the codes depend on the observations?"

    def __post_init__(self) -> None:
        check_question(self, "neighbours", minimum={"neighbours": 1, "most": 1})

    def ask(self, subject: Subject) -> Answer:
        """Measure the codes of the test split, or of the training split if there is none."""
        test = subject.splits.test or subject.splits.train
        own = [code for code in subject.codes() if code.name not in CONTROLS]
        found = {code.name: _measured(subject, code, test) for code in own}
        found = {name: measured for name, measured in found.items() if measured is not None}
        widths = {code.name: subject.encoded(code, test).mean.shape[1] for code in own}
        norms = column_norms(subject.model, widths)
        records = [_record(name, each, norms.get(name)) for name, each in found.items()]
        errors = self._errors(subject, own)
        kind = "image" if len(test.shape) == 3 else "observation"
        text = [_words(name, each, kind) for name, each in found.items()]
        if not found:
            text.append("No code of the model has a density, so there is no KL.")
        text.append(
            "Only the KL shows a collapse. The norms of the decoder's columns stay at their "
            "initial values where a code is not used, and neighbours find labels in differences "
            "of any size: an untrained encoder is the measure of their error, and principal "
            "components of the same number are what a linear code reaches."
        )
        metrics: dict[str, Any] = {"records": records, "neighbours": errors}
        tables = [_activity_table(records, kind)] if records else []
        tables += [self._error_table(errors)] if errors else []
        return Answer(self.title, text, metrics, tables, _figures(found, norms))

    def _errors(self, subject: Subject, own: list[Code]) -> list[dict[str, Any]]:
        """The error of nearest neighbours, by code and by number of neighbours."""
        train, test = subject.splits.train, subject.splits.test
        if test is None or not set(test.group_names) <= set(train.group_names):
            return []
        if len(test.group_names) < 2:
            return []
        rows = _at_equal_distances(train, self.most)
        labels, test_labels = common_labels(train, test)
        labels = labels[rows]
        dim = sum(subject.encoded(code, test).mean.shape[1] for code in own)
        pca = principal_components(train, dim, scale=traits(subject.model).standardise)
        controls = [code for code in subject.codes() if code.name in ("vae", "untrained")]
        codes = [*own, *controls, Code("pca", f"{dim} principal components", pca, random=False)]
        records = []
        for code in codes:
            parts = (subject.encoded(code, train, rows), subject.encoded(code, test))
            x, test_x = (part.mean.cpu().flatten(1) for part in parts)
            wrong = neighbour_errors(x, labels.cpu(), test_x, test_labels.cpu(), self.neighbours)
            for k, each in wrong.items():
                values = each.double().numpy()
                error = Estimate(float(values.mean()), float("nan"), sampling_error(values))
                record = {"code": code.name, "label": code.label, "k": k, "error": error}
                records.append({**record, "train": len(rows)})
        return records

    def _error_table(self, records: list[dict[str, Any]]) -> Table:
        cells: dict[str, list[str]] = {}
        for record in records:
            row = cells.setdefault(record["code"], [record["label"]])
            row.append(record["error"].text(2, scale=100))
        return Table(
            "Error in percent of the group of a test observation, by the most frequent group "
            f"among the k nearest of {records[0]['train']:,} training observations (Euclidean "
            "distance of posterior means); ± standard error over test observations.",
            ["code", *[f"k = {k}" for k in self.neighbours]],
            list(cells.values()),
        )


def _at_equal_distances(data: GroupedData, most: int) -> Tensor:
    """Indices of at most ``most`` observations; all groups stay."""
    if len(data) <= most:
        return torch.arange(len(data), device=data.device)
    rows = at_equal_distances(len(data), most, device=data.device)
    return torch.cat((rows, data.one_of_each(data.groups.num_groups))).unique()


def _measured(subject: Subject, code: Code, data: GroupedData) -> Activity | None:
    """The activity of a code; None of points, which have no prior."""
    return activity(subject.encoded(code, data)) if code.random else None


def _record(name: str, found: Activity, norms: Tensor | None) -> dict[str, Any]:
    return {
        "code": name,
        "kl": found.kl,
        "collapsed": found.collapsed,
        "dimensions": len(found.share),
        "active": found.active,
        "kl_by_dimension": found.by_dimension.tolist(),
        "variance_share": found.share.tolist(),
        "column_norms": None if norms is None else norms.tolist(),
        "least_norm": None if norms is None else float(norms.min() / norms.max()),
    }


def _words(name: str, found: Activity, kind: str) -> str:
    active = f"{found.active} of {len(found.share)} dimensions of the {name} are active"
    if not found.collapsed:
        return f"The KL of the {name} is {found.kl:.2f} nats per {kind}; {active}."
    return (
        f"The {name} has collapsed: its KL is {found.kl:.3f} nats per {kind}, below {COLLAPSED}, "
        f"so it has almost no information about the {kind}; {active}. Train with a warm-up of the "
        "KL (trainer.warmup.kl_steps), batch normalisation (model.network.batch_norm=true) or "
        "fewer dimensions."
    )


def _activity_table(records: list[dict[str, Any]], kind: str) -> Table:
    return Table(
        f"Codes of single observations. KL: from the prior, in nats per {kind}. Active: "
        f"dimensions whose posterior mean has more than {ACTIVE:g} of the prior variance. Column "
        "norms: of the decoder's first layer, the smallest divided by the largest.",
        ["code", "KL", "active", "column norms"],
        [
            [
                record["code"],
                f"{record['kl']:.2f}",
                f"{record['active']} of {record['dimensions']}",
                "-" if record["least_norm"] is None else f"{record['least_norm']:.2f}",
            ]
            for record in records
        ],
    )


def _figures(found: dict[str, Activity], norms: dict[str, Tensor]) -> list[Figure]:
    """Dimensions in the order of their KL: KL, and norm of the decoder's column."""
    if not found:
        return []
    kl: dict[str, Any] = {}
    weights: dict[str, Any] = {}
    for name, each in found.items():
        order = each.by_dimension.cpu().argsort(descending=True)
        places = range(1, len(order) + 1)
        kl[name] = dict(zip(places, _points(each.by_dimension.cpu()[order]), strict=True))
        if name in norms:
            weights[name] = dict(zip(places, _points(norms[name][order]), strict=True))
    panels = {"KL, nats": kl}
    if weights:
        panels["norm of the decoder's column"] = weights
    return [
        curves(
            "collapse",
            "The dimensions of each code, that with the largest KL first: mean KL from the prior "
            "(of a Dirichlet: of its Gamma variables), and the norm of the column of the "
            "decoder's first layer that reads the dimension.",
            panels,
            x_label="dimension, in the order of the KL",
        )
    ]


def _points(values: Tensor) -> list[Estimate]:
    return [Estimate(value, float("nan")) for value in values.tolist()]
