r"""Question: how much information about the group has a single code, by the strongest probe?

Separation compares codes at several k by fixed probes. A fixed probe finds a part of the
information. Here several kinds of probes, with new posterior draws in every epoch, are trained on
codes of all observations that may be used, and the best one on held-out codes is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.errors import check_choice, check_texts
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.charts import Curve, curves
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import MOST_CODES, PROBE_NAMES, PROBES
from mlvae.evaluation.measures.leakage.networks import MOST_PADDED, Fit
from mlvae.evaluation.measures.leakage.strongest import Codes, Strongest, strongest_of_each
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import CONTROLS, Code, Subject
from mlvae.parts import take_lists
from mlvae.training.seeding import seeded

__all__ = ["Leakage"]

#: Codes that are not the model's.
LEAKAGE_CONTROLS = ("vae", "untrained", "raw")

#: Fraction of the codes that is held out to choose the probe.
HELD = 0.2


@dataclass(frozen=True)
class Leakage:
    """The question and its options.

    Probes are trained on codes of the validation split, which the model was not trained on, and
    also on codes of the training split, which are more. A fifth of the validation codes is held
    out to choose the probe. Without a validation split that has all groups, the training split is
    divided instead.

    Args:
        probes: kinds of probes: "logistic", "mlp", "large_mlp", "knn", "trees".
        factors: names of known factors that are labels too, such as a category; all groupings of
            the data are labels.
        controls: codes beside those of the model: "vae", "untrained", "raw".
        seed: seed of the held-out codes, the draws and the probes.
    """

    probes: tuple[str, ...] = PROBES
    factors: tuple[str, ...] = ()
    controls: tuple[str, ...] = LEAKAGE_CONTROLS
    seed: int = 0

    title: ClassVar[str] = "How much information about the group has a single code at least?"

    def __post_init__(self) -> None:
        check_question(self, "probes", minimum={"seed": 0}, choices={"probes": PROBES})
        take_lists(self, "evaluation.leakage", "factors", "controls")
        check_texts("evaluation.leakage.factors", self.factors)
        for name in self.controls:
            check_choice("evaluation.leakage.controls", name, LEAKAGE_CONTROLS)

    def ask(self, subject: Subject) -> Answer:
        """Find the strongest probe of every code for every label."""
        test = subject.splits.test
        if test is None:
            return not_evaluated(self.title, "this dataset has no test split")
        codes = [
            code
            for code in subject.codes()
            if code.name not in CONTROLS or code.name in self.controls
        ]
        labels = {code.name: code.label for code in codes}
        answers: dict[str, dict[tuple[str, str], Strongest]] = {}
        sources: dict[str, GroupedData] = {}
        reasons, text, records, tables, figures = [], [], [], [], []
        several = len(test.groupings) + len(self.factors) > 1
        for name in [*test.groupings, *self.factors]:
            target = _target(subject, test, name)
            if isinstance(target, str):
                reasons.append(target)
                continue
            sources |= target.sources
            found = answers[name] = self._found(codes, target, subject)
            records += [{"grouping": name, **_record(*key, each)} for key, each in found.items()]
            what = name if several else "the group"
            words = _words(found, labels)
            text += [f"{name}: {word}" for word in words] if several else words
            tables.append(_table(found, labels, what))
            figures.append(_curves(found, labels, f"leakage_{name}" if several else "leakage"))
        if not answers:
            return not_evaluated(self.title, reasons[0])
        if len(answers) > 1:
            tables.insert(0, _matrix(answers, labels))
        text += [f"No matrix entry: {reason}." for reason in reasons]
        limits = "".join(dict.fromkeys(_limits(found) for found in answers.values()))
        text.append(_protocol(sources, test, limits))
        return Answer(self.title, text, {"records": records}, tables, figures)

    def _found(
        self,
        codes: Sequence[Code],
        target: _Target,
        subject: Subject,
    ) -> dict[tuple[str, str], Strongest]:
        """The strongest probe by code and values, samples or means."""
        # Local imports: they take time that `import mlvae` does not need.
        from joblib import Parallel, delayed, parallel_config
        from tqdm import tqdm

        # A GPU is used by one process; on a CPU, one thread a process.
        workers = 1 if target.test.device.type == "cuda" else subject.workers
        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")
        total = sum(2 if code.random else 1 for code in codes)
        # On a CPU, larger batches are hardly faster, and small tasks keep all processes busy.
        most = total if target.test.device.type == "cuda" else 1
        bundles = _bundles(self._tasks(codes, subject, target), most)
        tasks = (delayed(_run)(bundle, self.probes) for bundle in bundles)
        disable = None if subject.progress else True
        results = cast("Iterator[dict[tuple[str, str], Strongest]]", pool(tasks))
        found: dict[tuple[str, str], Strongest] = {}
        with tqdm(desc="strongest probes", total=total, unit="code", disable=disable) as bar:
            for some in results:
                found |= some
                bar.update(len(some))
        order = [(code.name, values) for code in codes for values in ("samples", "means")]
        return {key: found[key] for key in order if key in found}

    def _tasks(self, codes: Sequence[Code], subject: Subject, target: _Target) -> Iterator[_Task]:
        first = next(iter(target.sources))
        held, rest = self._parts(target.labels[first], target.rows[first])
        for code in _longest_first(codes):
            posteriors = {key: subject.encoded(code, data) for key, data in target.sources.items()}
            tested = subject.encoded(code, target.test)
            for values in ("samples", "means") if code.random else ("means",):
                drawn = {
                    key: Drawn(
                        posterior if values == "samples" else posterior.mean,
                        target.labels[key],
                        target.rows[key],
                    )
                    for key, posterior in posteriors.items()
                }
                own = drawn[first]
                fits = {}
                for key, part in drawn.items():
                    train = own.part(rest) if part is own else part
                    fits[key] = Fit(train, own.part(held), target.number, self.seed)
                x = tested if values == "samples" else tested.mean
                curve = code.name not in CONTROLS
                test = Drawn(x, target.labels["test"], target.rows["test"])
                yield _Task(code.name, values, Codes(fits, test, curve))

    def _parts(self, labels: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Indices of the held-out observations and of the rest, in random order."""
        length = len(labels if rows is None else rows)
        noise = seeded(torch.Generator(labels.device), self.seed, "held-out codes")
        order = torch.randperm(length, generator=noise, device=labels.device)
        number = max(1, int(HELD * length))
        return order[:number], order[number:]


