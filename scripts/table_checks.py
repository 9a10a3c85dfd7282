"""Whether a table's config has what a table has, before anything is trained for it."""

from __future__ import annotations

from collections.abc import Iterator

from mlvae.errors import InputError, check_choice, check_integer, check_number

__all__ = ["check_asked", "checked"]

SIDES = ("higher", "lower")


def checked(table: dict, name: str) -> None:
    """Raise :class:`InputError` unless ``table``, which is called ``name``, is whole.

    What a cell takes of the metrics can only be looked up when they are there.
    """
    where = f"table={name}"
    for key, kind in (("title", str), ("variants", dict), ("panels", list)):
        _has(table, key, kind, where)
    _seeds(table, where)
    for variant, overrides in table["variants"].items():
        if not isinstance(variant, str):
            raise InputError(f"variants of {where} must have words as names, not {variant!r}")
        _strings(overrides, f"variants.{variant} of {where}")
    _strings(table.get("evaluation"), f"evaluation of {where}")
    if "fast" in table:
        fast = _has(table, "fast", dict, where)
        _has(fast, "note", str, f"fast of {where}")
        _seeds(fast, f"fast of {where}")
        for key in ("train", "evaluation"):
            _strings(fast.get(key, []), f"fast.{key} of {where}")
    for number, panel in enumerate(table["panels"], 1):
        _panel(panel, table, f"panel {number} of {where}")
    for figure, of in table.get("figures", {}).items():
        _figure(of, table, f"figure {figure} of {where}")


def check_asked(table: dict, name: str, jobs: list[dict]) -> None:
    """Raise :class:`InputError` if a cell is of a question that no one of the ``jobs`` asks."""
    asked = {question for job in jobs for question in job["asked"]["evaluation"]}
    for wanted, where in _wanted(table, f"table={name}"):
        question = wanted["from"].split(".")[0]
        if jobs and question not in asked:
            raise InputError(
                f"{where} is from {wanted['from']}, but the table's evaluation asks only "
                f"{', '.join(sorted(asked))}"
            )


def _panel(panel: object, table: dict, where: str) -> None:
    if not isinstance(panel, dict):
        raise InputError(f"{where} must have a title, cells, rows and columns, not be {panel!r}")
    for key, kind in (("title", str), ("cells", dict), ("rows", dict), ("columns", dict)):
        _has(panel, key, kind, where, empty=key == "cells")
    for wanted, place in _cells(panel, where):
        _cell(wanted, table, place)
    for reported in panel.get("reported", ()):
        for key in ("row", "column", "value", "source"):
            if not isinstance(reported, dict) or key not in reported:
                raise InputError(f"what is reported in {where} must have a {key}: {reported!r}")
        check_choice(f"the row reported in {where}", reported["row"], list(panel["rows"]))
        check_choice(f"the column reported in {where}", reported["column"], list(panel["columns"]))


def _figure(figure: object, table: dict, where: str) -> None:
    if not isinstance(figure, dict):
        raise InputError(f"{where} must have a title, rows, x and y, not be {figure!r}")
    for key, kind in (("title", str), ("rows", dict), ("x", dict), ("y", dict)):
        _has(figure, key, kind, where)
    for axis in "xy":
        _has(figure[axis], "label", str, f"{axis} of {where}", empty=True)
        check_choice(f"better of {axis} of {where}", figure[axis].get("better"), SIDES)
        for of_row in figure["rows"].values():
            _cell({**figure[axis], **(of_row or {})}, table, f"{axis} of {where}")


def _cell(wanted: dict, table: dict, where: str) -> None:
    for key in ("from", "take"):
        _has(wanted, key, str, where)
    check_number(f"times of {where}", wanted.get("times", 1))
    check_integer(f"digits of {where}", wanted.get("digits", 1), minimum=0)
    if "variant" in wanted:
        check_choice(f"the variant of {where}", wanted["variant"], list(table["variants"]))


def _cells(panel: dict, where: str) -> Iterator[tuple[dict, str]]:
    """Every cell of a panel with all it says, and what to call it."""
    for row, of_row in panel["rows"].items():
        for column, of_column in panel["columns"].items():
            for of in (of_row, of_column):
                if not isinstance(of, dict):
                    raise InputError(
                        f"rows and columns of {where} must be mappings, {{}} where a cell says "
                        f"all, not {of!r}"
                    )
            yield {**panel["cells"], **of_row, **of_column}, f"cell {row!r}, {column!r} of {where}"


def _wanted(table: dict, where: str) -> Iterator[tuple[dict, str]]:
    for number, panel in enumerate(table["panels"], 1):
        yield from _cells(panel, f"panel {number} of {where}")


def _has(of: dict, key: str, kind: type, where: str, *, empty: bool = False) -> object:
    value = of.get(key)
    if not isinstance(value, kind) or not (value or empty):
        wanted = {str: "words", list: "a list", dict: "a mapping"}[kind]
        came = "nothing" if value is None else repr(value)
        raise InputError(f"{where} must have {wanted} as its {key}, not {came}")
    return value


def _seeds(of: dict, where: str) -> None:
    for seed in _has(of, "seeds", list, where):
        check_integer(f"a seed of {where}", seed, minimum=0)


def _strings(value: object, where: str) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InputError(
            f"{where} must be a list of options as on the command line, [trainer.epochs=2], not "
            f"{'nothing' if value is None else repr(value)}"
        )
