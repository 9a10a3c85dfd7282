"""Validation and conversion of user-supplied observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_integer, shown

__all__ = [
    "as_floats",
    "as_observations",
    "as_tensor",
    "check_float32",
    "check_image_bytes",
    "check_shape",
]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

#: Integers that become float32. uint8 are images, and stay.
INTEGERS = (
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
)


def check_shape(shape: object) -> tuple[int, ...]:
    """Return the shape of one observation as a tuple, or raise :class:`InputError`."""
    if not isinstance(shape, list | tuple | np.ndarray) or len(shape) == 0:
        raise InputError(
            f"shape must be that of one observation, as (1, 28, 28) or (12,), not {shown(shape)}"
        )
    for length in shape:
        check_integer("shape", length, minimum=1)
    return tuple(map(int, shape))


def check_float32(name: str, numbers: np.ndarray) -> None:
    """Raise :class:`InputError` if a number is infinite in float32, or two integers are equal.

    NaN is allowed.
    """
    with np.errstate(over="ignore"):
        infinite = np.isinf(numbers.astype(np.float32))
    if infinite.any():
        raise InputError(f"{name} must be finite in float32, not {numbers[infinite][0]:g}")
    # All integers below 2^24 differ in float32.
    large = numbers[np.abs(numbers.astype(np.float64)) >= 2**24]
    whole = np.unique(large[large == np.floor(large)])
    if (same := np.diff(whole.astype(np.float32)) == 0).any():
        first, second = map(int, whole[int(same.argmax()) :][:2])
        raise InputError(
            f"{name} must have integers that differ in float32, as {first} and {second} do not; "
            "subtract an offset"
        )


def as_tensor(x: Any) -> Tensor:
    """Convert an array, or a list of arrays or tensors, to a tensor of uint8 or floats.

    A tensor of uint8 or floats is returned unchanged. Integers of other types become float32. All
    observations of a :class:`~mlvae.data.Source` are read.

    Raises:
        InputError: if ``x`` is ragged, masked, sparse or of another type, or if float32 does not
            have one of the integers.
    """
    if not isinstance(x, Tensor) and np.ma.is_masked(x):
        raise InputError("x must have a value everywhere, but some are masked; fill them first")
    if isinstance(x, list | tuple) and x and all(isinstance(item, Tensor) for item in x):
        try:
            x = torch.stack([item.detach() for item in x])
        except RuntimeError as error:
            raise InputError(f"x must be tensors of one shape, not ragged: {error}") from error
    source = not isinstance(x, Tensor | type)  # a class of sources is no source
    if source and callable(read := getattr(x, "index_select", None)):
        x = read(0, torch.arange(len(x)))  # of a source
    if not isinstance(x, Tensor):
        x = torch.from_numpy(_array(x))
    if x.layout != torch.strided:
        raise InputError(f"x must be dense, not {x.layout}: take x.to_dense()")
    if x.dtype in INTEGERS:
        return _integers_as_floats(x)
    if x.dtype != torch.uint8 and x.dtype not in FLOATS:
        raise _dtype_error(x.dtype)
    return x


def _integers_as_floats(x: Tensor) -> Tensor:
    """Integers as float32, or :class:`InputError` if some are not the same number there."""
    floats = x.float()
    huge = floats.abs() >= 2.0**62  # int64 may lack them
    inexact = huge | (floats.masked_fill(huge, 0).long() != x.long())
    if inexact.any():
        raise InputError(
            "x must have integers that are the same in float32, as all up to 16,777,216 are, not "
            f"{x.cpu().numpy()[inexact.cpu().numpy()][0]}; subtract an offset, or divide"
        )
    return floats


def check_image_bytes(x: Tensor) -> None:
    """Raise :class:`InputError` if ``x`` is uint8 and cannot be images, which become floats.

    Grey levels and counts are both uint8. A model needs the first divided by 255, but not the
    second.
    """
    if x.dtype == torch.uint8 and x.ndim not in (3, 4, 5):
        raise InputError(
            f"x of uint8 and shape {tuple(x.shape)} may be grey levels or counts: give grey "
            "levels as floats, x / 255, and other numbers as x.astype('float32') or to "
            "GroupedData with kind='array'"
        )


def _array(x: Any) -> np.ndarray:
    """An array of integers or floats that torch can share."""
    kind = f"{type(x).__module__}.{type(x).__name__}"
    if kind.startswith("scipy.sparse"):
        raise InputError(f"x must be dense, not a {kind}: take x.toarray()")
    if kind == "mlvae.data.grouped.GroupedData":
        raise InputError("x must be observations (N, ...), not GroupedData: take data.x")
    try:
        array = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"x must be an array of shape (N, ...), not ragged: {error}") from error
    if array.dtype == object and kind.startswith("pandas."):
        raise _frame_error(x)
    if array.dtype.kind not in "uif" or array.dtype.itemsize > 8:
        raise _dtype_error(f"{array.dtype} ({kind})" if array.dtype == object else array.dtype)
    # Copy only arrays that torch cannot share: another byte order, negative strides, or
    # read-only memory.
    return np.require(array, array.dtype.newbyteorder("="), ["C", "W"])


def _frame_error(frame: Any) -> InputError:
    """An error that names the columns of a DataFrame that are not numbers."""
    columns = {"x": frame.dtype} if frame.ndim == 1 else dict(frame.dtypes.items())
    # Other types than those of NumPy may have missing values.
    wrong = {n: t for n, t in columns.items() if not isinstance(t, np.dtype) or t.kind not in "fu"}
    shown = ", ".join(f"{name} is {dtype}" for name, dtype in list(wrong.items())[:3])
    return InputError(
        f"x must be uint8 images or floats without missing values, but of its columns {shown}; "
        "use GroupedData.from_frame(df, group=...), or df.astype('float32')"
    )


def as_floats(x: Tensor) -> Tensor:
    """Convert uint8 images (N, ...) to float32 in [0, 1], and leave floats unchanged."""
    if x.dtype != torch.uint8:
        return x
    # Both have the same values. The first is one kernel, the second needs less memory.
    return x.mul(1 / 255) if x.is_cuda else x.to(torch.float32).mul_(1 / 255)


def _dtype_error(dtype: object) -> InputError:
    return InputError(
        f"x must be uint8 images, integers or floats, not {dtype}; convert it, for example by "
        "x.astype('float32'), or images of 0 to 255 by x.astype('uint8')"
    )


def _shape_error(shape: Sequence[int], given: tuple[int, ...]) -> InputError:
    photograph = len(shape) == 3 and len(given) in (2, 3, 4) and given[-1] in (3, 4)
    advice = "; mlvae.read_images prepares photographs" if photograph else ""
    return InputError(
        f"the model takes observations of shape (N, {', '.join(map(str, shape))}), "
        f"not {given}{advice}"
    )


def as_observations(
    x: object, shape: Sequence[int], model: Any, *, observed: Tensor | None = None
) -> Tensor:
    """Convert observations (N, ...) to floats on the device of ``model``, uint8 to [0, 1].

    Grey images may omit the channel axis, as in :class:`~mlvae.data.GroupedData`. With a
    likelihood of counts, uint8 are counts as all integers are.

    Args:
        x: observations.
        shape: shape of one observation.
        model: the model that receives them.
        observed: of rows of a table, whether each cell is there, booleans (N, C). A missing cell
            may have any number. None: all are.

    Raises:
        InputError: if the observations do not have ``shape`` or are not finite; if images are the
            whole numbers from 0 to 255 as floats; or if values leave [-1, 2] and have no
            probability under the model's likelihood.
    """
    x = as_tensor(x)
    given = tuple(x.shape)
    if len(shape) == 3 and shape[0] == 1 and x.ndim == 3:
        x = x.unsqueeze(1)
    if x.ndim == 0 or x.shape[1:] != torch.Size(shape):
        raise _shape_error(shape, given)
    parameter = next(model.parameters())
    counts = bool(getattr(getattr(model, "likelihood", None), "counts", False))
    x = x.float() if counts and x.dtype == torch.uint8 else x
    check_image_bytes(x)
    if x.dtype == torch.uint8:
        return x.to(parameter.device).to(parameter.dtype) / 255
    if x.numel() and not torch.compiler.is_compiling():
        low, high = (float(end) for end in x.detach().aminmax())
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise InputError("x must be finite, but has NaN or an infinity")
        image = len(shape) == 3 and shape[0] in (1, 3) and not counts
        if image and 16 < high <= 255 and low >= 0 and bool((x == x.round()).all()):
            raise InputError(
                f"float images have the scale [0, 1], but these are whole numbers up to {high:g}; "
                "give 0 to 255 as uint8, or rescale"
            )
        if counts or low < -1 or high > 2:  # noise may leave [0, 1] by 1
            known = {} if observed is None else {"observed": observed.to(x.device)}
            model.likelihood.check(x, **known)
    return x.to(parameter.device).to(parameter.dtype)
