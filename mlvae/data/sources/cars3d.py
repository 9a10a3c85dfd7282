"""The published files of Cars3D."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from mlvae.arguments import as_path
from mlvae.data.collections.members import Member, first_line
from mlvae.data.collections.sources import open_source
from mlvae.data.factors.factor_grid import split_grid
from mlvae.data.published import file_of
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError, check_integer

__all__ = ["cars3d"]

ARCHIVE = "nips2015-analogy-data.tar.gz"

#: Side of the images, and numbers of azimuths and elevations.
SIDE, AZIMUTHS, ELEVATIONS = 128, 24, 4


def cars3d(
    root: str | Path = "data",
    *,
    group_by: str | Sequence[str] = "object",
    size: int = 64,
    images: int | None = None,
    split: str = "observations",
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Cars3D: 183 models of cars from 24 azimuths and 4 elevations, from the published files.

    S. Reed, Y. Zhang, Y. Zhang, H. Lee: Deep Visual Analogy-Making. NIPS 2015. 17,568 colour
    images of 128x128 pixels, reduced to ``size`` by means over areas. Known factors are
    elevation and azimuth (numbers from 0) and object: the position of a car's file in sorted
    order.

    Args:
        root: the archive ``nips2015-analogy-data.tar.gz``, the folder ``cars`` of its
            ``car_*_mesh.mat`` files, or a folder with one of them.
        group_by: the factor that a group shares, or a list of factors; labels are numbers from 0.
        size: height and width of an image, in pixels.
        images: number of images drawn without replacement; None: all.
        split: as ``by`` of :func:`mlvae.data.split`.
        validation: size of the validation part as in :func:`mlvae.data.split`.
        test: size of the test, likewise.
        within: as of :func:`mlvae.data.split`.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of all draws.

    Raises:
        InputError: if the files are missing or of another kind, or an option is out of range.
    """
    check_integer("dataset.size", size, minimum=1)
    path = as_path("dataset.root", root)
    if not (path.is_dir() and any(path.glob("*.mat"))):
        path = file_of(path, ("cars", "data/cars", ARCHIVE), ("cars3d",))
    cars = dict(sorted(_cars(path, int(size))))
    if not cars:
        raise InputError(f"{path} must have files car_*_mesh.mat, but has none")
    per_car = AZIMUTHS * ELEVATIONS
    view = np.tile(np.arange(per_car), len(cars))
    return split_grid(
        np.concatenate(list(cars.values())),
        {
            "elevation": view % ELEVATIONS,
            "azimuth": view // ELEVATIONS,
            "object": np.repeat(np.arange(len(cars)), per_car),
        },
        group_by=group_by,
        images=images,
        split=split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


def _cars(path: Path, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and images of each car: uint8 (96, 3, size, size), the elevation changes fastest."""
    from scipy.io import loadmat  # takes half a second, which `import mlvae` saves

    for member in open_source(path).members():
        name = member.name.rpartition("/")[2]
        if not (name.startswith("car_") and name.endswith(".mat")):
            continue
        try:
            if not isinstance(member, Member):
                raise ValueError(member.reason)
            array = loadmat(io.BytesIO(member.read()), variable_names=["im"])["im"]
        except Exception as error:  # scipy raises many types for a damaged file
            raise InputError(
                f"{member.name} in {path} must be a MATLAB file with the array im: "
                f"{first_line(error)}"
            ) from error
        expected = (SIDE, SIDE, 3, AZIMUTHS, ELEVATIONS)
        if array.shape != expected or array.dtype != np.uint8:
            raise InputError(
                f"im in {member.name} must be uint8 of shape {expected}, not {array.dtype} of "
                f"{array.shape}"
            )
        x = array.transpose(3, 4, 2, 0, 1).reshape(-1, 3, SIDE, SIDE)
        if size != SIDE:
            means = functional.adaptive_avg_pool2d(torch.from_numpy(x).float(), size)
            x = means.round().to(torch.uint8).numpy()
        yield name, x
