"""The cells of one column of a table as features or as a factor.

Columns are series of narwhals, which has those of pandas, polars and pyarrow.

Shapes: N rows.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from mlvae.data.tables.columns import LEVELLED, Column, Value, few
from mlvae.data.values import is_number_text
from mlvae.errors import InputError, shown
from mlvae.groups.labels import is_missing

__all__ = ["Encoded", "check_digits", "column_of", "encoded", "factor"]

#: Largest error of float32 in a column, in standard deviations of the column.
MOST_ERROR = 1e-3

#: Largest count: float32 has all integers up to it.
LARGEST_COUNT = 2**24

#: Kinds by the type of a column, where no kind is given.
_OF_TYPE = {"number": "real", "flag": "binary", "category": "categorical"}

#: What a kind's numbers are, for messages.
_WORDS = {
    "real": "numbers",
    "positive": "numbers above 0",
    "count": "whole numbers from 0 to 16,777,216",
    "binary": "booleans, or 0 and 1",
}


class Encoded(NamedTuple):
    """The features of a column.

    Attributes:
        x: float32 (N, 1), or (N, categories).
        observed: whether each cell is there, (N,).
    """

    x: np.ndarray
    observed: np.ndarray


def column_of(
    series: Any, *, kind: Any = None, category: bool = False, keep_missing: bool = False
) -> Column:
    """The record of a column.

    Args:
        series: the column.
        kind: one of :data:`~mlvae.data.tables.columns.KINDS`; the values of an ordinal column in
            order; "inferred": from the values; None: from the type alone.
        category: whether the values of text or integers are categories.
        keep_missing: whether cells may be missing.
    """
    name, found = series.name, _type(series)
    if found == "other":
        raise _refused(series)
    if found in ("number", "flag") and kind in (None, "real") and not category:
        _check_some(series, keep_missing=keep_missing)
        return Column(name, kind or _OF_TYPE[found])
    values = _values(series, keep_missing=keep_missing)
    if isinstance(kind, list | tuple):
        return _ordered(name, kind, values)
    if kind == "inferred":
        kind = _inferred(found, values)
    if kind is None:
        kind = "categorical" if category else _OF_TYPE.get(found)
        if kind is None:
            raise _refused(series)
    if kind in LEVELLED:
        order = _category_order(series) if kind == "ordinal" and found == "category" else None
        levels = order or _sorted(name, set(values))
        if kind == "ordinal" and order is None and isinstance(levels[0], str):
            raise InputError(
                f"column {name} is text ({few(levels)}), whose order is unknown; "
                f"give the values in order, kinds={{{name!r}: ['first', 'second', ...]}}"
            )
        return Column(name, kind, tuple(levels))
    if found not in ("number", "flag"):
        raise InputError(
            f"column {name} must be numbers for the kind {kind!r}, not {series.dtype}; set its "
            "kind to categorical"
        )
    _check_kind(name, kind, values)
    return Column(name, kind)


def encoded(series: Any, column: Column, *, keep_missing: bool = False) -> Encoded:
    """The features of a column.

    Args:
        series: the column.
        column: its record.
        keep_missing: whether cells may be missing. Their features are 0.
    """
    if not keep_missing:
        _check_complete(series)
    if column.kind in LEVELLED:
        return _one_hot(series, column)
    if _is_other(series, column):
        raise InputError(
            f"column {column.name} must have {_WORDS[column.kind]}, as the training table has, "
            f"not {series.dtype} such as {shown(series.to_list()[0])}"
        )
    wide = _numbers(series)
    observed = ~np.isnan(wide)
    with np.errstate(over="ignore"):
        single = np.where(observed, wide, 0).astype(np.float32)
    if infinite := int((~np.isfinite(single)).sum()):
        raise InputError(
            f"column {column.name} must be finite in float32, but {infinite} of {len(wide)} cells "
            f"are not, such as {wide[observed & ~np.isfinite(single)][0]:g}; replace or rescale "
            "them"
        )
    if observed.any():
        check_digits(column.name, wide[observed], single[observed])
    _check_kind(column.name, column.kind, wide[observed])
    return Encoded(single[:, None], observed)


def check_digits(name: str, wide: np.ndarray, single: np.ndarray) -> None:
    """Raise :class:`InputError` if numbers lose their differences in float32.

    Args:
        name: name of the column, for the message.
        wide: the numbers in float64, (n,) with n at least 1.
        single: the same in float32.
    """
    deviation = wide.std()
    if np.abs(single - wide).max() > MOST_ERROR * deviation > 0:
        raise InputError(
            f"column {name} loses its digits in float32: its values are near {wide.mean():g} with "
            f"the standard deviation {deviation:g}; subtract an offset"
        )


def factor(series: Any) -> tuple[np.ndarray, list]:
    """A factor as numbers (N,), NaN where unknown; and its words, if it has words."""
    kind = _type(series)
    if kind == "other":
        raise InputError(
            f"factor {series.name} must be numbers, booleans or words, not {series.dtype}"
        )
    values = series.to_list()
    known = {value for value in values if not is_missing(value)}
    if kind in ("number", "flag"):
        return np.array([np.nan if is_missing(v) else float(v) for v in values]), []
    words = _sorted(series.name, known)
    number = {word: place for place, word in enumerate(words)}
    return np.array([number.get(value, np.nan) for value in values], dtype=np.float64), words


def _type(series: Any) -> str:
    """The type of a column: number, flag, category, text or other."""
    import narwhals as nw

    dtype = series.dtype
    if dtype.is_numeric():
        return "number"
    if dtype == nw.Boolean:
        return "flag"
    if dtype in (nw.Categorical, nw.Enum):
        return "category"
    if dtype == nw.String:
        return "text"
    if dtype in (nw.Object, nw.Unknown):  # unknown: sparse columns, and decimals of 256 bits
        values = [value for value in series.to_list() if not is_missing(value)]
        if all(isinstance(value, bool | np.bool_) for value in values):
            return "flag"
        if all(isinstance(value, Real | Decimal) for value in values):
            return "number"
        if all(isinstance(value, str) for value in values):
            return "text"
    return "other"


def _check_complete(series: Any) -> None:
    """Raise :class:`InputError` if cells of a column are missing."""
    missing = series.null_count()
    if series.dtype.is_float():  # polars has both null and NaN
        missing += int(series.drop_nulls().is_nan().sum())
    if missing == len(series):
        raise _empty(series)
    if missing:
        name = series.name
        raise InputError(
            f"column {name} has {missing} of {len(series)} cells missing; drop these rows, "
            f"df.dropna(subset=[{name!r}]), or fill them, for example by the median of the "
            "training rows"
        )


def _one_hot(series: Any, column: Column) -> Encoded:
    """1 in the feature of each row's category; no feature of a missing cell is 1."""
    number = {_key(value): place for place, value in enumerate(column.categories)}
    values = series.to_list()
    observed = np.array([not is_missing(value) for value in values])
    places = [number.get(_key(value), -1) for value in values]
    unknown = [
        value
        for value, place, seen in zip(values, places, observed, strict=True)
        if seen and place < 0
    ]
    if unknown:
        raise InputError(
            f"column {column.name} must have the categories of the training table "
            f"({few(column.categories)}), not {shown(unknown[0])} "
            f"({len(unknown)} of {len(values)} rows); leave these rows out, or train with them"
        )
    x = np.zeros((len(values), len(number)), np.float32)
    rows = np.flatnonzero(observed)
    x[rows, [places[row] for row in rows]] = 1
    return Encoded(x, observed)


