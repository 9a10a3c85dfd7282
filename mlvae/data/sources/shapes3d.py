"""The published file of 3D Shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.factors.factor_grid import split_grid
from mlvae.data.published import file_of
from mlvae.data.rows.array_file import ArrayFile
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError

__all__ = ["shapes3d"]

FILE = "3dshapes.h5"

#: The columns of the file's labels.
COLUMNS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
SHAPES = ("cube", "cylinder", "sphere", "capsule")


def shapes3d(
    root: str | Path = "data",
    *,
    group_by: str | Sequence[str] = "shape",
    images: int | None = None,
    split: str = "observations",
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """3D Shapes: 480,000 images of an object in a room, read from the published file.

    C. Burgess, H. Kim: 3D Shapes Dataset, 2018. Colour images of 64x64 pixels; floor_hue,
    wall_hue, object_hue, scale, shape and orientation are known factors. Images are read from the
    HDF5 file batch by batch (``pip install 'mlvae[hdf5]'``).

    Args:
        root: the file ``3dshapes.h5``, or a folder with it.
        group_by: the factor that a group shares, or a list of factors. The label of a shape is
            its name, the label of another value its number from 0.
        images: number of images drawn without replacement; None: all.
        split: as ``by`` of :func:`mlvae.data.split`.
        validation: size of the validation part as in :func:`mlvae.data.split`.
        test: size of the test, likewise.
        within: as of :func:`mlvae.data.split`.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of all draws.

    Raises:
        InputError: if the file is missing or of another kind, or an option is out of range.
    """
    path = file_of(as_path("dataset.root", root), (FILE,), ("3dshapes", "shapes3d"))
    x = ArrayFile(path, "images", channels_last=True)
    labels = ArrayFile(path, "labels").read_all().numpy()
    if labels.shape != (len(x), 6):
        raise InputError(f"{path} must have six labels of each of its {len(x)} images")
    values = {name: labels[:, i] for i, name in enumerate(COLUMNS)}
    levels = {
        name: np.unique(column, return_inverse=True)[1].reshape(-1)
        for name, column in values.items()
    }
    words = {"shape": SHAPES} if levels["shape"].max() < len(SHAPES) else None
    return split_grid(
        x,
        levels,
        values=values,
        words=words,
        group_by=group_by,
        images=images,
        split=split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )
