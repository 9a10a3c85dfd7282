"""The numbers behind a page, run by run, in a JSON file beside it.

Runs are large and stay on the machine that made them. The numbers that a table takes from them are
few. With these numbers a page grows: a further variant or seed can be measured later, or on
another machine, and the page has all of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from mlvae.commands import tables
from mlvae.commands.cli import Config
from mlvae.commands.provenance import Results
from mlvae.data.collections.regular import read_regular
from mlvae.errors import InputError
from mlvae.training.files import replace_file

__all__ = ["keep", "kept"]

#: Largest size of a file in bytes.
MOST = 2**26


def keep(path: Path, table: Config, results: Results, *, fast: bool) -> None:
    """Write the numbers that a table takes from its runs, with six significant digits.

    Args:
        path: path of the JSON file.
        table: config of the table.
        results: metrics of the runs, by variant and seed.
        fast: whether the runs are those of the small version.
    """
    runs = [
        {
            "variant": variant,
            "seed": seed,
            "options": _options(variant, table, fast),
            "evaluated": metrics["facts"]["evaluated"],
            "values": {
                name: _rounded(tables.value(cell, metrics))
                for name, cell in _cells(variant, table).items()
            },
        }
        for (variant, seed), metrics in results.items()
    ]
    replace_file(path, (json.dumps({"runs": runs}, indent=1) + "\n").encode())


def kept(path: Path, table: Config, *, fast: bool) -> tuple[Results, list[str]]:
    """Read the numbers of a page that are those of the present table.

    Args:
        path: path of the JSON file; it may be missing.
        table: config of the table.
        fast: whether the page is that of the small version.

    Returns:
        Metrics by variant and seed, and a sentence on each run that was made with other options,
        or lacks a number that the table takes now.

    Raises:
        InputError: if the file is no such file.
    """
    if not path.exists():
        return {}, []
    found: Results = {}
    old = []
    try:
        for run in json.loads(read_regular(path, MOST))["runs"]:
            variant, seed, values = run["variant"], run["seed"], run["values"]
            fits = run["options"] == _options(variant, table, fast)
            if not fits or not _cells(variant, table).keys() <= values.keys():
                old.append(
                    f"seed {seed} of {variant} in {path} is of another version of the table"
                )
                continue
            facts = {"evaluated": str(run["evaluated"])}
            found[variant, int(seed)] = {"facts": facts, "values": values}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} must have the numbers of a page, as mlvae reproduce writes them: "
            f"{type(error).__name__} {error}. Delete it, and the page will have new runs only"
        ) from error
    return found, old


def _options(variant: str, table: Config, fast: bool) -> Config | None:
    """The options of the table that determine a run's numbers; None if it has no such variant."""
    if variant not in table["variants"]:
        return None
    small = table["fast"] if fast else {}
    return {
        "train": [*table["variants"][variant], *small.get("train", ())],
        "evaluation": [*table["evaluation"], *small.get("evaluation", ())],
    }


def _cells(variant: str, table: Config) -> dict[str, Config]:
    """The cells of a variant in panels, and the axes of its rows in figures, by their names."""
    cells = [
        {**panel["cells"], **row, **column}
        for panel in table["panels"]
        for row in panel["rows"].values()
        for column in panel["columns"].values()
    ]
    axes = [
        {**figure[axis], **(row or {})}
        for figure in table.get("figures", {}).values()
        for row in figure["rows"].values()
        for axis in "xy"
    ]
    return {
        tables.value_name(cell): cell
        for cell in (*cells, *axes)
        if tables.variant_of(cell, table) == variant
    }


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.6g}") if isinstance(value, float) else value
