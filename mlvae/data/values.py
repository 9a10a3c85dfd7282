"""Known values of observations, as columns of any library: factors and given values.

Shapes: N observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_text, shown
from mlvae.groups.labels import is_missing
from mlvae.observations import check_float32

__all__ = [
    "as_factor",
    "as_features",
    "as_given",
    "as_names",
    "as_numbers",
    "by_name",
    "is_number_text",
]


def is_number_text(text: str) -> bool:
    """Whether a text is a number, as "1.5", "1e3" or "nan"."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def by_name(option: str, values: Any) -> dict[str, Any]:
    """Values by name: a dictionary, or a table with columns as those of pandas and polars.

    Raises:
        InputError: if ``values`` has no names, or a name is not text.
    """
    if values is None:
        return {}
    if isinstance(values, Mapping):
        columns = dict(values)
    elif hasattr(values, "columns") and hasattr(values, "__getitem__"):
        columns = {name: values[name] for name in values.columns}
    else:
        raise InputError(f"{option} must be values by name, not {shown(values)}")
    for name in columns:
        check_text(f"a name of {option}", name)
    return columns


def as_factor(name: str, values: Any, length: int) -> Tensor:
    """A known factor as float32 (N,). Missing values (None, pandas.NA, a mask) become NaN.

    Raises:
        InputError: if the values are no numbers, have another shape, or are infinite or equal in
            float32.
    """
    what = f"factor {name} must be numbers of shape ({length},)"
    if isinstance(values, Tensor) and values.is_floating_point():
        values = values.double()
    numbers = as_numbers(what, values, missing=math.nan)
    if numbers.shape != (length,):
        raise InputError(
            f"factor {name} must have a number for each of the {length} observations, "
            f"not shape {numbers.shape}"
        )
    check_float32(f"factor {name}", numbers)
    return torch.from_numpy(numbers.astype(np.float32))


def as_given(name: str, values: Any, length: int) -> Tensor:
    """Given values as a tensor (N, ...) of their own type.

    float64 becomes float32, and unsigned integers of more than 8 bits become int64.

    Raises:
        InputError: if the values are no numbers, some are missing, or there are not N rows.
    """
    if not isinstance(values, Tensor):
        what = f"given {name} must be numbers of shape ({length}, ...)"
        array = as_numbers(what, values, missing=None)
        # Copy only arrays that torch cannot share.
        values = torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    values = values.detach()
    if values.ndim == 0 or len(values) != length:
        raise InputError(
            f"given {name} must have a row for each of the {length} observations, "
            f"not shape {tuple(values.shape)}"
        )
    if values.is_floating_point() and bool(values.isnan().any()):
        raise InputError(f"given {name} must have no missing values, but some are NaN; fill them")
    if values.dtype in (torch.uint16, torch.uint32, torch.uint64):  # which have few operations
        if values.dtype == torch.uint64 and bool((values.view(torch.int64) < 0).any()):
            raise InputError(f"given {name} must have integers below 2^63; subtract an offset")
        values = values.long()
    return values.float() if values.dtype == torch.float64 else values


def as_features(names: Any, shape: Sequence[int]) -> list[str]:
    """A different text for each of the D features of observations x (N, D).

    Raises:
        InputError: if ``names`` are not D different texts, or x has another shape.
    """
    if len(shape) != 2:
        raise InputError(
            f"feature_names are for observations of shape (D,), not {tuple(shape[1:])}"
        )
    listed = isinstance(names, Sequence | np.ndarray) and not isinstance(names, str | bytes)
    texts = list(names) if listed else []
    if len(texts) != shape[1] or not all(isinstance(name, str) and name for name in texts):
        raise InputError(
            f"feature_names must be a text for each of the {shape[1]} features, not {shown(names)}"
        )
    texts = list(map(str, texts))
    if len(set(texts)) < len(texts):
        twice = next(name for name in texts if texts.count(name) > 1)
        raise InputError(f"feature_names must be different, not two of {twice!r}")
    return texts


def as_names(names: Any, length: int) -> np.ndarray:
    """A name of each observation as an array (N,): texts, numbers or dates.

    Raises:
        InputError: if there are not N, or some are missing.
    """
    expected = f"names must have a name for each of the {length} observations"
    if isinstance(names, str | bytes):
        raise InputError(f"{expected}, not {shown(names)}")
    if isinstance(names, Tensor):
        names = names.detach().cpu().numpy()
    # Objects: an array of texts would be as wide as the longest.
    array = np.asarray(names) if hasattr(names, "dtype") else np.array(names, dtype=object)
    if array.shape != (length,):
        raise InputError(f"{expected}, not shape {array.shape}")
    if array.dtype.kind in "OfMT" and any(map(is_missing, array.tolist())):
        raise InputError(f"{expected}, but some are missing; pass names=None, or fill them")
    return array


def as_numbers(what: str, values: Any, missing: float | None) -> np.ndarray:
    """Values as an array of booleans, integers or floats.

    Args:
        what: the beginning of an error: what the values must be.
        values: a tensor, an array, a column or a list.
        missing: the number for missing values; None refuses them.

    Raises:
        InputError: if the values are no numbers, or some are missing.
    """
    kind = f"{type(values).__module__}.{type(values).__name__}"
    if kind.startswith("scipy.sparse"):
        raise InputError(f"{what}, not a {kind}: take its toarray()")
    if np.ma.is_masked(values):
        if missing is None:
            raise InputError(f"{what}, but some are masked; fill them first")
        values = np.ma.asarray(values, dtype=np.float64).filled(missing)
    if isinstance(values, list | tuple) and any(isinstance(item, Tensor) for item in values):
        values = [item.detach().tolist() if isinstance(item, Tensor) else item for item in values]
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    try:
        numbers = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{what}: {error}") from error
    if numbers.dtype == object and numbers.ndim:
        numbers = _of_objects(what, numbers, missing)
    if numbers.dtype.kind not in "biuf":
        advice = ""
        if numbers.dtype.kind in "OUST" and numbers.ndim:
            advice = "; number words, for example by numpy.unique(words, return_inverse=True)[1]"
        elif numbers.dtype.kind in "mM":
            advice = "; convert dates to numbers, for example to days since the first"
        raise InputError(f"{what}, not {numbers.dtype}{advice}")
    return numbers


def _of_objects(what: str, values: np.ndarray, missing: float | None) -> np.ndarray:
    """Objects as numbers, if all are numbers or missing; else the objects."""
    gaps = np.array([is_missing(value) for value in values.flat], dtype=bool)
    rest = [value for value, gap in zip(values.flat, gaps, strict=True) if not gap]
    if not all(isinstance(value, Real | Decimal) for value in rest):
        return values
    if gaps.any():
        if missing is None:
            raise InputError(f"{what}, but some are missing; fill them first")
        filled = np.full(len(gaps), missing)
        filled[~gaps] = [float(value) for value in rest]
        return filled.reshape(values.shape)
    if all(isinstance(value, bool | np.bool_) for value in rest):
        return values.astype(bool)
    whole = all(isinstance(value, Integral) and abs(int(value)) < 2**63 for value in rest)
    return values.astype(np.int64 if whole else np.float64)
