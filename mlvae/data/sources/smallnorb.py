"""The published files of Small NORB."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from mlvae.arguments import as_path
from mlvae.data.factors.factor_grid import labels_by
from mlvae.data.grouped import GroupedData
from mlvae.data.published import file_of
from mlvae.data.splitting.shares import check_share, count_of
from mlvae.data.splitting.splits import Splits, held_rows, split_by
from mlvae.errors import InputError, check_integer

__all__ = ["smallnorb"]

#: Beginnings of the files' names, by part.
PARTS = {
    "train": "smallnorb-5x46789x9x18x6x2x96x96-training",
    "test": "smallnorb-5x01235x9x18x6x2x96x96-testing",
}

#: Types of the elements, by the first four bytes of a file.
TYPES = {0x1E3D4C55: np.dtype("<u1"), 0x1E3D4C54: np.dtype("<i4")}

#: The columns of ``info`` after the category.
INFO = ("instance", "elevation", "azimuth", "lighting")
CATEGORIES = ("animal", "human", "plane", "truck", "car")


def smallnorb(
    root: str | Path = "data",
    *,
    group_by: str | Sequence[str] = "category",
    size: int = 64,
    validation: float = 0.1,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Small NORB: toys of five categories under known views and lights, from the published files.

    Y. LeCun, F. J. Huang, L. Bottou: Learning Methods for Generic Object Recognition with
    Invariance to Pose and Lighting. CVPR 2004. 24,300 grey images of 25 toys for training and as
    many of 25 other toys for the test, of 96x96 pixels, reduced to ``size`` by means over areas;
    the first image of each stereo pair. Known factors: category, instance (0 to 9), elevation (0
    to 8: 30 to 70 degrees), azimuth (0 to 17: 0 to 340 degrees) and lighting (0 to 5).

    Args:
        root: folder of the six files ``smallnorb-5x...-dat.mat``, ``-cat.mat`` and ``-info.mat``,
            packed by gzip or not.
        group_by: the factor that a group shares, or a list of factors. The label of a category is
            its name. With ["category", "instance"] the test is ``Splits.unseen``: other toys.
        size: height and width of an image, in pixels.
        validation: number or fraction of the training images for validation, drawn at random.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the draw.

    Raises:
        InputError: if files are missing or of another kind, or an option is out of range.
    """
    check_integer("dataset.size", size, minimum=1)
    check_integer("dataset.seed", seed, minimum=0)
    check_share("dataset.validation", validation, "observations")
    folder = as_path("dataset.root", root)
    found = {part: _part(folder, name, int(size)) for part, name in PARTS.items()}
    x = np.concatenate([images for images, _ in found.values()])
    levels = {
        name: np.concatenate([columns[name] for _, columns in found.values()])
        for name in ("category", *INFO)
    }
    labels = labels_by(levels, group_by, {"category": CATEGORIES})
    data = GroupedData(x, labels, levels, kind="image")
    words = np.repeat(["train", "test"], [len(images) for images, _ in found.values()])
    words = words.astype("<U10")
    seen = held_rows(data, unseen_groups, "dataset.unseen_groups")[0].numpy()
    rest = seen[words[seen] == "train"]
    order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(int(seed))).numpy()
    words[rest[order[: count_of(validation, len(rest))]]] = "validation"
    return split_by(data, words, unseen_groups=unseen_groups)


def _part(folder: Path, name: str, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images uint8 (N, 1, size, size) and levels (N,) by factor of one part."""
    arrays = {}
    for kind, ndim in {"dat": 4, "cat": 1, "info": 2}.items():
        names = (f"{name}-{kind}.mat", f"{name}-{kind}.mat.gz")
        path = file_of(folder, names, ("smallnorb", "norb"))
        arrays[kind] = _read(path, ndim)
    dat, cat, info = arrays.values()
    if not len(dat) == len(cat) == len(info) or dat.shape[1] != 2 or info.shape[1] != 4:
        raise InputError(f"{name} must have pairs of images, a category and four numbers for each")
    x = dat[:, :1]
    if x.shape[2] != size:
        rows = torch.from_numpy(np.ascontiguousarray(x)).split(1024)
        means = [functional.adaptive_avg_pool2d(part.float(), size).round() for part in rows]
        x = torch.cat([part.to(torch.uint8) for part in means]).numpy()
    levels = {"category": cat, **{each: info[:, i] for i, each in enumerate(INFO)}}
    levels["azimuth"] = levels["azimuth"] // 2  # even numbers from 0 to 34
    return x, {each: column.astype(np.int64) for each, column in levels.items()}


def _read(path: Path, ndim: int) -> np.ndarray:
    """An array of the file format of NORB.

    The format: the type of the elements; the number of dimensions; the lengths of the dimensions,
    at least three numbers; the elements, the last dimension fastest. Numbers are little-endian
    integers of four bytes.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} must be a whole file: {error}") from error
    start = 8 + 4 * max(3, ndim)
    header = np.frombuffer(content[:start].ljust(start, b"\0"), "<u4")
    if int(header[0]) not in TYPES or int(header[1]) != ndim:
        raise InputError(f"{path} must be an array of Small NORB with {ndim} dimensions")
    dtype, shape = TYPES[int(header[0])], tuple(map(int, header[2 : 2 + ndim]))
    if len(content) != start + dtype.itemsize * math.prod(shape) or not math.prod(shape):
        raise InputError(f"{path} must have the bytes of {shape}, but is truncated or damaged")
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
