"""Exceptions for user errors, diverged runs and lost ranks, and checks of arguments."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from numbers import Integral, Real
from typing import Protocol, runtime_checkable

__all__ = [
    "Diverged",
    "InputError",
    "RankLost",
    "check_choice",
    "check_flag",
    "check_integer",
    "check_number",
    "check_part",
    "check_text",
    "check_texts",
    "shown",
]

#: Largest integer of PyTorch.
MOST_INTEGER = 2**63 - 1

#: Largest number of characters of a value in a message.
MOST_SHOWN = 80


class InputError(ValueError):
    """An error that the caller can correct.

    The message is one line with the expected value, the received value and the correction. The
    scripts print it without a traceback. In Python it is a ``ValueError``.

    Args:
        message: the message. Line breaks, as in a message of another library, become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Diverged(RuntimeError):
    """The objective or its gradient is not finite. The last finite state is saved."""


class RankLost(RuntimeError):
    """Another process of a distributed run ended."""


@runtime_checkable
class Array(Protocol):
    """An array or a tensor of any library."""

    dtype: object
    shape: Sequence[int]


def shown(value: object) -> str:
    """A value in one short line, for a message: its type and shape if it is an array.

    Example:
        >>> import torch
        >>> shown(torch.zeros(2, 3)), shown("a" * 100)[-5:]
        ('a Tensor of torch.float32 and shape (2, 3)', 'aa...')
    """
    try:
        if isinstance(value, Array) and not isinstance(value, type):
            if len(value.shape):
                return f"a {type(value).__name__} of {value.dtype} and shape {tuple(value.shape)}"
            if hasattr(value, "item") and "time64" not in str(value.dtype):
                value = value.item()  # pyright: ignore
        text = " ".join(repr(value).split())
    except Exception:  # a repr of a stranger's class, or an integer of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


#: Largest number of characters of the choices in a message on a value that is no text.
MOST_CHOICES = 280


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``choices``."""
    if isinstance(value, str) and value in choices:
        return
    close = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    names = ", ".join(choices)
    if len(names) > MOST_CHOICES and not isinstance(value, str):
        names = f"{names[:MOST_CHOICES].rpartition(', ')[0]}, ... ({len(choices)} names)"
    raise InputError(f"{name} must be one of {names}, not {shown(value)}{hint}")


def check_flag(name: str, value: object) -> None:
    """Raise :class:`InputError` unless ``value`` is True or False. Strings are refused."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {shown(value)}")


def check_integer(name: str, value: object, *, minimum: int) -> None:
    """Raise :class:`InputError` unless ``value`` is an integer in [``minimum``, 2^63)."""
    if type(value) is int and minimum <= value <= MOST_INTEGER:  # a tenth of the time of Integral
        return
    if not isinstance(value, Integral) or isinstance(value, bool) or value < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum}, not {shown(value)}")
    if int(value) > MOST_INTEGER:
        raise InputError(f"{name} must be an integer below 2^63, not {shown(value)}")


def check_number(
    name: str,
    value: object,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    exclusive: bool = False,
) -> None:
    """Raise :class:`InputError` unless ``value`` is a finite number in the interval.

    ``exclusive`` excludes the lower end of the interval.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and _finite(value):
        number = float(value)
        above = number > minimum if exclusive else number >= minimum
        if above and number <= maximum:
            return
    if maximum < math.inf:
        expected = f"in {'(' if exclusive else '['}{minimum:g}, {maximum:g}]"
    elif minimum > -math.inf:
        expected = f"{'above' if exclusive else 'of at least'} {minimum:g}"
    else:
        expected = "that is finite"
    raise InputError(f"{name} must be a number {expected}, not {shown(value)}")


def _finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def check_text(name: str, value: object) -> None:
    """Raise :class:`InputError` unless ``value`` is a string with at least one character."""
    if not isinstance(value, str) or not value:
        raise InputError(f"{name} must be text, not {shown(value)}")


def check_texts(name: str, values: object) -> None:
    """Raise :class:`InputError` unless ``values`` is a list of strings."""
    if not isinstance(values, list | tuple):
        raise InputError(f"{name} must be a list of texts, not {shown(values)}")
    for value in values:
        check_text(name, value)


def check_part(name: str, part: object, choices: Sequence[type], methods: Sequence[str]) -> None:
    """Raise :class:`InputError` unless ``part`` is an object that has all ``methods``.

    The message names ``choices``, the classes of the library that have them.
    """
    if isinstance(part, type) or not all(
        callable(getattr(part, method, None)) for method in methods
    ):
        expected = " or ".join(f"{choice.__name__}(...)" for choice in choices)
        raise InputError(f"{name} must be {expected}, not {shown(part)}")
