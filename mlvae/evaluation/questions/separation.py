r"""Question: is the content informative about the group, and the style not?

Probes predict the group label from codes accumulated over k observations, for every k of a list.
Controls are measured in the same way. An accuracy has no meaning without its k and without
controls: averages over many images of a class identify the class, whatever is averaged.

The probes are those of the question ``leakage``, which has more of them for k = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlvae.data import GroupedData
from mlvae.errors import InputError
from mlvae.evaluation.answer import Answer, not_evaluated
from mlvae.evaluation.measures.leakage.kinds import PROBES
from mlvae.evaluation.measures.leakage.scores import entropy
from mlvae.evaluation.measures.leakage.testing import DRAWS
from mlvae.evaluation.measures.probe_grid import GridCode, ProbeGrid
from mlvae.evaluation.measures.probe_results import ProbeResults
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Code, Subject

__all__ = ["Separation"]

DEFAULT_K = (1, 2, 5, 10)


@dataclass(frozen=True)
class Separation:
    """The question and its options.

    There are two protocols, both on disjoint explicit sets of observations. In the first, probes
    are trained and tested on codes of the same k. In the second, the paper's, probes are trained
    on codes of K observations and tested on codes of k <= K observations.

    Args:
        k: numbers of observations accumulated to a code. None takes all of 1, 2, 5 and 10 up to
            the size of the smallest group.
        train_k: K of the paper's protocol; None is the largest k up to 10.
        probes: kinds of probe: "mlp", "logistic", "large_mlp", "knn", "plda", "trees". The first
            kind is trained at every k, the others at the smallest k only.
        seeds: number of repetitions, each with separate sets, draws and probes.
    """

    k: tuple[int, ...] | None = None
    train_k: int | None = None
    probes: tuple[str, ...] = ("mlp", "logistic")
    seeds: int = 2

    title: ClassVar[str] = "Is the content informative about the group, and the style not?"

    def __post_init__(self) -> None:
        minimum = {"k": 1, "train_k": 1, "seeds": 1}
        check_question(self, "k", "probes", minimum=minimum, choices={"probes": PROBES})

    def ask(self, subject: Subject) -> Answer:
        """Train and test all probes.

        Raises:
            InputError: if a k exceeds a group, or the test split has one group only.
        """
        test = subject.splits.test
        if test is None:
            return not_evaluated(self.title, "this dataset has no test split")
        name, train = subject.held_out()
        if not set(test.group_names) <= set(train.group_names):
            return not_evaluated(self.title, "the test split has groups that no other split has")
        if len(test.group_names) < 2:
            reason = "a probe needs at least two groups, and the test split has only "
            return not_evaluated(self.title, f"{reason}{test.group_names[0]!r}")
        ks, train_k = self._sizes(name, train, test)
        codes = subject.codes()
        grid = ProbeGrid(train, test, ks, train_k, self.probes, self.seeds)
        result = ProbeResults(
            records=grid.records(
                [_encoded(subject, code, train, test) for code in codes],
                workers=subject.workers,
                progress=subject.progress,
            ),
            labels={code.name: code.label for code in codes},
            ks=ks,
            train_k=train_k,
            probes=self.probes,
            seeds=self.seeds,
        )
        label_entropy = entropy(test.groups.index)
        chance = float(test.groups.sizes.max()) / len(test)
        kind = "images" if len(train.shape) == 3 else "observations"
        protocol = f"Probes were trained on codes of the {len(train):,} {kind} of the {name} split"
        if name == "train":
            protocol += " (the model was trained on them: no validation split has these groups)"
        protocol += (
            f" and tested on the {len(test):,} {kind} of the test split. H(label) is "
            f"{label_entropy:.3f} bits. Chance, the frequency of the most frequent group, is "
            f"{100 * chance:.1f} percent. Posteriors were drawn anew in every epoch, and "
            f"{DRAWS} times for the test. A tenth of the sets was held out to choose the weights."
        )
        if len(train.groupings) > 1:
            protocol += f" The groups are those of {train.grouping}."
        for k in grid.without_held_out():
            protocol += (
                f" At k = {k} no set could be held out, because no group has {2 * k} "
                "observations: the training sets chose the weights."
            )
        metrics = {
            "label_entropy_bits": label_entropy,
            "chance_accuracy": chance,
            "probes_trained_on": name,
            "train_k": train_k,
            "records": result.records,
        }
        text = [*result.words(), protocol]
        return Answer(self.title, text, metrics, result.tables(), result.figures())

    def _sizes(
        self, name: str, train: GroupedData, test: GroupedData
    ) -> tuple[tuple[int, ...], int]:
        """All k, and K, checked against the smallest group."""
        limit, split = min(
            (int(data.groups.sizes.min()), split)
            for split, data in (("test", test), (name, train))
        )
        ks = tuple(sorted(set(self.k or [k for k in DEFAULT_K if k <= limit])))
        train_k = self.train_k or max([k for k in ks if k <= 10], default=ks[0])
        if max(*ks, train_k) > limit:
            raise InputError(
                f"k={max(*ks, train_k)} must not exceed the size of the smallest group, {limit} "
                f"in the {split} split; set evaluation.separation.k to a list of smaller numbers"
            )
        return ks, train_k


def _encoded(subject: Subject, code: Code, train: GroupedData, test: GroupedData) -> GridCode:
    """The code of both parts; that of a control without variances is fixed."""
    parts = [subject.encoded(code, data) for data in (train, test)]
    if code.random or code.accumulation is not None:
        return GridCode(code, *parts)
    return GridCode(code, *[part.mean for part in parts])
