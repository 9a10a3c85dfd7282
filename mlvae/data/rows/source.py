"""Observations that are not in memory: the protocol of a source, and rows of one.

A source is any object with six members: :func:`len`, ``shape``, ``dtype``, ``index_select``,
``expect`` and ``to``. :class:`~mlvae.data.GroupedData` takes it as ``x`` and reads each batch from
it. The library has :class:`~mlvae.data.StoredImages` and :class:`~mlvae.data.ArrayFile`.

Shapes: N observations, n of them in a batch, ... one observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import integer_tensor
from mlvae.errors import InputError, shown

__all__ = ["Source", "SourceRows", "is_source", "on_device"]

#: Types of observations that a source may give.
DTYPES = (torch.uint8, torch.float32)

#: Largest number of bytes that are copied to a device at once.
PIECE = 2**28


@runtime_checkable
class Source(Protocol):
    """What :class:`~mlvae.data.GroupedData` needs of observations that are not in memory.

    uint8 observations are images of 0 to 255, and become floats in [0, 1]. float32 observations
    stay as they are. :func:`on_device` is a ready answer for ``to``.

    Attributes:
        shape: (N, ...), positive integers. Images are (N, channels, height, width).
        dtype: ``torch.uint8`` or ``torch.float32``.

    Example:
        >>> class Waves:
        ...     shape, dtype = (1000, 3, 128), torch.float32
        ...     def __len__(self):
        ...         return 1000
        ...     def index_select(self, dim, indices, *, pin=False):
        ...         time = torch.arange(128) / 128
        ...         return (indices[:, None, None] * time).sin().expand(-1, 3, -1)
        ...     def expect(self, indices):
        ...         pass
        ...     def to(self, device):
        ...         return self
        >>> from mlvae.data import GroupedData
        >>> GroupedData(Waves(), [0, 1] * 500)
        GroupedData(1000 observations of shape (3, 128) in 2 groups)
    """

    @property
    def shape(self) -> Sequence[int]:
        """(N, ...)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """uint8 or float32."""
        ...

    def __len__(self) -> int:
        """N."""
        ...

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """Read some observations.

        Args:
            dim: always 0.
            indices: numbers of observations in [0, N), int64 (n,) on the host, in any order. A
                number may occur twice.
            pin: whether pinned memory is of use: a copy to a CUDA device is then asynchronous.
                Ordinary memory is correct too.

        Returns:
            The observations (n, ...) on the host, in the order of ``indices``, of type ``dtype``.
        """
        ...

    def expect(self, indices: Tensor) -> None:
        """Prepare for a later read of the observations at ``indices`` (n,). May do nothing."""
        ...

    def to(self, device: torch.device | str) -> Source | Tensor:
        """All observations as a tensor on ``device``; or the source itself, which stays."""
        ...


#: A class of sources.
AnySource = TypeVar("AnySource", bound=Source)


def is_source(x: object) -> TypeGuard[Source]:
    """Whether ``x`` has the members of a :class:`Source`. A tensor has no ``expect``."""
    return not isinstance(x, type) and isinstance(x, Source)


