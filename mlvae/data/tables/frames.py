"""Data frames of pandas, polars and pyarrow as features, groups and factors.

Shapes: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.grouped import GroupedData
from mlvae.data.row_order import index_of
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.data.tables.cells import column_of, encoded, factor
from mlvae.data.tables.chosen_columns import (
    as_list,
    check_labels,
    check_there,
    group_columns,
    listed,
)
from mlvae.data.tables.columns import KINDS, Columns, few
from mlvae.data.tables.kind_files import kinds_of_file
from mlvae.data.tables.opened import opened, row_names
from mlvae.errors import InputError, check_choice, shown
from mlvae.groups.labels import is_missing, report_words

__all__ = [
    "Table",
    "columns_like",
    "encode_frame",
    "read_columns",
    "read_data",
    "read_frame",
]


#: What happens to missing cells.
MISSING = ("refuse", "keep")

#: Kinds by the name of a column, "inferred" for all columns, the path of a file, or None.
Kinds = Mapping[str, Any] | str | Path | None


class Table(NamedTuple):
    """The content of a frame.

    Attributes:
        x: features, float32 (N, D).
        group: label of each row's group, length N; or the labels of several groupings by name.
        factors: numbers by name, length N each, NaN where unknown.
        names: label of each row in its frame, length N.
        split: words of the split, length N, or None.
        observed: whether each cell is there, (N, columns), or None where no cell may be missing.
        columns: the record of the columns.
        numbered: factors that were words, with the words in the order of their numbers.
    """

    x: np.ndarray
    group: Any
    factors: dict[str, np.ndarray]
    names: np.ndarray
    split: np.ndarray | None
    observed: np.ndarray | None
    columns: Columns
    numbered: dict[str, list]


def read_frame(
    frame: Any,
    group: Any,
    *,
    features: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    factors: Sequence[str] = (),
    split: str | None = None,
    kinds: Kinds = None,
    missing: str = "refuse",
    like: Columns | None = None,
    what: str = "frame",
) -> Table:
    """The content of a frame.

    Args:
        frame: a DataFrame of pandas or polars, or a Table of pyarrow.
        group: name of the column of the groups' labels, names of several such columns, or a label
            for each row; None with ``like``: each row is a group of its own.
        features: names of the columns that become features; None: all others.
        categories: names of further columns whose values are categories: text or integers.
        factors: names of the columns of known factors.
        split: name of a column with the words of a split.
        kinds: kinds of columns, as in :meth:`mlvae.GroupedData.from_frame`.
        missing: "refuse" or "keep".
        like: the record of another table's columns; features and categories are then its.
        what: the frame in messages.

    Raises:
        InputError: if a column is missing or cannot be converted; see
            :meth:`mlvae.GroupedData.from_frame`.
    """
    table = opened(frame, what)
    names = list(table.columns)
    categories, factors = listed("categories", categories), listed("factors", factors)
    check_choice("missing", missing, MISSING)
    keep = missing == "keep"
    grouped = group_columns(group, names, len(table))
    aside = [*grouped, *factors, *([] if split is None else [split])]
    for option, some in (
        ("group", grouped),
        ("factors", factors),
        ("split", [] if split is None else [split]),
    ):
        check_there(option, some, names, what, index=index_of(frame))
    if not grouped and group is not None:
        check_labels(group, frame, names, what)
    if like is None:
        chosen = (
            [n for n in names if n not in aside]
            if features is None
            else listed("features", features)
        )
        check_there("features", chosen, names, what, index=index_of(frame))
        check_there("categories", categories, chosen, "the features")
        if twice := [n for n in grouped if n in chosen]:
            raise InputError(f"features must not have the column of the group, {twice[0]!r}")
        if not chosen:
            raise InputError(f"{what} must have a column that is no group, factor or split")
        kind = _kinds(kinds, chosen)
        columns = tuple(
            column_of(table[name], kind=kind[name], category=name in categories, keep_missing=keep)
            for name in chosen
        )
        one = grouped[0] if isinstance(group, str) else tuple(grouped) or None
        record = Columns(columns, one, tuple(factors))
    else:
        record = like
    x, observed = encode_frame(table, record, what, keep_missing=keep)
    if grouped and not isinstance(group, str):
        labels: Any = {name: table[name].to_list() for name in grouped}
    else:
        labels = _labels(table, group, len(table))
    found = {name: factor(table[name]) for name in factors}
    return Table(
        x,
        labels,
        {name: values for name, (values, _) in found.items()},
        row_names(frame, len(table), what),
        None if split is None else np.array([str(word) for word in table[split].to_list()]),
        observed if keep else None,
        record,
        {name: words for name, (_, words) in found.items() if words},
    )


def read_columns(
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    group: Sequence[Any] | np.ndarray | None = None,
    *,
    kinds: Kinds,
    missing: str = "refuse",
    what: str,
) -> GroupedData:
    """The data of columns by name, whose rows have the labels ``group``; None: a group each.

    The other arguments are those of :func:`read_data`.

    Raises:
        InputError: if pyarrow is missing, or there are no rows.
    """
    try:
        import pyarrow  # optional
    except ImportError as error:
        raise InputError("tables need pyarrow: pip install 'mlvae[tables]'") from error
    frame = pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})
    if not len(frame):
        raise InputError(f"{what} must have rows, not none")
    labels = np.arange(len(frame)) if group is None else np.asarray(group)
    data = read_data(frame, labels, kinds=kinds, missing=missing, what=what)
    assert isinstance(data, GroupedData)
    return data


def read_data(
    frame: Any,
    group: Any,
    *,
    features: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    factors: Sequence[str] = (),
    split: str | None = None,
    kinds: Kinds = None,
    missing: str = "refuse",
    like: GroupedData | Columns | str | Path | None = None,
    what: str = "frame",
    unseen_groups: Sequence[object] = (),
) -> GroupedData | Splits:
    """The data of a frame; most arguments are those of :meth:`mlvae.GroupedData.from_frame`.

    ``what`` is the frame in messages. ``unseen_groups`` has labels of groups to keep out of the
    other parts; it needs ``split``.
    """
    record = None if like is None else columns_like(like)
    if record is None and group is None:
        raise InputError(
            "group must be the name of the column of the groups, or a label for each row, not None"
        )
    if record is not None and (features is not None or categories or kinds is not None):
        raise InputError(
            "features, categories and kinds must be left out with `like`, which has its own"
        )
    known = () if record is None or group is not None else record.groups
    if record is not None and known and set(known) <= set(opened(frame, what).columns):
        group = record.group
    table = read_frame(
        frame,
        group,
        features=features,
        categories=categories,
        factors=factors,
        split=split,
        kinds=kinds,
        missing=missing,
        like=record,
        what=what,
    )
    if record is None:
        announce(table, what)
    several = isinstance(table.group, dict)
    data = GroupedData(
        table.x,
        None if several else table.group,
        table.factors,
        groups=table.group if several else None,
        given=None if table.observed is None else {"observed": table.observed},
        names=table.names,
        feature_names=table.columns.feature_names,
        kind="array",
    )
    data.columns = table.columns
    for grouping in data.groupings.values():
        report_words(grouping.names, what)
    if table.split is None:
        return data
    words = f"the column {split}"
    return split_by(data, table.split, unseen_groups=unseen_groups, words=words, prefix="")


def announce(table: Table, what: str) -> None:
    """Print a line about the columns that do not stay as they are."""
    lines = [table.columns.conversions] if table.columns.conversions else []
    for name, words in table.numbered.items():
        lines.append(
            f"factor {name} is numbered: {few([f'{w} is {i}' for i, w in enumerate(words)])}"
        )
    if len(lines):
        print(f"{what}: {'; '.join(lines)}", flush=True)


def columns_like(like: object) -> Columns:
    """The record of data, of a run's folder, or the record itself.

    Raises:
        InputError: if there is none.
    """
    if isinstance(like, Columns):
        return like
    if isinstance(like, GroupedData):
        if like.columns is None:
            raise InputError("like must be data of GroupedData.from_frame, which have columns")
        return like.columns
    if isinstance(like, str | Path):
        from mlvae.training.checkpoint import read_state  # a run is read above the data

        path = as_path("like", like) / "checkpoint.pt"
        if (values := read_state(path).get("columns")) is None:
            raise InputError(
                f"like={like} must be a run that was trained on a table, not on arrays"
            )
        return Columns.of_plain(values)
    raise InputError(f"like must be data, their columns or the folder of a run, not {shown(like)}")


def encode_frame(
    table: Any, columns: Columns, what: str = "frame", *, keep_missing: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The features of a table's rows, float32 (N, D), and whether each cell is there (N, C).

    Args:
        table: of :func:`opened`.
        columns: the record.
        what: the frame in messages.
        keep_missing: whether cells may be missing. Their features are 0.

    Raises:
        InputError: if a column of the record is missing, has another kind, missing cells or an
            unknown category.
    """
    names = list(table.columns)
    if absent := [column.name for column in columns.features if column.name not in names]:
        raise InputError(
            f"{what} must have the columns of the training table, but {few(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} missing"
        )
    x = np.empty((len(table), len(columns.feature_names)), np.float32)
    observed = np.empty((len(table), len(columns.features)), bool)
    place = 0
    for number, column in enumerate(columns.features):
        width = len(column.features)
        found = encoded(table[column.name], column, keep_missing=keep_missing)
        x[:, place : place + width], observed[:, number] = found
        place += width
    return x, observed


