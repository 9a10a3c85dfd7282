"""The published files of MPI3D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mlvae.arguments import as_path
from mlvae.data.factors.factor_grid import grid_levels, split_grid
from mlvae.data.published import file_of
from mlvae.data.rows.npz import npz_rows
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError

__all__ = ["mpi3d"]

FILES = (
    "mpi3d_toy.npz",
    "mpi3d_realistic.npz",
    "mpi3d_real.npz",
    "real3d_complicated_shapes_ordered.npz",
)

#: The factors in the order of the images: the last one changes fastest.
FACTORS = (
    "object_color",
    "object_shape",
    "object_size",
    "camera_height",
    "background_color",
    "horizontal_axis",
    "vertical_axis",
)

#: Numbers of their values: of the files of the challenge, and of the file of complex objects.
SIZES = ((6, 6, 2, 3, 3, 40, 40), (4, 4, 2, 3, 3, 40, 40))


def mpi3d(
    root: str | Path = "data",
    *,
    group_by: str | Sequence[str] = "object_shape",
    images: int | None = None,
    split: str = "observations",
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    cache: str | Path = "cache",
    seed: int = 0,
) -> Splits:
    """MPI3D: images of an object on a robot's arm, from a published file.

    M. W. Gondal et al.: On the Transfer of Inductive Bias from Simulation to the Real World: a New
    Disentanglement Dataset. NeurIPS 2019, arXiv:1906.03292. Colour images of 64x64 pixels:
    1,036,800 with six colours and six shapes (toy, realistic, real), or 460,800 with four and four
    (complex objects); the number of images decides. Seven known factors, numbered from 0. A
    compressed file is unpacked into the cache once (12 GB); images are read batch by batch.

    Args:
        root: the ``.npz`` file, or a folder with one of the published names.
        group_by: the factor that a group shares, or a list of factors; labels are numbers from 0.
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
    path = file_of(as_path("dataset.root", root), FILES, ("mpi3d", "mpi3d_toy", "mpi3d_real"))
    x = npz_rows(path, "images", cache=as_path("dataset.cache", cache), channels_last=True)
    fitting = [sizes for sizes in SIZES if math.prod(sizes) == len(x)]
    if not fitting:
        counts = " or ".join(f"{math.prod(sizes):,}" for sizes in SIZES)
        raise InputError(f"{path} must have {counts} images, not {len(x):,}")
    levels = grid_levels(dict(zip(FACTORS, fitting[0], strict=True)))
    return split_grid(
        x,
        levels,
        group_by=group_by,
        images=images,
        split=split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )
