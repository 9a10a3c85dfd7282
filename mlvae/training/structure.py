"""The structure of a checkpoint: the type of every key, and the size of the model.

A checkpoint may come from another person or another program. Every value is checked before it is
used, so that a wrong file ends in one line and not in the middle of a training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, shown
from mlvae.models import build
from mlvae.parts import UnknownPart

__all__ = ["built_model", "check_config", "check_fields", "check_moments", "check_structure"]


class Field(NamedTuple):
    """The type of a value.

    Attributes:
        expected: the type in words.
        fits: whether a value has the type.
        formats: versions of the layout that have the key.
        required: whether the key must be there.
    """

    expected: str
    fits: Callable[[Any], bool]
    formats: tuple[int, ...] = (1, 2)
    required: bool = True


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is made of numbers, texts, lists and mappings, to a limited depth."""
    if isinstance(value, Mapping):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
        inner = list(value)
    else:
        return value is None or isinstance(value, str | int | float)
    return depth < DEEPEST and all(_plain(item, depth + 1) for item in inner)


def _plain_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and _plain(value)


def _shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_integer(n) and n for n in value)


def _tensors(value: Any) -> bool:
    return _mapping(value) and all(map(_dense, value.values()))


def _dense(tensor: Any) -> bool:
    strided = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    return strided and not tensor.is_complex()


def _optimizer(value: Any) -> bool:
    """Whether a value is the state of an optimiser: moments by number, and groups of options."""
    if not isinstance(value, Mapping) or set(value) != {"state", "param_groups"}:
        return False
    state, groups = value["state"], value["param_groups"]
    return (
        isinstance(state, Mapping)
        and all(_integer(number) and _mapping(moments) for number, moments in state.items())
        and isinstance(groups, list)
        and all(_mapping(group) and _numbers(group.get("params")) for group in groups)
    )


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_integer(number) for number in value)


def _optimizers(value: Any) -> bool:
    return _mapping(value) and len(value) > 0 and all(map(_optimizer, value.values()))


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _sums(value: Any) -> bool:
    """Names of sums and a float64 vector of their values, None before the first step."""
    if not isinstance(value, Mapping) or set(value) != {"names", "sums"}:
        return False
    names, sums = value["names"], value["sums"]
    vector = isinstance(sums, Tensor) and sums.dtype == torch.float64
    return _names(names) and (sums is None or (vector and sums.shape == (len(names),)))


def _generators(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_integer(value.get(key)) for key in ("seed", "step"))


def _metrics(value: Any) -> bool:
    return _mapping(value) and all(map(_number, value.values()))


#: Deepest nesting of a configuration.
DEEPEST = 30

MAPPING = "plain values by name"
OPTIMIZER = "moments of parameters (state) and options (param_groups)"

#: The keys of a checkpoint.
FIELDS = {
    "version": Field("text", lambda value: isinstance(value, str)),
    "config": Field(MAPPING, _plain_mapping),
    "shape": Field("a list of integers of at least 1", _shape),
    "model_config": Field(
        f"{MAPPING}, or None", lambda value: value is None or (_mapping(value) and _plain(value))
    ),
    "columns": Field(
        f"{MAPPING}, or None", lambda value: value is None or _plain_mapping(value), required=False
    ),
    "fixed": Field(MAPPING, _plain_mapping, required=False),
    "diverged": Field("true or false", lambda value: isinstance(value, bool), required=False),
    "model": Field("tensors by name", _tensors),
    "optimizer": Field(OPTIMIZER, _optimizer, formats=(1,)),
    "optimizers": Field(f"{OPTIMIZER} by player", _optimizers, formats=(2,)),
    "sums": Field("names of sums and a vector of float64", _sums),
    "schedule": Field(MAPPING, _plain_mapping, required=False),
    "generators": Field("the integers seed and step", _generators),
    "step": Field("an integer of at least 0", _integer),
    "steps_per_epoch": Field(
        "an integer of at least 1", lambda value: _integer(value) and value > 0
    ),
    "best": Field("a number", lambda value: _number(value) and value == value),
    "stale": Field("an integer of at least 0", _integer),
    "metrics": Field("numbers by name", _metrics),
}


def check_structure(state: Mapping[str, Any], path: Path) -> None:
    """Raise :class:`InputError` unless ``state`` has the keys and types of :data:`FIELDS`.

    Args:
        state: the content of a checkpoint of a format that this version reads.
        path: its file, for messages.
    """
    known = [key for key, field in FIELDS.items() if state["format"] in field.formats]
    check_fields(state, known, path)


def check_fields(state: Mapping[str, Any], keys: Iterable[str], path: Path) -> None:
    """Raise :class:`InputError` unless ``state`` has ``keys`` with the types of :data:`FIELDS`.

    Args:
        state: content of a file.
        keys: keys of :data:`FIELDS`.
        path: the file, for messages.
    """
    for key in keys:
        field = FIELDS[key]
        if key not in state:
            if field.required:
                raise InputError(
                    f"{path} must have the key {key}, {field.expected}, but has none; "
                    "it is damaged or was not written by mlvae"
                )
        elif not field.fits(state[key]):
            raise InputError(
                f"{path} must have {key} as {field.expected}, not {_described(state[key])}; "
                "it is damaged or was not written by mlvae"
            )


