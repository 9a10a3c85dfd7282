"""Arrays of compressed ``.npz`` files, unpacked once so that single rows can be read."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from mlvae.data.collections.members import first_line, printable
from mlvae.data.rows.array_file import ArrayFile
from mlvae.errors import InputError

__all__ = ["npz_rows"]


def npz_rows(
    path: Path,
    name: str,
    *,
    cache: Path,
    channels_last: bool = False,
    white: int = 255,
) -> ArrayFile:
    """The array ``name`` of a ``.npz`` file, read row by row.

    A compressed array is unpacked into the cache at the first call, and read from there.

    Args:
        path: the file.
        name: name of the array.
        cache: folder of unpacked arrays.
        channels_last: as of :class:`~mlvae.data.ArrayFile`.
        white: as of :class:`~mlvae.data.ArrayFile`.

    Raises:
        InputError: if the file has no such array, or cannot be unpacked.
    """
    options = {"channels_last": channels_last, "white": white}
    try:
        with zipfile.ZipFile(path) as file:
            members = file.namelist()
            if f"{name}.npy" not in members:
                found = ", ".join(members[:10])
                raise InputError(f"{path} must have the array {name}, not only: {found}")
            info = file.getinfo(f"{name}.npy")
            if info.compress_type == zipfile.ZIP_STORED:
                return ArrayFile(path, name, **options)
            target = cache / f"{path.stem}-{name}-{info.CRC:08x}.npy"
            if not target.is_file():
                size = f"{info.file_size / 2**30:,.1f} GB"
                print(
                    f"{printable(str(path))}: {name} is unpacked to {target}, {size}", flush=True
                )
                cache.mkdir(parents=True, exist_ok=True)
                part = target.with_suffix(".part")
                with file.open(info) as stream, part.open("wb") as out:
                    shutil.copyfileobj(stream, out, 2**24)
                part.replace(target)  # so that a file is whole, or not there
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} must be a whole .npz file: {first_line(error)}") from error
    return ArrayFile(target, **options)
