"""Parts of a model or a training as plain dictionaries, for configs and checkpoints.

A part is a frozen dataclass. Its fields are numbers, strings, parts, or lists and dictionaries of
these. The dictionary of a part has its fields, and the name of its class under ``name``:
``MLP(hidden=(500,))`` is ``{"name": "MLP", "hidden": [500], ...}``.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from mlvae.errors import InputError, check_choice, shown

__all__ = ["from_config", "plain", "take_lists", "to_config"]

Part = TypeVar("Part")


def to_config(part: Any) -> dict[str, Any]:
    """The dictionary of ``part``: tuples as lists, nested parts as dictionaries."""
    fields = {field.name: vars(part)[field.name] for field in dataclasses.fields(part)}
    return {"name": type(part).__name__, **plain(fields)}


def plain(value: Any) -> Any:
    """``value`` as files hold it, at any depth.

    Tuples become lists, NumPy's numbers Python's, and parts dictionaries.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_config(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def take_lists(part: object, prefix: str, *names: str) -> None:
    """Convert the lists of a part to tuples, for its ``__post_init__``.

    Args:
        part: a frozen dataclass.
        prefix: first word of an error message.
        names: the fields that are tuples.

    Raises:
        InputError: if a field is neither a list nor a tuple.
    """
    for name in names:
        value = vars(part)[name]
        if not isinstance(value, list | tuple):
            raise InputError(f"{prefix}.{name} must be a list, not {shown(value)}")
        object.__setattr__(part, name, tuple(value))


def from_config(config: object, choices: Sequence[type[Part]], what: str) -> Part:
    """Build the part that ``config`` describes, one of the classes ``choices``.

    A field that is a part itself is built from its dictionary. The annotation of the field gives
    the classes to choose from.

    Args:
        config: fields by name, and the class name under ``name``, which may be missing if there is
            one choice. The dictionary is not changed.
        choices: the allowed classes.
        what: the purpose of the part, first word of an error message.

    Raises:
        InputError: if the class or a field is unknown, or a value is out of range.
    """
    if not isinstance(config, Mapping):
        raise InputError(
            f"{what} must be options by name, its name among them, not {shown(config)}"
        )
    fields = dict(config)
    classes = {choice.__name__: choice for choice in choices}
    name = fields.pop("name", next(iter(classes)) if len(classes) == 1 else None)
    check_choice(f"{what}.name", name, list(classes))
    known = _annotations(classes[str(name)])
    for key, value in fields.items():
        check_choice(f"an option of {what} {name}", key, known)
        fields[key] = _built(value, known[key], key)
    try:
        return classes[str(name)](**fields)
    except TypeError as error:
        raise InputError(f"{what} {name}: {error}") from error


def _annotations(part: type) -> dict[str, object]:
    """The annotation of each field of a part."""
    hints = get_type_hints(part)
    return {field.name: hints[field.name] for field in dataclasses.fields(part)}  # type: ignore


def _built(value: Any, annotation: object, what: str) -> Any:
    """The value of a field from its plain form: lists as tuples, dictionaries as parts."""
    if isinstance(value, Mapping) and (choices := _parts_of(annotation)):
        return from_config(value, choices, what)
    if isinstance(value, Mapping):
        items = _items_of(annotation, Mapping)
        return {key: _built(item, items, f"{what}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        items = _items_of(annotation, Sequence)
        return tuple(_built(item, items, what) for item in value)
    return value


def _items_of(annotation: object, kind: type) -> object:
    """The annotation of the items of a ``kind``, Sequence or Mapping; None if there is none."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        found = (_items_of(choice, kind) for choice in arguments)
        return next((items for items in found if items is not None), None)
    if not (arguments and isinstance(origin, type) and issubclass(origin, kind)):
        return None
    return arguments[-1] if kind is Mapping else arguments[0]


def _parts_of(annotation: object) -> list[type]:
    """The parts that an annotation allows."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for choice in get_args(annotation) for part in _parts_of(choice)]
    part = isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
    return [annotation] if part else []  # type: ignore[list-item]
