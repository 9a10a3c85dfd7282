"""The size of a part of the data: a number of rows or groups, or a fraction of them."""

from __future__ import annotations

from numbers import Integral, Real

from mlvae.errors import InputError, check_integer, check_number, shown

__all__ = ["check_share", "count_of", "is_share"]


def is_share(value: object) -> bool:
    """Whether ``value`` is a number: an integer counts, a float is a fraction."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_share(option: str, value: object, what: str) -> None:
    """Raise :class:`InputError` unless ``value`` is a count, or a fraction in [0, 1].

    Args:
        option: name of the value.
        value: an integer of at least 0, or a float in [0, 1].
        what: the things that are counted, such as "groups".
    """
    if not is_share(value):
        raise InputError(
            f"{option} must be a number of {what} as 5, or a fraction of them as 0.1, not "
            f"{shown(value)}"
        )
    if isinstance(value, Integral):
        check_integer(option, value, minimum=0)
    else:
        check_number(f"{option}, a fraction of the {what},", value, minimum=0, maximum=1)


def count_of(value: float, length: int) -> int:
    """The number that a count, or a fraction of ``length``, stands for; at least 1 if above 0.

    Example:
        >>> count_of(5, 100), count_of(0.25, 100), count_of(0.001, 100)
        (5, 25, 1)
    """
    if isinstance(value, Integral):
        return int(value)
    return max(1, round(float(value) * length)) if value > 0 else 0
