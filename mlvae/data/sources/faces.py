"""Collections of images in folders, archives and tables: faces by person, characters, anything.

One reader; the datasets below it are its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlvae.data.group_splits import Share, large_groups, split_groups, split_named, split_within
from mlvae.data.grouped import GroupedData
from mlvae.data.splits import Splits
from mlvae.errors import InputError, check_choice, check_flag, check_integer, check_number

__all__ = ["celeba", "faces", "lfw", "omniglot", "yale_b"]

Roots = str | Path | Sequence[str | Path]

SPLITS = ("groups", "images", "table")
TABLES = (".csv", ".tsv", ".txt")

#: The folders below a root in which a collection is looked for, and its names there.
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


def faces(
    root: Roots,
    *,
    cache: str | Path = "cache",
    table: str | Path | None = None,
    pattern: str | None = None,
    group: str = "identity",
    factors: Sequence[str] = (),
    size: int = 64,
    colour: bool = True,
    crop: float = 1.0,
    minimum: int = 1,
    maximum: int | None = None,
    split: str = "groups",
    validation: Share = 0.1,
    test: Share = 0.1,
    within: float = 0.0,
    seed: int = 0,
    limit: int | None = None,
    strict: bool = False,
    workers: int | None = None,
    name: str = "faces",
) -> Splits:
    """Images of identities, from any collection with one folder for each.

    Every image is decoded once, into a folder of the cache, and read from there batch by batch: a
    collection may be larger than the memory. Files that cannot be used are left out and named in
    a report in that folder.

    Args:
        root: a folder, a ``.zip``, ``.tar``, ``.tar.gz`` or ``.tar.xz`` of one, or a table whose
            files lie beside it; a list of these is joined, and identities of one name are one.
            Without a table or a pattern, an identity is the folder in which an image lies.
        cache: folder for prepared collections; the same arguments find the same one again.
        table: a file of file, identity and any columns: see :class:`mlvae.data.collections.columns.Columns`.
        pattern: a regular expression for the end of a file's path, whose named groups are the
            columns; files that do not match it are left out.
        group: the column whose values are the groups; ``a+b`` for those of two columns together.
        factors: columns of numbers that become known factors; of ``a+b``, each pair of values is
            a category, and the number only its name.
        size: height and width to which images are resized.
        colour: False for grey.
        crop: side of the central square that is kept, as a fraction of an image's shorter side.
        minimum: groups with fewer images are left out.
        maximum: of groups with more images, so many are drawn; None for all.
        split: "groups": validation and test have groups of their own, and the test is
            ``Splits.unseen``; "images": they have images of every group; "table": the table's
            column ``split`` says.
        validation: fraction of the groups (of each group's images). Whole groups may also be
            given as a list of labels, or as a text file with one in each line.
        test: likewise.
        within: with split="groups", fraction of the images of each training group that
            ``Splits.test`` has.
        seed: of what is drawn.
        limit: prepare only the first so many images, to try something out.
        strict: fail at the first file that cannot be used.
        workers: processes that decode; None for one a core, 0 for none but this one.
        name: what the folder in the cache begins with.

    Raises:
        InputError: if arguments are out of range, or the root holds no usable image.
    """
    from mlvae.data.collections.cache import (
        open_cache,  # Pillow, which `import mlvae` need not load
    )

    _check(size, crop, minimum, maximum, limit, workers, seed, split, within)
    check_flag("dataset.colour", colour)
    check_flag("dataset.strict", strict)
    roots, table = _roots(root, table)
    cached = open_cache(
        name,
        roots,
        Path(cache).expanduser().absolute(),
        size=size,
        channels=3 if colour else 1,
        crop=crop,
        pattern=pattern,
        table=table,
        limit=limit,
        strict=strict,
        workers=workers,
    )
    data = GroupedData(
        cached.images,
        cached.column(group, "dataset.group"),
        {factor: cached.factor(factor) for factor in factors},
    )
    rows = large_groups(data, minimum=minimum, maximum=maximum, seed=seed)
    data = data.subset(rows)
    if split == "table":
        words = cached.column("split", "dataset.split=table needs a column, which")
        return split_named(data, words[rows])
    if split == "images":
        return split_within(data, validation=validation, test=test, seed=seed)
    return split_groups(data, validation=validation, test=test, within=within, seed=seed)


def lfw(root: Roots = "data", *, crop: float = 0.6, **options: object) -> Splits:
    """Labeled Faces in the Wild: press photographs of 5,749 people, grouped by person.

    G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller: Labeled Faces in the Wild. University of
    Massachusetts, Amherst, Technical Report 07-49, 2007. 13,233 colour images, 250x250, of which
    ``crop`` keeps the face.

    Args:
        root: the folder or archive, or a folder that has it.
        crop: as of :func:`faces`.
        options: all others are those of :func:`faces`.
    """
    pattern = r"(?P<identity>[^/]+)/(?P=identity)_\d{4}\.jpg"
    return faces(_found(root, LFW), pattern=pattern, crop=crop, **{"name": "lfw"} | options)


def yale_b(
    root: Roots = "data",
    *,
    colour: bool = False,
    factors: Sequence[str] = ("azimuth", "elevation"),
    **options: object,
) -> Splits:
    """The Extended Yale Face Database B, cropped: 38 people under 64 lights, grouped by person.

    A. S. Georghiades, P. N. Belhumeur, D. J. Kriegman: From Few to Many. IEEE PAMI, 2001; K. C.
    Lee, J. Ho, D. Kriegman: Acquiring Linear Subspaces. IEEE PAMI, 2005. 2,414 grey images; the
    direction of the light in degrees is in their names. Images without a light of their own
    (``*_Ambient.pgm``) and damaged ones (``*.pgm.bad``) are left out.

    Args:
        root: the folder or archive, or a folder that has it.
        colour: as of :func:`faces`.
        factors: as of :func:`faces`.
        options: all others are those of :func:`faces`.
    """
    pattern = r"(?P<identity>yaleB\d+)_P\d+A(?P<azimuth>[+-]\d+)E(?P<elevation>[+-]\d+)\.pgm"
    options = {"name": "yale_b", "colour": colour, "factors": factors} | options
    return faces(_found(root, YALE), pattern=pattern, **options)


def omniglot(
    root: Roots = "data",
    *,
    colour: bool = False,
    factors: Sequence[str] = ("alphabet+drawer",),
    **options: object,
) -> Splits:
    """Omniglot: handwritten characters of many alphabets, grouped by character.

    B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum: Human-level concept learning through
    probabilistic program induction. Science, 2015. Each character is drawn once by 20 people, who
    drew all of its alphabet and are known by a number; the same number in another alphabet need
    not be the same person, so whose hand it is, is ``alphabet+drawer``. Of its files, the root may
    have any: characters that are in two of them are taken once.

    Args:
        root: one of its folders or archives, or a folder that has some of them.
        colour: as of :func:`faces`.
        factors: as of :func:`faces`.
        options: all others are those of :func:`faces`.
    """
    pattern = r"(?P<identity>(?P<alphabet>[^/]+)/character\d+)/\d+_(?P<drawer>\d+)\.png"
    options = {"name": "omniglot", "colour": colour, "factors": factors} | options
    return faces(_found(root, OMNIGLOT, all_of_them=True), pattern=pattern, **options)


def celeba(
    root: Roots = "data",
    *,
    table: str | Path | None = None,
    crop: float = 0.8,
    **options: object,
) -> Splits:
    """CelebA, aligned and cropped: 202,599 images of 10,177 celebrities, grouped by person.

    Z. Liu, P. Luo, X. Wang, X. Tang: Deep Learning Face Attributes in the Wild. ICCV, 2015.

    Args:
        root: a folder with ``img_align_celeba`` or its archive, and ``identity_CelebA.txt``, or
            with a folder ``celeba`` that has both.
        table: as of :func:`faces`; None for ``identity_CelebA.txt`` in the root.
        crop: as of :func:`faces`.
        options: all others are those of :func:`faces`.
    """
    if table is None:
        names = ("identity_CelebA.txt", "Anno/identity_CelebA.txt")
        table = _found(root, names, endings=("",))[0]
        if not table.is_file():
            raise InputError(f"dataset.root={root} must have {names[0]}; or give dataset.table")
    options = {"name": "celeba", "crop": crop} | options
    return faces(_found(root, CELEBA), table=table, **options)


def _roots(root: Roots, table: str | Path | None) -> tuple[list[Path], Path | None]:
    """Absolute paths of the sources and of the table, which a root itself may be."""
    roots = [root] if isinstance(root, str | Path) else list(root)
    if not roots or not all(isinstance(each, str | Path) for each in roots):
        raise InputError(f"dataset.root must be a path or a list of paths, not {root!r}")
    paths = [Path(each).expanduser().absolute() for each in roots]
    tables = [path for path in paths if path.suffix in TABLES and path.is_file()]
    if len(tables) > 1 or (tables and table is not None):
        raise InputError(f"dataset.root and dataset.table must have one table, not {len(tables)}")
    if tables:
        paths = [path.parent if path in tables else path for path in paths]
    table = tables[0] if tables else table
    return paths, None if table is None else Path(table).expanduser().absolute()


def _found(
    root: Roots,
    names: Sequence[str],
    *,
    endings: Sequence[str] = ARCHIVES,
    all_of_them: bool = False,
) -> list[Path]:
    """What each root has of ``names``, in it or in a folder of it; else the root itself."""
    found: list[Path] = []
    for each in [root] if isinstance(root, str | Path) else root:
        path = Path(each).expanduser()
        folders = [path, *sorted(folder for folder in path.glob("*") if folder.is_dir())]
        here = [
            place
            for folder in (folders if path.is_dir() else ())
            for name in names
            for place in [folder / f"{name}{ending}" for ending in endings]
            if place.exists()
        ]
        found += (here if all_of_them else here[:1]) or [path]
    return found


def _check(
    size: int,
    crop: float,
    minimum: int,
    maximum: int | None,
    limit: int | None,
    workers: int | None,
    seed: int,
    split: str,
    within: float,
) -> None:
    check_integer("dataset.size", size, minimum=1)
    check_number("dataset.crop", crop, minimum=0, maximum=1, exclusive=True)
    check_integer("dataset.minimum", minimum, minimum=1)
    check_integer("dataset.seed", seed, minimum=0)
    optional = {"maximum": (maximum, 1), "limit": (limit, 1), "workers": (workers, 0)}
    for name, (value, least) in optional.items():
        if value is not None:
            check_integer(f"dataset.{name}", value, minimum=least)
    check_choice("dataset.split", split, SPLITS)
    check_number("dataset.within", within, minimum=0, maximum=1)
    if within and split != "groups":
        raise InputError(f"dataset.within={within} needs dataset.split=groups, not {split!r}")
