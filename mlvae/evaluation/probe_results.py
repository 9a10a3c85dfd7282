"""What probes have found, in words, tables and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlvae.evaluation.answer import Estimate, Figure, Table
from mlvae.evaluation.charts import curves

__all__ = ["ProbeResults"]

PROBE_NAMES = {"mlp": "MLP", "logistic": "logistic regression", "knn": "nearest neighbours"}

#: What is measured: its name with its unit, the digits to show, and a factor.
QUANTITIES = {
    "accuracy": ("Accuracy in percent", 1, 100),
    "conditional_entropy_bits": ("Bound on H(label | code) in bits", 3, 1),
}


@dataclass(frozen=True)
class ProbeResults:
    """Records of a :class:`~mlvae.evaluation.probe_grid.ProbeGrid`, for people.

    Args:
        records: of the grid.
        labels: what the codes are called, by name.
        ks: observations accumulated to a test code.
        train_k: K of the paper's protocol.
        probes: kinds of probe; the first one is what words and curves speak of.
    """

    records: list[dict[str, object]]
    labels: dict[str, str]
    ks: Sequence[int]
    train_k: int
    probes: Sequence[str]

    @property
    def without_code(self) -> dict[str, dict[int, float]]:
        """What each quantity is without any code, by k: sets are fewer than observations."""
        return {
            quantity: {record["test_k"]: record[known] for record in self.records}
            for quantity, known in (
                ("accuracy", "chance_accuracy"),
                ("conditional_entropy_bits", "label_entropy_bits"),
            )
        }

    def find(self, **wanted: object) -> dict[str, object]:
        """The one record with these values."""
        (found,) = (
            record
            for record in self.records
            if all(record[key] == value for key, value in wanted.items())
        )
        return found

    def accuracy(self, code: str, k: int, values: str = "samples") -> str:
        """Accuracy with its unit, of probes trained and tested at k."""
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
        """Accuracy and entropy by k in both protocols; accuracy of all kinds at the smallest k."""
        papers = f"trained at K = {self.train_k} and tested at k up to K, the paper's protocol"
        protocols = {"trained and tested at the same k": "same_k", papers: "paper"}
        tables = [
            self._by_k(f"{protocol} ({PROBE_NAMES[self.probes[0]]} probe)", key, quantity)
            for protocol, key in protocols.items()
            for quantity in QUANTITIES
        ]
        return tables + ([self._by_probe()] if len(self.probes) > 1 else [])

    def _by_k(self, protocol: str, key: str, quantity: str) -> Table:
        unit, digits, scale = QUANTITIES[quantity]
        chosen = [r for r in self.records if r["probe"] == self.probes[0] and r[key]]
        ks = sorted({record["test_k"] for record in chosen})
        known = self.without_code[quantity]
        rows = [
            *self._rows(chosen, "test_k", ks, quantity),
            ["no code", *[f"{scale * known[k]:.{digits}f}" for k in ks]],
        ]
        return Table(f"{unit}, {protocol}.", ["code", *[f"k = {k}" for k in ks]], rows)

    def _by_probe(self) -> Table:
        low = self.ks[0]
        chosen = [r for r in self.records if r["train_k"] == r["test_k"] == low]
        return Table(
            f"Accuracy in percent at k = {low} by kind of probe.",
            ["code", *[PROBE_NAMES[probe] for probe in self.probes]],
            self._rows(chosen, "probe", self.probes, "accuracy"),
        )

    def _rows(
        self, records: list[dict], column: str, columns: Sequence, quantity: str
    ) -> list[list[str]]:
        """For each code and its values its label, then a cell for each of ``columns``."""
        _, digits, scale = QUANTITIES[quantity]
        cells: dict[str, dict] = {}
        for record in records:
            label = self.labels[record["code"]]
            if record["code"] != "raw":
                label += f", {record['values']}"
            cells.setdefault(label, {})[record[column]] = record[quantity]
        return [
            [label, *[of[key].text(digits, scale=scale) if key in of else "" for key in columns]]
            for label, of in cells.items()
        ]

    def figures(self) -> list[Figure]:
        """Accuracy and entropy against k, from samples and from means."""
        return [self._curves("samples"), self._curves("means")]

    def _curves(self, values: str) -> Figure:
        probe = self.probes[0]
        panels: dict[str, dict[str, dict[float, Estimate]]] = {
            "accuracy": {},
            "H(label | code), bits": {},
        }
        for record in self.records:
            shown = record["values"] == values or record["code"] == "raw"
            if not (shown and record["same_k"] and record["probe"] == probe):
                continue
            label = self.labels[record["code"]]
            for panel, quantity in zip(panels.values(), QUANTITIES, strict=True):
                panel.setdefault(label, {})[record["test_k"]] = record[quantity]
        return curves(
            f"separation_{values}",
            f"How much of the label is read from codes ({values} of posteriors) accumulated over "
            f"k observations, by the {PROBE_NAMES[probe]} probe trained and tested at the same k. "
            "Bars: standard error over probe seeds. Grey lines: what is reached without any code.",
            panels,
            x_label="k, observations accumulated to a code",
            lines={
                "accuracy": {"most frequent group": self.without_code["accuracy"]},
                "H(label | code), bits": {
                    "H(label)": self.without_code["conditional_entropy_bits"]
                },
            },
        )
