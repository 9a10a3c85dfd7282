"""The prepared form of a collection: one folder, made once and read batch by batch.

    images.u8       uint8, N images of (channels, size, size), one after the other
    index.npz       the columns (identity, known factors, ...) and a checksum per image
    files.jsonl     one line per file of the sources, with its hash and its outcome
    skipped.txt     the files that were not used, by name and with the reason, and remarks
    manifest.json   settings, state of the sources, counts and hashes; written last

Other settings or other roots give another folder. If the sources change or a file of the folder
is damaged, the collection is prepared again in the same folder.

Shapes: N images.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlvae.data.collections.columns import Columns
from mlvae.data.collections.members import printable
from mlvae.data.collections.prepare import (
    INDEX,
    LINES,
    MANIFEST,
    SKIPPED,
    Header,
    Own,
    Source,
    hash_of,
    prepare,
)
from mlvae.data.collections.regular import open_regular, read_regular
from mlvae.data.collections.remote import Remote
from mlvae.data.collections.sources import open_source
from mlvae.data.collections.stored import StoredImages
from mlvae.data.labels import joined_labels
from mlvae.errors import InputError, check_choice
from mlvae.observations import check_float32
from mlvae.system import lock, open_flags

__all__ = [
    "FORMAT",
    "Cache",
    "check_strict",
    "folder_of",
    "locked",
    "open_cache",
    "prepared",
    "read_cache",
    "state_of",
    "writable",
]

#: Raised when the layout, the names or the decoding change, so that an older cache is not used.
FORMAT = 3

#: Largest manifest in bytes.
MAX_MANIFEST = 2**26

#: Number of images, evenly spaced, whose checksums are verified when a cache is opened.
CHECKED = 256

#: Errors of a file system without locks.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True, eq=False)
class Cache:
    """A finished cache.

    Attributes:
        folder: its folder.
        manifest: content of ``manifest.json``.
        images: the pixels, N images on the disk.
        index: the arrays of ``index.npz``.
    """

    folder: Path
    manifest: dict[str, Any]
    images: StoredImages
    index: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def column(self, name: str, option: str) -> np.ndarray:
        """The words of a column, (N,), empty where the value is not known.

        The name ``a+b`` joins two columns, as in ``Greek+07``; the joined word is empty where one
        of both is.

        Args:
            name: a column, or columns joined by ``+``.
            option: the option that names it, for error messages.
        """
        columns = self._columns(name, option)
        if len(columns) == 1:
            return columns[0]
        known = _known(columns)
        found = joined_labels(f"{option}={name}", [column[known] for column in columns])
        labels = np.full(len(known), "", dtype=found.dtype)
        labels[known] = found
        return labels

    def codes(self, name: str, option: str) -> tuple[np.ndarray, np.ndarray]:
        """The distinct words of a column, sorted, and the number of each image's word, (N,).

        The arguments are those of :meth:`column`. A column that is not joined makes no text for
        each image.
        """
        if f"values/{name}" in self.index:
            return self.index[f"values/{name}"], self.index[f"codes/{name}"]
        return np.unique(self.column(name, option), return_inverse=True)

    def factor(self, name: str) -> np.ndarray:
        """A column of numbers, float32 (N,); NaN where it is empty.

        The name ``a+b`` gives a category: the position of the pair among all pairs, sorted.

        Raises:
            InputError: if a word is no finite number, or two integers are equal in float32.
        """
        columns = self._columns(name, "dataset.factors")
        if len(columns) > 1:
            known, positions = _known(columns), np.full(len(self), np.nan, np.float32)
            joined = joined_labels(f"dataset.factors={name}", [each[known] for each in columns])
            positions[known] = np.unique(joined, return_inverse=True)[1]
            return positions
        words, codes = np.unique(columns[0], return_inverse=True)
        try:
            numbers = np.array([float(word or "nan") for word in words.tolist()])
        except ValueError as error:
            raise InputError(f"dataset.factors={name} must be numbers: {error}") from error
        check_float32(f"dataset.factors={name}", numbers)
        return numbers.astype(np.float32)[codes]

    def names(self) -> list[str]:
        """The path of each image's file within its root, (N,), as ``files.jsonl`` has them."""
        with open_regular(self.folder / LINES) as file:
            next(file)  # the header
            lines = map(json.loads, file)
            return [line["file"] for line in lines if "crc32" in line]

    def _columns(self, name: str, option: str) -> list[np.ndarray]:
        """The words (N,) of each column that a name joins."""
        known = [key.removeprefix("values/") for key in self.index if key.startswith("values/")]
        names = [name] if name in known else name.split("+")
        for column in names:
            check_choice(option, column, sorted(known))
        return [self.index[f"values/{c}"][self.index[f"codes/{c}"]] for c in names]

    def __str__(self) -> str:
        counts, report = self.manifest, printable(str(self.folder / SKIPPED))
        text = f"{printable(str(self.folder))}: {len(self):,} images"
        if counts["left_out"]:
            text += f", left out {counts['left_out']:,}"
        if counts["skipped"]:
            text += f", skipped {counts['skipped']:,}"
        if counts["left_out"] or counts["skipped"]:
            text += f": see {report}"
        if counts["remark"]:
            text += (
                f"; {counts['remark']:,} images are dark, because they use a part of 16 bits: see "
                f"{report}"
            )
        return text


