r"""Is the content informative, and the style not?

The label of a group is read by probes from codes accumulated over k observations, for every k of a
list. Beside the model's codes stand controls, treated the same way: a figure without its k and
without controls says nothing, for averages over many images of a class tell the class, whatever
they are averages of.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_integer
from mlvae.evaluation.answer import Answer
from mlvae.evaluation.probe_grid import ProbeGrid
from mlvae.evaluation.probe_results import ProbeResults
from mlvae.evaluation.probes import PROBES, entropy
from mlvae.evaluation.subject import Subject
from mlvae.parts import take_lists

__all__ = ["Separation"]

DEFAULT_K = (1, 2, 3, 5, 10, 13)


@dataclass(frozen=True)
class Separation:
    """The question, and how it is asked.

    Two protocols, both on disjoint explicit sets of observations: a probe is trained and tested on
    codes of the same k; and, as in the paper, trained on codes of K and tested on those of k <= K.

    Args:
        k: observations accumulated to a code; None takes those of 1, 2, 3, 5, 10 and 13 that all
            groups have. (13 is about what a class gets when a batch of 128 images is pooled by
            ten labels, as is often done.)
        train_k: K of the paper's protocol; None is the largest k up to 10.
        probes: of "mlp", "logistic", "knn".
        seeds: repetitions, each with its own sets, draws and probe.
    """

    k: tuple[int, ...] | None = None
    train_k: int | None = None
    probes: tuple[str, ...] = PROBES
    seeds: int = 3

    def __post_init__(self) -> None:
        lists = ("probes",) if self.k is None else ("k", "probes")
        take_lists(self, "evaluation.separation", *lists)
        if self.k == () or not self.probes:
            raise InputError("evaluation.separation.k and probes must not be empty lists")
        for number in self.k or ():
            check_integer("evaluation.separation.k", number, minimum=1)
        if self.train_k is not None:
            check_integer("evaluation.separation.train_k", self.train_k, minimum=1)
        for kind in self.probes:
            check_choice("evaluation.separation.probes", kind, PROBES)
        check_integer("evaluation.separation.seeds", self.seeds, minimum=1)

    def ask(self, subject: Subject) -> Answer:
        """Train and test all probes.

        Raises:
            InputError: if a k exceeds a group, or the test split has one group only.
        """
        title = "Is the content informative, and the style not?"
        test = subject.splits.test
        if test is None:
            return Answer(title, ["Not asked: this dataset has no test split."])
        name, train = subject.held_out()
        if not set(test.group_names) <= set(train.group_names):
            return Answer(title, ["Not asked: the test split has groups that no other has."])
        if len(test.group_names) < 2:
            return Answer(
                title,
                [
                    "Not asked: a probe needs two groups to tell apart, and the test split has "
                    f"only {test.group_names[0]!r}."
                ],
            )
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
        ceiling = entropy(test.groups.index)
        chance = float(test.groups.sizes.max()) / len(test)
        how = (
            f"Probes were trained on codes of the {len(train):,} {name} images"
            if len(train.shape) == 3
            else f"Probes were trained on codes of the {len(train):,} {name} observations"
        )
        if name == "train":
            how += " (no validation split has these groups: the model was trained on them)"
        how += (
            f" and tested on the {len(test):,} of the test split. H(label) is "
            f"{ceiling:.3f} bits; always answering the most frequent group is right in "
            f"{100 * chance:.1f} percent."
        )
        metrics = {
            "label_entropy_bits": ceiling,
            "chance_accuracy": chance,
            "probes_trained_on": name,
            "train_k": train_k,
            "records": result.records,
        }
        return Answer(title, [*result.words(), how], metrics, result.tables(), result.figures())

    def _sizes(
        self, name: str, train: GroupedData, test: GroupedData
    ) -> tuple[tuple[int, ...], int]:
        """All k, and K, checked against the groups there are."""
        limit, split = min(
            (int(data.groups.sizes.min()), split)
            for split, data in (("test", test), (name, train))
        )
        ks = tuple(sorted(set(self.k or [k for k in DEFAULT_K if k <= limit])))
        train_k = self.train_k or max([k for k in ks if k <= 10], default=ks[0])
        if max(*ks, train_k) > limit:
            raise InputError(
                f"k={max(*ks, train_k)} must not exceed the smallest group, which has {limit} "
                f"members in the {split} split; set evaluation.separation.k to a list of smaller "
                "numbers"
            )
        return ks, train_k
