"""Tables of published experiments: read from configs, filled with the metrics of runs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from mlvae.commands import cli
from mlvae.commands.configs import CONFIGS, choices
from mlvae.commands.provenance import Results, provenance
from mlvae.commands.table_checks import checked
from mlvae.data.collections.regular import read_regular
from mlvae.errors import InputError, check_choice, shown
from mlvae.evaluation.answer import Estimate, estimate

__all__ = [
    "Results",
    "measured",
    "names",
    "read",
    "render",
    "value",
    "value_name",
    "variant_of",
]

#: Keys of a cell or an axis that select and format a value. All other keys are conditions: a
#: record must have the same values.
SELECTION = ("variant", "from", "take", "times", "digits", "label", "better")

#: Bounds of a table's file: bytes, values with aliases expanded, and references ``${key}``.
MAX_BYTES, MAX_NODES, MAX_REFERENCES = 2**20, 20_000, 20


def names() -> list[str]:
    """Names of the tables in ``configs/tables``."""
    return choices("tables")


def read(name: str) -> cli.Config:
    """Read the config of a table.

    A table with the key ``of`` inherits from the table that ``of`` names; its own keys replace
    inherited ones. The overrides in ``with`` are appended to the training and to the evaluation of
    every variant.

    Args:
        name: one of :func:`names`, or the path of a YAML file.

    Raises:
        InputError: if there is no such table, or if a required key is missing.
    """
    config = _plain(_config(name), name)
    checked(config, name)
    return config


def _plain(table: DictConfig, name: str) -> cli.Config:
    """The table as plain values, in which ``${key}`` is the value of another key of the table.

    Raises:
        InputError: if a text has a resolver, as ``${oc.env:HOME}``, or there are many ``${key}``.
    """
    texts, rest = [], [cli.dict_of(table)]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest += [*value, *value.values()]
        elif isinstance(value, list):
            rest += value
        elif isinstance(value, str) and "${" in value:
            texts.append(value)
    for text in texts:
        if ":" in text[text.index("${") :]:
            raise InputError(
                f"table={name} may have ${{key}} with a key of the table, but no resolver: "
                f"{shown(text)}"
            )
    if sum(text.count("${") for text in texts) > MAX_REFERENCES:
        raise InputError(f"table={name} must have at most {MAX_REFERENCES} references ${{key}}")
    return cli.dict_of(table, resolve=True)


def _config(name: str, inherited: tuple[str, ...] = ()) -> DictConfig:
    """The table with inherited keys and with the overrides in ``with``."""
    if name in inherited:
        raise InputError(f"of: the table {name} must not inherit from itself")
    table = _loaded(name)
    more = table.pop("with", {})
    if "of" in table:
        table = OmegaConf.merge(_config(str(table.pop("of")), (*inherited, name)), table)
        assert isinstance(table, DictConfig)
    if not more:
        return table
    checked(_plain(table, name), name)
    table.variants = {
        variant: [*overrides, *more.get("train", ())]
        for variant, overrides in table.variants.items()
    }
    table.evaluation = [*table.evaluation, *more.get("evaluation", ())]
    return table


def _loaded(name: str) -> DictConfig:
    """The content of a table's file."""
    path = Path(name).expanduser()
    if path.suffix != ".yaml":
        check_choice("table", name, [*names(), "all", "a .yaml file"])
        path = CONFIGS / "tables" / f"{name}.yaml"
    try:
        content = read_regular(path, MAX_BYTES)
        _check_size(path, content)
        table = OmegaConf.load(io.StringIO(content.decode("utf-8-sig")))
    except OSError as error:
        raise InputError(f"table={name} must be a file: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else error.problem_mark.line + 1
        raise InputError(
            f"{path} must be a YAML file, but line {line} cannot be read: {error.problem}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} must be a YAML file: {error}") from error
    if not isinstance(table, DictConfig):
        raise InputError(f"{path} must be a table: a mapping with title, seeds and further keys")
    return table


def _check_size(path: Path, content: bytes) -> None:
    """Raise :class:`InputError` if a YAML file with its aliases expanded is too large."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node | None) -> int:
        """Number of nodes below; infinite for a node that contains itself."""
        if id(node) not in sizes:
            sizes[id(node)] = MAX_NODES + 1  # until it is counted
            children = node.value if isinstance(node, yaml.CollectionNode) else []
            if isinstance(node, yaml.MappingNode):
                children = [part for pair in children for part in pair]
            sizes[id(node)] = 1 + sum(size(child) for child in children)
        return sizes[id(node)]

    root = yaml.compose(content, Loader=yaml.SafeLoader)
    if size(root) > MAX_NODES:
        raise InputError(
            f"{path} must have at most {MAX_NODES:,} values, its aliases (*name) expanded"
        )


def render(name: str, table: cli.Config, results: Results, *, fast: bool) -> str:
    """The table as Markdown: mean and standard error over seeds, beside reported values.

    A column without a measured value is left out, and so is a row of a variant without a run. A
    panel without a measured value is replaced by a sentence. Figures are linked by file name,
    relative to the table.

    Args:
        name: name of the table, as on the command line.
        table: config of the table.
        results: metrics of the runs.
        fast: whether the runs are those of the small version.
    """
    lines = [f"## {table['title']}", ""]
    if fast:
        lines += [f"**A small version, not the experiment itself: {table['fast']['note']}.**", ""]
    lines += [provenance(name, table, results, fast=fast), ""]
    for panel in table["panels"]:
        lines += _panel(panel, table, results)
    for file, figure in table.get("figures", {}).items():
        lines += [f"![{figure['title']}]({file}.png)", "", f"{figure['title']}.", ""]
    return "\n".join(lines)


def _panel(panel: cli.Config, table: cli.Config, results: Results) -> list[str]:
    """Title, rows and sources of a panel, as lines of Markdown."""
    cells = {
        (row, column): {**panel["cells"], **row_keys, **column_keys}
        for row, row_keys in panel["rows"].items()
        for column, column_keys in panel["columns"].items()
    }
    values = {place: measured(cell, table, results) for place, cell in cells.items()}
    reported = {(entry["row"], entry["column"]): entry for entry in panel.get("reported", ())}
    filled = {column for (_, column), value in values.items() if value is not None}
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
    made = {variant for variant, _ in results}
    for row in panel["rows"]:
        keys = [cells[row, column] for column in columns]
        known = any((row, column) in reported for column in columns)
        if not known and not any(variant_of(cell, table) in made for cell in keys):
            continue
        texts = []
        for place in ((row, column) for column in columns):
            text = _cell(cells[place], values[place])
            if place in reported:
                text += _as_reported(reported[place], sources)
            texts.append(text)
        lines.append(f"| {row} | {' | '.join(texts)} |")
    notes = [f"[{number}] {source}." for number, source in enumerate(sources, 1)]
    return [*lines, "", *notes, *[""] * bool(notes)]


def _cell(cell: cli.Config, value: Estimate | None) -> str:
    """The text of a value; "-" if there is none."""
    if value is None:
        return "-"
    return value.text(cell.get("digits", 1), scale=cell.get("times", 1))


def _as_reported(entry: cli.Config, sources: list[str]) -> str:
    """The text of a reported value; its source is appended to ``sources`` if it is new."""
    if entry["source"] not in sources:
        sources.append(entry["source"])
    return f" (reported: {entry['value']} [{sources.index(entry['source']) + 1}])"


def measured(cell: cli.Config, table: cli.Config, results: Results) -> Estimate | None:
    """The value of a cell or an axis over seeds; None if a run lacks it."""
    variant = variant_of(cell, table)
    values = [value(cell, metrics) for (name, _), metrics in results.items() if name == variant]
    numbers = [number for number in values if number is not None]
    return estimate(numbers) if numbers and len(numbers) == len(values) else None


def variant_of(cell: cli.Config, table: cli.Config) -> str:
    """The variant of a cell; the first one by default."""
    return str(cell.get("variant", next(iter(table["variants"]))))


def _conditions(cell: cli.Config) -> cli.Config:
    """The keys of a cell that a record must have, with the same values."""
    return {key: value for key, value in cell.items() if key not in SELECTION}


def _taken(record: object, key: str) -> Any:
    """``record[key]``, or an :class:`InputError` that lists the keys."""
    if not isinstance(record, dict) or key not in record:
        content = ", ".join(record) if isinstance(record, dict) else repr(record)
        raise InputError(f"a table takes {key}, but the measured record has {content}")
    return record[key]


def value_name(cell: cli.Config) -> str:
    """The name of a cell's value among those of a run, as "q.records bits code=style"."""
    conditions = sorted(f"{key}={wanted}" for key, wanted in _conditions(cell).items())
    return " ".join([cell["from"], cell["take"], *conditions])


def value(cell: cli.Config, metrics: cli.Config) -> float | None:
    """The value of a cell in the metrics of one run; None if no record matches.

    Of a run that is not on this machine, ``metrics`` has the ``values`` that a page keeps.
    """
    if "values" in metrics:
        return metrics["values"][value_name(cell)]
    record: object = metrics
    for key in cell["from"].split("."):
        if not isinstance(record, dict) or key not in record:
            raise InputError(f"a table needs {cell['from']}, but the evaluation has no {key}")
        record = record[key]
    if isinstance(record, list):
        wanted = _conditions(cell)
        known = {key for candidate in record for key in candidate}
        for key in wanted if record else ():
            check_choice(f"a condition on {cell['from']}", key, sorted(known))
        matching = [candidate for candidate in record if wanted.items() <= candidate.items()]
        if len(matching) > 1:
            raise InputError(f"a table needs one record of {wanted}, but there are several")
        if not matching:
            return None
        record = matching[0]
    number = _taken(record, cell["take"])
    number = _taken(number, "mean") if isinstance(number, dict) else number
    if number is not None and not isinstance(number, int | float):
        raise InputError(f"a table takes a number as {cell['take']}, not {number!r}")
    return number
