"""Parts of a model or a training to and from the plain dictionaries of configs and checkpoints.

A part is a frozen dataclass whose fields are numbers, strings, tuples of these, or parts. Its
dictionary has its fields, and its class name under ``name``:
``MLP(hidden=(500,))`` is ``{"name": "MLP", "hidden": [500], ...}``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mlvae.errors import InputError, check_choice

__all__ = ["from_config", "to_config"]

Part = TypeVar("Part")


def to_config(part: object) -> dict[str, object]:
    """The dictionary of ``part``: tuples as lists, parts inside it as dictionaries."""
    config: dict[str, object] = {"name": type(part).__name__}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            value = to_config(value)
        config[field.name] = list(value) if isinstance(value, tuple) else value
    return config


def from_config(config: Mapping[str, object], choices: Sequence[type[Part]], what: str) -> Part:
    """The part that ``config`` describes, of one of the classes ``choices``.

    Args:
        config: fields by name, and the class name under ``name``. It is not changed.
        choices: the classes it may name.
        what: what the part is for, to begin an error with.

    Raises:
        InputError: if the class or a field is unknown, or a value is out of range.
    """
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