def _key(value: Any) -> tuple[bool, Any]:
    """What tells a value of a category from others: True is not 1, and a list is none."""
    return isinstance(value, bool), value if isinstance(value, Value) else None


def _check_some(series: Any, *, keep_missing: bool) -> None:
    """Raise :class:`InputError` unless a column of numbers is complete, or has a value."""
    if not keep_missing:
        _check_complete(series)
    elif len(series) and np.isnan(_numbers(series)).all():
        raise _empty(series)


def _empty(series: Any) -> InputError:
    """An error about a column without a value."""
    return InputError(f"column {series.name} has no value; leave it out of features")


def _values(series: Any, *, keep_missing: bool) -> list:
    """The observed values of a column, of which there is at least one."""
    if not keep_missing:
        _check_complete(series)
        return series.to_list()
    values = [value for value in series.to_list() if not is_missing(value)]
    if not values:
        raise _empty(series)
    return values


def _numbers(series: Any) -> np.ndarray:
    """The numbers of a column in float64 (N,), NaN where a cell is missing."""
    import narwhals as nw

    wide = series.dtype in (nw.Int128, nw.UInt128)  # which NumPy lacks
    if (series.dtype.is_numeric() and not wide) or series.dtype == nw.Boolean:
        values = series.to_numpy()
        if values.dtype.kind in "iufb":
            return values.astype(np.float64)
    return np.array([np.nan if is_missing(v) else float(v) for v in series.to_list()])


