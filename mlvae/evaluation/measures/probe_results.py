"""The results of probes as text, tables and curves of the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlvae.evaluation.answer import Estimate, Figure, Table
from mlvae.evaluation.charts import curves
from mlvae.evaluation.measures.leakage.kinds import PROBE_NAMES
from mlvae.evaluation.subject import CONTROLS

__all__ = ["ProbeResults"]

#: Quantities: name with unit, number of digits, and the factor to the unit.
QUANTITIES = {
    "accuracy": ("Accuracy in percent", 1, 100),
    "conditional_entropy_bits": ("Upper bound of H(label | code) in bits", 3, 1),
}


@dataclass(frozen=True)
class ProbeResults:
    """Presentation of the records of a :class:`~mlvae.evaluation.measures.probe_grid.ProbeGrid`.

    Args:
        records: records of the grid.
        labels: labels of the codes, by name.
        ks: numbers of observations accumulated to a test code.
        train_k: K of the paper's protocol.
        probes: kinds of probe. Text and curves present the first kind only.
        seeds: number of repetitions.
    """

    records: list[dict[str, Any]]
    labels: dict[str, str]
    ks: Sequence[int]
    train_k: int
    probes: Sequence[str]
    seeds: int

    @property
    def errors(self) -> str:
        """The words for the errors in a table."""
        seeds = f" ± over {self.seeds} seeds" if self.seeds > 1 else ""
        return f"± standard error over test codes{seeds}"

    @property
    def sampled(self) -> set[str]:
        """Names of the codes with samples that differ from the means."""
        return {record["code"] for record in self.records if record["values"] == "samples"}

    @property
    def without_code(self) -> dict[str, dict[float, float]]:
        """Chance accuracy and H(label), by quantity and k.

        They depend on k, because groups of different sizes give different numbers of sets.
        """
        return {
            quantity: {record["test_k"]: record[key] for record in self.records}
            for quantity, key in (
                ("accuracy", "chance_accuracy"),
                ("conditional_entropy_bits", "label_entropy_bits"),
            )
        }

    def accuracies(self, code: str, k: int) -> dict[str, Estimate]:
        """Accuracy by values, samples or means, of the first kind of probe at the same k."""
        return {
            record["values"]: record["accuracy"]
            for record in self.records
            if (record["code"], record["probe"]) == (code, self.probes[0])
            and record["train_k"] == record["test_k"] == k
        }

    def words(self) -> list[str]:
        """Paragraphs with the accuracy of the first kind of probe."""
        probe, low, high = PROBE_NAMES[self.probes[0]], self.ks[0], self.ks[-1]
        texts = []
        for code in [code for code in self.labels if code not in CONTROLS]:
            found = [
                f"{accuracy.text(1, scale=100)} percent from posterior {values}"
                for values, accuracy in self.accuracies(code, low).items()
            ]
            texts.append(
                f"Accuracy of the {probe} probe at k = {low} from {code} codes: "
                f"{', '.join(found)}."
            )
        if "untrained" in self.labels and high > low:
            texts.append(self._warning(low, high))
        return texts

    def _warning(self, low: int, high: int) -> str:
        """The effect of accumulation by label, measured with the untrained control."""
        single, pooled = (self.accuracies("untrained", k)["means"].mean for k in (low, high))
        text = (
            "Warning. For an untrained encoder of the same architecture, the accuracy from means "
            f"is {100 * single:.1f} percent at k = {low} and {100 * pooled:.1f} percent at "
            f"k = {high}."
        )
        if pooled - single > 0.05:
            text += (
                " Accumulation alone causes the increase: an average over many observations of "
                "one label identifies the label for any encoder. A high accuracy of codes "
                "accumulated by their true labels is therefore no evidence of learning. Use "
                "k = 1, and compare with the controls at every other k."
            )
        return text

    def tables(self) -> list[Table]:
        """Accuracy of all kinds at the smallest k; both quantities by k for both protocols.

        Protocols with the same records have one table.
        """
        paper = f"trained at K = {self.train_k} and tested at k up to K, the paper's protocol"
        protocols = {"trained and tested at the same k": "same_k"}
        if self._differ:
            protocols[paper] = "paper"
        tables = [
            self._by_k(f"{protocol} ({PROBE_NAMES[self.probes[0]]} probe)", key, quantity)
            for protocol, key in protocols.items()
            for quantity in QUANTITIES
        ]
        if len(self.probes) == 1:
            return tables
        # At a single k the table by probe has all accuracies.
        return [self._by_probe(), *(tables if len(self.ks) > 1 else tables[1:])]

    @property
    def _differ(self) -> bool:
        """Whether the paper's protocol has other records than the same k has."""
        return any(record["paper"] != record["same_k"] for record in self.records)

    def _by_k(self, protocol: str, key: str, quantity: str) -> Table:
        unit, digits, scale = QUANTITIES[quantity]
        chosen = [r for r in self.records if r["probe"] == self.probes[0] and r[key]]
        ks = sorted({record["test_k"] for record in chosen})
        without_code = self.without_code[quantity]
        rows = [
            *self._rows(chosen, "test_k", ks, quantity),
            ["no code", *[f"{scale * without_code[k]:.{digits}f}" for k in ks]],
        ]
        caption = f"{unit}, {protocol}; {self.errors}."
        return Table(caption, ["code", *[f"k = {k}" for k in ks]], rows)

    def _by_probe(self) -> Table:
        low = self.ks[0]
        chosen = [r for r in self.records if r["train_k"] == r["test_k"] == low]
        return Table(
            f"Accuracy in percent at k = {low} by probe; {self.errors}.",
            ["code", *[PROBE_NAMES[probe] for probe in self.probes]],
            self._rows(chosen, "probe", self.probes, "accuracy"),
        )

    def _rows(
        self, records: list[dict], column: str, columns: Sequence, quantity: str
    ) -> list[list[str]]:
        """One row for each code and its values: the label, then a cell for each of ``columns``."""
        _, digits, scale = QUANTITIES[quantity]
        cells: dict[str, dict] = {}
        for record in records:
            label = self.labels[record["code"]]
            if record["code"] in self.sampled:
                label += f", {record['values']}"
            cells.setdefault(label, {})[record[column]] = record[quantity]
        return [
            [label, *[row[key].text(digits, scale=scale) if key in row else "" for key in columns]]
            for label, row in cells.items()
        ]

    def figures(self) -> list[Figure]:
        """Curves of both quantities over k, from samples and from means; none for a single k."""
        if len(self.ks) == 1:
            return []
        return [self._curves("samples"), self._curves("means")]

    def _curves(self, values: str) -> Figure:
        probe = self.probes[0]
        panels: dict[str, dict[str, dict[float, Estimate]]] = {
            "accuracy": {},
            "H(label | code), bits": {},
        }
        for record in self.records:
            shown = record["values"] == values or record["code"] not in self.sampled
            if not (shown and record["same_k"] and record["probe"] == probe):
                continue
            label = self.labels[record["code"]]
            for panel, quantity in zip(panels.values(), QUANTITIES, strict=True):
                most = math.inf if quantity == "accuracy" else record["label_entropy_bits"]
                found = record[quantity]
                value = found._replace(mean=min(found.mean, most))
                panel.setdefault(label, {})[record["test_k"]] = value
        return curves(
            f"separation_{values}",
            f"Accuracy, and upper bound of H(label | code) in bits, of the {PROBE_NAMES[probe]} "
            f"probe trained and tested on codes (posterior {values}) accumulated over k "
            "observations; mean over seeds. Bars: standard error over test codes and seeds. Grey "
            "lines: values without any code. H(label | code) is at most H(label), so larger "
            "bounds are drawn at H(label); the tables have their values.",
            panels,
            x_label="k, number of observations per code",
            lines={
                "accuracy": {"most frequent group": self.without_code["accuracy"]},
                "H(label | code), bits": {
                    "H(label)": self.without_code["conditional_entropy_bits"]
                },
            },
        )
