"""The order of the rows of objects of pandas, which have an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlvae.errors import InputError

__all__ = ["check_row_order", "index_of"]


def index_of(value: Any) -> Any:
    """The index of a DataFrame or a Series of pandas, or of a subclass; None of other values."""
    classes = {"DataFrame", "Series"}
    is_pandas = any(
        base.__module__.split(".")[0] == "pandas" and base.__name__ in classes
        for base in type(value).__mro__
    )
    return value.index if is_pandas else None


def check_row_order(of: str, rows: Any, **values: Any) -> None:
    """Raise :class:`InputError` if values of rows have the index of the rows in another order.

    Values are taken by their position, so those of a row would become those of another one. Values
    without an index of pandas pass, as do those whose index has other labels.

    Args:
        of: name of the rows.
        rows: the rows.
        values: by name, a value for each row, or a mapping of such values.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame({"age": [4, 5]}, index=["ann", "bob"])
        >>> check_row_order("x", frame, group=pandas.Series([0, 1], ["ann", "bob"]))
    """
    other = index_of(rows)
    for name, value in values.items() if other is not None else ():
        if not isinstance(value, Mapping):
            _check_index(name, index_of(value), of, other)
            continue
        for key, part in value.items():
            _check_index(f"{name}[{key!r}]", index_of(part), of, other)


def _check_index(name: str, index: Any, of: str, other: Any) -> None:
    if index is None or len(index) != len(other) or index.equals(other):
        return
    if index.isin(other).all() and other.isin(index).all():
        raise InputError(
            f"{name} must have its rows in the order of {of}, but its index has another order; "
            f"sort it, {name}.loc[{of}.index], or give {name}.to_numpy() if the order is right"
        )
