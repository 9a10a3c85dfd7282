r"""Is the content informative, and the style not?

The label of a group is read by probes from codes accumulated over k observations, for every k of a
list. Beside the model's codes stand controls, treated the same way: a figure without its k and
without controls says nothing, for averages over many images of a class tell the class, whatever
they are averages of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlvae.data import GroupedData
from mlvae.errors import InputError, check_choice, check_integer
from mlvae.evaluation.answer import Answer, Estimate, Figure, Table
from mlvae.evaluation.charts import curves
from mlvae.evaluation.probe_grid import ProbeGrid
from mlvae.evaluation.probes import PROBES, entropy
from mlvae.evaluation.subject import Subject

__all__ = ["Separation"]

DEFAULT_K = (1, 2, 3, 5, 10, 13)
PROBE_NAMES = {"mlp": "MLP", "logistic": "logistic regression", "knn": "nearest neighbours"}


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
            InputError: if a k exceeds a group, or the test split has one group only or one that
                the probes' training lacks.
        """
        title = "Is the content informative, and the style not?"
        test = subject.splits.test
        if test is None:
            return Answer(title, ["Not asked: this dataset has no test split."])
        name, train = subject.held_out()
        ks, train_k = self._sizes(name, train, test)
        codes = subject.codes()
        grid = ProbeGrid(train, test, ks, train_k, self.probes, self.seeds)
        result = _Result(
            records=grid.records(codes, workers=subject.workers, progress=subject.progress),
            labels={code.name: code.label for code in codes},
            ceiling=entropy(test.groups.index),
            chance=float(test.groups.sizes.max()) / len(test),
            ks=ks,
            train_k=train_k,
            probes=self.probes,
        )
        how = (
            f"Probes were trained on codes of the {len(train):,} {name} images"
            if len(train.shape) == 3
            else f"Probes were trained on codes of the {len(train):,} {name} observations"
        )
        if name == "train":
            how += " (no validation split has these groups: the model was trained on them)"
        how += (
            f" and tested on the {len(test):,} of the test split. H(label) is "
            f"{result.ceiling:.3f} bits; always answering the most frequent group is right in "
            f"{100 * result.chance:.1f} percent."
        )
        metrics = {
            "label_entropy_bits": result.ceiling,
            "chance_accuracy": result.chance,
            "probes_trained_on": name,
            "train_k": train_k,
            "records": result.records,
        }
        return Answer(title, [*result.words(), how], metrics, result.tables(), result.figures())

    def _sizes(
        self, name: str, train: GroupedData, test: GroupedData
    ) -> tuple[tuple[int, ...], int]:
        """All k, and K, checked against the groups there are."""
        if len(test.group_names) < 2:
            raise InputError(
                "a probe needs at least two groups to tell apart, but the test split has only "
                f"{test.group_names[0]!r}"
            )
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


