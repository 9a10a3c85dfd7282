"""Does the model separate groups that it never saw in training?

Groups outside the training data are identified from a few of their observations, and verified in
pairs, by the distance of codes alone. No parameter is trained on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar

import torch

from mlvae.data import GroupedData
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.charts import curves
from mlvae.evaluation.measures.codes import encode, principal_components, shuffled
from mlvae.evaluation.measures.nearest import DISTANCES, compact, n_shot_accuracy
from mlvae.evaluation.measures.verification import verification
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Code, Subject
from mlvae.groups import Groups
from mlvae.models import traits
from mlvae.posteriors import DiagonalGaussian

__all__ = ["Unseen"]


@dataclass(frozen=True)
class Unseen:
    """The question and its options.

    Args:
        shots: numbers n of known observations of each group, one task for each.
        distances: distances between codes: "cosine", "mahalanobis".
        galleries: random choices of the known observations.
        pairs: pairs of one group, and pairs of two groups, in a repetition of the verification.
        most_members: largest number of observations of a group, drawn at random.
    """

    shots: tuple[int, ...] = (1, 5, 10)
    distances: tuple[str, ...] = ("cosine", "mahalanobis")
    galleries: int = 50
    pairs: int = 10_000
    most_members: int = 500

    title: ClassVar[str] = "Does it work for groups never seen in training?"

    def __post_init__(self) -> None:
        minimum = {"shots": 1, "galleries": 2, "pairs": 1, "most_members": 2}
        choices = {"distances": DISTANCES}
        check_question(self, "shots", "distances", minimum=minimum, choices=choices)

    def ask(self, subject: Subject) -> Answer:
        """Identify and verify unseen groups, of each grouping."""
        found, reasons = {}, []
        for name in subject.splits.train.groupings:
            data = _unseen(subject, name)
            if data is None:
                reasons.append(
                    "all groups were used in training. For MNIST, train with "
                    "dataset.unseen_groups=[7,8,9]"
                )
                continue
            data = self._limited(data)
            shots = [n for n in self.shots if int((data.groups.sizes > n).sum()) >= 2]
            if not shots:
                least = min(self.shots) + 1
                reasons.append(
                    f"of {data.groups.num_groups} unseen groups, "
                    f"{int((data.groups.sizes >= least).sum())} have {least} observations, but at "
                    "least two groups are needed. Keep more groups out of training"
                )
                continue
            found[name] = data, shots
        if not found:
            return not_evaluated(self.title, reasons[0])
        codes = self._codes(subject)
        answers = [self._of(name, data, shots, codes) for name, (data, shots) in found.items()]
        if len(subject.splits.train.groupings) == 1:
            return answers[0]
        return _joined(list(found), answers)

    def _of(self, grouping: str, data: GroupedData, shots: list[int], codes: list[Code]) -> Answer:
        """The answer for the unseen groups of one grouping, the first one of ``data``."""
        posteriors = {code.name: _posterior(code, data) for code in codes}
        records = [
            {
                "grouping": grouping,
                **self._identify(code, posteriors[code], data.groups, n, distance),
            }
            for n, code, distance in product(shots, posteriors, self.distances)
        ]
        pairs = []
        for code, distance in product(posteriors, self.distances):
            options = {"pairs": self.pairs, "distance": distance}
            rates = verification(posteriors[code], data.groups, **options)
            pair = {"grouping": grouping, "code": code, "distance": distance, **rates._asdict()}
            pairs.append(pair)
        labels = {code.name: code.label for code in codes}
        metrics = {
            "num_groups": data.groups.num_groups,
            "num_observations": len(data),
            "identification": records,
            "verification": pairs,
        }
        tables = self._tables(labels, shots, records, pairs)
        figures = [_figure(labels, records)] if len(shots) > 1 else []
        return Answer(self.title, self._words(labels, data, records), metrics, tables, figures)

    def _limited(self, data: GroupedData) -> GroupedData:
        """The data with at most ``most_members`` observations of every group."""
        if int(data.groups.sizes.max()) <= self.most_members:
            return data
        order, rank = shuffled(data.groups, torch.Generator(data.device).manual_seed(0))
        return data.subset(order[rank < self.most_members])

    def _codes(self, subject: Subject) -> list[Code]:
        """The codes to compare: the subject's, and as many principal components."""
        codes = subject.codes()
        dim = codes[0].representation(subject.splits.train.singles([0])).mean.shape[1]
        scale = traits(subject.model).standardise
        components = principal_components(subject.splits.train, dim, scale=scale)
        name = f"{dim} principal components"
        return [*codes[:-1], Code("pca", name, components, random=False), codes[-1]]

    def _identify(
        self, code: str, posterior: DiagonalGaussian, groups: Groups, shots: int, distance: str
    ) -> dict[str, object]:
        options = {"shots": shots, "galleries": self.galleries, "distance": distance}
        score = n_shot_accuracy(posterior, groups, **options)
        return {
            "code": code,
            "shots": shots,
            "distance": distance,
            "accuracy": Estimate(score.mean, score.standard_error, score.sampling_error),
            "chance": score.chance,
            "num_groups": score.num_groups,
        }

    def _words(self, labels: dict[str, str], data: GroupedData, records: list[dict]) -> list[str]:
        shots = min(record["shots"] for record in records)
        found = [
            f"{labels[record['code']]} {record['accuracy'].text(1, scale=100)}"
            for record in records
            if record["shots"] == shots and record["distance"] == self.distances[0]
        ]
        chance = 100 * records[0]["chance"]
        used = {record["shots"]: record["num_groups"] for record in records}
        return [
            f"{data.groups.num_groups} groups that the model never saw, {len(data):,} "
            f"observations. With {shots} known of each group, the others are assigned to the "
            f"right group in percent ({self.distances[0]} distance of posterior means; chance is "
            f"{chance:.1f}): " + ", ".join(found) + ".",
            f"The first ± is the standard error over groups, by bootstrap; the second is over "
            f"{self.galleries} random galleries, the same for all codes. "
            "A task with n known observations uses the groups with more than n: "
            + ", ".join(f"{number} at n = {n}" for n, number in used.items())
            + ".",
        ]

    def _tables(
        self, labels: dict[str, str], shots: list[int], records: list[dict], pairs: list[dict]
    ) -> list[Table]:
        tables = []
        for distance in self.distances:
            cells = {
                (r["code"], r["shots"]): r["accuracy"].text(1, scale=100)
                for r in records
                if r["distance"] == distance
            }
            rates = {
                r["code"]: [r["auc"].text(3), r["eer"].text(1, scale=100)]
                for r in pairs
                if r["distance"] == distance
            }
            rows = [
                [label, *[cells[name, n] for n in shots], *rates[name]]
                for name, label in labels.items()
            ]
            chance = {r["shots"]: f"{100 * r['chance']:.1f}" for r in records}
            rows.append(["chance", *[chance[n] for n in shots], "0.500", "50.0"])
            tables.append(
                Table(
                    f"Identification from n observations a group, accuracy in percent, and "
                    f"verification of pairs: area under the ROC curve and equal error rate in "
                    "percent; ± standard error over groups ± over galleries. "
                    f"Distance: {distance}.",
                    ["code", *[f"n = {n}" for n in shots], "AUC", "EER"],
                    rows,
                )
            )
        return tables


