"""The ways a run can end that are not a bug, and the checks that raise the first."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from numbers import Integral, Real

__all__ = [
    "Diverged",
    "InputError",
    "RankLost",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_number",
    "check_part",
]


class InputError(ValueError):
    """Something the caller can put right.

    The message is one line: what was expected, what came, what to do. The scripts print it without
    a traceback; in Python it is an ordinary ``ValueError``.
    """


class Diverged(RuntimeError):
    """The objective or its gradient stopped being finite; the last good state has been saved."""


class RankLost(RuntimeError):
    """Of several processes that train together, another one ended."""


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``choices``."""
    if isinstance(value, str) and value in choices:
        return
    close = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}{hint}")


def check_flag(name: str, value: object) -> None:
    """Raise :class:`InputError` unless ``value`` is True or False; a word, as "no", is neither."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {value!r}")


def check_integer(name: str, value: object, *, minimum: int) -> None:
    """Raise :class:`InputError` unless ``value`` is an integer of at least ``minimum``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum}, not {value!r}")


def check_number(
    name: str,
    value: object,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    exclusive: bool = False,
) -> None:
    """Raise :class:`InputError` unless ``value`` is a finite number in the interval.

    ``exclusive`` leaves the lower end out.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        above = value > minimum if exclusive else value >= minimum
        if above and value <= maximum:
            return
    if maximum < math.inf:
        wanted = f"in {'(' if exclusive else '['}{minimum:g}, {maximum:g}]"
    elif minimum > -math.inf:
        wanted = f"{'above' if exclusive else 'of at least'} {minimum:g}"
    else:
        wanted = "that is finite"
    raise InputError(f"{name} must be a number {wanted}, not {value!r}")


def check_part(name: str, part: object, choices: Sequence[type], methods: Sequence[str]) -> None:
    """Raise :class:`InputError` unless ``part`` is of ``choices``, or has their ``methods``."""
    if isinstance(part, type) or not all(
        callable(getattr(part, method, None)) for method in methods
    ):
        wanted = " or ".join(f"{choice.__name__}(...)" for choice in choices)
        raise InputError(f"{name} must be {wanted}, not {part!r}")
