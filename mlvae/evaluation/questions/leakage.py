r"""Question: how much information about the group has a single code, by the strongest probe?

Separation compares codes at several k by fixed probes. A fixed probe finds a part of the
information. Here several kinds of probes, with new posterior draws in every epoch, are trained on
codes of all observations that may be used, and their mixture, whose weights are fitted on
held-out codes, is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from mlvae.errors import check_choice, check_texts
from mlvae.evaluation.answer import Answer, not_evaluated
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.kinds import PROBES
from mlvae.evaluation.measures.leakage.networks import MOST_PADDED, Fit
from mlvae.evaluation.measures.leakage.strongest import Codes, Strongest, strongest_of_each
from mlvae.evaluation.measures.leakage.targets import Target, target_of, tested_split
from mlvae.evaluation.options import check_question
from mlvae.evaluation.questions.leakage_answer import (
    curve_figure,
    leakage_matrix,
    leakage_table,
    limits_of,
    mixture_of,
    protocol,
    record,
    sentences,
    trained_on,
)
from mlvae.evaluation.subject import CONTROLS, Code, Subject
from mlvae.parts import take_lists
from mlvae.training.seeding import seeded

__all__ = ["Leakage"]

#: Codes that are not the model's.
LEAKAGE_CONTROLS = ("vae", "untrained", "raw")

#: Splits whose observations are tested.
TESTED = ("test", "unseen")

#: Fraction of the codes that is held out to weight the probes.
HELD = 0.2


@dataclass(frozen=True)
class Leakage:
    """The question and its options.

    Probes are trained on codes of the validation split, which the model was not trained on, and
    also on codes of the training split, which are more. A fifth of the validation codes is held
    out to weight the probes. Without a validation split that has all groups, the training split is
    divided instead. Groups that no split of the training has, such as those of the split
    ``unseen``, are divided themselves: probes are trained on seven tenths of the observations of
    each group with at least three, and tested on the others. PLDA then also learns from the groups
    of the training.

    Args:
        probes: kinds of probes: "logistic", "mlp", "large_mlp", "knn", "plda", "trees". Of several
            kinds, their mixture is tested.
        factors: names of known factors that are labels too, such as a category; all groupings of
            the data are labels.
        controls: codes beside those of the model: "vae", "untrained", "raw".
        split: the tested split, "test" or "unseen"; None: "test" if the data have it.
        seed: seed of the held-out codes, the draws and the probes.
    """

    probes: tuple[str, ...] = PROBES
    factors: tuple[str, ...] = ()
    controls: tuple[str, ...] = LEAKAGE_CONTROLS
    split: str | None = None
    seed: int = 0

    title: ClassVar[str] = "How much information about the group has a single code at least?"

    def __post_init__(self) -> None:
        choices = {"probes": PROBES, "split": TESTED}
        check_question(self, "probes", minimum={"seed": 0}, choices=choices)
        take_lists(self, "evaluation.leakage", "factors", "controls")
        check_texts("evaluation.leakage.factors", self.factors)
        for name in self.controls:
            check_choice("evaluation.leakage.controls", name, LEAKAGE_CONTROLS)

    def ask(self, subject: Subject) -> Answer:
        """Find the strongest probe of every code for every label."""
        found_split = tested_split(subject.splits, self.split)
        if found_split is None:
            lacks = {
                None: "neither a test split nor groups outside the training data",
                "test": "no test split, and evaluation.leakage.split is test",
                "unseen": (
                    "no groups outside the training data, and evaluation.leakage.split is unseen"
                ),
            }
            return not_evaluated(self.title, f"this dataset has {lacks[self.split]}")
        test = found_split[1]
        codes = [
            code
            for code in subject.codes()
            if code.name not in CONTROLS or code.name in self.controls
        ]
        labels = {code.name: code.label for code in codes}
        answers: dict[str, dict[tuple[str, str], Strongest]] = {}
        targets: dict[str, Target] = {}
        reasons, text, records, tables, figures = [], [], [], [], []
        several = len(test.groupings) + len(self.factors) > 1
        for name in [*test.groupings, *self.factors]:
            target = target_of(subject.splits, name, self.seed, self.split)
            if isinstance(target, str):
                reasons.append(target)
                continue
            targets[name] = target
            found = answers[name] = self._found(codes, target, subject)
            head = {"grouping": name, "tested_on": target.split}
            records += [{**head, **record(*key, each)} for key, each in found.items()]
            what = name if several else "the group"
            words = sentences(found, labels)
            text += [f"{name}: {word}" for word in words] if several else words
            tables.append(leakage_table(found, labels, what))
            figures.append(
                curve_figure(found, labels, f"leakage_{name}" if several else "leakage")
            )
        if not answers:
            return not_evaluated(self.title, reasons[0])
        if len(answers) > 1:
            tables.insert(0, leakage_matrix(answers, labels))
        text += [f"No matrix entry: {reason}." for reason in reasons]
        limits = "".join(
            dict.fromkeys(
                sentence(found)
                for sentence in (limits_of, mixture_of)
                for found in answers.values()
            )
        )
        trained = dict.fromkeys(trained_on(target) for target in targets.values())
        text.append(protocol(trained, limits))
        return Answer(self.title, text, {"records": records}, tables, figures)

    def _found(
        self,
        codes: Sequence[Code],
        target: Target,
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

    def _tasks(self, codes: Sequence[Code], subject: Subject, target: Target) -> Iterator[_Task]:
        first = next(iter(target.sources))
        held, rest = self._parts(target.labels[first], target.rows[first])
        for code in _longest_first(codes):
            posteriors = {key: subject.encoded(code, data) for key, data in target.sources.items()}
            tested = subject.encoded(code, target.test)
            others = target.others
            beside = None if others is None else subject.encoded(code, others.data, others.rows)
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
                known = None
                if others is not None and beside is not None:
                    known = Drawn(beside if values == "samples" else beside.mean, others.labels)
                fits = {}
                for key, part in drawn.items():
                    train = own.part(rest) if part is own else part
                    fits[key] = Fit(train, own.part(held), target.number, self.seed, known)
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
