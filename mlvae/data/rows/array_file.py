"""Observations in the array of a file, read batch by batch: NumPy, HDF5 and Zarr.

Shapes: N observations, n of them in a batch, ... one observation.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.data.rows.source import on_device
from mlvae.errors import InputError, check_flag, check_integer, check_text, shown

__all__ = ["ArrayFile"]

#: First bytes of an HDF5 file.
HDF5 = b"\x89HDF\r\n\x1a\n"

#: Reads rows of an array by ascending, different numbers.
Reader = Callable[[Any, np.ndarray], np.ndarray]


class ArrayFile:
    """One array of a file, read row by row: a :class:`~mlvae.data.Source`.

    The format follows from the content:

    ========== ========================== ==================================================
    format     file                       read by
    ========== ========================== ==================================================
    NumPy      ``.npy``                   a memory map
    NumPy      ``.npz``, not compressed   a memory map of the array ``name``
    HDF5       ``.h5``, ``.hdf5``         h5py: ``pip install 'mlvae[hdf5]'``; dataset ``name``
    Zarr       ``.zarr``, folder or zip   zarr: ``pip install 'mlvae[zarr]'``; array ``name``
    ========== ========================== ==================================================

    A batch reads random rows. Compressed chunks of HDF5 and Zarr with many rows are decompressed
    for each of their rows, so chunks of one to a few rows train faster.

    uint8 arrays are images of 0 to 255: (N, height, width) gets a channel. Floats become float32.

    Args:
        path: the file, or the folder of a Zarr store.
        name: path of the array in the file, such as "measurements/x"; None if it has one array.
        channels_last: whether images are stored as (N, height, width, channels).
        white: the number of white in uint8 images: 255, or 1 for black and white.
        integers: whether integers other than uint8 are read as float32 numbers.

    Attributes:
        shape: (N, ...), images with the channels first.
        dtype: ``torch.uint8`` or ``torch.float32``.

    Raises:
        InputError: if the file or the array is missing, or its type is not as above.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.zeros((10, 3, 128)))
        ...     ArrayFile(f"{folder}/x.npy").shape
        (10, 3, 128)
    """

    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        *,
        channels_last: bool = False,
        white: int = 255,
        integers: bool = False,
    ) -> None:
        self.path, self.name = as_path("path", path), name
        if name is not None:
            check_text("name", name)
        check_flag("channels_last", channels_last)
        check_flag("integers", integers)
        check_integer("white", white, minimum=1)
        if 255 % white:
            raise InputError(f"white must divide 255, not be {white}")
        self.channels_last, self.white, self.integers = channels_last, white, integers
        self._array, self._read = _open(self.path, name)
        self.dtype = self._checked_dtype()
        self.shape = self._checked_shape()

    def _checked_dtype(self) -> torch.dtype:
        dtype = np.dtype(self._array.dtype)
        if dtype == np.uint8:
            return torch.uint8
        if dtype.kind == "f" or (dtype.kind in "iub" and self.integers):
            return torch.float32
        advice = "; integers=True reads its numbers as float32" if dtype.kind in "iub" else ""
        raise InputError(f"{self!r} must be uint8 images or floats, not {dtype}{advice}")

    def _checked_shape(self) -> tuple[int, ...]:
        shape = tuple(map(int, self._array.shape))
        if len(shape) < 2 or min(shape) < 1:
            raise InputError(f"{self!r} must have the shape (N, ...), N at least 1, not {shape}")
        if self.channels_last:
            if len(shape) != 4:
                raise InputError(
                    f"{self!r} with channels_last must be (N, height, width, channels), "
                    f"not {shape}"
                )
            return (shape[0], shape[3], *shape[1:3])
        if self.dtype == torch.uint8 and len(shape) == 4 and shape[1] > 4 and shape[3] in (1, 3):
            raise InputError(
                f"{self!r} has shape {shape}: images must be (N, channels, height, width), or "
                "have channels_last=True"
            )
        grey = self.dtype == torch.uint8 and len(shape) == 3
        return (shape[0], 1, *shape[1:]) if grey else shape

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"ArrayFile({str(self.path)!r}{'' if self.name is None else f', {self.name!r}'})"

    def __reduce__(self) -> tuple[object, ...]:
        options = self.channels_last, self.white, self.integers
        return _again, (self.path, self.name, *options)

    def index_select(self, dim: int, indices: Tensor, *, pin: bool = False) -> Tensor:
        """Read the rows at ``indices`` (n,): each once, in ascending order."""
        assert dim == 0
        rows, place = np.unique(indices.numpy(), return_inverse=True)
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
            array = self._rows(rows)[place]
        x = torch.from_numpy(np.ascontiguousarray(array))
        return x.pin_memory() if pin else x

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        try:
            array = self._read(self._array, rows)
        except OSError as error:
            raise InputError(f"{self!r} cannot be read: {first_line(error)}") from error
        if self.dtype == torch.float32:
            array = array.astype(np.float32)
        elif self.white != 255:
            if array.size and int(array.max()) > self.white:
                raise InputError(
                    f"{self!r} must have at most white={self.white}, not {int(array.max())}"
                )
            array = array * np.uint8(255 // self.white)
        if self.channels_last:
            array = np.moveaxis(array, -1, 1)
        return array.reshape(len(rows), *self.shape[1:])

    def read_all(self) -> Tensor:
        """All rows, (N, ...)."""
        return self.index_select(0, torch.arange(len(self)))

    def expect(self, indices: Tensor) -> None:
        """Nothing: these formats have no reads in the background."""

    def to(self, device: torch.device | str) -> ArrayFile | Tensor:
        """All rows on ``device`` if they fit; see :func:`~mlvae.data.rows.source.on_device`."""
        return on_device(self, device)


def _again(
    path: Path, name: str | None, channels_last: bool, white: int, integers: bool
) -> ArrayFile:
    """The same array, opened anew: in another process, or as a copy."""
    return ArrayFile(path, name, channels_last=channels_last, white=white, integers=integers)


def _open(path: Path, name: str | None) -> tuple[Any, Reader]:
    """The array of a file, and the function that reads its rows."""
    try:
        is_folder, start = path.is_dir(), b""
        if not is_folder:
            with open_regular(path) as stream:
                start = stream.read(8)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} must be a file of arrays: {reason}") from error
    zipped = start[:4] == b"PK\x03\x04"
    if is_folder or (zipped and ".zarr" in path.name):
        return _open_zarr(path, name)
    try:
        if start == HDF5:
            return _open_hdf5(path, name)
        if zipped:
            return _open_npz(path, name), _read_numpy
        if start[:6] == b"\x93NUMPY" and name is None:
            return np.load(path, mmap_mode="r", allow_pickle=False), _read_numpy
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error
    if start[:6] == b"\x93NUMPY":
        raise InputError(f"{path} has one array without a name; leave out name={shown(name)}")
    raise InputError(f"{path} must be a .npy, .npz, HDF5 or Zarr file, but has another content")


def _read_numpy(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.asarray(array[rows])


def _read_hdf5(array: Any, rows: np.ndarray) -> np.ndarray:
    return array[rows] if len(rows) else array[:0]


def _read_zarr(array: Any, rows: np.ndarray) -> np.ndarray:
    return np.asarray(array.oindex[rows])


def _open_npz(path: Path, name: str | None) -> np.ndarray:
    """A memory map of an array of a zip file that is not compressed."""
    with zipfile.ZipFile(path) as file:
        names = [item.filename.removesuffix(".npy") for item in file.infolist()]
        info = file.getinfo(f"{_chosen(path, name, names)}.npy")
        if info.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{info.filename} in {path} is compressed, so single rows cannot be read; write "
                "the array by numpy.save, or the file by numpy.savez"
            )
        with file.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            header = stream.tell()
    if dtype.hasobject:
        raise InputError(f"{info.filename} in {path} must be numbers, not {dtype}")
    with path.open("rb") as stream:  # the name and the extra field lie before the array
        stream.seek(info.header_offset + 26)
        lengths = np.frombuffer(stream.read(4), "<u2")
    offset = info.header_offset + 30 + int(lengths.sum()) + header
    order = "F" if fortran else "C"
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order=order)


def _open_hdf5(path: Path, name: str | None) -> tuple[Any, Reader]:
    try:
        import h5py  # optional
    except ImportError as error:
        raise InputError(f"{path} needs h5py: pip install 'mlvae[hdf5]'") from error
    file, names = h5py.File(path, "r"), []
    file.visititems(lambda key, item: names.append(key) if _is_array(item) else None)
    return file[_chosen(path, name, names)], _read_hdf5


def _open_zarr(path: Path, name: str | None) -> tuple[Any, Reader]:
    try:
        import zarr  # optional
    except ImportError as error:
        raise InputError(f"{path} needs zarr: pip install 'mlvae[zarr]'") from error
    try:
        store: Any = zarr.open(str(path), mode="r")
    except Exception as error:  # zarr raises many types for a folder of another kind
        raise InputError(f"{path} must be a Zarr store: {first_line(error)}") from error
    if _is_array(store):
        if name is not None:
            raise InputError(f"{path} is one array without a name; leave out name={shown(name)}")
        return store, _read_zarr
    names = [key for key, item in store.members(max_depth=None) if _is_array(item)]
    return store[_chosen(path, name, names)], _read_zarr


def _is_array(item: object) -> bool:
    return hasattr(item, "dtype") and hasattr(item, "shape")


def _chosen(path: Path, name: str | None, names: list[str]) -> str:
    """The name of the array; None is the only one."""
    names = sorted(names)
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    if name is None:
        if len(names) == 1:
            return names[0]
        raise InputError(f"{path} has {len(names)} arrays; choose by name= one of: {listed}")
    if name.strip("/") not in names:
        raise InputError(f"{path} has no array {name!r}; it has: {listed}")
    return name.strip("/")
