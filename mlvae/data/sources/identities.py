"""Published collections of identities: LFW, Extended Yale B, Omniglot, CelebA."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from mlvae.data.collections.members import printable
from mlvae.data.collections.remote import Remote
from mlvae.data.sources.faces import faces
from mlvae.data.sources.roots import Roots, places_of
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError

__all__ = ["celeba", "lfw", "omniglot", "yale_b"]

#: Names of each collection's folder or archive below a root, without endings.
LFW = ("lfw-deepfunneled", "lfw_funneled", "lfw-funneled", "lfw")
YALE = ("CroppedYale", "ExtendedYaleB", "yale_b")
OMNIGLOT = (
    "images_background",
    "images_evaluation",
    "images_background_small1",
    "images_background_small2",
)
CELEBA = ("img_align_celeba", "Img/img_align_celeba")


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
    return faces(places_of(root, LFW), pattern=pattern, crop=crop, **options)


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
    return faces(places_of(root, YALE), pattern=pattern, colour=colour, factors=factors, **options)


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
        places_of(root, OMNIGLOT, join=True),
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

    Raises:
        InputError: if there is no table.
    """
    if table is None:
        names = ("identity_CelebA.txt", "Anno/identity_CelebA.txt")
        found = places_of(root, names, endings=("",))[0]
        if isinstance(found, Remote) or not found.is_file():
            shown = printable(str(root))
            raise InputError(f"dataset.root={shown} must have {names[0]}; or give dataset.table")
        table = found
    options.setdefault("name", "celeba")
    return faces(places_of(root, CELEBA), table=table, crop=crop, **options)
