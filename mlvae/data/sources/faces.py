"""Collections of images in folders, archives and tables, with one group per identity.

:func:`faces` reads any collection. The other datasets call it with their own arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np
import torch

from mlvae.arguments import as_path, is_address
from mlvae.data.collections.members import printable
from mlvae.data.collections.remote import Remote, remote_shards
from mlvae.data.grouped import GroupedData
from mlvae.data.sources.collection import (
    Selection,
    check_options,
    check_parts,
    one_part,
    splits_of,
)
from mlvae.data.splitting.group_splits import Held, large_groups
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.errors import (
    InputError,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_text,
    check_texts,
    shown,
)
from mlvae.groups.labels import words_for_missing

if TYPE_CHECKING:
    from mlvae.data.collections.cache import Cache
    from mlvae.data.collections.parts import Request

__all__ = ["celeba", "faces", "lfw", "omniglot", "yale_b"]

Roots = str | Path | Remote | Sequence[str | Path | Remote]

#: Choices of ``split``.
SPLIT_BY = ("groups", "images", "table")

#: Number of names from which a convention of names is recognised.
NAMES = 10_000

#: Endings of a root that is a table.
TABLES = (".csv", ".tsv", ".txt")

#: Names of each collection's folder or archive, without :data:`ARCHIVES`, below a root.
LFW = ("lfw-deepfunneled", "lfw_funneled", "lfw-funneled", "lfw")
YALE = ("CroppedYale", "ExtendedYaleB", "yale_b")
OMNIGLOT = (
    "images_background",
    "images_evaluation",
    "images_background_small1",
    "images_background_small2",
)
CELEBA = ("img_align_celeba", "Img/img_align_celeba")
ARCHIVES = ("", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")


class _Options(TypedDict, total=False):
    """Options of :func:`faces` that every dataset passes on."""

    cache: str | Path
    group: str | Sequence[str]
    size: int
    minimum: int
    maximum: int | None
    split: str
    validation: Held
    test: Held
    within: float
    seed: int
    limit: int | None
    strict: bool
    workers: int | None
    parts: int | None
    part: int | None
    hands: int | None
    name: str


class _ColourOptions(_Options, total=False):
    """Options that a dataset of photographs passes on."""

    colour: bool
    factors: Sequence[str]


class _LFWOptions(_ColourOptions, total=False):
    table: str | Path | None


class _CelebAOptions(_ColourOptions, total=False):
    pattern: str | None


class _GreyOptions(_Options, total=False):
    """Options that a dataset of grey images with known factors passes on."""

    table: str | Path | None
    crop: float


def faces(
    root: Roots,
    *,
    cache: str | Path = "cache",
    table: str | Path | None = None,
    pattern: str | None = None,
    labels: str | None = None,
    group: str | Sequence[str] = "identity",
    factors: Sequence[str] = (),
    size: int = 64,
    colour: bool = True,
    crop: float = 1.0,
    minimum: int = 1,
    maximum: int | None = None,
    split: str = "groups",
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
    strict: bool = False,
    workers: int | None = None,
    parts: int | None = None,
    part: int | None = None,
    hands: int | None = None,
    name: str = "faces",
) -> Splits:
    """Images of identities, from any collection with one folder per identity.

    Every image is decoded once, into a folder of the cache, and read from there batch by batch.
    The collection may be larger than the memory. Files that cannot be used are left out and named
    in ``skipped.txt`` in that folder; so are hidden files and those of operating systems. Names
    and labels are shown with control characters escaped. If the images are in one folder, their
    names give a hint of a ``pattern``, but no groups.

    Args:
        root: a folder; a ``.zip``, ``.tar``, ``.tar.gz`` or ``.tar.xz`` archive of a folder; a
            ``.parquet`` file with a column of images as bytes, whose other columns are those of
            the images; or a table in the folder of its files. Several, as a list or as a name
            with ``*`` such as ``shards/*.parquet``, are joined; an identity of the same name in
            two of them is one identity. Archives and Parquet files may be at addresses that
            fsspec opens, such as ``s3://bucket/shards-*.tar``. Without a table or a pattern, the
            identity of an image is the path of its folder.
        cache: folder for prepared collections. The same arguments find the same collection again.
        table: a file of file, identity and any columns: see
            :class:`~mlvae.data.collections.columns.Columns`.
        pattern: a regular expression for the end of a file's path. Its named groups are the
            columns. Files that do not match are left out.
        labels: for tar archives of samples, as WebDataset has them: ending of the file beside each
            image that has its label, "cls" or "txt" for one word, the column ``identity``, "json"
            for a record, whose texts and numbers are the columns. None: no samples.
        group: the column whose values are the groups; ``a+b`` for pairs of values of two columns.
            Images whose value is empty are left out, and their number is printed. Or a list of
            columns, one for each of several groupings, the first of which divides the splits. The
            grouping of ``a+b`` has the name ``a_b``. An image whose value is empty in a further
            grouping is a group of its own in it.
        factors: columns of numbers that become known factors. ``a+b`` gives a category: its
            number only names a pair of values.
        size: height and width to which images are resized.
        colour: False for grey.
        crop: side of the central square that is kept, as a fraction of an image's shorter side.
        minimum: groups with fewer images are left out.
        maximum: number of images that are drawn from a group with more; None for all.
        split: "groups": validation and test have groups of their own, and the test is
            ``Splits.unseen``; "images": validation and test have images of every group; "table":
            the column ``split`` names the split of each image.
        validation: number of groups (an integer) or fraction of them (a float), or with
            split="images" of each group's images. Whole groups may also be given as a list of
            labels, or as a text file with one label a line.
        test: as ``validation``.
        within: with split="groups", fraction of the images of each training group that
            ``Splits.test`` has.
        seed: seed of all draws.
        limit: largest number of images to prepare, for a first try; None for all.
        strict: fail at the first file that cannot be used.
        workers: number of processes that decode; None for one per core, 0 to decode in this
            process, where an image has no time limit.
        parts: number of parts, each prepared by itself; None: one cache. The training data are
            :class:`~mlvae.data.PartedData`. ``validation`` and ``test`` are then numbers or
            fractions of whole parts.
        part: the only part to prepare, as on one of many machines; the result has its images. None
            prepares all that are missing, and merges them.
        hands: with parts, as of :func:`mlvae.data.collection`.
        name: beginning of the name of the folder in the cache.

    Raises:
        InputError: if arguments are out of range, or the root holds no usable image.
    """
    # These need Pillow, which `import mlvae` does not load.
    from mlvae.data.collections.cache import open_cache
    from mlvae.data.collections.parts import Request

    columns = [group] if isinstance(group, str) else group
    check_texts("dataset.group", columns)
    if not columns or len(set(columns)) < len(columns):
        raise InputError(f"dataset.group must have different columns, not {shown(group)}")
    for option, value in (("group", columns[0]), ("name", name), ("pattern", pattern)):
        if value is not None or option != "pattern":
            check_text(f"dataset.{option}", value)
    _check(
        size=size,
        colour=colour,
        crop=crop,
        factors=factors,
        minimum=minimum,
        maximum=maximum,
        split=split,
        within=within,
        seed=seed,
        limit=limit,
        strict=strict,
        workers=workers,
    )
    roots, table = _roots(root, table)
    if labels is not None:
        check_choice("dataset.labels", labels, ("cls", "txt", "json"))
    check_parts(parts, part, hands)
    if parts is not None:
        check_options(split=split, within=within, limit=limit)
        if not isinstance(group, str):
            raise InputError(
                "dataset.group must be one column of a collection in parts, not "
                f"{shown(group)}; leave out dataset.parts for several groupings"
            )
        return _in_parts(
            Request(
                name=name,
                roots=roots,
                cache=as_path("dataset.cache", cache).absolute(),
                size=int(size),
                channels=3 if colour else 1,
                crop=crop,
                pattern=pattern,
                table=table,
                group=group,
                parts=int(parts),
                strict=strict,
                workers=None if workers is None else int(workers),
                labels=labels,
            ),
            part,
            Selection(factors, minimum, maximum, validation, test, hands, seed),
        )
    cached = open_cache(
        name,
        roots,
        as_path("dataset.cache", cache).absolute(),
        size=int(size),
        channels=3 if colour else 1,
        crop=crop,
        pattern=pattern,
        table=table,
        limit=None if limit is None else int(limit),
        strict=strict,
        workers=None if workers is None else int(workers),
        labels=labels,
    )
    identities = cached.column(columns[0], "dataset.group")
    known = _known(cached, identities, columns[0], strict=strict)
    names = cached.names()
    several = not isinstance(group, str)
    data = GroupedData(
        cached.images,
        None if several else identities,
        {factor: cached.factor(factor) for factor in factors},
        groups=_groupings(cached, columns, identities) if several else None,
        names=names,
    )
    if len(known) < len(data):
        data = data.subset(torch.from_numpy(known))
    advice = "" if pattern or table or columns != ["identity"] else _advice(names, identities)
    if advice:
        print(f"{printable(str(cached.folder))}: {advice}", flush=True)
    try:
        rows = large_groups(data, minimum=minimum, maximum=maximum, seed=seed)
        data = data.subset(rows)
        if split == "table":
            words = cached.column("split", "dataset.split=table needs a column, which")
            return split_by(data, words[known][rows], words="the column split")
        return split_by(
            data,
            "members" if split == "images" else split,
            validation=validation,
            test=test,
            within=within,
            seed=seed,
        )
    except InputError as error:
        if not advice:
            raise
        raise InputError(f"{error}; {advice}") from error


def _in_parts(request: Request, part: int | None, selection: Selection) -> Splits:
    """The splits of a collection in parts; with one part alone, its images."""
    from mlvae.data.collections.cache import Cache
    from mlvae.data.collections.parts import open_parts

    found = open_parts(request, part)
    if isinstance(found, Cache):
        return Splits(one_part(found, request.group, selection))
    return splits_of(found, selection)


def lfw(root: Roots = "data", *, crop: float = 0.6, **options: Unpack[_LFWOptions]) -> Splits:
    """Labeled Faces in the Wild: press photographs of 5,749 people, grouped by person.

    G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller: Labeled Faces in the Wild. University of
    Massachusetts, Amherst, Technical Report 07-49, 2007. 13,233 colour images of
    250x250 pixels, of which ``crop`` keeps the face.

    Args:
        root: the folder or archive, or a folder with it.
        crop: as of :func:`faces`.
        options: the other options of :func:`faces`, except ``pattern``.
    """
    pattern = r"(?P<identity>[^/]+)/(?P=identity)_\d{4}\.jpg"
    options.setdefault("name", "lfw")
    return faces(_found(root, LFW), pattern=pattern, crop=crop, **options)


def yale_b(
    root: Roots = "data",
    *,
    colour: bool = False,
    factors: Sequence[str] = ("azimuth", "elevation"),
    **options: Unpack[_GreyOptions],
) -> Splits:
    """The Extended Yale Face Database B, cropped: 38 people under 64 lights, grouped by person.

    A. S. Georghiades, P. N. Belhumeur, D. J. Kriegman: From Few to Many. IEEE PAMI, 2001; K. C.
    Lee, J. Ho, D. Kriegman: Acquiring Linear Subspaces. IEEE PAMI, 2005. 2,414 grey images. Their
    names have the direction of the light in degrees. Images without a directed light
    (``*_Ambient.pgm``) and damaged images (``*.pgm.bad``) are left out.

    Args:
        root: the folder or archive, or a folder with it.
        colour: as of :func:`faces`.
        factors: as of :func:`faces`.
        options: the other options of :func:`faces`, except ``pattern``.
    """
    pattern = r"(?P<identity>yaleB\d+)_P\d+A(?P<azimuth>[+-]\d+)E(?P<elevation>[+-]\d+)\.pgm"
    options.setdefault("name", "yale_b")
    return faces(_found(root, YALE), pattern=pattern, colour=colour, factors=factors, **options)


def omniglot(
    root: Roots = "data",
    *,
    colour: bool = False,
    factors: Sequence[str] = ("alphabet+drawer",),
    **options: Unpack[_GreyOptions],
) -> Splits:
    """Omniglot: handwritten characters of many alphabets, grouped by character.

    B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum: Human-level concept learning through
    probabilistic program induction. Science, 2015. 20 people have drawn each character of an
    alphabet once. A number names the person, but the same number in another alphabet may be
    another person, so the known factor of the drawer is ``alphabet+drawer``. The root may have
    any of the published files. A character in two of them is used once.

    Args:
        root: one of the folders or archives, or a folder with some of them.
        colour: as of :func:`faces`.
        factors: as of :func:`faces`.
        options: the other options of :func:`faces`, except ``pattern``.
    """
    pattern = r"(?P<identity>(?P<alphabet>[^/]+)/character\d+)/\d+_(?P<drawer>\d+)\.png"
    options.setdefault("name", "omniglot")
    return faces(
        _found(root, OMNIGLOT, join=True),
        pattern=pattern,
        colour=colour,
        factors=factors,
        **options,
    )


def celeba(
    root: Roots = "data",
    *,
    table: str | Path | None = None,
    crop: float = 0.8,
    **options: Unpack[_CelebAOptions],
) -> Splits:
    """CelebA, aligned and cropped: 202,599 images of 10,177 celebrities, grouped by person.

    Z. Liu, P. Luo, X. Wang, X. Tang: Deep Learning Face Attributes in the Wild. ICCV, 2015.

    Args:
        root: a folder with ``identity_CelebA.txt`` and with ``img_align_celeba`` or its archive;
            or a folder that has such a folder.
        table: as of :func:`faces`; None for ``identity_CelebA.txt`` in the root.
        crop: as of :func:`faces`.
        options: the other options of :func:`faces`.
    """
    if table is None:
        names = ("identity_CelebA.txt", "Anno/identity_CelebA.txt")
        found = _found(root, names, endings=("",))[0]
        if isinstance(found, Remote) or not found.is_file():
            shown = printable(str(root))
            raise InputError(f"dataset.root={shown} must have {names[0]}; or give dataset.table")
        table = found
    options.setdefault("name", "celeba")
    return faces(_found(root, CELEBA), table=table, crop=crop, **options)


def _advice(names: list[str], labels: np.ndarray) -> str:
    """How to group images that are hardly grouped by folders, or ""; N names and labels."""
    from mlvae.data.collections.conventions import MAX_FOLDERS, hint

    names = names[:NAMES]
    if len(set(labels.tolist())) > MAX_FOLDERS and any("/" in name for name in names):
        return ""
    return hint(names, labels[: len(names)].tolist())


def _groupings(cached: Cache, columns: Sequence[str], first: np.ndarray) -> dict[str, np.ndarray]:
    """The labels of several groupings by name, None for an empty value of a further one."""
    found = {columns[0].replace("+", "_"): first}
    for column in columns[1:]:
        labels = cached.column(column, "dataset.group")
        found[column.replace("+", "_")] = np.array(
            [one or None for one in labels.tolist()], object
        )
    return found


def _known(cached: Cache, labels: np.ndarray, group: str, *, strict: bool) -> np.ndarray:
    """Indices of the images whose group is known. Print the number of the others."""
    known = np.flatnonzero(labels != "")
    unknown = len(labels) - len(known)
    if unknown and (strict or not len(known)):
        advice = "fill it in, or set dataset.strict=false" if len(known) else "fill it in"
        raise InputError(
            f"dataset.group={group} must have a value, but {unknown:,} of {len(labels):,} images "
            f"have none; {advice}"
        )
    if unknown:
        shown = printable(str(cached.folder))
        print(f"{shown}: {unknown:,} images without {group} are left out", flush=True)
    for word in words_for_missing(set(labels.tolist())):
        count = int((labels == word).sum())
        shown = f"{printable(str(cached.folder))}: {count:,} images have {group} {word!r}"
        print(f"{shown}; leave it empty if it stands for unknown", flush=True)
    return known


def _roots(root: Roots, table: str | Path | None) -> tuple[list[Path | Remote], Path | None]:
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


def _found(
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


def _check(
    *,
    size: int,
    colour: bool,
    crop: float,
    factors: Sequence[str],
    minimum: int,
    maximum: int | None,
    split: str,
    within: float,
    seed: int,
    limit: int | None,
    strict: bool,
    workers: int | None,
) -> None:
    """Raise :class:`InputError` unless the options of :func:`faces` are in range."""
    check_integer("dataset.size", size, minimum=1)
    check_flag("dataset.colour", colour)
    check_number("dataset.crop", crop, minimum=0, maximum=1, exclusive=True)
    check_texts("dataset.factors", factors)
    check_integer("dataset.minimum", minimum, minimum=1)
    check_choice("dataset.split", split, SPLIT_BY)
    check_number("dataset.within", within, minimum=0, maximum=1)
    if within and split != "groups":
        raise InputError(f"dataset.within={within} needs dataset.split=groups, not {shown(split)}")
    check_integer("dataset.seed", seed, minimum=0)
    check_flag("dataset.strict", strict)
    optional = {"maximum": (maximum, 1), "limit": (limit, 1), "workers": (workers, 0)}
    for name, (value, least) in optional.items():
        if value is not None:
            check_integer(f"dataset.{name}", value, minimum=least)