def open_cache(
    name: str,
    roots: Sequence[Path | Remote],
    cache: Path,
    *,
    size: int,
    channels: int,
    crop: float,
    pattern: str | None,
    table: Path | None,
    limit: int | None,
    strict: bool,
    workers: int | None,
    labels: str | None = None,
) -> Cache:
    """The cache of a collection, which is prepared first if there is no valid one.

    If two processes open the same cache, one prepares it and the other waits.

    Args:
        name: beginning of the folder's name.
        roots: folders, archives and files at addresses, joined in this order.
        cache: folder of all caches.
        size: height and width of an image.
        channels: 1 for grey, 3 for colour.
        crop: as of :func:`mlvae.data.collections.images.decode`.
        pattern: as of :class:`~mlvae.data.collections.columns.Columns`.
        table: as of :class:`~mlvae.data.collections.columns.Columns`.
        limit: largest number of images to prepare; None for all.
        strict: fail if a file is skipped.
        workers: as of :class:`~mlvae.data.collections.decoders.Decoders`.
        labels: as of :class:`~mlvae.data.collections.samples.Samples`; None: no samples.

    Raises:
        InputError: if the roots cannot be read or hold no image, or the cache cannot be written.
    """
    columns = Columns(pattern, table)
    settings = {"size": size, "channels": channels, "crop": crop, "pattern": pattern}
    settings |= {"limit": limit, "table": columns.sha256, "format": FORMAT}
    settings |= {} if labels is None else {"labels": labels}
    folder = folder_of(name, roots, cache, settings)
    sources = [open_source(root, without=cache, labels=labels) for root in roots]
    header = {"settings": settings, "sources": [state_of(source) for source in sources]}
    if (found := read_cache(folder, header)) is None:
        with writable(cache):
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                found = prepared(folder, sources, columns, header, strict=strict, workers=workers)
    check_strict(found, strict)
    return found


def folder_of(
    name: str, roots: Sequence[Path | Remote], cache: Path, settings: dict[str, Any]
) -> Path:
    """The folder in ``cache`` of a collection with these settings."""
    key = _hash([settings, [str(root) for root in roots]])[:12]
    colour = "rgb" if settings["channels"] == 3 else "grey"
    return cache / f"{name}-{settings['size']}{colour}-{key}"


