r"""Question: is the content informative about the group, and the style not?

Probes predict the group label from codes accumulated over k observations, for every k of a list.
Controls are measured in the same way. An accuracy has no meaning without its k and without
controls: averages over many images of a class identify the class, whatever is averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlvae.data import GroupedData
from mlvae.errors import InputError
from mlvae.evaluation.answer import Answer, not_evaluated
from mlvae.evaluation.measures.probe_grid import ProbeGrid
from mlvae.evaluation.measures.probe_results import ProbeResults
from mlvae.evaluation.measures.probes import PROBES, entropy
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject

__all__ = ["Separation"]

DEFAULT_K = (1, 2, 3, 5, 10, 13)


@dataclass(frozen=True)
class Separation:
    """The question and its options.

    There are two protocols, both on disjoint explicit sets of observations. In the first, probes
    are trained and tested on codes of the same k. In the second, the paper's, probes are trained
    on codes of K observations and tested on codes of k <= K observations.

    Args:
        k: numbers of observations accumulated to a code. None takes all of 1, 2, 3, 5, 10 and 13
            up to the size of the smallest group. (13 is about the number of images per class in a
            batch of 128 images of ten classes, a common way of pooling.)
        train_k: K of the paper's protocol; None is the largest k up to 10.
        probes: kinds of probe: "mlp", "logistic", "knn".
        seeds: number of repetitions, each with separate sets, draws and probes.
    """

    k: tuple[int, ...] | None = None
    train_k: int | None = None
    probes: tuple[str, ...] = PROBES
    seeds: int = 3

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
            records=grid.records(codes, workers=subject.workers, progress=subject.progress),
            labels={code.name: code.label for code in codes},
            ks=ks,
            train_k=train_k,
            probes=self.probes,
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
            f"{100 * chance:.1f} percent."
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
