"""Checks of arguments that are tensors, devices, generators or paths."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, shown

__all__ = [
    "as_device",
    "as_path",
    "check_floats",
    "check_generator",
    "check_mask",
    "check_type",
    "integer_tensor",
    "is_address",
]

#: The beginning of an address: ``s3://``, or ``simplecache::`` before another address. The drive
#: of a path of Windows has one letter.
PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def check_type(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise :class:`InputError` unless ``value`` is of ``kind``, which ``expected`` describes."""
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {expected}, not {shown(value)}")


def check_floats(name: str, value: object, expected: str, *, ndim: int | None = None) -> None:
    """Raise :class:`InputError` unless ``value`` is a tensor of floats.

    The check reads no element, so it does not wait for a device.

    Args:
        name: name of the argument.
        value: the argument.
        expected: its shape in words, such as "(N, D)".
        ndim: number of axes; None: at least one.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise InputError(f"{name} must be a tensor of floats {expected}, not {shown(value)}")
    if value.ndim == 0 or (ndim is not None and value.ndim != ndim):
        raise InputError(f"{name} must have the shape {expected}, not {tuple(value.shape)}")


def check_mask(name: str, value: object, length: int) -> None:
    """Raise :class:`InputError` unless ``value`` is a tensor of ``length`` booleans."""
    if not isinstance(value, Tensor) or value.dtype != torch.bool or value.shape != (length,):
        raise InputError(f"{name} must be a tensor of {length} booleans, not {shown(value)}")


def check_generator(generator: object) -> None:
    """Raise :class:`InputError` unless ``generator`` is a random generator of PyTorch or None.

    A compiled model has an object of its own in the place of a generator.
    """
    if torch.compiler.is_compiling():
        return
    if generator is not None and not isinstance(generator, torch.Generator):
        raise InputError(f"generator must be a torch.Generator or None, not {shown(generator)}")


def integer_tensor(name: str, value: Any, expected: str) -> Tensor:
    """Integers as a tensor: a tensor itself, an array, or a list of numbers.

    Raises:
        InputError: if ``value`` is of another type, or its elements are no integers.
    """
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, RuntimeError):
            array = np.empty(0)
        if array.dtype.kind not in "iu":
            raise InputError(f"{name} must be {expected}, not {shown(value)}")
        value = torch.from_numpy(array.astype(np.int64))
    if value.dtype not in INTEGERS:
        raise InputError(f"{name} must be {expected}, not {shown(value)}")
    return value


def as_device(device: object) -> torch.device:
    """The device that ``device`` names.

    Raises:
        InputError: if it names none, or one that cannot be used here.
    """
    if isinstance(device, torch.device | str):
        try:
            device = torch.device(device)
            torch.empty(0, device=device)
            return device
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"device={device} cannot be used here: {reason[:200]}") from error
    raise InputError(f"device must be a name, such as 'cpu' or 'cuda', not {shown(device)}")


def as_path(name: str, value: object) -> Path:
    """A file or folder as a path, ``~`` expanded.

    Raises:
        InputError: if ``value`` is no path, is empty, or is an address such as ``s3://bucket``.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} must be the path of a file or folder, not {shown(value)}")
    if not str(value).strip():
        raise InputError(f"{name} must be the path of a file or folder, not be empty")
    if is_address(value):
        raise InputError(f"{name} must be a path on this machine, not the address {shown(value)}")
    try:
        return Path(value).expanduser()
    except (RuntimeError, TypeError) as error:  # no home, or a path of bytes
        raise InputError(f"{name} must be a path, but {shown(value)}: {error}") from error


def is_address(value: object) -> bool:
    """Whether a value is an address such as ``s3://bucket/shard.tar``, and not a path.

    Example:
        >>> is_address("s3://bucket/shard-0.tar"), is_address("C:/data"), is_address("people")
        (True, False, False)
    """
    return isinstance(value, str) and PROTOCOL.match(value) is not None
