"""The model card of a shared model: README.md with the figures of its evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mlvae.models.protocol import traits
from mlvae.version import __version__

__all__ = ["card"]

#: What is in the bound of a split, with its words in the card.
BOUND = {
    "elbo_per_observation": "bound on log p(x), nats per observation",
    "elbo_per_group": "bound on log p(x), nats per group",
}

#: Columns of the table of accuracies.
HEAD = ("code", "values", "probe", "observations", "accuracy, percent", "chance")


def card(
    model: Any,
    name: str,
    metrics: Mapping[str, Any] | None,
    *,
    licence: str | None = None,
    graphs: bool = True,
) -> str:
    """The text of the card.

    Args:
        model: the model.
        name: "user/name" of the repository.
        metrics: content of metrics.json of the evaluation; None: the run was not evaluated.
        licence: licence of the model, as "mit"; None: none is stated.
        graphs: whether the repository has the graphs of :func:`mlvae.export`.
    """
    stated = traits(model)
    lines = [
        "---",
        "library_name: mlvae",
        "tags: [mlvae, variational-autoencoder, content-style]",
        *([f"license: {json.dumps(licence)}"] if licence else []),
        "---",
        "",
        f"# {name}",
        "",
        f"{type(model).__name__} for observations of shape {stated.shape}, trained by mlvae "
        f"{__version__}.",
        *_features(model),
        "",
        "```python",
        "import mlvae",
        "",
        f'model = mlvae.load("hf://{name}")',
        "```",
        "",
    ]
    if graphs:
        lines += [
            "`encoder.onnx` and `decoder.onnx` run without PyTorch. `mlvae.json` describes their "
            "inputs and outputs, and the sum that gives the posterior of a group.",
            "",
        ]
    lines += _measured(metrics)
    return "\n".join(lines).rstrip() + "\n"


def _features(model: Any) -> list[str]:
    """The columns of a table, and the labels of groups that the model knows."""
    lines: list[str] = []
    columns = getattr(model, "table_columns", None)
    if columns is not None:
        lines += ["", f"Features: {_few(columns.feature_names)}."]
    names = traits(model).group_names
    if names is not None:
        lines += ["", f"Groups that the model knows: {_few(list(names))}."]
    return lines


def _few(values: list, most: int = 20) -> str:
    some = ", ".join(f"`{' '.join(str(value).split())}`" for value in values[:most])
    return some + (f" and {len(values) - most:,} more" if len(values) > most else "")


def _measured(metrics: Mapping[str, Any] | None) -> list[str]:
    """The figures of an evaluation."""
    if metrics is None:
        return ["## Measured", "", "The model was shared without an evaluation.", ""]
    lines = ["## Measured", ""]
    for paragraph in metrics.get("verdict") or []:
        lines += [str(paragraph), ""]
    facts = {key: value for key, value in metrics.get("facts", {}).items() if key != "run"}
    lines += [*_table(("fact", "value"), facts.items()), ""] if facts else []
    accuracies = list(_accuracies(metrics.get("separation")))
    if accuracies:
        lines += ["The group, predicted from the codes of test observations:", ""]
        lines += [*_table(HEAD, accuracies), ""]
    bounds = list(_bounds(metrics.get("likelihood")))
    lines += [*_table(("split", "quantity", "value"), bounds), ""] if bounds else []
    return lines


def _accuracies(separation: Any) -> Iterator[tuple]:
    """A row for each code, probe and number of observations."""
    records = separation.get("records", []) if isinstance(separation, Mapping) else []
    for record in records:
        accuracy = record.get("accuracy")
        if isinstance(accuracy, Mapping) and record.get("same_k", True):
            yield (
                record.get("code"),
                record.get("values"),
                record.get("probe"),
                record.get("test_k"),
                _percent(accuracy),
                f"{100 * record['chance_accuracy']:.1f}" if "chance_accuracy" in record else "",
            )


def _bounds(likelihood: Any) -> Iterator[tuple]:
    bounds = likelihood.get("bound") if isinstance(likelihood, Mapping) else None
    for split, values in (bounds or {}).items():
        for key, words in BOUND.items():
            if isinstance(values, Mapping) and isinstance(values.get(key), int | float):
                yield split, words, f"{values[key]:.2f}"


def _percent(estimate: Mapping[str, Any]) -> str:
    """An accuracy with the error over repetitions and over test observations."""
    errors = [estimate.get(name) for name in ("standard_error", "sampling_error")]
    known = [error for error in errors if isinstance(error, int | float)]
    error = f" ± {100 * math.hypot(*known):.1f}" if known else ""
    return f"{100 * estimate['mean']:.1f}{error}"


def _table(head: tuple, rows: Any) -> list[str]:
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def _cell(value: object) -> str:
    """A value in one cell: one line, without a mark that ends the cell."""
    return " ".join(str(value).split()).replace("|", "\\|")
