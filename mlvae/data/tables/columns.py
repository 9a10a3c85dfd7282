"""The record of a table's columns: how each becomes features, so that new rows become the same.

Shapes: N rows of a table, D features.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlvae.errors import InputError, check_choice, check_text, check_texts, shown

__all__ = ["KINDS", "LEVELLED", "Column", "Columns", "column_names", "few", "missing_name"]

#: Kinds of columns. Real, positive, count and binary columns have one feature, the number itself.
#: Ordinal and categorical columns have one feature of 1 and 0 for each value that occurs.
KINDS = ("real", "positive", "count", "binary", "ordinal", "categorical")

#: Kinds with a feature for each value.
LEVELLED = ("ordinal", "categorical")

#: Names of kinds in files of earlier versions.
RENAMED = {"number": "real", "flag": "binary", "category": "categorical"}

#: Values of a category.
Value = str | int | float | bool

#: Largest number of names in one line, and of characters of each.
MOST, LONGEST = 6, 40


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: name of the column.
        kind: one of :data:`KINDS`.
        categories: the values of a categorical or ordinal column, in the order of its features,
            which is the order of an ordinal column; empty for other kinds.

    Example:
        >>> Column("colour", "categorical", ("blue", "red")).features
        ('colour=blue', 'colour=red')
    """

    name: str
    kind: str = "real"
    categories: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        check_text("name of a column", self.name)
        check_choice("kind of a column", self.kind, KINDS)
        plain = isinstance(self.categories, list | tuple) and all(
            isinstance(value, Value) for value in self.categories
        )
        if not plain or (self.kind in LEVELLED) != bool(self.categories):
            raise InputError(
                f"categories of column {self.name} must be the values of an ordinal or "
                f"categorical column, and empty for other kinds, not {shown(self.categories)}"
            )
        object.__setattr__(self, "categories", tuple(self.categories))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features of the column."""
        if self.kind not in LEVELLED:
            return (self.name,)
        return tuple(f"{self.name}={value}" for value in self.categories)


@dataclass(frozen=True)
class Columns:
    """The columns of a table: features, group and factors.

    :meth:`mlvae.GroupedData.from_frame` makes the record; ``data.columns`` and a trained model
    have it, and a run saves it.

    Args:
        features: the columns that become features, in order.
        group: the column of the groups' labels; None: labels that are in no column. With several
            groupings, the columns of all of them.
        factors: the columns of known factors.

    Example:
        >>> columns = Columns((Column("age"), Column("colour", "categorical", ("blue", "red"))))
        >>> columns.feature_names
        ['age', 'colour=blue', 'colour=red']
    """

    features: tuple[Column, ...]
    group: str | tuple[str, ...] | None = None
    factors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = isinstance(self.features, list | tuple) and bool(self.features)
        if not columns or not all(isinstance(column, Column) for column in self.features):
            raise InputError(f"features must be a list of Column(...), not {shown(self.features)}")
        if isinstance(self.group, list | tuple):
            check_texts("group", self.group)
            if not self.group:
                raise InputError("group must have at least one column, or be None, not []")
            object.__setattr__(self, "group", tuple(self.group))
        elif self.group is not None:
            check_text("group", self.group)
        check_texts("factors", self.factors)
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "factors", tuple(self.factors))
        names = self.feature_names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"features must have different names, not two of {twice[0]!r}")

    @property
    def groups(self) -> tuple[str, ...]:
        """The columns of all groupings."""
        if isinstance(self.group, tuple):
            return self.group
        return () if self.group is None else (self.group,)

    @property
    def feature_names(self) -> list[str]:
        """Names of all D features."""
        return [name for column in self.features for name in column.features]

    @property
    def conversions(self) -> str:
        """The columns that do not stay as they are, in one line; empty if all are numbers."""
        found = []
        for kind in ("positive", "count", "binary"):
            if some := [column.name for column in self.features if column.kind == kind]:
                more = ", true is 1, false is 0" if kind == "binary" else ""
                found.append(f"{few(some)}: {kind}{more}")
        for column in self.features:
            if column.kind in LEVELLED:
                order = ", in this order" if column.kind == "ordinal" else ""
                found.append(f"{column.name} becomes {few(column.features)}{order}")
        return "; ".join(found)

    def plain(self) -> dict[str, Any]:
        """The record as plain values, for files."""
        columns = [
            {"name": column.name, "kind": column.kind, "categories": list(column.categories)}
            for column in self.features
        ]
        group = list(self.group) if isinstance(self.group, tuple) else self.group
        return {"features": columns, "group": group, "factors": list(self.factors)}

    @classmethod
    def of_plain(cls, values: object) -> Columns:
        """The record of the values of :meth:`plain`.

        Raises:
            InputError: if the values are of another structure.
        """
        try:
            assert isinstance(values, Mapping)
            features = tuple(
                Column(**{**column, "kind": RENAMED.get(column["kind"], column["kind"])})
                for column in values["features"]
            )
            return cls(features, values["group"], tuple(values["factors"]))
        except (AssertionError, LookupError, TypeError) as error:
            raise InputError(
                f"columns must be features, group and factors by name, not {shown(values)}"
            ) from error


def column_names(value: Any) -> list[str] | None:
    """The names of the columns of a data frame; None for other values."""
    if isinstance(value, type) or not hasattr(value, "__getitem__"):
        return None
    names = getattr(value, "column_names", getattr(value, "columns", None))  # pyarrow has both
    return None if names is None or callable(names) else list(map(str, names))


def few(names: Sequence[object]) -> str:
    """The beginnings of the first names of a list, and how many there are if that is not all."""
    texts = [str(name) for name in names[:MOST]]
    text = ", ".join(t if len(t) <= LONGEST else f"{t[: LONGEST - 3]}..." for t in texts)
    return text if len(names) <= MOST else f"{text}, ... ({len(names)})"


def missing_name(
    option: str, name: object, names: Sequence[str], where: str, advice: str = ""
) -> InputError:
    """An error about a column that is not there, with the nearest name or other ``advice``."""
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return InputError(
        f"{option} must name columns of {where} ({few(names)}), not {shown(name)}{advice or hint}"
    )
