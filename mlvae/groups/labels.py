"""Numbers of the labels that users give to groups.

Shapes: N observations.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from numbers import Integral, Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, shown

__all__ = ["is_missing", "label_index", "report_words", "words_for_missing"]

#: Texts that other programs write for a missing value.
WORDS = ("na", "n/a", "nan", "<na>", "nat", "none", "null")

#: Types of a list's elements that are no labels.
CONTAINERS = (list, tuple, dict, set, frozenset, np.ndarray, Tensor)

#: Types of tensors whose numbers are counted.
COUNTED = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def label_index(labels: Any) -> tuple[Tensor, list]:
    """Number the distinct values of ``labels`` (length N) in sorted order.

    Labels are numbers, booleans, strings, byte strings in UTF-8, or dates. Dates become ISO
    strings.

    Returns:
        The number of each observation's label, shape (N,) on the device of ``labels``, and the
        labels in order of their numbers.

    Raises:
        InputError: if ``labels`` is not one-dimensional, is empty, has missing values (NaN, None,
            NaT, pandas.NA), mixes types (1 and "1", 1 and 1.0), or has strings that differ only
            in spaces at their ends or in their Unicode form.

    Example:
        >>> label_index(["bob", "ann", "bob"])
        (tensor([1, 0, 1]), ['ann', 'bob'])
    """
    if isinstance(labels, Tensor):
        if labels.is_complex():
            raise _wrong_type(labels)
        _check(tuple(labels.shape), bool(labels.isnan().any()))
        index, names = _numbered(labels)
        return index, names.tolist()
    if np.ma.is_masked(labels):
        _check(np.array(labels, dtype=object).shape, some_missing=True)
    array = _as_array(labels)
    if array.dtype.kind == "c":
        raise _wrong_type(array)
    _check(array.shape, array.dtype.kind in "fcM" and bool((array != array).any()))
    if array.dtype.kind == "M":
        array = np.datetime_as_string(array, unit="auto")
    names, index = np.unique(array, return_inverse=True)
    if array.dtype.kind == "U":
        _check_readable(names.tolist())
    return torch.from_numpy(index.astype(np.int64)), names.tolist()


def _numbered(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The number of each label and the distinct labels, sorted."""
    if labels.dtype in COUNTED and labels.min() >= 0 and labels.max() < len(labels):
        # Counting needs no sort: numbers of many observations, as a prepared collection has them.
        present = torch.bincount(labels) > 0
        return (present.cumsum(0) - 1)[labels.long()], present.nonzero()[:, 0].to(labels.dtype)
    names, index = labels.unique(return_inverse=True)
    return index, names


def is_missing(label: object) -> bool:
    """Whether a label is None, NaN, NaT or pandas.NA."""
    if label is None:
        return True
    try:
        return bool(label != label)
    except TypeError:  # a comparison with pandas.NA has no truth value
        return True
    except ValueError:  # nor has that of an array, which is no missing value
        return False


def words_for_missing(names: Iterable[object]) -> list[str]:
    """Those of ``names`` that other programs write for a missing value, such as "nan".

    They may be names of groups too, so they are labels; a caller reports them.
    """
    return [name for name in names if isinstance(name, str) and name.strip().lower() in WORDS]


def report_words(names: Iterable[object], where: str) -> None:
    """Print a line for each of ``names`` that other programs write for a missing value."""
    for word in words_for_missing(names):
        print(f"{where}: {word!r} is one group; leave it out if it stands for unknown", flush=True)


def _as_array(labels: Any) -> np.ndarray:
    """Labels as an array of one type of NumPy that compares them right."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biufcMU":
        return labels
    if hasattr(labels, "dtype") and (array := np.asarray(labels)).dtype.kind == "M":
        return array  # dates of a table
    # Objects first: NumPy would convert the missing values of a mixed list to a string.
    objects = np.array(labels, dtype=object)
    if not objects.ndim:
        raise InputError(f"group labels must be a list of length N, not {shown(labels)}")
    for place, label in enumerate(objects.flat):
        if isinstance(label, Tensor) and label.ndim == 0:
            objects.flat[place] = label.item()
    _check(objects.shape, any(map(is_missing, objects.flat)))
    if wrong := [name for name in objects.flat if isinstance(name, CONTAINERS)]:
        raise _wrong_type(wrong[0])
    _check_one_type(objects)
    names = np.array([_plain(name) for name in objects.flat])
    _check_distinct(objects, names)
    return names


def _wrong_type(labels: object) -> InputError:
    return InputError(f"group labels must be numbers, strings or dates, not {shown(labels)}")


def _plain(name: object) -> object:
    """A number as it is, any other label as a string."""
    if isinstance(name, bytes):
        try:
            return name.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"group labels that are bytes must be UTF-8, but {shown(name)} is not; decode "
                "them first"
            ) from error
    return name if isinstance(name, Number) else str(name)


def _check_one_type(labels: np.ndarray) -> None:
    """Raise :class:`InputError` if labels have several types, as 1 and "1", or 1 and 1.0."""
    examples: dict[str, object] = {}
    for label in labels.flat:
        examples.setdefault(_type_of(label), label)
    if len(examples) > 1:
        (first, one), (second, other) = list(examples.items())[:2]
        raise InputError(
            f"group labels must have one type, but {shown(one)} is of type {first} and "
            f"{shown(other)} of type {second}; convert them, for example to strings"
        )


def _type_of(label: object) -> str:
    if isinstance(label, bool | np.bool_):
        return "bool"
    if isinstance(label, Number):
        return "int" if isinstance(label, Integral) else "float"
    return "str" if isinstance(label, str) else type(label).__name__


def _check_distinct(labels: np.ndarray, names: np.ndarray) -> None:
    """Raise :class:`InputError` if different labels became one name, as 2^63 and 2^63 + 1."""
    try:
        different = len(set(labels.flat))
    except TypeError:  # labels without a hash were compared as strings
        return
    distinct = len(np.unique(names))
    if distinct < different:
        raise InputError(
            f"group labels must stay different in NumPy's {names.dtype}, but {different} labels "
            f"become {distinct}; convert them to strings"
        )


def _check_readable(names: list[str]) -> None:
    """Raise :class:`InputError` if two names look alike: "a" and "a ", or the forms of an accent.

    A command line, a table and a file name may have the other spelling of the same label.
    """
    spelled: dict[str, str] = {}
    for name in names:
        text = name if name.isascii() else unicodedata.normalize("NFC", name)
        other = spelled.setdefault(text.strip(), name)
        if other != name:
            raise InputError(
                "group labels must differ in more than spaces at their ends or the Unicode form "
                f"of a letter, but {other!a} and {name!a} do not; give both groups one "
                "label, or different ones"
            )


def _check(shape: tuple[int, ...], some_missing: bool) -> None:
    if len(shape) != 1 or shape[0] == 0:
        raise InputError(
            f"group labels must be a non-empty list of length N, not of shape {shape}"
        )
    if some_missing:
        raise InputError(
            "group labels must name a group for each observation, but some are missing "
            "(NaN, None, NaT or pandas.NA)"
        )
