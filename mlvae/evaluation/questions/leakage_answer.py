"""The strongest probes of all codes in words, tables, a figure and records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlvae.evaluation.answer import Estimate, Figure, Table
from mlvae.evaluation.charts import Curve, curves
from mlvae.evaluation.measures.leakage.kinds import MOST_CODES, PROBE_NAMES
from mlvae.evaluation.measures.leakage.strongest import Strongest
from mlvae.evaluation.measures.leakage.targets import Target
from mlvae.evaluation.subject import CONTROLS

__all__ = [
    "curve_figure",
    "leakage_matrix",
    "leakage_table",
    "limits_of",
    "mixture_of",
    "protocol",
    "record",
    "sentences",
    "trained_on",
]

#: The strongest probe by code and values, samples or means.
Found = Mapping[tuple[str, str], Strongest]


def trained_on(target: Target) -> str:
    """A sentence on the observations that the probes of a label were trained and tested on."""
    number, split = f"{target.count('test'):,}", target.split
    if target.divided:
        trained = f"{sum(target.count(source) for source in target.sources):,}"
        return (
            f"Groups of the {split} split do not occur in training. So probes were trained on "
            f"codes of {trained} of its observations and tested on {number} others of the same "
            f"groups. {_of_others(target)}"
        )
    sources = " and on the ".join(
        f"{target.count(source):,} of the {source} split" for source in target.sources
    )
    return (
        f"Probes were trained on codes of single observations, on the {sources}, and tested on "
        f"the {number} of the {split} split. "
    )


def _of_others(target: Target) -> str:
    if target.others is None:
        return ""
    return (
        f"PLDA was also trained on codes of {len(target.others.rows):,} observations of the "
        "groups of the training. "
    )


def protocol(trained: Iterable[str], limits: str) -> str:
    """Sentences on the training of the probes; ``trained`` has those of :func:`trained_on`."""
    return (
        f"{''.join(trained)}Posteriors were drawn anew in every epoch. The probes of the bits and "
        "of the accuracy, and their training codes, were chosen on held-out codes. Kinds other "
        "than logistic regression and the MLP were trained on the better one of these parts. "
        f"{limits}Bits are H(label) minus the cross-entropy: a lower bound of the information."
    )


def mixture_of(found: Found) -> str:
    """A sentence on the mixtures, if a code has one."""
    if not any(result.weights for result in found.values()):
        return ""
    return (
        "A mixture is the weighted mean of the probabilities by several probes; its weights "
        "maximise the likelihood of the held-out codes. "
    )


def limits_of(found: Found) -> str:
    """A sentence on the kinds that were not trained on all codes of a part."""
    kinds = dict.fromkeys(
        kind
        for result in found.values()
        for (source, kind), number in result.trained.items()
        if number < result.trained[source, "none"]
    )
    return "".join(
        f"{_capital(PROBE_NAMES[kind])}: at most {MOST_CODES[kind]:,} codes, drawn at random. "
        for kind in kinds
    )


def _capital(name: str) -> str:
    """The name at the beginning of a sentence: PLDA is written as it is."""
    return name[0].upper() + name[1:]


def record(code: str, values: str, found: Strongest) -> dict[str, Any]:
    """The entry of ``metrics.json`` for samples or means of a code."""
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
        "mixture": [
            {"trained_on": source, "probe": kind, "weight": weight}
            for (source, kind), weight in found.weights.items()
        ],
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


def _probe(found: Strongest) -> str:
    """The name of the probe; a mixture with its largest weight, such as "mixture (0.7 MLP)"."""
    name = PROBE_NAMES[found.probe]
    if found.probe != "mixture":
        return name
    (_, kind), weight = max(found.weights.items(), key=lambda item: item[1])
    return f"{name} ({weight:.1f} {PROBE_NAMES[kind]})"


def _label(code: str, values: str, labels: dict[str, str], found: Found) -> str:
    return f"{labels[code]}, {values}" if (code, "samples") in found else labels[code]


def sentences(found: Found, labels: dict[str, str]) -> list[str]:
    """A sentence on each code of the model, and on curves that rise."""
    texts = []
    for (code, values), result in found.items():
        if code in CONTROLS:
            continue
        text = (
            f"{_label(code, values, labels, found)}: at least "
            f"{Estimate(result.bits, result.bits_error).text(2)} of {result.entropy:.2f} bits, "
            f"{Estimate(result.accuracy, result.accuracy_error).text(1, scale=100)} percent "
            f"({_probe(result)})."
        )
        if result.rises:
            text += " Twice as many training codes found more, so there is probably more."
        texts.append(text)
    return texts


def leakage_matrix(answers: Mapping[str, Found], labels: dict[str, str]) -> Table:
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


def leakage_table(found: Found, labels: dict[str, str], what: str) -> Table:
    """Bits and accuracy of each code by its strongest probe; ``what`` names the label."""
    rows = [
        [
            _label(code, values, labels, found),
            Estimate(result.bits, result.bits_error).text(3),
            Estimate(result.accuracy, result.accuracy_error).text(1, scale=100),
            _probe(result),
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


def curve_figure(found: Found, labels: dict[str, str], name: str) -> Figure:
    """The bits of each code of the model by the number of training codes."""
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