class SourceRows:
    """Some rows of a source, which are read when they are needed: a source as well.

    ``GroupedData.x`` is of this class if its observations are not in memory.

    Args:
        source: the source.
        rows: numbers of the rows, int64 (N,) on the host; None for all.

    Attributes:
        device: the host.

    Raises:
        InputError: if the source does not meet the protocol, of which two rows are read; or if
            rows are out of range.

    Example:
        >>> import tempfile
        >>> from mlvae.data import ArrayFile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.arange(8, dtype=np.float32).reshape(4, 2))
        ...     rows = SourceRows(ArrayFile(f"{folder}/x.npy"))
        ...     rows[torch.tensor([3, 1])][:1].index_select(0, torch.tensor([0]))
        tensor([[6., 7.]])
    """

    device = torch.device("cpu")

    def __init__(self, source: Source, rows: Tensor | None = None) -> None:
        self.source, self.rows = source, rows
        if not is_source(source):
            raise InputError(f"source must have the members of a Source, not be {shown(source)}")
        if rows is None:
            _check(source)
        else:
            self.rows = _checked(rows, len(source))

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...)."""
        return (len(self), *map(int, self.source.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the observations: uint8 or float32."""
        return self.source.dtype

    def is_floating_point(self) -> bool:
        """Whether the observations are floats."""
        return self.dtype.is_floating_point

    def __len__(self) -> int:
        return len(self.source) if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        return f"SourceRows({len(self)} rows of {self.source!r})"

    def __array__(
        self, dtype: np.typing.DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray:
        """All observations, read into memory, (N, ...)."""
        array = self.index_select(0, torch.arange(len(self))).numpy()
        return array if dtype is None else array.astype(dtype)

    def __getitem__(self, indices: Tensor | slice) -> SourceRows:
        """The rows at ``indices`` (n,), or a slice of the rows, not read yet."""
        if isinstance(indices, slice):
            indices = torch.arange(len(self))[indices]
        part = SourceRows.__new__(SourceRows)
        part.source, part.rows = self.source, self._numbers(indices)
        return part

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """Read the rows at ``indices`` (n,), which may be negative.

        Raises:
            InputError: if a number is NaN or infinite.
        """
        numbers = self._numbers(indices)
        x = self.source.index_select(0, numbers, pin=pin).detach()
        if x.is_floating_point() and not (finite := x.isfinite()).all():
            row = int(numbers[int((~finite).flatten(1).any(1).nonzero()[0])])
            raise InputError(
                f"x must be finite, but row {row} of {self.source!r} has NaN or an infinity; "
                "leave it out, or fill it"
            )
        return x

    def expect(self, indices: Tensor) -> None:
        """Announce a later read of the rows at ``indices`` (n,)."""
        self.source.expect(self._numbers(indices))

    def to(self, device: torch.device | str) -> SourceRows | Tensor:
        """The rows on ``device``, or self: all rows as the source has it, some if they fit."""
        if self.rows is not None:
            return on_device(self, device)
        moved = self.source.to(device)
        return moved if isinstance(moved, Tensor) else self

    def _numbers(self, indices: Tensor) -> Tensor:
        """Numbers of rows of the source at ``indices`` of these rows."""
        indices = indices.cpu()
        if len(indices) and not -len(self) <= int(indices.min()) <= int(indices.max()) < len(self):
            raise IndexError(f"indices must lie in [-{len(self)}, {len(self)})")
        indices = indices % len(self)
        return indices if self.rows is None else self.rows[indices]


def on_device(source: AnySource, device: torch.device | str) -> AnySource | Tensor:
    """All rows of a source on ``device`` if they fill at most half of its free memory, else it.

    The other half is for the model and its activations. For the host, and for MPS, which has the
    memory of the host, the result is the source.
    """
    device = torch.device(device)
    if device.type in ("cpu", "mps"):
        return source
    shape = tuple(map(int, source.shape))
    row_bytes = source.dtype.itemsize * int(np.prod(shape[1:], dtype=object))
    free, _ = torch.cuda.mem_get_info(device)
    if len(source) * row_bytes > free // 2:
        return source
    x = torch.empty(shape, dtype=source.dtype, device=device)
    for part in torch.arange(len(source)).split(max(1, PIECE // row_bytes)):
        x[part[0] : part[-1] + 1] = source.index_select(0, part)
    return x


def _checked(rows: object, length: int) -> Tensor:
    """Numbers of rows (N,) as int64, or :class:`InputError`."""
    numbers = integer_tensor("rows", rows, "numbers of rows, (N,)")
    outside = ((numbers < 0) | (numbers >= length)).any()
    if numbers.ndim != 1 or len(numbers) == 0 or outside:
        raise InputError(f"rows must be numbers (N,) in [0, {length}), not {shown(rows)}")
    return numbers.long().cpu()


def _check(source: Any) -> None:
    """Raise :class:`InputError` unless two rows of the source have its shape and type."""
    what = f"the source {type(source).__name__}"
    try:
        shape = tuple(map(int, source.shape))
        if len(shape) < 2 or min(shape) < 1 or shape[0] != len(source):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            f"{what} must have as shape (N, ...) with N = {len(source)}, its length, at least 1, "
            f"not {shown(source.shape)}"
        ) from None
    if source.dtype not in DTYPES:
        raise InputError(
            f"{what} must have as dtype torch.uint8 for images or torch.float32, "
            f"not {shown(source.dtype)}"
        )
    indices = torch.tensor([shape[0] - 1, 0])
    expected = (2, *shape[1:])
    try:
        x = source.index_select(0, indices, pin=False)
    except TypeError as error:
        raise InputError(
            f"{what} must have index_select(dim, indices, *, pin=False), but: {error}"
        ) from error
    same = isinstance(x, Tensor) and x.shape == expected and x.dtype == source.dtype
    if not same or x.device.type != "cpu":
        raise InputError(
            f"{what} must give by index_select of two rows a tensor of {source.dtype} and shape "
            f"{expected} on the host, not {shown(x)}"
        )
