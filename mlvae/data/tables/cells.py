"""The cells of one column of a table as features or as a factor.

Columns are series of narwhals, which has those of pandas, polars and pyarrow.

Shapes: N rows.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from mlvae.data.tables.columns import Column, few
from mlvae.errors import InputError, shown
from mlvae.groups.labels import is_missing

__all__ = ["column_of", "encoded", "factor"]

#: Largest error of float32 in a column, in standard deviations of the column.
MOST_ERROR = 1e-3


def column_of(series: Any, *, category: bool = False) -> Column:
    """The record of a column, by its type."""
    name, kind = series.name, _kind(series)
    if category or kind == "category":
        if kind == "other":
            raise _refused(series)
        _check_complete(series)
        return Column(name, "category", tuple(_sorted(name, set(series.to_list()))))
    if kind in ("text", "other"):
        raise _refused(series)
    return Column(name, kind)


def encoded(series: Any, column: Column) -> np.ndarray:
    """The features of a column, float32 (N, 1) or (N, categories)."""
    kind = _kind(series)
    _check_complete(series)
    if column.kind == "category":
        return _one_hot(series, column)
    if kind != column.kind and (column.kind, kind) != ("number", "flag"):
        raise InputError(
            f"column {column.name} must have {column.kind}s, as the training table has, not "
            f"{series.dtype} such as {shown(series.to_list()[0])}"
        )
    values = series.to_numpy() if series.dtype.is_numeric() else series.to_list()
    wide = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore"):
        single = wide.astype(np.float32)
    if infinite := int((~np.isfinite(single)).sum()):
        raise InputError(
            f"column {column.name} must be finite in float32, but {infinite} of {len(wide)} cells "
            f"are not, such as {wide[~np.isfinite(single)][0]:g}; replace or rescale them"
        )
    deviation = wide.std()
    if np.abs(single - wide).max() > MOST_ERROR * deviation > 0:
        raise InputError(
            f"column {column.name} loses its digits in float32: its values are near "
            f"{wide.mean():g} with the standard deviation {deviation:g}; subtract an offset"
        )
    return single[:, None]


def factor(series: Any) -> tuple[np.ndarray, list]:
    """A factor as numbers (N,), NaN where unknown; and its words, if it has words."""
    kind = _kind(series)
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


def _kind(series: Any) -> str:
    """The kind of a column: number, flag, category, text or other."""
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
    if dtype == nw.Object:
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
    if missing:
        name = series.name
        raise InputError(
            f"column {name} has {missing} of {len(series)} cells missing; drop these rows, "
            f"df.dropna(subset=[{name!r}]), or fill them, for example by the median of the "
            "training rows"
        )


def _one_hot(series: Any, column: Column) -> np.ndarray:
    """1 in the feature of each row's category, float32 (N, categories)."""
    number = {value: place for place, value in enumerate(column.categories)}
    values = series.to_list()
    unknown = [value for value in values if value not in number]
    if unknown:
        raise InputError(
            f"column {column.name} must have the categories of the training table "
            f"({few(column.categories)}), not {shown(unknown[0])} "
            f"({len(unknown)} of {len(values)} rows); leave these rows out, or train with them"
        )
    x = np.zeros((len(values), len(number)), np.float32)
    x[np.arange(len(values)), [number[value] for value in values]] = 1
    return x


def _sorted(name: str, values: set) -> list:
    """The values of a category in order, as plain values."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
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
    if _kind(series) == "text":
        return InputError(
            f"column {name} is text; set categories=[{name!r}] for one feature of each value, or "
            f"{leave}"
        )
    if dtype in (nw.Datetime, nw.Date, nw.Duration, nw.Time):
        return InputError(
            f"column {name} has dates or times ({dtype}); convert it to numbers, for example "
            f"days since the first, or {leave}"
        )
    return InputError(
        f"column {name} must be numbers, booleans or categories, not {dtype} such as "
        f"{shown(series.to_list()[0])}; convert it, or {leave}"
    )
