"""Checks of a table's config, made before anything is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mlvae.commands.cli import Config
from mlvae.errors import InputError, check_choice, check_integer, check_number, shown

__all__ = ["check_asked", "checked"]

SIDES = ("higher", "lower")

#: Words for the types of values.
KINDS = {str: "words", list: "a list", dict: "a mapping"}


def checked(table: Config, name: str) -> None:
    """Raise :class:`InputError` unless ``table`` has every required key with a valid value.

    The keys ``from`` and ``take`` of a cell name metrics, which exist only after an evaluation.

    Args:
        table: config of the table.
        name: its name on the command line.
    """
    where = f"table={name}"
    for key, kind in (("title", str), ("variants", dict), ("panels", list)):
        _check_key(table, key, kind, where)
    _check_seeds(table, where)
    for variant, overrides in table["variants"].items():
        if not isinstance(variant, str):
            raise InputError(f"variants of {where} must have words as names, not {variant!r}")
        _check_file_name(variant, f"variant of {where}")
        _check_overrides(overrides, f"variants.{variant} of {where}")
    if not isinstance(table.get("seeds_of", {}), dict):
        raise InputError(f"seeds_of of {where} must be a mapping, not {shown(table['seeds_of'])}")
    for variant, seeds in table.get("seeds_of", {}).items():
        check_choice(f"a variant in seeds_of of {where}", variant, list(table["variants"]))
        _check_seeds({"seeds": seeds}, f"seeds_of.{variant} of {where}")
    _check_overrides(table.get("evaluation"), f"evaluation of {where}")
    if "fast" in table:
        _check_key(table, "fast", dict, where)
        fast = table["fast"]
        _check_key(fast, "note", str, f"fast of {where}")
        _check_seeds(fast, f"fast of {where}")
        for key in ("train", "evaluation"):
            _check_overrides(fast.get(key, []), f"fast.{key} of {where}")
    for number, panel in enumerate(table["panels"], 1):
        _check_panel(panel, table, f"panel {number} of {where}")
    if not isinstance(table.get("figures", {}), dict):
        raise InputError(f"figures of {where} must be a mapping, not {table['figures']!r}")
    for file, figure in table.get("figures", {}).items():
        _check_file_name(file, f"figure of {where}")
        _check_figure(figure, table, f"figure {file} of {where}")


def check_asked(table: Config, name: str, jobs: Sequence[Config]) -> None:
    """Raise :class:`InputError` if a cell needs a question that the evaluation leaves out.

    Args:
        table: config of the table.
        name: its name on the command line.
        jobs: the runs to do, as :func:`reproduce.plan` returns them.
    """
    asked = {question for job in jobs for question in job["asked"]["evaluation"]}
    for number, panel in enumerate(table["panels"], 1):
        for cell, place in _cells(panel, f"panel {number} of table={name}"):
            if jobs and cell["from"].split(".")[0] not in asked:
                raise InputError(
                    f"{place} is from {cell['from']}, but the table's evaluation asks only "
                    f"{', '.join(sorted(asked))}"
                )


def _check_panel(panel: object, table: Config, where: str) -> None:
    if not isinstance(panel, dict):
        raise InputError(f"{where} must have a title, cells, rows and columns, not be {panel!r}")
    for key, kind in (("title", str), ("cells", dict), ("rows", dict), ("columns", dict)):
        _check_key(panel, key, kind, where, empty=key == "cells")
    for cell, place in _cells(panel, where):
        _check_cell(cell, table, place)
    for entry in panel.get("reported", ()):
        for key in ("row", "column", "value", "source"):
            if not isinstance(entry, dict) or key not in entry:
                raise InputError(f"an entry reported in {where} must have a {key}: {entry!r}")
        check_choice(f"the row reported in {where}", entry["row"], list(panel["rows"]))
        check_choice(f"the column reported in {where}", entry["column"], list(panel["columns"]))


def _check_figure(figure: object, table: Config, where: str) -> None:
    if not isinstance(figure, dict):
        raise InputError(f"{where} must have a title, rows, x and y, not be {figure!r}")
    for key, kind in (("title", str), ("rows", dict), ("x", dict), ("y", dict)):
        _check_key(figure, key, kind, where)
    for axis in "xy":
        _check_key(figure[axis], "label", str, f"{axis} of {where}", empty=True)
        check_choice(f"better of {axis} of {where}", figure[axis].get("better"), SIDES)
        for row_keys in figure["rows"].values():
            _check_cell({**figure[axis], **(row_keys or {})}, table, f"{axis} of {where}")


def _check_cell(cell: Config, table: Config, where: str) -> None:
    for key in ("from", "take"):
        _check_key(cell, key, str, where)
    check_number(f"times of {where}", cell.get("times", 1))
    check_integer(f"digits of {where}", cell.get("digits", 1), minimum=0)
    if "variant" in cell:
        check_choice(f"the variant of {where}", cell["variant"], list(table["variants"]))


def _cells(panel: Config, where: str) -> Iterator[tuple[Config, str]]:
    """Every cell of a panel with all its keys, and its name for messages."""
    for row, row_keys in panel["rows"].items():
        for column, column_keys in panel["columns"].items():
            for keys in (row_keys, column_keys):
                if not isinstance(keys, dict):
                    raise InputError(
                        f"rows and columns of {where} must be mappings, {{}} for one without keys "
                        f"of its own, not {keys!r}"
                    )
            place = f"cell {row!r}, {column!r} of {where}"
            yield {**panel["cells"], **row_keys, **column_keys}, place


def _check_key(
    options: Mapping[str, object], key: str, kind: type, where: str, *, empty: bool = False
) -> None:
    """Raise :class:`InputError` unless the value of ``key`` is a ``kind`` that is not empty."""
    value = options.get(key)
    if not isinstance(value, kind) or not (value or empty):
        raise InputError(f"{where} must have {KINDS[kind]} as its {key}, not {_shown(value)}")


def _check_file_name(name: object, what: str) -> None:
    """Raise :class:`InputError` unless ``name`` names a file in a folder, and no other place."""
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[^/\\:\0-\x1f]{1,100}", name)
        or name[0] == "."
    ):
        raise InputError(
            f"the name of a {what} must be that of a file, without / and without a dot at its "
            f"beginning, not {shown(name)}"
        )


def _check_seeds(options: Config, where: str) -> None:
    _check_key(options, "seeds", list, where)
    for seed in options["seeds"]:
        check_integer(f"a seed of {where}", seed, minimum=0)


def _check_overrides(value: object, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(override, str) for override in value):
        raise InputError(
            f"{where} must be a list of options as on the command line, [trainer.epochs=2], not "
            f"{_shown(value)}"
        )
    if texts := [override for override in value if "${" in override]:
        raise InputError(f"{where} must not have ${{...}}: {shown(texts[0])}")


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)