def _inferred(found: str, values: list) -> str:
    """The kind of a column by its type and its values."""
    if found != "number":
        return "binary" if found == "flag" else "categorical"
    numbers = np.array([float(value) for value in values])
    if set(np.unique(numbers)) == {0.0, 1.0}:
        return "binary"
    whole = numbers.min() >= 0 and (numbers == numbers.round()).all()
    return "count" if whole and numbers.max() <= LARGEST_COUNT else "real"


def _ordered(name: str, order: Any, values: list) -> Column:
    """An ordinal column with given values in order."""
    if not order or not all(isinstance(value, Value) for value in order):
        raise InputError(
            f"kinds of column {name} must list its values in order, text, numbers or booleans, "
            f"not {shown(order)}"
        )
    if twice := [value for value in order if list(order).count(value) > 1]:
        raise InputError(f"kinds of column {name} must list {shown(twice[0])} once, not twice")
    known = set(map(_key, order))
    if unknown := [value for value in values if _key(value) not in known]:
        raise InputError(
            f"kinds of column {name} must list all of its values in order, but {shown(unknown[0])}"
            f" is not in {few(order)}"
        )
    return Column(name, "ordinal", tuple(order))


def _category_order(series: Any) -> list | None:
    """The values of a type whose values have an order; None where the type has none."""
    import narwhals as nw

    return list(series.dtype.categories) if isinstance(series.dtype, nw.Enum) else None


def _check_kind(name: str, kind: str, values: Any) -> None:
    """Raise :class:`InputError` unless numbers are possible under the kind."""
    numbers = np.asarray(values, dtype=np.float64)
    right = {
        "positive": numbers > 0,
        "count": (numbers >= 0) & (numbers == numbers.round()) & (numbers <= LARGEST_COUNT),
        "binary": (numbers == 0) | (numbers == 1),
    }.get(kind, np.ones(len(numbers), bool))
    if not right.all():
        raise InputError(
            f"column {name} must have {_WORDS[kind]} for the kind {kind!r}, not "
            f"{numbers[~right][0]:g}; set another kind, such as kinds={{{name!r}: 'real'}}"
        )


def _is_other(series: Any, column: Column) -> bool:
    """Whether the observed cells of a column are no numbers, or no bits where those are needed."""
    found = _type(series)
    if found not in ("number", "flag"):
        return not all(map(is_missing, series.to_list()))
    numbers = _numbers(series)
    bits = np.isin(numbers[~np.isnan(numbers)], (0, 1)).all()
    return column.kind == "binary" and found == "number" and not bits


def _sorted(name: str, values: set) -> list:
    """The values of a category in order, as plain values."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    if wrong := [value for value in plain if not isinstance(value, Value)]:
        raise InputError(
            f"column {name} must have categories that are text, numbers or booleans, not "
            f"{shown(wrong[0])}; convert them, for example by df[{name!r}].astype(str)"
        )
    try:
        return sorted(plain)
    except TypeError as error:
        raise InputError(
            f"column {name} must have categories of one type, not {few(plain)}; convert them, for "
            f"example by df[{name!r}].astype(str)"
        ) from error


def _refused(series: Any) -> InputError:
    """An error about a column that is neither numbers nor categories."""
    import narwhals as nw

    name, dtype = series.name, series.dtype
    leave = "leave it out of features"
    values = [value for value in series.to_list() if not is_missing(value)]
    if not values:
        return _empty(series)
    if _type(series) == "text" and all(map(is_number_text, values)):
        return InputError(
            f"column {name} is text, although its values are numbers such as {shown(values[0])}; "
            f"convert it, for example by pandas.to_numeric(df[{name!r}]), set "
            f"categories=[{name!r}] for one feature of each value, or {leave}"
        )
    if _type(series) == "text":
        return InputError(
            f"column {name} is text; set categories=[{name!r}] for one feature of each value, or "
            f"{leave}"
        )
    if dtype in (nw.Datetime, nw.Date, nw.Duration, nw.Time):
        return InputError(
            f"column {name} has dates or times ({dtype}); convert it to numbers, for example "
            f"days since the first, or {leave}"
        )
    numbers = [value for value in values if isinstance(value, Real | Decimal)]
    others = [value for value in values if not isinstance(value, Real | Decimal)]
    mixed = f" beside {shown(numbers[0])}" if numbers else ""
    kind = type(others[0]).__name__ if dtype in (nw.Object, nw.Unknown) else dtype
    return InputError(
        f"column {name} must be numbers, booleans or categories, not {kind} such as "
        f"{shown(others[0])}{mixed}; convert it, or {leave}"
    )
