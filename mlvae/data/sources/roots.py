"""The places of a collection of images: folders, archives, addresses, and a table beside them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from mlvae.arguments import as_path, is_address
from mlvae.data.collections.members import printable
from mlvae.data.collections.remote import Remote, remote_shards
from mlvae.errors import InputError, shown

__all__ = ["Roots", "places_of", "roots_and_table"]

Roots = str | Path | Remote | Sequence[str | Path | Remote]

#: Endings of a root that is a table.
TABLES = (".csv", ".tsv", ".txt")

#: Endings of a folder's name and of its archives.
ARCHIVES = ("", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")


def roots_and_table(
    root: Roots, table: str | Path | None
) -> tuple[list[Path | Remote], Path | None]:
    """Absolute paths of the sources and of the table. A root that is a table gives its folder."""
    paths = [path.absolute() for path in _listed(root)]
    tables = [
        path
        for path in paths
        if isinstance(path, Path) and path.suffix in TABLES and path.is_file()
    ]
    if len(tables) > 1 or (tables and table is not None):
        raise InputError(f"dataset.root and dataset.table must have one table, not {len(tables)}")
    if tables:
        paths = [
            path.parent if isinstance(path, Path) and path in tables else path for path in paths
        ]
    table = tables[0] if tables else table
    return paths, None if table is None else as_path("dataset.table", table).absolute()


def _listed(root: object) -> list[Path | Remote]:
    """A root, or a list of roots, as paths and addresses."""
    roots = root if isinstance(root, list | tuple) else [root]
    kinds = (str, PathLike, Remote)
    paths = [path for path in roots if isinstance(path, kinds) and "\0" not in str(path)]
    if not roots or len(paths) < len(roots):
        raise InputError(f"dataset.root must be a path or a list of paths, not {shown(root)}")
    return [shard for path in paths for shard in _shards(path)]


def _shards(root: str | PathLike | Remote) -> list[Path] | list[Remote]:
    """The files that a name with ``*`` stands for, sorted; another path is itself."""
    if isinstance(root, Remote):
        return [root]
    if isinstance(root, str) and is_address(root):
        return remote_shards(root)
    path = as_path("dataset.root", root)
    if "*" not in path.name or path.exists():
        return [path]
    if not (found := sorted(path.parent.glob(path.name))):
        raise InputError(
            f"dataset.root={printable(str(path))} must be the name of files, not none"
        )
    return found


def places_of(
    root: Roots,
    names: Sequence[str],
    *,
    endings: Sequence[str] = ARCHIVES,
    join: bool = False,
) -> list[Path | Remote]:
    """The first of ``names`` in each root or in a folder of it, or all; else the root itself."""
    found: list[Path | Remote] = []
    for path in _listed(root):
        if isinstance(path, Remote):
            found.append(path)
            continue
        folders = [path, *sorted(folder for folder in path.glob("*") if folder.is_dir())]
        candidates = [
            folder / f"{name}{ending}"
            for folder in (folders if path.is_dir() else ())
            for name in names
            for ending in endings
        ]
        existing = [candidate for candidate in candidates if candidate.exists()]
        found += (existing if join else existing[:1]) or [path]
    return found
