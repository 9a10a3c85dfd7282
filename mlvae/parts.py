"""Parts of a model or a training to and from the plain dictionaries of configs and checkpoints.

A part is a frozen dataclass whose fields are numbers, strings, tuples of these, or parts. Its
dictionary has its fields, and its class name under ``name``:
``MLP(hidden=(500,))`` is ``{"name": "MLP", "hidden": [500], ...}``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from mlvae.errors import InputError, check_choice

__all__ = ["from_config", "plain", "take_lists", "to_config"]

Part = TypeVar("Part")


def to_config(part: object) -> dict[str, object]:
    """The dictionary of ``part``: tuples as lists, parts inside it as dictionaries."""
    config: dict[str, object] = {"name": type(part).__name__}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            value = to_config(value)
        config[field.name] = value
    return plain(config)


def plain(value: object) -> object:
    """``value`` as files keep it: tuples as lists, NumPy's numbers as Python's, at any depth."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def take_lists(part: object, prefix: str, *names: str) -> None:
    """Make tuples of lists that a part was given, for its ``__post_init__``.

    Args:
        part: a frozen dataclass.
        prefix: what the part is, to begin an error with.
        names: of the fields that are tuples.

    Raises:
        InputError: if one is neither a list nor a tuple.
    """
    for name in names:
        value = getattr(part, name)
        if not isinstance(value, list | tuple):
            raise InputError(f"{prefix}.{name} must be a list, not {value!r}")
        object.__setattr__(part, name, tuple(value))


def from_config(config: Mapping[str, object], choices: Sequence[type[Part]], what: str) -> Part:
    """The part that ``config`` describes, of one of the classes ``choices``.

    Args:
        config: fields by name, and the class name under ``name``. It is not changed.
        choices: the classes it may name.
        what: what the part is for, to begin an error with.

    Raises:
        InputError: if the class or a field is unknown, or a value is out of range.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"{what} must be options by name, its name among them, not {config!r}")
    fields = dict(config)
    name = fields.pop("name", None)
    classes = {choice.__name__: choice for choice in choices}
    check_choice(f"{what}.name", name, list(classes))
    known = [field.name for field in dataclasses.fields(classes[name])]
    for key, value in fields.items():
        check_choice(f"an option of {what} {name}", key, known)
        fields[key] = tuple(value) if isinstance(value, list) else value
    try:
        return classes[name](**fields)
    except TypeError as error:
        raise InputError(f"{what} {name}: {error}") from error
