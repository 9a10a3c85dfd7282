"""A collection in parts: each part is a cache of its own, and a merge checks them all.

    assignment.npz            the part of each file; written first, by whichever process is first
    part-00003-of-00064/      one part: a cache as of :mod:`mlvae.data.collections.cache`
    skipped.txt               images that two parts have, by name
    collection.json           counts, hashes and sizes of groups of all parts; written last

Each part is prepared by itself, on any machine that sees the folder, and continued if it was
interrupted. The result does not depend on the processes, their number or their order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlvae.data.collections.assignment import (
    Assignment,
    assign,
    read_assignment,
    write_assignment,
)
from mlvae.data.collections.cache import (
    FORMAT,
    Cache,
    check_strict,
    folder_of,
    locked,
    prepared,
    read_cache,
    state_of,
    writable,
)
from mlvae.data.collections.columns import Columns
from mlvae.data.collections.members import printable
from mlvae.data.collections.merge import COLLECTION, merge
from mlvae.data.collections.prepare import (
    INDEX,
    MANIFEST,
    SKIPPED,
    Header,
    Own,
    Source,
    hash_of,
)
from mlvae.data.collections.regular import read_regular
from mlvae.data.collections.remote import Remote
from mlvae.data.collections.sources import open_source
from mlvae.errors import InputError

__all__ = ["Collection", "Request", "open_collection", "open_parts", "part_folder"]

ASSIGNMENT = "assignment.npz"

#: Largest ``collection.json`` in bytes.
MAX_RECORD = 2**30


@dataclass(frozen=True, eq=False)
class Collection:
    """A merged collection.

    Attributes:
        folder: its folder.
        record: content of ``collection.json``.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """Size, channels, crop, group and number of parts."""
        return self.record["settings"]

    def __len__(self) -> int:
        """Number of parts."""
        return len(self.record["parts"])

    def cache(self, part: int) -> Cache:
        """One part, opened; the hash of its index and checksums of some images are compared.

        Raises:
            InputError: if the part is missing or damaged.
        """
        number, folder = len(self), part_folder(self.folder, part, len(self))
        header = {"settings": self.settings | {"part": part}, "sources": self.record["sources"]}
        found = read_cache(folder, header, hashed=[INDEX])
        if found is None or hash_of(folder / MANIFEST) != self.record["parts"][part]["manifest"]:
            raise InputError(
                f"{printable(str(folder))} must be part {part} of {number} as it was merged, but "
                "is missing or damaged; prepare the collection again"
            )
        return found

    def __str__(self) -> str:
        count, parts = self.record["images"], len(self)
        return f"{printable(str(self.folder))}: {count:,} images in {parts} parts"


@dataclass(frozen=True)
class Request:
    """What is prepared, and how.

    Attributes:
        name: beginning of the folder's name.
        roots: folders, archives and files at addresses, joined in this order.
        cache: folder of all caches.
        size: height and width of an image.
        channels: 1 for grey, 3 for colour.
        crop: as of :func:`mlvae.data.collections.images.decode`.
        pattern: as of :class:`~mlvae.data.collections.columns.Columns`.
        table: as of :class:`~mlvae.data.collections.columns.Columns`.
        group: the column whose values are the groups.
        parts: number of parts.
        strict: fail if a file is skipped.
        workers: as of :class:`~mlvae.data.collections.decoders.Decoders`.
        labels: as of :class:`~mlvae.data.collections.samples.Samples`; None: no samples.
    """

    name: str
    roots: Sequence[Path | Remote]
    cache: Path
    size: int
    channels: int
    crop: float
    pattern: str | None
    table: Path | None
    group: str
    parts: int
    strict: bool
    workers: int | None
    labels: str | None = None

    def columns(self) -> Columns:
        """The columns of files, for one pass over the sources."""
        return Columns(self.pattern, self.table)

    def settings(self) -> dict[str, Any]:
        """The settings that the folder's name and all manifests have."""
        names = ("size", "channels", "crop", "pattern", "group", "parts", "labels")
        chosen = {name: getattr(self, name) for name in names}
        return chosen | {"limit": None, "table": self.columns().sha256, "format": FORMAT}


