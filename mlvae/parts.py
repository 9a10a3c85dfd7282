"""Parts of a model or a training as plain dictionaries, for configs and checkpoints.

A part is a frozen dataclass. Its fields are numbers, strings, parts, or lists and dictionaries of
these. The dictionary of a part has its fields, and the name of its class under ``name``:
``MLP(hidden=(500,))`` is ``{"name": "MLP", "hidden": [500], ...}``. The name of a class of a
user's own has its module: ``"my_networks.Waves"``.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from mlvae.errors import InputError, check_choice, shown

__all__ = [
    "UnknownPart",
    "chosen",
    "from_config",
    "name_of",
    "plain",
    "take_lists",
    "to_config",
]

Part = TypeVar("Part")

#: Classes to choose from by annotation: a protocol lists none by itself.
Kinds = Mapping[object, Sequence[type]]


class UnknownPart(InputError):
    """A config names a class that is not among the choices.

    Attributes:
        name: the name in the config.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def name_of(part: type) -> str:
    """The name of a class in configs: with its module unless it is of this library."""
    if part.__module__.split(".")[0] == __name__.split(".")[0]:
        return part.__name__
    return f"{part.__module__}.{part.__qualname__}"


def chosen(name: object, choices: Sequence[type[Part]], what: str) -> type[Part]:
    """The class of ``choices`` that ``name`` names.

    Args:
        name: as :func:`name_of` gives it. The name alone is enough; of two classes with one name,
            it is the first.
        choices: the allowed classes.
        what: first words of an error message.

    Raises:
        UnknownPart: if there is none.
    """
    known: dict[str, type[Part]] = {}
    for choice in choices:
        known.setdefault(choice.__name__, choice)
    full = {name_of(choice): choice for choice in choices}
    if isinstance(name, str) and (found := full.get(name) or known.get(name)):
        return found
    if isinstance(name, str) and "." in name:
        short = name.split(".")[-1]  # the same class, imported from another module
        own = [choice for choice in choices if "." in name_of(choice)]
        if found := next((choice for choice in own if choice.__name__ == short), None):
            return found
        raise UnknownPart(
            f"{what}={name} is a class outside of this library: pass it, parts=[{short}]", name
        )
    try:
        check_choice(what, name, list(known))
    except InputError as error:
        raise UnknownPart(str(error), str(name)) from None
    raise AssertionError


def to_config(part: Any) -> dict[str, Any]:
    """The dictionary of ``part``: tuples as lists, nested parts as dictionaries."""
    fields = {field.name: vars(part)[field.name] for field in dataclasses.fields(part)}
    return {"name": name_of(type(part)), **plain(fields)}


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


def from_config(
    config: object, choices: Sequence[type[Part]], what: str, kinds: Kinds | None = None
) -> Part:
    """Build the part that ``config`` describes, one of the classes ``choices``.

    A field that is a part itself is built from its dictionary. The annotation of the field gives
    the classes to choose from.

    Args:
        config: fields by name, and the class name under ``name``, which may be missing if there is
            one choice. The dictionary is not changed.
        choices: the allowed classes.
        what: the purpose of the part, first word of an error message.
        kinds: the allowed classes of fields whose annotation is a protocol.

    Raises:
        InputError: if the class or a field is unknown, or a value is out of range.
    """
    if not isinstance(config, Mapping):
        raise InputError(
            f"{what} must be options by name, its name among them, not {shown(config)}"
        )
    fields = dict(config)
    only = choices[0].__name__ if len(choices) == 1 else None
    part = chosen(fields.pop("name", only), choices, f"{what}.name")
    known = _annotations(part)
    for key, value in fields.items():
        check_choice(f"an option of {what} {part.__name__}", key, known)
        fields[key] = _built(value, known[key], key, kinds or {})
    try:
        return part(**fields)
    except TypeError as error:
        raise InputError(f"{what} {part.__name__}: {error}") from error


def _annotations(part: type) -> dict[str, object]:
    """The annotation of each field of a part."""
    hints = get_type_hints(part)
    return {field.name: hints[field.name] for field in dataclasses.fields(part)}  # type: ignore


def _built(value: Any, annotation: object, what: str, kinds: Kinds) -> Any:
    """The value of a field from its plain form: lists as tuples, dictionaries as parts."""
    if isinstance(value, Mapping) and (choices := _parts_of(annotation, kinds)):
        return from_config(value, choices, what, kinds)
    if isinstance(value, Mapping):
        items = _items_of(annotation, Mapping)
        return {key: _built(item, items, f"{what}.{key}", kinds) for key, item in value.items()}
    if isinstance(value, list):
        items = _items_of(annotation, Sequence)
        return tuple(_built(item, items, what, kinds) for item in value)
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


def _parts_of(annotation: object, kinds: Kinds) -> list[type]:
    """The parts that an annotation allows."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for choice in get_args(annotation) for part in _parts_of(choice, kinds)]
    if isinstance(annotation, type) and annotation in kinds:
        return list(kinds[annotation])
    part = isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
    return [annotation] if part else []  # type: ignore[list-item]
