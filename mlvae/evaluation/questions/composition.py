"""Question: are combinations predicted that training never had, from the content of each grouping?

A model with several groupings, such as character and font, decodes the content of a character and
the content of a font that it never saw together. The truth is an observation of the test. Controls
predict the same observations without contents: the nearest combination that training has, the
additive mean, and a model that is given the labels.

Shapes: N training and M test observations, K groupings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mlvae.data import GroupedData, Splits
from mlvae.data.chosen import at_equal_distances
from mlvae.errors import InputError, check_choice, shown
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.charts import grid_figure
from mlvae.evaluation.measures.combinations import (
    additive_mean,
    labels_of,
    nearest_combination,
    nearest_observation,
    new_combinations,
    twins,
)
from mlvae.evaluation.measures.readers import Reader, fit_reader
from mlvae.evaluation.measures.resampling import sampling_error
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject
from mlvae.evidence.rules import accumulated
from mlvae.grids import drawable
from mlvae.grids.grid import in_range, labelled_grid
from mlvae.models import traits
from mlvae.models.observed import sizes_of
from mlvae.observations import as_floats
from mlvae.training.checks import with_needs
from mlvae.training.seeding import seeded

__all__ = ["Composition"]

#: Observations that are decoded at once.
CHUNK = 1024

#: Sources of the style of a prediction.
STYLES = {
    "own": "style of the observation",
    "twin": "style of a twin",
    "average": "average style",
}

#: Kinds of controls that ``mlvae evaluate`` trains.
CONTROLS = ("conditional",)

#: Largest number of predictions in the figure.
TILES = 12


@dataclass(frozen=True)
class Composition:
    """The question and its options.

    Args:
        observations: largest number M of test observations of new combinations that are
            predicted, drawn at random. At most half of them are: the classifier learns the others.
        reader_steps: training steps of the classifier of real observations.
        controls: further models that ``mlvae evaluate`` trains in the same way: "conditional", a
            conditional VAE that is given the labels of all groupings; an empty list: none. In
            Python they are the models that are passed to
            :func:`~mlvae.evaluation.evaluate` as ``controls``.
        seed: seed of the draws and of the classifier.
    """

    observations: int = 4000
    reader_steps: int = 1500
    controls: tuple[str, ...] = ("conditional",)
    seed: int = 0

    title: ClassVar[str] = "Are combinations of groups predicted that training never had?"

    def __post_init__(self) -> None:
        check_question(self, minimum={"observations": 1, "reader_steps": 1, "seed": 0})
        if not isinstance(self.controls, list | tuple):
            raise InputError(
                f"evaluation.composition.controls must be a list of models, not "
                f"{shown(self.controls)}"
            )
        object.__setattr__(self, "controls", tuple(self.controls))
        for kind in self.controls:
            check_choice("evaluation.composition.controls", kind, CONTROLS)

    def applies(self, model: Any) -> bool:
        """Whether a model is of the kind that this question is about; see :func:`.applies`."""
        return len(_groupings_of(model)) > 1

    def reason(self, model: Any, splits: Splits) -> str:
        """Why the question does not fit a model and its data; empty if it does."""
        names = _groupings_of(model)
        train, test = splits.train, splits.test
        if not self.applies(model):
            return "the model has one grouping"
        if test is None or not set(names) <= set(test.groupings) & set(train.groupings):
            return f"there is no test split with the groupings {' and '.join(names)}"
        known = {name: train.groupings[name].names for name in names}
        if not new_combinations(labels_of(train, known), labels_of(test, known)).any():
            return (
                f"the test split has no combination of {' and '.join(names)} that is not in "
                "training. For glyphs, train with dataset.held_pairs=0.2"
            )
        return ""

    @torch.no_grad()
    def ask(self, subject: Subject) -> Answer:
        """Predict the new combinations of the test, read the predictions, and draw some."""
        train, test = subject.splits.train, subject.splits.test
        reason = self.reason(subject.model, subject.splits)
        if reason or test is None:
            return not_evaluated(self.title, reason)
        names = _groupings_of(subject.model)
        case = self._case(train, test, names)
        predictions = _of_model(subject, case) | _of_controls(subject, case)
        reader = self._reader(case)
        predictions["observation"] = _Prediction("the observation itself", "", case.truth)
        records = [self._record(name, found, case, reader) for name, found in predictions.items()]
        chance = {name: 1 / len(case.known[name]) for name in names}
        number = len(case.labels.unique(dim=0))
        metrics = {
            "groupings": names,
            "observations": len(case.rows),
            "combinations": number,
            "chance": chance,
            "records": records,
        }
        figures = [_figure(predictions, case)] if drawable(test.shape) else []
        table = _table(records, names, chance)
        return Answer(self.title, _words(records, case, number), metrics, [table], figures)

    def _case(self, train: GroupedData, test: GroupedData, names: list[str]) -> _Case:
        """The observations of new combinations."""
        known = {name: train.groupings[name].names for name in names}
        seen, labels = labels_of(train, known), labels_of(test, known)
        new = new_combinations(seen, labels)
        factors = [values for name, values in test.factors.items() if name not in names]
        style = torch.stack(factors, 1) if factors else torch.empty(len(test), 0)
        twin = twins(labels, style.to(labels.device), new)
        rows = new.nonzero()[:, 0]
        generator = seeded(torch.Generator(rows.device), self.seed, "new combinations")
        order = torch.randperm(len(rows), generator=generator, device=rows.device)
        half = len(rows) // 2
        reading, chosen = order[:half], order[half:][: self.observations].sort().values
        truth = test.observations(rows[chosen]) if len(rows) else torch.empty(0)
        return _Case(
            train=train,
            test=test,
            known=known,
            seen=seen,
            labels=labels[rows[chosen]],
            rows=rows[chosen],
            twin=twin[chosen],
            truth=truth,
            reading=rows[reading],
            reading_labels=labels[rows[reading]],
        )

    def _reader(self, case: _Case) -> Reader:
        """The classifier of real observations, those of the new combinations among them."""
        rows = torch.arange(len(case.train), device=case.rows.device)
        x = torch.cat((case.train.kept(rows), case.test.kept(case.reading)))
        labels = torch.cat((case.seen, case.reading_labels))
        sizes = [len(names) for names in case.known.values()]
        with torch.enable_grad():
            return fit_reader(x, labels, sizes, steps=self.reader_steps, seed=self.seed)

    def _record(
        self, name: str, found: _Prediction, case: _Case, reader: Reader
    ) -> dict[str, Any]:
        """The error of a prediction, and how often the reader reads the right label."""
        rows = slice(None) if found.rows is None else found.rows
        truth, labels = case.truth[rows], case.labels[rows]
        groups = labels.unique(dim=0, return_inverse=True)[1].cpu().numpy()
        error = ((found.x - truth) ** 2).flatten(1).sum(1).double().cpu().numpy()
        record: dict[str, Any] = {
            "prediction": name,
            "label": found.label,
            "style": found.style,
            "number": len(truth),
            "error": float(error.mean()),
            "error_standard_error": sampling_error(error, groups=groups),
        }
        right = (reader.read(found.x) == labels).double().cpu().numpy()
        for place, grouping in enumerate(case.known):
            record[f"read_{grouping}"] = float(right[:, place].mean())
            error = sampling_error(right[:, place], groups=groups)
            record[f"read_{grouping}_standard_error"] = error
        return record


def _groupings_of(model: Any) -> list[str]:
    """The names of the groupings that a model has codes of, in order."""
    return list(dict.fromkeys(traits(model).grouping_of.values()))


class _Case(NamedTuple):
    """Test observations of new combinations.

    Attributes:
        train: the training data.
        test: the test data.
        known: labels of each grouping in training.
        seen: numbers of the labels of the training data, (N, K).
        labels: numbers of the labels of the observations, (M, K).
        rows: their indices in ``test``, (M,).
        twin: index in ``test`` of the twin of each, -1 for none, (M,).
        truth: the observations, (M, ...).
        reading: indices in ``test`` of other observations of new combinations, on which the
            classifier is trained.
        reading_labels: numbers of their labels.
    """

    train: GroupedData
    test: GroupedData
    known: dict[str, list]
    seen: Tensor
    labels: Tensor
    rows: Tensor
    twin: Tensor
    truth: Tensor
    reading: Tensor
    reading_labels: Tensor


class _Prediction(NamedTuple):
    """Predicted observations.

    Attributes:
        label: name in tables.
        style: source of the style, a key of ``STYLES``; "" without one.
        x: predictions of the observations at ``rows``.
        rows: indices of observations of the case; None: all.
    """

    label: str
    style: str
    x: Tensor
    rows: Tensor | None = None


def _of_model(subject: Subject, case: _Case) -> dict[str, _Prediction]:
    """Predictions from the contents of all training observations, for each source of the style."""
    of = traits(subject.model).grouping_of
    codes = {code.name: code for code in subject.codes()}
    places = {name: place for place, name in enumerate(case.known)}
    contents, own, twin, average = {}, {}, {}, {}
    for name, code in codes.items():
        if name in of:
            groups = case.train.groupings[of[name]].groups
            pooled = accumulated(subject.encoded(code, case.train), groups, code.accumulation)
            contents[name] = pooled.mean[case.labels[:, places[of[name]]]]
        elif name in _own_codes(subject):
            values = subject.encoded(code, case.test).mean
            own[name], twin[name] = values[case.rows], values[case.twin]
            mean = subject.encoded(code, case.train).mean.mean(0, keepdim=True)
            average[name] = mean.expand(len(case.rows), -1)
    styles = {"own": own, "twin": twin, "average": average} if own else {"": {}}
    return {
        f"contents_{style}" if style else "contents": prediction
        for style, values in styles.items()
        if (prediction := _decoded(subject.model, contents | values, case, "contents", style))
    }


def _own_codes(subject: Subject) -> list[str]:
    """The names of the codes of the model itself."""
    return list(subject.model.codes(subject.splits.train.singles([0])))


def _decoded(
    model: Any, codes: Mapping[str, Tensor], case: _Case, label: str, style: str
) -> _Prediction | None:
    """Decoded codes; None if the style is that of twins and there are none."""
    rows = None
    if style == "twin":
        rows = (case.twin >= 0).nonzero()[:, 0]
        if len(rows) == 0:
            return None
        codes = {name: values[rows] for name, values in codes.items()}
    truth = case.truth if rows is None else case.truth[rows]
    parts = []
    for part in torch.arange(len(truth), device=truth.device).split(CHUNK):
        sizes = sizes_of(traits(model).likelihood, truth[part])
        parts.append(model.decode(**{k: v[part] for k, v in codes.items()}, **sizes))
    x = in_range(torch.cat(parts), truth)
    return _Prediction(f"{label}, {STYLES[style]}" if style else label, style, x, rows)


def _of_controls(subject: Subject, case: _Case) -> dict[str, _Prediction]:
    """Predictions of the models that are given labels, and from training observations alone."""
    found: dict[str, _Prediction] = {}
    for name, model in subject.others.items():
        if traits(model).given_codes:
            found |= _of_conditional(name, model, case)
    x = as_floats(case.train.kept(torch.arange(len(case.train), device=case.rows.device)))
    known = (case.seen >= 0).all(1)
    x, seen = x[known], case.seen[known]
    for place, name in enumerate(case.known):
        mean = nearest_combination(x, seen, case.labels, place)
        found[f"nearest_combination_{name}"] = _Prediction(
            f"mean of the nearest combination with the same {name}", "", mean
        )
        nearest = nearest_observation(x, seen[:, place], case.truth, case.labels[:, place])
        found[f"nearest_observation_{name}"] = _Prediction(
            f"nearest observation with the same {name}, chosen by the truth", "", nearest
        )
    sizes = [len(labels) for labels in case.known.values()]
    mean = in_range(additive_mean(x, seen, case.labels, sizes), case.truth)
    found["additive"] = _Prediction("additive mean", "", mean)
    return found


def _of_conditional(name: str, model: Any, case: _Case) -> dict[str, _Prediction]:
    """Predictions of a model whose contents are looked up from labels."""
    own_twin = torch.where(case.twin >= 0, case.twin, case.rows)
    # Other observations may have labels that the model does not know.
    data = with_needs(model, case.test.subset(torch.cat((case.rows, own_twin))), "test")
    given, number = traits(model).given_codes, len(case.rows)
    codes = _codes_of(model, data)
    contents = {code: values[:number] for code, values in codes.items() if code in given}
    own = {code: values[:number] for code, values in codes.items() if code not in given}
    twin = {code: values[number:] for code, values in codes.items() if code not in given}
    label = "model that is given the labels"
    return {
        f"{name}_{style}": prediction
        for style, values in (("own", own), ("twin", twin))
        if (prediction := _decoded(model, contents | values, case, label, style))
    }


def _codes_of(model: Any, data: GroupedData) -> dict[str, Tensor]:
    """The means of all codes of single observations, by name."""
    rows = torch.arange(len(data), device=data.device)
    parts = [model.codes(data.singles(part)) for part in rows.split(CHUNK)]
    return {name: torch.cat([part[name].mean for part in parts]) for name in parts[0]}


def _words(records: list[dict[str, Any]], case: _Case, number: int) -> list[str]:
    names = list(case.known)
    best = next(record for record in records if record["prediction"].startswith("contents"))
    read = ", ".join(f"{name} {_percent(best, name).text(1, scale=100)} percent" for name in names)
    what = " and ".join(names)
    return [
        f"{len(case.rows):,} test observations have {number} combinations of {what} that training "
        f"does not have. They were decoded from the content of each grouping, accumulated over "
        f"all training observations. A classifier of real observations of all combinations reads "
        f"the predictions with their own style: {read}.",
        "The style of the observation itself may have information about its combination. A twin "
        "is an observation of a combination that training has, with no label in common and with "
        "the same known factors: its style has no information about the predicted combination. "
        "Errors are sums of squares over all elements; ± is the standard error over "
        "combinations.",
    ]


def _percent(record: dict[str, Any], name: str) -> Estimate:
    return Estimate(record[f"read_{name}"], float("nan"), record[f"read_{name}_standard_error"])


def _table(records: list[dict[str, Any]], names: list[str], chance: Mapping[str, float]) -> Table:
    rows = []
    for record in records:
        error = Estimate(record["error"], float("nan"), record["error_standard_error"])
        read = [_percent(record, name).text(1, scale=100) for name in names]
        rows.append([record["label"], error.text(2), *read])
    rows.append(["chance", "", *[f"{100 * chance[name]:.1f}" for name in names]])
    return Table(
        "Predictions of observations of new combinations: squared error, and percentage of the "
        "labels that a classifier of real observations reads correctly; ± standard error over "
        "combinations.",
        ["prediction", "squared error", *[f"{name} read" for name in names]],
        rows,
    )


def _figure(predictions: Mapping[str, _Prediction], case: _Case) -> Figure:
    """Observations in the first row, and each prediction of them below."""
    number = min(TILES, len(case.rows))
    places = at_equal_distances(len(case.rows), number).to(case.rows.device)
    rows, filled = [case.truth[places]], [torch.ones(number, dtype=torch.bool)]
    labels = ["observation"]
    for name, found in predictions.items():
        if name == "observation":
            continue
        index = torch.arange(len(case.rows), device=places.device)
        if found.rows is not None:
            index = torch.full_like(index, -1)
            index[found.rows] = torch.arange(len(found.rows), device=places.device)
        at = index[places]
        rows.append(found.x[at])
        filled.append((at >= 0).cpu())
        labels.append(name.replace("_", " "))
    columns = [
        "\n".join(str(case.known[n][i]) for n, i in zip(case.known, combination, strict=True))
        for combination in case.labels[places].tolist()
    ]
    grid = labelled_grid(
        torch.stack(rows),
        rows=labels,
        columns=columns,
        below=[1],
        filled=torch.stack(filled),
        note="First row: observations of combinations that training does not have. Below: "
        "predictions.",
    )
    caption = (
        "Observations of new combinations, and their predictions from the contents of "
        f"{' and '.join(case.known)} and by the controls."
    )
    return grid_figure("composition", caption, grid)