def _described(value: Any) -> str:
    """A value in a message: containers by their types."""
    if isinstance(value, Mapping | list | tuple) and value:
        return f"a {type(value).__name__} with other keys or types"
    return shown(value)


def check_config(config: Mapping[str, Any], sections: Sequence[str], run: Path) -> None:
    """Raise :class:`InputError` unless the configuration of a run has ``sections`` and a seed.

    Args:
        config: of a checkpoint.
        sections: names of options that are options by name themselves.
        run: folder of the run, for messages.
    """
    for name in sections:
        value: Any = config.get(name)
        named = name in ("dataset", "model", "batching")
        if not _mapping(value) or (named and not isinstance(value.get("name"), str)):
            raise InputError(
                f"the configuration of {run} must have {name} as options by name, its name among "
                f"them, not {shown(value)}"
            )
    if not _integer(config.get("seed")):
        raise InputError(
            f"the configuration of {run} must have seed as an integer, not "
            f"{shown(config.get('seed'))}"
        )


def built_model(checkpoint: Mapping[str, Any], path: Path, parts: Sequence[type] = ()) -> Any:
    """The model that the ``model_config`` of a checkpoint describes, with initial weights.

    The description and the weights must agree before memory is allocated. So a small file cannot
    demand a large model.

    Args:
        checkpoint: content of the file.
        path: the file, for messages.
        parts: classes of the user's own that the description may name.

    Raises:
        InputError: if this library cannot build the model, or the model has other parameters than
            the file.
    """
    shape, config = checkpoint["shape"], checkpoint["model_config"]
    try:
        with torch.device("meta"):
            described = build(shape, config, parts=parts).state_dict()
    except UnknownPart as error:
        short = error.name.split(".")[-1]
        raise UnknownPart(
            f"{path} is of a model with {error.name}, which is not of this library: pass the "
            f"class, load(run, parts=[{short}]), or the built model, load(run, model=)",
            error.name,
        ) from error
    except InputError as error:
        raise InputError(
            f"{path} is of a model that cannot be built ({error}); build it and pass it: "
            "load(run, model=)"
        ) from error
    needed, held = sum(tensor.numel() for tensor in described.values()), _held(checkpoint["model"])
    if needed > held:
        raise InputError(
            f"{path} must have the weights of the model that its model_config describes, "
            f"{needed:,} numbers, not {held:,}"
        )
    return build(shape, config, parts=parts)


def _held(tensors: Mapping[str, Tensor]) -> int:
    """Numbers that the memory of ``tensors`` holds. An expanded tensor has more elements."""
    storages = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors.values()}
    return sum(t.untyped_storage().nbytes() // t.element_size() for t in storages.values())


def check_moments(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any], where: str) -> None:
    """Raise :class:`InputError` unless a saved state is one of ``optimizer``.

    A fused optimiser trusts the shapes of its moments.

    Args:
        optimizer: the optimiser that receives the state.
        saved: the state, of the structure that :data:`FIELDS` describes.
        where: the key in the file, for messages.
    """
    groups = optimizer.param_groups
    lengths = [len(group["params"]) for group in groups]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    fits = [len(group["params"]) for group in saved["param_groups"]] == lengths
    if not fits or numbers != list(range(sum(lengths))):
        raise InputError(f"{where} must be of {sum(lengths)} parameters, not of {len(numbers)}")
    parameters = [parameter for group in groups for parameter in group["params"]]
    for number, moments in saved["state"].items():
        if number >= len(parameters):
            raise InputError(f"{where} must be of {len(parameters)} parameters, not {number + 1}")
        for name, expected, found in _wrong(optimizer, moments, parameters[number]):
            raise InputError(
                f"{where} must have {name} {expected} of parameter {number}, not {found}"
            )


def _wrong(
    optimizer: torch.optim.Optimizer, moments: Mapping[str, Any], parameter: nn.Parameter
) -> Iterator[tuple[str, str, str]]:
    """Moments of Adam that do not fit: their names, the expected and the found values."""
    if not isinstance(optimizer, torch.optim.AdamW):
        return
    names = ["exp_avg", "exp_avg_sq"]
    if optimizer.defaults["amsgrad"]:
        names.append("max_exp_avg_sq")
    for name in names:
        value = moments.get(name)
        if not isinstance(value, Tensor) or value.shape != parameter.shape:
            yield name, f"of shape {tuple(parameter.shape)}", shown(value)
    step = moments.get("step")
    if not (isinstance(step, Tensor) and step.numel() == 1 and step.is_floating_point()):
        yield "step", "of one number", shown(step)