def _kinds(kinds: Kinds, chosen: Sequence[str]) -> dict[str, Any]:
    """The kind of each column: of the mapping, of a file, "inferred", or None."""
    if kinds is None or (isinstance(kinds, str) and kinds == "inferred"):
        return dict.fromkeys(chosen, kinds)
    if isinstance(kinds, str | Path):
        return {**kinds_of_file(kinds, chosen)}
    if not isinstance(kinds, Mapping):
        raise InputError(
            "kinds must be 'inferred', kinds by the name of a column, or the path of a file with "
            f"them, not {shown(kinds)}"
        )
    check_there("kinds", list(kinds), chosen, "the features")
    found = {name: as_list(kind) for name, kind in kinds.items()}
    for name, kind in found.items():
        if not isinstance(kind, list | tuple):
            check_choice(f"kinds of column {name}", kind, (*KINDS, "inferred"))
    return {name: found.get(name) for name in chosen}


def _labels(table: Any, group: Any, length: int) -> Any:
    """The label of each row's group: a column, the labels themselves, or numbers of rows."""
    if group is None:
        return np.arange(length)
    if not isinstance(group, str):
        return group
    series = table[group]
    if missing := sum(map(is_missing, series.to_list())):
        raise InputError(
            f"column {group} of the group has {missing} of {length} cells missing; drop these "
            f"rows, df.dropna(subset=[{group!r}]), or give them a label"
        )
    return series.to_list()
