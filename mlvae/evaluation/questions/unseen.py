"""Does the model separate groups that it never saw in training?

Groups outside the training data are identified from a few of their observations, and verified in
pairs, by the distance of codes alone. No parameter is trained on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch

from mlvae.data import GroupedData
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.charts import curves
from mlvae.evaluation.measures.codes import principal_components, shuffled
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
        """Identify and verify unseen groups."""
        if subject.splits.unseen is None:
            return not_evaluated(
                self.title,
                "all groups were used in training. For MNIST, train with "
                "dataset.unseen_groups=[7,8,9]",
            )
        split = subject.splits.unseen
        rows = self._rows(split)
        data = split.subset(rows)
        sizes = data.groups.sizes
        shots = [n for n in self.shots if int((sizes > n).sum()) >= 2]
        if not shots:
            least = min(self.shots) + 1
            return not_evaluated(
                self.title,
                f"of {data.groups.num_groups} unseen groups, {int((sizes >= least).sum())} have "
                f"{least} observations, but at least two groups are needed. Keep more groups out "
                "of training",
            )
        codes = self._codes(subject)
        posteriors = {
            code.name: compact(subject.encoded(code, split, rows).moments().to("cpu"))
            for code in codes  # distances are computed on the host
        }
        records = [
            self._identify(code, posteriors[code], data.groups, n, distance)
            for n, code, distance in product(shots, posteriors, self.distances)
        ]
        pairs = []
        for code, distance in product(posteriors, self.distances):
            options = {"pairs": self.pairs, "distance": distance}
            rates = verification(posteriors[code], data.groups, **options)
            pairs.append({"code": code, "distance": distance, **rates._asdict()})
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

    def _rows(self, data: GroupedData) -> torch.Tensor:
        """At most ``most_members`` observations of every group."""
        if int(data.groups.sizes.max()) <= self.most_members:
            return torch.arange(len(data), device=data.device)
        order, rank = shuffled(data.groups, torch.Generator(data.device).manual_seed(0))
        return order[rank < self.most_members]

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