@dataclass(frozen=True)
class _Result:
    """The records in words, tables and figures."""

    records: list[dict[str, object]]
    labels: dict[str, str]
    ceiling: float
    chance: float
    ks: Sequence[int]
    train_k: int
    probes: Sequence[str]

    def find(self, **wanted: object) -> dict[str, object]:
        """The one record with these values."""
        (found,) = (
            record
            for record in self.records
            if all(record[key] == value for key, value in wanted.items())
        )
        return found

    def accuracy(self, code: str, k: int, values: str = "samples") -> str:
        record = self.find(code=code, values=values, probe=self.probes[0], train_k=k, test_k=k)
        return record["accuracy"].text(1, scale=100) + " percent"

    def words(self) -> list[str]:
        """What the figures say, from the first kind of probe."""
        probe, low, high = PROBE_NAMES[self.probes[0]], self.ks[0], self.ks[-1]
        texts = []
        for code in [code for code in ("content", "style", "latent") if code in self.labels]:
            texts.append(
                f"From {code} codes of k = {low}, the label is read right by the {probe} probe in "
                f"{self.accuracy(code, low)} from posterior samples, "
                f"{self.accuracy(code, low, 'means')} from means."
            )
        if "untrained" in self.labels and high > low:
            texts.append(self._warning(low, high))
        return texts

    def _warning(self, low: int, high: int) -> str:
        """What the untrained control tells about pooling by label."""
        alone, pooled = (
            self.find(code="untrained", values="means", probe=self.probes[0], train_k=k, test_k=k)[
                "accuracy"
            ].mean
            for k in (low, high)
        )
        text = (
            "A warning. An encoder of the same architecture that was never trained gives the "
            f"label away in {100 * pooled:.1f} percent when its code (mean) is pooled over "
            f"k = {high} observations of one label, and in {100 * alone:.1f} percent at "
            f"k = {low}."
        )
        if pooled - alone > 0.05:
            text += (
                " What it gains comes from the pooling alone: an average over many observations "
                "of a class tells the class whatever is averaged. So a figure from codes pooled "
                "by their true labels is no evidence that anything was learned; read k = 1, and "
                "at every other k the distance from the controls."
            )
        return text

    def tables(self) -> list[Table]:
        """Accuracy and entropy by k for the first kind of probe; all kinds at the smallest k."""
        kind = self.probes[0]
        tables = []
        for protocol, wanted in (
            (f"trained and tested at the same k ({PROBE_NAMES[kind]} probe)", {"same_k": True}),
            (
                f"trained at K = {self.train_k} and tested at k up to K, the paper's protocol "
                f"({PROBE_NAMES[kind]} probe)",
                {"paper": True},
            ),
        ):
            for quantity, unit, digits, scale in (
                ("accuracy", "Accuracy in percent", 1, 100),
                ("conditional_entropy_bits", "Bound on H(label | code) in bits", 3, 1),
            ):
                chosen = [
                    r for r in self.records if r["probe"] == kind and wanted.items() <= r.items()
                ]
                ks = sorted({record["test_k"] for record in chosen})
                rows = [
                    [label, *cells]
                    for label, cells in self._rows(chosen, "test_k", ks, quantity, digits, scale)
                ]
                ceiling = self.chance if quantity == "accuracy" else self.ceiling
                rows.append(["no code", *[f"{scale * ceiling:.{digits}f}"] * len(ks)])
                tables.append(
                    Table(f"{unit}, {protocol}.", ["code", *[f"k = {k}" for k in ks]], rows)
                )
        low = [r for r in self.records if r["train_k"] == r["test_k"] == self.ks[0]]
        if len(self.probes) > 1:
            rows = self._rows(low, "probe", self.probes, "accuracy", 1, 100)
            tables.append(
                Table(
                    f"Accuracy in percent at k = {self.ks[0]} by kind of probe.",
                    ["code", *[PROBE_NAMES[probe] for probe in self.probes]],
                    [[label, *cells] for label, cells in rows],
                )
            )
        return tables

    def _rows(
        self,
        records: list[dict],
        column: str,
        columns: Sequence,
        quantity: str,
        digits: int,
        scale: float,
    ) -> list[tuple[str, list[str]]]:
        """By label of a code and its values, one cell for each of ``columns``."""
        cells: dict[str, dict] = {}
        for record in records:
            label = self.labels[record["code"]]
            if record["code"] != "raw":
                label += f", {record['values']}"
            cells.setdefault(label, {})[record[column]] = record[quantity]
        return [
            (label, [of[key].text(digits, scale=scale) if key in of else "" for key in columns])
            for label, of in cells.items()
        ]

    def figures(self) -> list[Figure]:
        """Accuracy and entropy against k, from samples and from means."""
        figures = []
        for values in ("samples", "means"):
            panels: dict[str, dict[str, dict[float, Estimate]]] = {
                "accuracy": {},
                "H(label | code), bits": {},
            }
            for record in self.records:
                shown = record["values"] == values or record["code"] == "raw"
                if not (shown and record["same_k"] and record["probe"] == self.probes[0]):
                    continue
                label = self.labels[record["code"]]
                for panel, quantity in zip(
                    panels.values(), ("accuracy", "conditional_entropy_bits"), strict=True
                ):
                    panel.setdefault(label, {})[record["test_k"]] = record[quantity]
            caption = (
                f"How much of the label is read from codes ({values} of posteriors) accumulated "
                f"over k observations, by the {PROBE_NAMES[self.probes[0]]} probe trained and "
                "tested at the same k. Bars: standard error over probe seeds. Grey lines: what "
                "is reached without any code."
            )
            figures.append(
                curves(
                    f"separation_{values}",
                    caption,
                    panels,
                    x_label="k, observations accumulated to a code",
                    lines={
                        "accuracy": {"most frequent group": self.chance},
                        "H(label | code), bits": {"H(label)": self.ceiling},
                    },
                )
            )
        return figures
