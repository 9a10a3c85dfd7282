"""The columns of a table that a user names, and labels of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlvae.data.row_order import check_row_order
from mlvae.data.tables.columns import few, missing_name
from mlvae.data.tables.opened import repeated
from mlvae.errors import InputError, shown

__all__ = ["as_list", "check_labels", "check_there", "group_columns", "listed"]


def listed(option: str, names: Any) -> list[str]:
    """Names of columns as a list; one name may stand alone."""
    names = [names] if isinstance(names, str) else as_list(names)
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{option} must be a list of columns' names, not {shown(names)}")
    if twice := repeated(names):
        raise InputError(f"{option} must name each column once, not {twice!r} twice")
    return list(names)


def as_list(values: Any) -> Any:
    """An array or an index of names as a list; other values as they are."""
    return values.tolist() if hasattr(values, "tolist") else values


def check_there(
    option: str, some: Sequence[str], names: Sequence[str], where: str, index: Any = None
) -> None:
    """Raise :class:`InputError` unless ``some`` are names of columns.

    Args:
        option: the option that has the names.
        some: the names.
        names: names of all columns.
        where: what has the columns.
        index: the index of the frame, or None.
    """
    for name in some:
        if name not in names:
            of_index = index is not None and name in index.names
            advice = ", which is in the index; use df.reset_index()" if of_index else ""
            raise missing_name(option, name, names, where, advice)


def check_labels(group: Any, frame: Any, names: Sequence[str], what: str) -> None:
    """Raise :class:`InputError` unless ``group`` can have a label for each row of a frame."""
    rows = len(frame)
    check_row_order(what, frame, group=group)
    if isinstance(group, Mapping):
        return
    try:
        number = len(group)
    except TypeError:  # no list, or a tensor of one number
        number = None
    texts = isinstance(group, list | tuple) and all(isinstance(name, str) for name in group)
    if number != rows and texts and group:
        raise InputError(
            f"group must name columns of {what} ({few(names)}), or have a label for each of the "
            f"{rows} rows, not {shown(group)}"
        )
    if number is None:
        raise InputError(
            f"group must be the name of a column of {what}, a list of such names, or a label for "
            f"each row, not {shown(group)}"
        )
    if number != rows:
        raise InputError(
            f"group must have one label for each of the {rows} observations, not {number}"
        )


def group_columns(group: Any, names: Sequence[str], rows: int) -> list[str]:
    """The columns of the groupings; empty where ``group`` has a label for each row, or is None.

    A list of texts is of columns if one of them is the name of a column, unless it has a text for
    each row and some of them are equal.
    """
    if isinstance(group, str):
        return [group]
    texts = isinstance(group, list | tuple) and all(isinstance(name, str) for name in group)
    if not texts or not set(group) & set(names):
        return []
    return [] if len(group) == rows and repeated(group) else listed("group", group)
