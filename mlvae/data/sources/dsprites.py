"""The published file of dSprites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.factors.factor_grid import split_grid
from mlvae.data.published import file_of
from mlvae.data.rows.npz import npz_rows
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError

__all__ = ["dsprites"]

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"

#: The columns of the file's latents; the colour is always white.
COLUMNS = ("color", "shape", "scale", "orientation", "x", "y")
SHAPES = ("square", "ellipse", "heart")


def dsprites(
    root: str | Path = "data",
    *,
    group_by: str | Sequence[str] = "shape",
    images: int | None = None,
    split: str = "observations",
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    cache: str | Path = "cache",
    seed: int = 0,
) -> Splits:
    """dSprites: 737,280 binary images of three shapes, from the published file.

    L. Matthey, I. Higgins, D. Hassabis, A. Lerchner: dSprites: Disentanglement testing Sprites
    dataset, 2017. Images of 64x64 pixels; shape, scale, orientation, x and y are known factors.
    The file is compressed: its images are unpacked into the cache once (3 GB), and are read from
    there batch by batch. ``sprites`` draws such images without a file.

    Args:
        root: the file ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``, or a folder with it.
        group_by: the factor that a group shares, or a list of factors. The label of a shape is
            its name, the label of another value its number from 0.
        images: number of images drawn without replacement; None: all.
        split: as ``by`` of :func:`mlvae.data.split`.
        validation: size of the validation part as in :func:`mlvae.data.split`.
        test: size of the test, likewise.
        within: as of :func:`mlvae.data.split`.
        unseen_groups: labels of groups to keep out of training, validation and test.
        cache: folder of unpacked arrays.
        seed: seed of all draws.

    Raises:
        InputError: if the file is missing or of another kind, or an option is out of range.
    """
    path = file_of(as_path("dataset.root", root), (FILE,), ("dsprites",))
    try:
        with np.load(path, allow_pickle=False) as file:
            classes, values = file["latents_classes"], file["latents_values"]
    except (OSError, EOFError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path} must be the file of dSprites: {first_line(error)}") from error
    x = npz_rows(path, "imgs", cache=as_path("dataset.cache", cache), white=1)
    if not len(x) == len(classes) == len(values) or classes.shape[1:] != (6,):
        raise InputError(f"{path} must have six latents of each of its {len(x)} images")
    columns = list(enumerate(COLUMNS))[1:]
    return split_grid(
        x,
        {name: classes[:, i] for i, name in columns},
        values={name: values[:, i] for i, name in columns},
        words={"shape": SHAPES},
        group_by=group_by,
        images=images,
        split=split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )
