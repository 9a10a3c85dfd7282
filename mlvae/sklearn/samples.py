"""Samples and labels of groups as estimators of scikit-learn receive them.

Shapes: n samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from mlvae.data.row_order import check_row_order, index_of
from mlvae.errors import InputError

__all__ = ["check_numbers", "labels_of"]


def check_numbers(X: Any) -> None:
    """Raise :class:`InputError` if X has dates or texts, or masked values.

    scikit-learn converts dates to nanoseconds and texts to numbers, and takes masked values as
    they are.
    """
    if np.ma.is_masked(X):
        raise InputError(
            "X must not be masked; fill the masked values, or give NaN, numpy.ma.filled(X, nan)"
        )
    columns: dict[str, Any] = {"X": X}
    if index_of(X) is not None and X.ndim == 2:
        columns = {f"column {name} of X": X.iloc[:, i] for i, name in enumerate(X.columns)}
    for name, values in columns.items():
        kind = getattr(getattr(values, "dtype", None), "kind", None)
        array = np.asarray(values) if kind is None or kind in "OUS" else None
        if kind is not None and kind in "mM":
            raise InputError(
                f"{name} must be numbers, not {values.dtype}; convert dates to numbers, for "
                "example to days since the first"
            )
        text = array is not None and array.dtype.kind in "US" and array.size
        if array is not None and array.dtype == object:
            text = any(isinstance(value, str) for value in array.flat)
        if text:
            raise InputError(
                f"{name} must be numbers, but has texts; convert them, for example by "
                "pandas.to_numeric or OneHotEncoder"
            )


def labels_of(X: Any, name: str, labels: Any) -> np.ndarray | None:
    """The labels of groups (n,) in their own type, or None.

    Args:
        X: samples.
        name: name of the labels.
        labels: a label for each sample, or None.

    Raises:
        InputError: if the labels have the index of X in another order.
    """
    if labels is None:
        return None
    check_row_order("X", X, **{name: labels})
    # NumPy would make texts of a mixed list, and scikit-learn floats of nullable integers.
    objects = isinstance(labels, list | tuple)
    labels = np.array(labels, dtype=object) if objects else np.asarray(labels)
    found = np.asarray(column_or_1d(labels, warn=True))
    check_consistent_length(X, found)
    return found
