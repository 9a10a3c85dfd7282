"""Question: does the nearest code find the group, and which codes are alike?

For models with a code for each known group, as :class:`~mlvae.models.SVQVAE`. The accuracy of the
nearest code has a meaning only beside simple classifiers of the same observations: the nearest
mean of a group, the nearest neighbours, linear discriminants.

Shapes: N observations, K codes, D dimensions, E elements of an observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.errors import check_choice
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.measures.classes import CLASSIFIERS
from mlvae.evaluation.measures.resampling import sampling_error
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import CONTROLS, Code, Subject
from mlvae.models import traits
from mlvae.parts import take_lists

__all__ = ["Codebook"]

#: Pairs of codes in the table, the nearest ones.
PAIRS = 12

#: Observations whose errors are computed at once.
CHUNK = 4096

#: Fewest dimensions of codes whose correlation has a meaning.
LEAST = 3


@dataclass(frozen=True)
class Codebook:
    """The question and its options.

    Args:
        controls: classifiers of z, of z of an untrained encoder, and of the raw observations:
            "class_mean", the nearest mean of a group; "neighbours", the majority of the nearest
            training observations; "correlation", the training observation with the largest
            correlation; "lda", linear discriminant analysis, which takes long for many elements.
        neighbours: number of these training observations.
        most: largest number of training observations of all but "class_mean", drawn at random.
        groups: largest number of codes in the figure; of more, the first ones.
        seed: seed of the draw.
    """

    controls: tuple[str, ...] = ("class_mean", "neighbours")
    neighbours: int = 5
    most: int = 10_000
    groups: int = 80
    seed: int = 0

    title: ClassVar[str] = "Does the nearest code find the group, and which codes are alike?"

    def __post_init__(self) -> None:
        take_lists(self, "evaluation.codebook", "controls")
        for name in self.controls:
            check_choice("evaluation.codebook.controls", name, CLASSIFIERS)
        check_question(self, minimum={"neighbours": 1, "most": 2, "groups": 2, "seed": 0})

    def applies(self, model: Any) -> bool:
        """Whether a model is of the kind that this question is about; see :func:`.applies`."""
        codes = getattr(model, "codebook", None)
        return isinstance(codes, Tensor) and codes.ndim == 2 and len(codes) >= 2

    def ask(self, subject: Subject) -> Answer:
        """Classify by the nearest code, and compare the codes with each other."""
        if not self.applies(subject.model):
            return not_evaluated(self.title, "the model has no codes of groups, as SVQVAE has")
        codes = subject.model.codebook
        known = [(name, data) for name, data in subject.splits if "label" in data.given]
        parts = {name: data for name, data in known if name != "unseen"}
        codes = codes.detach()
        own = next(code for code in subject.codes() if code.name not in CONTROLS)
        records = self._records(subject, own, codes, parts)
        names = [str(name) for name in subject.model.group_names]
        errors = _errors(subject, codes, parts)
        metrics: dict[str, Any] = {"groups": names, "records": records, "errors": errors}
        tables, figures, text = [_accuracies(records), _error_table(errors)], [], [_words(records)]
        if codes.shape[1] >= LEAST:
            means = _means(subject, parts["train"], len(codes))
            found = _nearest(codes, means, names)
            distance = _distances(codes)
            metrics |= {"distance": distance.tolist(), **found}
            tables.append(_pairs(found["nearest"]))
            figures.append(self._figure(distance, names))
            text.append(_alike(found, len(names)))
        return Answer(self.title, text, metrics, tables, figures)

    def _records(
        self, subject: Subject, own: Code, codes: Tensor, parts: dict[str, GroupedData]
    ) -> list[dict[str, Any]]:
        """The accuracy of each classifier on each split."""
        controls = [code for code in subject.codes() if code.name in ("untrained", "raw")]
        train, number = parts["train"], len(codes)
        labels = {name: data.given["label"] for name, data in parts.items()}
        records = []
        for code in (own, *controls):
            values = {name: subject.encoded(code, data).mean for name, data in parts.items()}
            classifiers = {name: CLASSIFIERS[name] for name in self.controls}
            known = values["train"], labels["train"], number
            rows = _some(len(train), self.most, self.seed).to(train.device)
            for name, x in values.items():
                found = {}
                if code is own:
                    found["nearest code"] = torch.cdist(x, codes.to(x)).argmin(1)
                for kind, classifier in classifiers.items():
                    if name == "train" and kind != "class_mean":
                        continue  # each training observation is its own nearest neighbour
                    found[kind] = classifier(x, *known, rows=rows, neighbours=self.neighbours)
                for kind, predicted in found.items():
                    right = (predicted == labels[name]).double().cpu().numpy()
                    accuracy = Estimate(float(right.mean()), float("nan"), sampling_error(right))
                    records.append(
                        {
                            "code": code.name,
                            "label": code.label,
                            "classifier": kind,
                            "split": name,
                            "accuracy": accuracy,
                            "num_observations": len(right),
                        }
                    )
        return records

    def _figure(self, distance: Tensor, names: Sequence[str]) -> Figure:
        from mlvae.show.clusters import group_distances  # it imports matplotlib

        number = min(self.groups, len(names))
        picture = group_distances(
            distance[:number, :number], names[:number], title="1 - correlation"
        )
        limit = f"; the first {number} of {len(names)} codes" if number < len(names) else ""
        caption = (
            "Distances of the codes of groups, 1 minus the correlation over dimensions, and their "
            f"clusters by average linkage{limit}."
        )
        width = float(picture.get_size_inches()[0])
        return Figure("codes", caption, picture.png(), width=width)


def _some(length: int, most: int, seed: int) -> Tensor:
    """At most ``most`` indices below ``length``, drawn at random."""
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed))[:most].sort()[0]


def _means(subject: Subject, data: GroupedData, number: int) -> Tensor:
    """The mean of the raw training observations of each group, (K, E)."""
    raw = next(code for code in subject.codes() if code.name == "raw")
    x = subject.encoded(raw, data).mean.double()
    total = x.new_zeros(number, x.shape[1]).index_add(0, data.given["label"], x)
    sizes = torch.bincount(data.given["label"], minlength=number)
    return total / sizes.clamp_min(1)[:, None]


@torch.no_grad()
def _errors(
    subject: Subject, codes: Tensor, parts: dict[str, GroupedData]
) -> list[dict[str, Any]]:
    """Mean squared errors of one value for all observations of a group, in units of the model."""
    raw = next(code for code in subject.codes() if code.name == "raw")
    decoded = subject.model.decode(codes)
    scale = traits(subject.model).standardise
    means = _means(subject, parts["train"], len(codes))
    train = subject.encoded(raw, parts["train"]).mean.double()
    values = {
        "decoded code": (decoded if scale is None else scale(decoded)).flatten(1).double(),
        "mean of the group": means,
        "mean of all": train.mean(0).expand_as(means),
    }
    errors = []
    for split, data in parts.items():
        x, label = subject.encoded(raw, data).mean.double(), data.given["label"]
        for name, of_groups in values.items():
            pieces = [
                (part - of_groups[rows]).square().sum()
                for part, rows in zip(x.split(CHUNK), label.split(CHUNK), strict=True)
            ]
            error = float(torch.stack(pieces).sum()) / x.numel()
            errors.append({"value": name, "split": split, "error": error})
    return errors


def _distances(values: Tensor) -> Tensor:
    """1 minus the correlation of all pairs of rows (K, D), float64 (K, K), 0 on the diagonal."""
    centred = values.double() - values.double().mean(1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    unit = centred / length.masked_fill(length == 0, 1)
    distance = (1 - unit @ unit.T).clamp_min(0).cpu()
    return (0.5 * (distance + distance.T)).fill_diagonal_(0)


def _nearest(codes: Tensor, means: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """The nearest code of each code, that of the means, and how far both geometries agree."""
    distance, control = _distances(codes), _distances(means)
    places = []
    for matrix in (distance, control):
        away = matrix.clone().fill_diagonal_(float("inf"))
        places.append(away.argmin(1).tolist())
    first, of_means = places
    nearest = [
        {
            "group": names[k],
            "nearest": names[first[k]],
            "distance": float(distance[k, first[k]]),
            "mutual": first[first[k]] == k,
            "nearest_of_means": names[of_means[k]],
        }
        for k in range(len(names))
    ]
    above = torch.triu_indices(len(names), len(names), 1)
    pairs = torch.stack([matrix[above[0], above[1]] for matrix in (distance, control)])
    agreement = float(np.corrcoef(pairs.numpy())[0, 1]) if len(names) > LEAST else float("nan")
    same = sum(a == b for a, b in zip(first, of_means, strict=True))
    return {"nearest": nearest, "agreement": agreement, "same_as_means": same}


def _words(records: list[dict[str, Any]]) -> str:
    last = records[-1]["split"]  # the test, or else the training split
    shown = [record for record in records if record["split"] == last]
    parts = [
        f"{record['classifier'].replace('_', ' ')} of {record['label']} "
        f"{record['accuracy'].text(1, scale=100)}"
        for record in shown
    ]
    return (
        f"Accuracy on the {last} split in percent: {', '.join(parts)}. The nearest code is that "
        "of the smallest distance from z. Labels of tested observations are not used. If the "
        "nearest mean of the raw observations is as good, the codes add nothing to the "
        "classification."
    )


def _accuracies(records: list[dict[str, Any]]) -> Table:
    cells: dict[str, dict[str, str]] = {}
    splits = list(dict.fromkeys(record["split"] for record in records))
    for record in records:
        row = cells.setdefault(f"{record['label']}, {record['classifier'].replace('_', ' ')}", {})
        row[record["split"]] = record["accuracy"].text(1, scale=100)
    return Table(
        "Accuracy of the group of single observations in percent, ± standard error over "
        "observations. Only the nearest code and the nearest mean are tested on training "
        "observations too.",
        ["classifier", *splits],
        [[name, *[row.get(split, "") for split in splits]] for name, row in cells.items()],
    )


def _error_table(errors: list[dict[str, Any]]) -> Table:
    cells: dict[str, dict[str, str]] = {}
    for record in errors:
        cells.setdefault(record["value"], {})[record["split"]] = f"{record['error']:.4f}"
    splits = list(next(iter(cells.values())))
    return Table(
        "Mean squared error per element of one value for all observations of a group, in the "
        "units inside of the model: the decoded code of the label; the mean of the group's "
        "training observations, which is the best such value there; and the mean of all.",
        ["value", *splits],
        [[name, *row.values()] for name, row in cells.items()],
    )


def _pairs(nearest: list[dict[str, Any]]) -> Table:
    rows, seen = [], set()
    for record in sorted(nearest, key=lambda record: record["distance"]):
        pair = frozenset((record["group"], record["nearest"]))
        if pair in seen or len(rows) == PAIRS:
            continue
        seen.add(pair)
        rows.append(
            [
                record["group"],
                record["nearest"],
                f"{record['distance']:.3f}",
                "yes" if record["mutual"] else "no",
                record["nearest_of_means"],
            ]
        )
    return Table(
        "The nearest pairs of codes: 1 minus the correlation; whether each is the nearest of the "
        "other; and the group with the nearest mean of raw observations, as a control.",
        ["group", "nearest code", "distance", "mutual", "nearest mean"],
        rows,
    )


def _alike(found: dict[str, Any], number: int) -> str:
    return (
        f"The nearest code of {found['same_as_means']} of {number} groups is that of the group "
        "with the nearest mean of raw observations. The distances of codes and of means have the "
        f"correlation {found['agreement']:.2f} over all pairs of groups."
    )
