"""Tables of published experiments: read from configs, filled from the metrics of runs."""

from __future__ import annotations

import platform
from datetime import date

import torch
import yaml
from cli import CONFIGS
from omegaconf import OmegaConf

from mlvae.errors import InputError, check_choice
from mlvae.evaluation.answer import Estimate, estimate
from mlvae.version import __version__

__all__ = ["names", "read", "render"]

#: Keys of a cell that say what to take; all others must be equal in the record it is taken from.
TAKING = ("variant", "from", "take", "times", "digits")
Results = dict[tuple[str, int], dict]


def names() -> list[str]:
    """All tables there are."""
    return sorted(path.stem for path in (CONFIGS / "tables").glob("*.yaml"))


def read(name: str) -> dict:
    """The config of a table."""
    check_choice("table", name, [*names(), "all"])
    path = CONFIGS / "tables" / f"{name}.yaml"
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise InputError(
            f"{path} must be a YAML file, but line {line} cannot be read: {error.problem}"
        ) from error


def render(name: str, table: dict, results: Results, *, fast: bool) -> str:
    """The table as Markdown: mean and standard error over seeds, beside what is reported."""
    seeds = sorted({seed for _, seed in results})
    lines = [f"## {table['title']}", ""]
    if fast:
        lines += [f"**A small version, not the experiment itself: {table['fast']['note']}.**", ""]
    command = f"python scripts/reproduce.py table={name}" + (" fast=true" if fast else "")
    lines += [
        f"Mean ± standard error over {len(seeds)} seed{'s' * (len(seeds) > 1)} "
        f"({', '.join(map(str, seeds))}). mlvae {__version__}, PyTorch {torch.__version__}, "
        f"{_machine(results)}, {date.today()}: `{command}`",
        "",
    ]
    for panel in table["panels"]:
        lines += _panel(panel, table, results)
    return "\n".join(lines)


def _machine(results: Results) -> str:
    """Where the runs were evaluated."""
    machines = {found["facts"]["evaluated"].split(", ")[-1] for found in results.values()}
    return f"{' and '.join(sorted(machines))}, Python {platform.python_version()}"


def _panel(panel: dict, table: dict, results: Results) -> list[str]:
    columns = list(panel["columns"])
    reported = {(of["row"], of["column"]): of for of in panel.get("reported", ())}
    sources: list[str] = []
    lines = [
        f"{panel['title']}:",
        "",
        f"| | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row, of_row in panel["rows"].items():
        cells = []
        for column, of_column in panel["columns"].items():
            wanted = {
                "variant": next(iter(table["variants"])),
                **panel["cells"],
                **of_row,
                **of_column,
            }
            cell = _cell(wanted, results)
            if (row, column) in reported:
                sources.append(reported[row, column]["source"])
                cell += f" (reported: {reported[row, column]['value']} [{len(sources)}])"
            cells.append(cell)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    notes = [f"[{number}] {source}." for number, source in enumerate(sources, 1)]
    return [*lines, "", *notes, *[""] * bool(notes)]


def _cell(wanted: dict, results: Results) -> str:
    """One number over seeds; "-" where the experiment has none."""
    of_seeds = [
        _value(wanted, found)
        for (variant, _), found in results.items()
        if variant == wanted["variant"]
    ]
    if None in of_seeds:
        return "-"
    over_seeds: Estimate = estimate(of_seeds)
    return over_seeds.text(wanted.get("digits", 1), scale=wanted.get("times", 1))


def _value(wanted: dict, metrics: dict) -> float | None:
    """The number that a cell wants of one run, or None if the run was not asked for it."""
    found: object = metrics
    for key in wanted["from"].split("."):
        if key not in found:
            raise InputError(f"a table wants {wanted['from']}, but the evaluation has no {key}")
        found = found[key]
    if isinstance(found, list):
        conditions = {key: value for key, value in wanted.items() if key not in TAKING}
        matching = [record for record in found if conditions.items() <= record.items()]
        if len(matching) > 1:
            raise InputError(f"a table wants one record of {conditions}, but there are several")
        if not matching:
            return None
        found = matching[0]
    value = found[wanted["take"]]
    return value["mean"] if isinstance(value, dict) else value
