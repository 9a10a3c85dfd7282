"""Tables of published experiments: read from configs, filled from the metrics of runs."""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path

import torch
import yaml
from cli import CONFIGS
from omegaconf import DictConfig, OmegaConf
from table_checks import checked

from mlvae.errors import InputError, check_choice
from mlvae.evaluation.answer import Estimate, estimate
from mlvae.version import __version__

__all__ = ["Results", "measured", "names", "read", "render"]

#: Keys of a cell or an axis that say what to take and how to show it; all others must be equal in
#: the record it is taken from.
TAKING = ("variant", "from", "take", "times", "digits", "label", "better")

#: The metrics of a run by its variant and seed.
Results = dict[tuple[str, int], dict]


def names() -> list[str]:
    """All tables there are."""
    return sorted(path.stem for path in (CONFIGS / "tables").glob("*.yaml"))


def read(name: str) -> dict:
    """The config of a table: one of :func:`names`, or a file of yours.

    One that is ``of`` another has all that the other has, with its own keys in their place. What
    stands in ``with`` is appended to what every variant trains and is evaluated with.

    Raises:
        InputError: if there is no such table, or it lacks what a table has.
    """
    config = OmegaConf.to_container(_config(name), resolve=True)
    checked(config, name)
    return config


def _config(name: str) -> DictConfig:
    table = _loaded(name)
    more = table.pop("with", {})
    if "of" in table:
        table = OmegaConf.merge(_config(table.pop("of")), table)
    if not more:
        return table
    checked(OmegaConf.to_container(table, resolve=True), name)
    table.variants = {
        variant: [*overrides, *more.get("train", ())]
        for variant, overrides in table.variants.items()
    }
    table.evaluation = [*table.evaluation, *more.get("evaluation", ())]
    return table


def _loaded(name: str) -> DictConfig:
    path = Path(name).expanduser()
    if path.suffix != ".yaml":
        check_choice("table", name, [*names(), "all", "a .yaml file"])
        path = CONFIGS / "tables" / f"{name}.yaml"
    try:
        table = OmegaConf.load(path)
    except OSError as error:
        raise InputError(f"table={name} must be a file: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1
        raise InputError(
            f"{path} must be a YAML file, but line {line} cannot be read: {error.problem}"
        ) from error
    if not isinstance(table, DictConfig):
        raise InputError(f"{path} must be a table, a mapping of title, seeds and so on")
    return table


def render(name: str, table: dict, results: Results, *, fast: bool) -> str:
    """The table as Markdown: mean and standard error over seeds, beside what is reported.

    A column without a number, of what no run was asked for, is left out; of a panel without one
    it is said. Figures are named as they lie beside it.
    """
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
    for figure, of in table.get("figures", {}).items():
        lines += [f"![{of['title']}]({figure}.png)", "", f"{of['title']}.", ""]
    return "\n".join(lines)


def _machine(results: Results) -> str:
    """Where the runs were evaluated."""
    machines = {found["facts"]["evaluated"].split(", ")[-1] for found in results.values()}
    return f"{' and '.join(sorted(machines))}, Python {platform.python_version()}"


def _panel(panel: dict, table: dict, results: Results) -> list[str]:
    wanted = {
        (row, column): {**panel["cells"], **of_row, **of_column}
        for row, of_row in panel["rows"].items()
        for column, of_column in panel["columns"].items()
    }
    found = {place: measured(of, table, results) for place, of in wanted.items()}
    reported = {(of["row"], of["column"]): of for of in panel.get("reported", ())}
    filled = {column for (_, column), value in found.items() if value is not None}
    columns = [column for column in panel["columns"] if column in filled]
    if not columns:
        return [f"{panel['title']}: no run has such numbers.", ""]
    sources: list[str] = []
    lines = [
        f"{panel['title']}:",
        "",
        f"| | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in panel["rows"]:
        cells = []
        for place in ((row, column) for column in columns):
            cell = _cell(wanted[place], found[place])
            if place in reported:
                cell += _as_reported(reported[place], sources)
            cells.append(cell)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    notes = [f"[{number}] {source}." for number, source in enumerate(sources, 1)]
    return [*lines, "", *notes, *[""] * bool(notes)]


def _cell(wanted: dict, over_seeds: Estimate | None) -> str:
    """One number; "-" where the experiment has none."""
    if over_seeds is None:
        return "-"
    return over_seeds.text(wanted.get("digits", 1), scale=wanted.get("times", 1))


def _as_reported(of: dict, sources: list[str]) -> str:
    """What was reported elsewhere, with the number of its source, which is noted once."""
    if of["source"] not in sources:
        sources.append(of["source"])
    return f" (reported: {of['value']} [{sources.index(of['source']) + 1}])"


def measured(wanted: dict, table: dict, results: Results) -> Estimate | None:
    """What a cell or an axis wants, over seeds; None where the runs were not asked for it."""
    wanted_of = wanted.get("variant", next(iter(table["variants"])))
    of_seeds = [
        _value(wanted, found) for (variant, _), found in results.items() if variant == wanted_of
    ]
    return None if None in of_seeds else estimate(of_seeds)


def _taken(found: object, take: str) -> object:
    if not isinstance(found, dict) or take not in found:
        has = ", ".join(found) if isinstance(found, dict) else repr(found)
        raise InputError(f"a table wants to take {take}, but what was measured has {has}")
    return found[take]


def _value(wanted: dict, metrics: dict) -> float | None:
    """The number that a cell wants of one run, or None if the run was not asked for it."""
    found: object = metrics
    for key in wanted["from"].split("."):
        if not isinstance(found, dict) or key not in found:
            raise InputError(f"a table wants {wanted['from']}, but the evaluation has no {key}")
        found = found[key]
    if isinstance(found, list):
        conditions = {key: value for key, value in wanted.items() if key not in TAKING}
        known = {key for record in found for key in record}
        for key in conditions if found else ():
            check_choice(f"a condition on {wanted['from']}", key, sorted(known))
        matching = [record for record in found if conditions.items() <= record.items()]
        if len(matching) > 1:
            raise InputError(f"a table wants one record of {conditions}, but there are several")
        if not matching:
            return None
        found = matching[0]
    value = _taken(found, wanted["take"])
    value = _taken(value, "mean") if isinstance(value, dict) else value
    if value is not None and not isinstance(value, int | float):
        raise InputError(f"a table wants a number as {wanted['take']}, not {value!r}")
    return value