def _unseen(subject: Subject, grouping: str) -> GroupedData | None:
    """The observations of groups of one grouping that training does not have, grouped by it.

    They are in the split ``unseen``. With several groupings, they may be in the test instead:
    the groups of the first grouping divide the splits.
    """
    splits = subject.splits
    if len(splits.train.groupings) == 1:
        return splits.unseen
    known = set(splits.train.groupings[grouping].names)
    best = None
    for data in (splits.unseen, splits.test):
        if data is None or grouping not in data.groupings:
            continue
        own = data.groupings[grouping]
        new = torch.tensor(
            [name is not None and name not in known for name in own.names], device=data.device
        )
        rows = new[own.groups.index].nonzero()[:, 0]
        if int(new.sum()) > (0 if best is None else best.groups.num_groups):
            best = data.subset(rows).regrouped(grouping)
    return best


def _joined(names: list[str], answers: list[Answer]) -> Answer:
    """The answers for several groupings as one."""
    metrics: dict[str, Any] = {**answers[0].metrics, "identification": [], "verification": []}
    summary, tables, figures = [], [], []
    for name, answer in zip(names, answers, strict=True):
        metrics[name] = {key: answer.metrics[key] for key in ("num_groups", "num_observations")}
        for key in ("identification", "verification"):
            metrics[key] += answer.metrics[key]
        summary += [f"Grouping {name}: {text}" for text in answer.summary]
        tables += [
            Table(f"Grouping {name}. {table.caption}", table.columns, table.rows)
            for table in answer.tables
        ]
        figures += [
            replace(
                figure,
                name=f"{figure.name}_{name}",
                caption=f"Grouping {name}. {figure.caption}",
            )
            for figure in answer.figures
        ]
    return Answer(answers[0].title, summary, metrics, tables, figures)


def _posterior(code: Code, data: GroupedData) -> DiagonalGaussian:
    """The codes of all observations on the host, where distances are computed."""
    return compact(encode(code.representation, data).moments().to("cpu"))


def _figure(labels: dict[str, str], records: list[dict]) -> Figure:
    panels: dict[str, dict[str, dict]] = {}
    for record in records:
        panel = panels.setdefault(f"accuracy, {record['distance']}", {})
        panel.setdefault(labels[record["code"]], {})[record["shots"]] = record["accuracy"]
    chance = {"chance": {record["shots"]: record["chance"] for record in records}}
    return curves(
        "unseen",
        "Identification of groups never seen in training, each known by n of its observations. "
        "Bars: standard error over groups and galleries.",
        panels,
        x_label="n, observations known of each group",
        lines=dict.fromkeys(panels, chance),
    )