class _Target(NamedTuple):
    """A label that is predicted: a grouping or a factor.

    Attributes:
        sources: observations to train on, by the name of the split; the first ones are held out
            in part.
        test: observations to test on.
        labels: number of each observation's label, (N,), by the split, "test" among them.
        rows: indices of the observations with a label; None: all.
        number: number of labels.
    """

    sources: dict[str, GroupedData]
    test: GroupedData
    labels: dict[str, Tensor]
    rows: dict[str, Tensor | None]
    number: int


def _target(subject: Subject, test: GroupedData, name: str) -> _Target | str:
    """The label ``name`` of all observations, or the reason why it is not predicted."""
    what = "" if len(test.groupings) == 1 and name in test.groupings else f" of {name}"
    train, validation = subject.splits.train, subject.splits.validation
    parts = {"train": train, "validation": validation, "test": test}
    found = {
        split: each
        for split, data in parts.items()
        if data is not None and (each := _labels_by(data, name)) is not None
    }
    if "test" not in found or "train" not in found:
        return f"{name} is neither a grouping nor a known factor of the training and test splits"
    own = set(found["test"].names)
    has_all = "validation" in found and own <= set(found["validation"].names)
    first = "validation" if has_all else "train"
    if not own <= set(found[first].names):
        return f"the test split has groups{what} that no other split has"
    if len(own) < 2:
        names = found["test"].names
        reason = f"a probe needs at least two groups{what}, and the test split has only "
        return f"{reason}{names[0] if names else None!r}"
    chosen = [first]
    if first != "train" and set(found[first].names) == set(found["train"].names):
        chosen.append("train")
    number = {label: i for i, label in enumerate(found[first].names)}
    labels, rows = {}, {}
    for split in (*chosen, "test"):
        each = found[split]
        table = torch.tensor([number[label] for label in each.names], device=each.index.device)
        labels[split] = table[each.index.clamp_max(len(table) - 1)]
        rows[split] = None if bool(each.known.all()) else each.known.nonzero()[:, 0]
    sources = {split: data for split in chosen if (data := parts[split]) is not None}
    return _Target(sources, test, labels, rows, len(number))