def open_parts(request: Request, part: int | None) -> Collection | Cache:
    """The merged collection, or one part of it; what is missing is prepared.

    Parts that other processes are preparing are left for the end, and then awaited.

    Args:
        request: what is prepared.
        part: the only part to prepare; None: all, and the merge.

    Raises:
        InputError: if the roots cannot be read, the folder cannot be written, or the merge finds
            a fault.
    """
    settings = request.settings()
    folder = folder_of(request.name, request.roots, request.cache, settings)
    sources = [
        open_source(root, without=request.cache, labels=request.labels) for root in request.roots
    ]
    header = {"settings": settings, "sources": [state_of(source) for source in sources]}
    if part is None and (found := _read_collection(folder, header)) is not None:
        _check_strict(found, request.strict)
        return found
    with writable(request.cache):
        folder.mkdir(parents=True, exist_ok=True)
        assignment = _assignment(folder, sources, header, request)
        if part is not None:
            return _part(folder, part, sources, header, assignment, request, wait=True)
        busy = []
        for number in range(request.parts):
            try:
                _part(folder, number, sources, header, assignment, request, wait=False)
            except BlockingIOError:
                busy.append(number)
        for number in busy:
            _part(folder, number, sources, header, assignment, request, wait=True)
        with locked(folder):
            if (found := _read_collection(folder, header)) is None:
                folders = [
                    part_folder(folder, number, request.parts) for number in range(request.parts)
                ]
                merge(folder, folders, header, assignment)
                found = _read_collection(folder, header)
    if found is None:
        raise InputError(
            f"{printable(str(folder))} does not hold what was written to it; choose another disk "
            "for dataset.cache"
        )
    print(f"merged {found}", flush=True)
    _check_strict(found, request.strict)
    return found


def open_collection(folder: Path) -> Collection:
    """The merged collection in a folder, without its sources.

    Raises:
        InputError: if the folder has none, or a part is not as it was merged.
    """
    if (found := _read_collection(folder)) is None:
        raise InputError(
            f"dataset.root={printable(str(folder))} must be the folder of a prepared collection "
            f"with its {COLLECTION} and all parts; mlvae prepare dataset.parts=... makes it"
        )
    return found


def part_folder(folder: Path, part: int, parts: int) -> Path:
    """The folder of one part."""
    return folder / f"part-{part:05}-of-{parts:05}"


def _part(
    folder: Path,
    part: int,
    sources: list[Source],
    header: Header,
    assignment: Assignment,
    request: Request,
    *,
    wait: bool,
) -> Cache:
    """One part, prepared if it is not finished."""
    path = part_folder(folder, part, request.parts)
    header = header | {"settings": header["settings"] | {"part": part}}
    strict, workers = request.strict, request.workers
    if (found := read_cache(path, header)) is None:
        path.mkdir(exist_ok=True)
        with locked(path, wait=wait):
            own = Own(assignment.part == part, assignment.folders)
            columns = request.columns()
            found = prepared(
                path, sources, columns, header, strict=strict, workers=workers, own=own
            )
    check_strict(found, strict)
    return found


def _check_strict(found: Collection, strict: bool) -> None:
    """Raise :class:`InputError` if a file was skipped and ``strict`` allows none."""
    if not strict or not found.record["skipped"]:
        return
    number = len(found)
    folders = [part_folder(found.folder, part, number) for part in range(number)]
    lines = (
        line.removeprefix("skipped: ")
        for folder in [*folders, found.folder]
        for line in (folder / SKIPPED).read_text("utf-8").splitlines()[1:]
        if line.startswith("skipped: ")
    )
    raise InputError(
        f"dataset.strict=true allows no file to be skipped, but {next(lines)}; remove it, or set "
        "dataset.strict=false"
    )


def _assignment(
    folder: Path, sources: list[Source], header: Header, request: Request
) -> Assignment:
    """The part of each file, listed by the first process; the others wait and read it."""
    path, state = folder / ASSIGNMENT, hashlib.sha256(json.dumps(header).encode()).hexdigest()
    if (found := read_assignment(path, state)) is not None:
        return found
    with locked(folder):
        if (found := read_assignment(path, state)) is None:
            print(f"listing the files for {printable(str(folder))}", flush=True)
            columns = request.columns()
            found = assign(sources, columns, parts=request.parts, group=request.group)
            write_assignment(path, found, state)
    return found


def _read_collection(folder: Path, header: Header | None = None) -> Collection | None:
    """The collection if it is merged, whole and has this header, else None."""
    try:
        record = json.loads(read_regular(folder / COLLECTION, MAX_RECORD))
        if header is not None and {key: record.get(key) for key in header} != header:
            return None
        if record["settings"]["format"] != FORMAT:
            return None
        parts = record["parts"]
        for number, part in enumerate(parts):
            path = part_folder(folder, number, len(parts))
            if hash_of(path / MANIFEST) != part["manifest"]:
                return None
            np.array(list(part["sizes"]), np.int64)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Collection(folder, record)
