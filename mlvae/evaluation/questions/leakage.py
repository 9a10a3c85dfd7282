r"""Question: how much does a single code tell about the group, by the strongest probe?

Separation compares codes at several k by fixed probes. A fixed probe finds a part of the
information. Here several kinds of probes, with new posterior draws in every epoch, are trained on
codes of all observations that may be used, and the best one on held-out codes is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch

from mlvae.data import GroupedData
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table, not_evaluated
from mlvae.evaluation.charts import Curve, curves
from mlvae.evaluation.measures.codes import common_labels
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import MOST_CODES, PROBE_NAMES, PROBES
from mlvae.evaluation.measures.leakage.networks import MOST_PADDED, Fit
from mlvae.evaluation.measures.leakage.strongest import Codes, Strongest, strongest_of_each
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import CONTROLS, Code, Subject
from mlvae.training.seeding import seeded

__all__ = ["Leakage"]

#: Fraction of the codes that is held out to choose the probe.
HELD = 0.2

#: Largest number of codes whose networks a process trains together on a CPU.
TOGETHER = 4


@dataclass(frozen=True)
class Leakage:
    """The question and its options.

    Probes are trained on codes of the validation split, which the model was not trained on, and
    also on codes of the training split, which are more. A fifth of the validation codes is held
    out to choose the probe. Without a validation split that has all groups, the training split is
    divided instead.

    Args:
        probes: kinds of probes: "logistic", "mlp", "large_mlp", "knn", "trees".
        seed: seed of the held-out codes, the draws and the probes.
    """

    probes: tuple[str, ...] = PROBES
    seed: int = 0

    title: ClassVar[str] = "How much information about the group has a single code at least?"

    def __post_init__(self) -> None:
        check_question(self, "probes", minimum={"seed": 0}, choices={"probes": PROBES})

    def ask(self, subject: Subject) -> Answer:
        """Find the strongest probe of every code."""
        test = subject.splits.test
        if test is None:
            return not_evaluated(self.title, "this dataset has no test split")
        name, first = subject.held_out()
        if not set(test.group_names) <= set(first.group_names):
            return not_evaluated(self.title, "the test split has groups that no other split has")
        if len(test.group_names) < 2:
            reason = "a probe needs at least two groups, and the test split has only "
            return not_evaluated(self.title, f"{reason}{test.group_names[0]!r}")
        sources = {name: first}
        if set(first.group_names) == set(subject.splits.train.group_names):
            sources["train"] = subject.splits.train
        codes = subject.codes()
        found = self._found(codes, sources, test, subject)
        records = [_record(*key, result) for key, result in found.items()]
        labels = {code.name: code.label for code in codes}
        splits = " and on the ".join(
            f"{len(data):,} of the {key} split" for key, data in sources.items()
        )
        protocol = (
            f"Probes were trained on codes of single observations, on the {splits}, with new "
            f"draws in every epoch, and tested on the {len(test):,} of the test split. The kind "
            "of probe and its training codes were chosen on held-out codes. Kinds other than "
            "logistic regression and the MLP were trained on the better one of these parts. "
            f"{_limits(found)}Bits are H(label) minus the cross-entropy: a lower bound of the "
            "information."
        )
        text = [*_words(found, labels), protocol]
        return Answer(
            self.title,
            text,
            {"records": records},
            [_table(found, labels)],
            [_curves(found, labels)],
        )

    def _found(
        self,
        codes: Sequence[Code],
        sources: dict[str, GroupedData],
        test: GroupedData,
        subject: Subject,
    ) -> dict[tuple[str, str], Strongest]:
        """The strongest probe by code and values, samples or means."""
        # Local imports: they take time that `import mlvae` does not need.
        from joblib import Parallel, delayed, parallel_config
        from tqdm import tqdm

        # A GPU is used by one process; on a CPU, one thread a process.
        workers = 1 if test.device.type == "cuda" else subject.workers
        with parallel_config("loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")
        total = sum(2 if code.random else 1 for code in codes)
        most = total if test.device.type == "cuda" else min(TOGETHER, -(-total // workers))
        bundles = _bundles(self._tasks(subject, sources, test), most)
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

    def _tasks(
        self, subject: Subject, sources: dict[str, GroupedData], test: GroupedData
    ) -> Iterator[_Task]:
        first = next(iter(sources.values()))
        held, rest = self._parts(first)
        labels = {key: common_labels(first, data)[1] for key, data in sources.items()}
        test_labels = common_labels(first, test)[1]
        number = len(first.group_names)
        for code in _longest_first(subject.codes()):
            posteriors = {key: subject.encoded(code, data) for key, data in sources.items()}
            tested = subject.encoded(code, test)
            for values in ("samples", "means") if code.random else ("means",):
                drawn = {
                    key: Drawn(posterior if values == "samples" else posterior.mean, labels[key])
                    for key, posterior in posteriors.items()
                }
                own = next(iter(drawn.values()))
                fits = {}
                for key, part in drawn.items():
                    train = own.part(rest) if part is own else part
                    fits[key] = Fit(train, own.part(held), number, self.seed)
                x = tested if values == "samples" else tested.mean
                curve = code.name not in CONTROLS
                yield _Task(code.name, values, Codes(fits, Drawn(x, test_labels), curve))

    def _parts(self, data: GroupedData) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices of the held-out observations and of the rest, in random order."""
        noise = seeded(torch.Generator(data.device), self.seed, "held-out codes")
        order = torch.randperm(len(data), generator=noise, device=data.device)
        number = max(1, int(HELD * len(data)))
        return order[:number], order[number:]


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


def _table(found: dict[tuple[str, str], Strongest], labels: dict[str, str]) -> Table:
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
        "Information about the group in a code of one observation, at least, and accuracy, by the "
        "strongest probe; ± standard error over test codes.",
        ["code", "bits", "accuracy in percent", "probe", "trained on"],
        rows,
    )


def _curves(found: dict[tuple[str, str], Strongest], labels: dict[str, str]) -> Figure:
    series: dict[str, Curve] = {
        _label(*key, labels, found): {float(n): Estimate(bits, 0.0) for n, bits in result.curve}
        for key, result in found.items()
        if result.curve
    }
    return curves(
        "leakage",
        "Bits found by the MLP that was trained on n codes. A curve that still rises at "
        "its end has not found all information.",
        {"bits found": series},
        x_label="n, number of training codes",
    )
