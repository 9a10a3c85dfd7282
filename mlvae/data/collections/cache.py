"""The prepared form of a collection: one folder, made once and read batch by batch.

    images.u8       uint8, N images of (channels, size, size) one after the other
    index.npz       the columns (identity, known factors, ...) and a checksum for each image
    files.jsonl     every file of the sources, with its hash and what became of it
    skipped.txt     the files that were not used, by name and with the reason
    manifest.json   the settings, the state of the sources, counts and hashes; written last

A collection with other settings or from other roots has a folder of its own; one whose sources
have changed, or whose files are damaged, is prepared again in the same folder.

Shapes: N images.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mlvae.data.collections.columns import Columns
from mlvae.data.collections.prepare import (
    INDEX,
    LINES,
    MANIFEST,
    SKIPPED,
    Source,
    hash_of,
    prepare,
)
from mlvae.data.collections.sources import open_source
from mlvae.data.collections.stored import StoredImages
from mlvae.errors import InputError, check_choice

__all__ = ["Cache", "open_cache"]

#: Raised when the layout or the decoding changes, so that no older cache is taken for a new one.
FORMAT = 1

#: So many images, evenly spaced, are compared with their checksums when a cache is opened.
CHECKED = 256


@dataclass(frozen=True, eq=False)
class Cache:
    """A finished cache.

    Attributes:
        folder: where it is.
        manifest: what ``manifest.json`` says.
        images: the pixels, N images on the disk.
        index: the arrays of ``index.npz``.
    """

    folder: Path
    manifest: dict[str, object]
    images: StoredImages
    index: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def column(self, name: str, option: str) -> np.ndarray:
        """Values of a column as words, (N,); of ``a+b``, those of both, as ``Greek+07``.

        ``option`` is what named it, for an error.
        """
        words = self._words(name, option)
        if len(words) == 1:
            return words[0]
        return np.array(["+".join(of) for of in zip(*words, strict=True)])

    def factor(self, name: str) -> np.ndarray:
        """A column as numbers, float32 (N,); NaN where it is empty.

        Of ``a+b``, the place of both values among all that there are: a category.
        """
        words = self._words(name, "dataset.factors")
        if len(words) > 1:
            known = np.all([part != "" for part in words], axis=0)
            places = np.unique(self.column(name, "dataset.factors"), return_inverse=True)[1]
            return np.where(known, places, np.nan).astype(np.float32)
        values, codes = np.unique(words[0], return_inverse=True)
        try:
            numbers = np.array([float(value or "nan") for value in values.tolist()], np.float32)
        except ValueError as error:
            raise InputError(f"dataset.factors={name} must be numbers: {error}") from error
        return numbers[codes]

    def _words(self, name: str, option: str) -> list[np.ndarray]:
        """The values of each column that a name joins."""
        known = [key.removeprefix("values/") for key in self.index if key.startswith("values/")]
        columns = [name] if name in known else name.split("+")
        for column in columns:
            check_choice(option, column, sorted(known))
        return [self.index[f"values/{c}"][self.index[f"codes/{c}"]] for c in columns]

    def __str__(self) -> str:
        counts = self.manifest
        text = f"{self.folder}: {len(self):,} images"
        if counts["left_out"]:
            text += f", left out {counts['left_out']:,} as told"
        if counts["skipped"]:
            text += f", skipped {counts['skipped']:,}: see {self.folder / SKIPPED}"
        return text


def open_cache(
    name: str,
    roots: Sequence[Path],
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
) -> Cache:
    """The cache of a collection; it is prepared first if there is none that holds.

    Two processes may ask at once: one prepares and the other waits for it.

    Args:
        name: what the folder's name begins with.
        roots: folders and archives, joined in this order.
        cache: folder of all caches.
        size: height and width of an image.
        channels: 1 for grey, 3 for colour.
        crop: as of :func:`mlvae.data.collections.images.decode`.
        pattern: as of :class:`~mlvae.data.collections.columns.Columns`.
        table: likewise.
        limit: prepare no more than so many images; None for all.
        strict: fail if a file is skipped.
        workers: as of :class:`~mlvae.data.collections.decoders.Decoders`.

    Raises:
        InputError: if the roots cannot be read, hold no image, or the cache cannot be written.
    """
    columns = Columns(pattern, table)
    settings = {"size": size, "channels": channels, "crop": crop, "pattern": pattern}
    settings |= {"limit": limit, "table": columns.sha256, "format": FORMAT}
    key = _hash([settings, [str(root) for root in roots]])[:12]
    folder = cache / f"{name}-{size}{'rgb' if channels == 3 else 'grey'}-{key}"
    sources = [open_source(root, without=cache) for root in roots]
    header = {"settings": settings, "sources": [_state(source) for source in sources]}
    if (found := _read(folder, header)) is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder):
                # Another process may have prepared it while this one waited.
                if (found := _read(folder, header)) is None:
                    print(f"preparing {folder}", flush=True)
                    prepare(folder, sources, columns, header, strict=strict, workers=workers)
                    found = _read(folder, header)
        except OSError as error:
            raise InputError(
                f"dataset.cache={cache} must be a folder that can be written, with room for the "
                f"images: {error}"
            ) from error
        if found is None:
            raise InputError(
                f"{folder} is not as it was written; dataset.cache needs another disk"
            )
        print(f"prepared {found}", flush=True)
    if strict and found.manifest["skipped"]:
        first = (folder / SKIPPED).read_text().splitlines()[1].removeprefix("skipped: ")
        raise InputError(
            f"dataset.strict=true allows no file to be skipped, but {first}; remove it, or set "
            "dataset.strict=false"
        )
    return found


def _state(source: Source) -> dict[str, object]:
    """What a source was like; by the sizes and times of its files, which takes no reading."""
    lines = list(source.fingerprint())
    return {"root": str(source.root), "files": len(lines), "state": _hash(lines)}


def _read(folder: Path, header: dict[str, object]) -> Cache | None:
    """The cache in ``folder`` if it is finished, whole and of this header."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if {key: manifest.get(key) for key in header} != header:
            return None
        if any(hash_of(folder / name) != manifest["sha256"][name] for name in (INDEX, LINES)):
            return None
        settings = manifest["settings"]
        shape = (manifest["images"], settings["channels"], settings["size"], settings["size"])
        images = StoredImages(folder / "images.u8", shape)
        with np.load(folder / INDEX, allow_pickle=False) as file:
            index = dict(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    sample = np.unique(np.linspace(0, len(images) - 1, CHECKED).astype(int))
    for row, pixels in zip(sample, images.index_select(0, torch.from_numpy(sample)), strict=True):
        if zlib.crc32(pixels.numpy()) != index["crc32"][row]:
            return None
    return Cache(folder, manifest, images, index)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process prepares in ``folder``; the system ends it with the process."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is preparing {folder}: waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
