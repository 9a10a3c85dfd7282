"""Collections of images in folders, archives and tables, with one group per identity.

:func:`faces` reads any collection. The published ones, in :mod:`.identities`, call it with their
own arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlvae.arguments import as_path
from mlvae.data.collections.members import printable
from mlvae.data.grouped import GroupedData
from mlvae.data.sources.collection import (
    Selection,
    check_options,
    check_parts,
    one_part,
    splits_of,
)
from mlvae.data.sources.roots import Roots, roots_and_table
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

__all__ = ["faces"]

#: Choices of ``split``.
SPLIT_BY = ("groups", "images", "table")

#: Number of names from which a convention of names is recognised.
NAMES = 10_000


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
    roots, table = roots_and_table(root, table)
    if labels is not None:
        check_choice("dataset.labels", labels, ("cls", "txt", "json"))
    check_parts(parts, part, hands)
    folder = as_path("dataset.cache", cache).absolute()
    prepared: dict[str, Any] = {
        "size": int(size),
        "channels": 3 if colour else 1,
        "crop": crop,
        "pattern": pattern,
        "table": table,
        "strict": strict,
        "workers": None if workers is None else int(workers),
        "labels": labels,
    }
    if parts is not None:
        check_options(split=split, within=within, limit=limit)
        if not isinstance(group, str):
            raise InputError(
                "dataset.group must be one column of a collection in parts, not "
                f"{shown(group)}; leave out dataset.parts for several groupings"
            )
        request = Request(
            name=name, roots=roots, cache=folder, group=group, parts=int(parts), **prepared
        )
        chosen = Selection(factors, minimum, maximum, validation, test, hands, seed)
        return _in_parts(request, part, chosen)
    limit = None if limit is None else int(limit)
    cached = open_cache(name, roots, folder, limit=limit, **prepared)
    identities = cached.column(columns[0], "dataset.group")
    known = _known(cached, identities, columns[0], strict=strict)
    data = _grouped(cached, identities, group, factors)
    if len(known) < len(data):
        data = data.subset(torch.from_numpy(known))
    advice = ""
    if not pattern and not table and columns == ["identity"]:
        advice = _advice(cached.names(), identities)
    if advice:
        print(f"{printable(str(cached.folder))}: {advice}", flush=True)
    try:
        rows = large_groups(data, minimum=minimum, maximum=maximum, seed=seed)
        data = data.subset(rows)
        if split == "table":
            words = cached.column("split", "dataset.split=table needs a column, which")
            return split_by(data, words[known][rows], words="the column split")
        by = "members" if split == "images" else split
        return split_by(data, by, validation=validation, test=test, within=within, seed=seed)
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


def _advice(names: list[str], labels: np.ndarray) -> str:
    """How to group images that are hardly grouped by folders, or ""; N names and labels."""
    from mlvae.data.collections.conventions import MAX_FOLDERS, hint

    names = names[:NAMES]
    if len(set(labels.tolist())) > MAX_FOLDERS and any("/" in name for name in names):
        return ""
    return hint(names, labels[: len(names)].tolist())


def _grouped(
    cached: Cache, identities: np.ndarray, group: str | Sequence[str], factors: Sequence[str]
) -> GroupedData:
    """The prepared images with their names and factors, in one grouping or in several.

    A further grouping has the label None for an empty value.
    """
    groups = None
    if not isinstance(group, str):
        groups = {group[0].replace("+", "_"): identities}
        for column in group[1:]:
            labels = cached.column(column, "dataset.group").tolist()
            groups[column.replace("+", "_")] = np.array([one or None for one in labels], object)
    return GroupedData(
        cached.images,
        identities if groups is None else None,
        {factor: cached.factor(factor) for factor in factors},
        groups=groups,
        names=cached.names(),
    )


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