class _Labels(NamedTuple):
    """Labels of one split.

    Attributes:
        names: the known labels.
        index: number of each observation's label, (N,).
        known: mask (N,) of the observations with a label.
    """

    names: list
    index: Tensor
    known: Tensor


def _labels_by(data: GroupedData, name: str) -> _Labels | None:
    """The labels by a grouping or by a factor of ``data``; None if it has neither."""
    if (grouping := data.groupings.get(name)) is not None:
        names = [label for label in grouping.names if label is not None]  # these are the first
        return _Labels(names, grouping.groups.index, grouping.labelled)
    if (values := data.factors.get(name)) is None:
        return None
    known = values.isfinite()
    names, index = values[known].unique(return_inverse=True)
    every = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    every[known] = index
    return _Labels(names.tolist(), every, known)


def _protocol(sources: Mapping[str, GroupedData], test: GroupedData, limits: str) -> str:
    splits = " and on the ".join(
        f"{len(data):,} of the {key} split" for key, data in sources.items()
    )
    return (
        f"Probes were trained on codes of single observations, on the {splits}, with new "
        f"draws in every epoch, and tested on the {len(test):,} of the test split. The kind "
        "of probe and its training codes were chosen on held-out codes. Kinds other than "
        "logistic regression and the MLP were trained on the better one of these parts. "
        f"{limits}Bits are H(label) minus the cross-entropy: a lower bound of the "
        "information."
    )


class _Task(NamedTuple):
    """A code, samples or means."""

    code: str
    values: str
    codes: Codes

    @property
    def wide(self) -> bool:
        """Whether its networks are not trained together with those of other codes."""
        return self.codes.test.dim > MOST_PADDED


def _longest_first(codes: Sequence[Code]) -> list[Code]:
    """The raw observations first: their probes take longest, and should not be waited for last."""
    return sorted(codes, key=lambda code: code.name != "raw")


def _bundles(tasks: Iterable[_Task], most: int) -> Iterator[list[_Task]]:
    """The tasks whose networks are trained together, at most ``most``; a wide code by itself."""
    bundle: list[_Task] = []
    for task in tasks:
        if task.wide:
            yield [task]
            continue
        bundle.append(task)
        if len(bundle) == most:
            yield bundle
            bundle = []
    if bundle:
        yield bundle


def _run(bundle: list[_Task], probes: tuple[str, ...]) -> dict[tuple[str, str], Strongest]:
    found = strongest_of_each([task.codes for task in bundle], probes)
    keys = [(task.code, task.values) for task in bundle]
    return dict(zip(keys, found, strict=True))


def _limits(found: Mapping[tuple[str, str], Strongest]) -> str:
    """A sentence on the kinds that were not trained on all codes of a part."""
    kinds = dict.fromkeys(
        kind
        for result in found.values()
        for (source, kind), number in result.trained.items()
        if number < result.trained[source, "none"]
    )
    return "".join(
        f"{PROBE_NAMES[kind].capitalize()}: at most {MOST_CODES[kind]:,} codes, drawn at random. "
        for kind in kinds
    )


