r"""Tables of codes and factors, the input of all metrics.

Rows are observations. Codes are numbers (N, D), such as posterior means; factors are numbers
(N, K), values of a category or of a quantity. Metrics of information cut codes into intervals and
count pairs of intervals and values:

.. math:: I(z_d; v_k) = \sum_{a, b} p(a, b) \log_2 \frac{p(a, b)}{p(a) \, p(b)} \quad
    \text{bits},

where a is the interval of code d, b the value of factor k, and p their frequencies in the table.
The estimate is biased upwards. For independent codes and factors the bias is about
(intervals - 1) (values - 1) / (2 N ln 2) bits (Miller 1955).

Shapes: N observations, D dimensions of the code, K factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mlvae.errors import InputError, check_integer, check_number, shown

__all__ = [
    "categories",
    "checked",
    "entropies",
    "information_table",
    "intervals",
    "mutual_information",
    "per_factor",
    "split_rows",
]

Array = np.ndarray | Tensor


def checked(
    codes: Array, factors: Array, *, dimensions: int = 1, count: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Codes and factors in float64, after a check that they are a valid table.

    Args:
        codes: (N, D).
        factors: (N, K).
        dimensions: minimum of D.
        count: minimum of K.

    Raises:
        InputError: if shapes do not fit, a number is not finite, or a factor has one value only.
    """
    x, y = (_numbers(*pair) for pair in (("codes", codes), ("factors", factors)))
    if len(x) != len(y):
        raise InputError(
            f"codes and factors must have equally many rows, not {len(x)} and {len(y)}"
        )
    for name, array, minimum in (("codes", x, dimensions), ("factors", y, count)):
        if array.shape[1] < minimum:
            raise InputError(
                f"this metric needs {name} of at least {minimum} columns, not {array.shape[1]}"
            )
    if (constant := np.flatnonzero(np.ptp(y, 0) == 0)).size:
        raise InputError(
            f"every factor must have at least two values, but column {constant[0]} has one; "
            "remove it"
        )
    return x, y


def _numbers(name: str, array: Array) -> np.ndarray:
    try:
        array = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged, or of a type without arrays
        raise InputError(f"{name} must be numbers of shape (rows, columns): {error}") from error
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biuf":
        raise InputError(
            f"{name} must be numbers of shape (rows, columns), not {array.dtype} {array.shape}"
        )
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite; remove rows with unknown values")
    return array


def per_factor(continuous: bool | Sequence[bool], count: int) -> list[bool]:
    """One flag for each of ``count`` factors: True for a quantity, False for a category.

    Args:
        continuous: one flag for all factors, or one per factor.
        count: number of factors.

    Raises:
        InputError: if the number of flags is not ``count``.
    """
    listed = continuous.tolist() if isinstance(continuous, np.ndarray) else continuous
    flags: Any = [continuous] * count if isinstance(continuous, bool) else listed
    valid = isinstance(flags, list | tuple) and len(flags) == count
    if not valid or not all(isinstance(flag, bool) for flag in flags):
        found = f"{len(flags)}" if isinstance(flags, list | tuple) else shown(continuous)
        raise InputError(
            f"continuous must be true, false, or a list of {count} flags, one per factor, not "
            f"{found if not valid else shown(continuous)}"
        )
    return [bool(flag) for flag in flags]


def split_rows(number: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random split into training rows and test rows.

    Args:
        number: number of rows.
        fraction: fraction of test rows.
        seed: seed of the split.

    Raises:
        InputError: if an argument is out of range, or one part would be empty.
    """
    check_number("test_fraction", fraction, minimum=0, maximum=1, exclusive=True)
    check_integer("seed", seed, minimum=0)
    tested = round(number * fraction)
    if not 0 < tested < number:
        raise InputError(f"{number} rows cannot be split with test_fraction={fraction}")
    order = np.random.default_rng(seed).permutation(number)
    return order[tested:], order[:tested]


def intervals(values: np.ndarray, bins: int) -> np.ndarray:
    """Cut every column into ``bins`` intervals of equal width over its range.

    Args:
        values: (N, columns).
        bins: number of intervals.

    Returns:
        Interval of each value, from 0 to ``bins`` - 1. The last interval contains the largest
        value.

    Example:
        >>> intervals(np.array([[0.0], [1.0], [2.5], [4.0]]), 4)[:, 0].tolist()
        [0, 1, 2, 3]
    """
    check_integer("bins", bins, minimum=2)
    edges = np.linspace(values.min(0), values.max(0), bins + 1)[:-1]
    return np.column_stack(
        [
            np.searchsorted(edge, column, side="right") - 1 if np.ptp(column) > 0 else 0 * column
            for edge, column in zip(edges.T, values.T, strict=True)
        ]
    ).astype(np.int64)


def categories(factors: np.ndarray, bins: int | None = None) -> np.ndarray:
    """Number the values of every factor from 0.

    Args:
        factors: (N, K).
        bins: number of :func:`intervals` for a factor of more values than this; None treats every
            value as a category.

    Raises:
        InputError: if a factor has more than N / 2 values.
    """
    if bins is not None:
        check_integer("factor_bins", bins, minimum=2)
    columns = []
    for k, column in enumerate(factors.T):
        number = np.unique(column, return_inverse=True)[1]
        if bins is not None and number.max() >= bins:
            number = np.unique(intervals(column[:, None], bins)[:, 0], return_inverse=True)[1]
        if 2 * (number.max() + 1) > len(column):
            raise InputError(
                f"factor {k} has {number.max() + 1} values in {len(column)} rows, more than one "
                "for two rows; cut it into intervals with factor_bins"
            )
        columns.append(number)
    return np.column_stack(columns)


def entropies(numbers: np.ndarray) -> np.ndarray:
    """Entropy of every column of values numbered from 0, in bits, (columns,)."""
    return np.array([_bits(np.bincount(column)) for column in numbers.T])


def mutual_information(
    codes: Array, factors: Array, *, bins: int = 20, factor_bins: int | None = None
) -> np.ndarray:
    """Mutual information between every dimension of the code and every factor, in bits, (D, K).

    Args:
        codes: (N, D).
        factors: (N, K).
        bins: number of intervals of equal width of each dimension.
        factor_bins: number of intervals for a factor of more values than this; None treats every
            value as a category.

    Raises:
        InputError: see :func:`checked` and :func:`categories`.

    Example:
        >>> bit = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> mutual_information(bit, bit)
        array([[1., 0.],
               [0., 1.]])
    """
    return information_table(codes, factors, bins=bins, factor_bins=factor_bins)[0]


def information_table(
    codes: Array,
    factors: Array,
    *,
    bins: int,
    factor_bins: int | None,
    dimensions: int = 1,
    count: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Mutual information (D, K) and entropy of every factor (K,), both in bits.

    Arguments and errors are those of :func:`checked` and :func:`mutual_information`.
    """
    x, y = checked(codes, factors, dimensions=dimensions, count=count)
    x, y = intervals(x, bins), categories(y, factor_bins)
    joint = np.array([[_bits(np.bincount(a * (b.max() + 1) + b)) for b in y.T] for a in x.T])
    entropy = entropies(y)
    # Rounding can give values slightly below zero.
    return np.maximum(0.0, entropies(x)[:, None] + entropy - joint), entropy


def _bits(counts: np.ndarray) -> float:
    """Entropy of counts, in bits."""
    frequency = counts[counts > 0] / counts.sum()
    return float(-(frequency * np.log2(frequency)).sum())