def prepared(
    folder: Path,
    sources: Sequence[Source],
    columns: Columns,
    header: Header,
    *,
    strict: bool,
    workers: int | None,
    own: Own | None = None,
) -> Cache:
    """The cache in ``folder``, whose lock this process has; made first if it is not finished.

    The arguments are those of :func:`~mlvae.data.collections.prepare.prepare`.
    """
    # Another process may have prepared it while this one waited for the lock.
    if (found := read_cache(folder, header)) is not None:
        return found
    print(f"preparing {printable(str(folder))}", flush=True)
    prepare(folder, sources, columns, header, strict=strict, workers=workers, own=own)
    if (found := read_cache(folder, header)) is None:
        raise InputError(
            f"{printable(str(folder))} does not hold what was written to it; choose another "
            "disk for dataset.cache"
        )
    print(f"prepared {found}", flush=True)
    return found


@contextmanager
def writable(cache: Path) -> Iterator[None]:
    """Raise :class:`InputError` where files in ``cache`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"dataset.cache={printable(str(cache))} must be a folder that can be written, "
            f"with room for the images: {printable(str(error))}"
        ) from error


def check_strict(found: Cache, strict: bool) -> None:
    """Raise :class:`InputError` if a file was skipped and ``strict`` allows none."""
    if strict and found.manifest["skipped"]:
        first = (found.folder / SKIPPED).read_text("utf-8").splitlines()[1]
        raise InputError(
            f"dataset.strict=true allows no file to be skipped, but "
            f"{first.removeprefix('skipped: ')}; remove it, or set dataset.strict=false"
        )


def _known(columns: list[np.ndarray]) -> np.ndarray:
    """Where no column is empty, booleans (N,)."""
    return np.all([words != "" for words in columns], axis=0)


def state_of(source: Source) -> dict[str, object]:
    """The state of a source by sizes and times of change of its files, without reading them."""
    lines = list(source.fingerprint())
    return {"root": str(source.root), "files": len(lines), "state": _hash(lines)}


def read_cache(
    folder: Path, header: Header, *, hashed: Sequence[str] = (INDEX, LINES)
) -> Cache | None:
    """The cache in ``folder`` if it is finished, undamaged and has this header, else None.

    Args:
        folder: folder of the cache.
        header: settings and state of the sources.
        hashed: the files whose hashes are compared with the manifest.
    """
    try:
        manifest = json.loads(read_regular(folder / MANIFEST, MAX_MANIFEST))
        if {key: manifest.get(key) for key in header} != header:
            return None
        if any(hash_of(folder / name) != manifest["sha256"][name] for name in hashed):
            return None
        settings = manifest["settings"]
        shape = (manifest["images"], settings["channels"], settings["size"], settings["size"])
        images = StoredImages(folder / "images.u8", shape)
        with open_regular(folder / INDEX) as file, np.load(file, allow_pickle=False) as arrays:
            index = dict(arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    sample = np.unique(np.linspace(0, len(images) - 1, CHECKED).astype(int))
    for row, pixels in zip(sample, images.index_select(0, torch.from_numpy(sample)), strict=True):
        if zlib.crc32(pixels.numpy().tobytes()) != index["crc32"][row]:
            return None
    return Cache(folder, manifest, images, index)


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the folder's lock.

    The operating system releases the lock when the process ends. Some file systems have no locks:
    on these, two processes must not prepare the same collection at the same time.

    Args:
        folder: the folder.
        wait: whether to wait while another process holds it.

    Raises:
        BlockingIOError: if another process holds it and ``wait`` is false.
    """
    # Without blocking: if a pipe has this name, opening it fails.
    flags = open_flags("O_WRONLY", "O_CREAT", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC")
    with os.fdopen(os.open(folder / "lock", flags, 0o666), "w") as file:
        shown = printable(str(folder))
        try:
            lock(file.fileno())
        except BlockingIOError:
            if not wait:
                raise
            print(f"another process is preparing {shown}: waiting for it", flush=True)
            lock(file.fileno(), wait=True)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(f"{shown} cannot be locked: let no other process prepare it", flush=True)
        yield


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