def _record(code: str, values: str, found: Strongest) -> dict[str, Any]:
    return {
        "code": code,
        "values": values,
        "accuracy": found.accuracy,
        "accuracy_standard_error": found.accuracy_error,
        "accuracy_probe": found.accuracy_probe,
        "bits": found.bits,
        "bits_standard_error": found.bits_error,
        "probe": found.probe,
        "trained_on": found.source,
        "label_entropy_bits": found.entropy,
        "chance_accuracy": found.chance,
        "num_test_codes": found.number,
        "curve": [list(point) for point in found.curve],
        "rises": found.rises,
        "probes": [
            {
                "trained_on": source,
                "probe": kind,
                "num_training_codes": found.trained[source, kind],
                **score._asdict(),
            }
            for (source, kind), score in found.scores.items()
        ],
    }


def _label(code: str, values: str, labels: dict[str, str], found: dict) -> str:
    return f"{labels[code]}, {values}" if (code, "samples") in found else labels[code]


def _words(found: dict[tuple[str, str], Strongest], labels: dict[str, str]) -> list[str]:
    """A sentence on each code of the model, and on curves that rise."""
    texts = []
    for (code, values), result in found.items():
        if code in CONTROLS:
            continue
        text = (
            f"{_label(code, values, labels, found)}: at least "
            f"{Estimate(result.bits, result.bits_error).text(2)} of {result.entropy:.2f} bits, "
            f"{Estimate(result.accuracy, result.accuracy_error).text(1, scale=100)} percent "
            f"({PROBE_NAMES[result.probe]})."
        )
        if result.rises:
            text += " Twice as many training codes found more, so there is probably more."
        texts.append(text)
    return texts


def _matrix(
    answers: Mapping[str, Mapping[tuple[str, str], Strongest]], labels: dict[str, str]
) -> Table:
    """The largest number of bits about each label in each code, from samples or means."""
    rows = []
    for code, label in labels.items():
        best = [
            max((each for key, each in found.items() if key[0] == code), key=lambda x: x.bits)
            for found in answers.values()
        ]
        rows.append([label, *[f"{Estimate(each.bits, each.bits_error).text(2)}" for each in best]])
    entropies = [next(iter(found.values())).entropy for found in answers.values()]
    rows.append(["largest possible", *[f"{entropy:.2f}" for entropy in entropies]])
    return Table(
        "Leakage matrix: information about each label in a code of one observation, in bits, at "
        "least, by the strongest probe of samples or of means; ± standard error over test codes.",
        ["code", *answers],
        rows,
    )


def _table(found: dict[tuple[str, str], Strongest], labels: dict[str, str], what: str) -> Table:
    rows = [
        [
            _label(code, values, labels, found),
            Estimate(result.bits, result.bits_error).text(3),
            Estimate(result.accuracy, result.accuracy_error).text(1, scale=100),
            PROBE_NAMES[result.probe],
            result.source,
        ]
        for (code, values), result in found.items()
    ]
    entropy, chance = next((result.entropy, result.chance) for result in found.values())
    rows.append(["largest possible", f"{entropy:.3f}", "100.0", "", ""])
    rows.append(["no code", "0.000", f"{100 * chance:.1f}", "", ""])
    return Table(
        f"Information about {what} in a code of one observation, at least, and accuracy, by the "
        "strongest probe; ± standard error over test codes.",
        ["code", "bits", "accuracy in percent", "probe", "trained on"],
        rows,
    )


def _curves(found: dict[tuple[str, str], Strongest], labels: dict[str, str], name: str) -> Figure:
    series: dict[str, Curve] = {
        _label(*key, labels, found): {float(n): Estimate(bits, 0.0) for n, bits in result.curve}
        for key, result in found.items()
        if result.curve
    }
    return curves(
        name,
        "Bits found by the MLP that was trained on n codes. A curve that still rises at "
        "its end has not found all information.",
        {"bits found": series},
        x_label="n, number of training codes",
    )
