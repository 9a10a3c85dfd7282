"""Data sets whose observations are combinations of known factors: groups, draws and splits.

Shapes: N observations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mlvae.data.grouped import GroupedData
from mlvae.data.rows.source import Source
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.errors import InputError, check_choice, check_integer, check_number, shown

__all__ = ["grid_levels", "labels_by", "split_grid"]


def grid_levels(sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Levels (N,) of each factor in the order of a full grid; the last factor changes fastest.

    Example:
        >>> levels = grid_levels({"shape": 2, "size": 3})
        >>> levels["shape"].tolist(), levels["size"].tolist()
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
    """
    grid = np.indices(tuple(sizes.values())).reshape(len(sizes), -1)
    return dict(zip(sizes, grid, strict=True))


def split_grid(
    x: np.ndarray | Source,
    levels: Mapping[str, np.ndarray],
    *,
    values: Mapping[str, np.ndarray] | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
    group_by: str | Sequence[str],
    images: int | None,
    split: str,
    validation: Held,
    test: Held,
    within: float,
    unseen_groups: Sequence[object],
    seed: int,
) -> Splits:
    """Group observations by factors, draw some of them, and split them.

    Args:
        x: images (N, ...), uint8.
        levels: number from 0 of each observation's value, integers (N,), by factor.
        values: the values themselves by factor, (N,); None: the levels.
        words: names of the levels of some factors, for labels of groups.
        group_by: the factor that a group shares, or a list of factors.
        images: number of observations drawn without replacement; None: all.
        split: as ``by`` of :func:`mlvae.data.split`.
        validation: as of :func:`mlvae.data.split`.
        test: as of :func:`mlvae.data.split`.
        within: as of :func:`mlvae.data.split`.
        unseen_groups: as of :func:`mlvae.data.split`.
        seed: seed of the draw and of the split.

    Raises:
        InputError: if an option is out of range.
    """
    check_integer("dataset.seed", seed, minimum=0)
    check_number("dataset.within", within, minimum=0, maximum=1)
    data = GroupedData(x, labels_by(levels, group_by, words), values or levels, kind="image")
    if images is not None:
        check_integer("dataset.images", images, minimum=1)
        if images > len(data):
            raise InputError(f"dataset.images must be at most {len(data)}, not {images}")
        generator = np.random.default_rng(seed)
        data = data.subset(np.sort(generator.choice(len(data), images, replace=False)))
    return split_by(
        data,
        split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


def labels_by(
    levels: Mapping[str, np.ndarray],
    group_by: str | Sequence[str],
    words: Mapping[str, Sequence[str]] | None = None,
) -> np.ndarray:
    """The label of each observation's group: the level or its word; joined by - for several.

    Args:
        levels: number from 0 of each observation's value, integers (N,), by factor.
        group_by: a factor, or a list of factors.
        words: names of the levels of some factors.

    Raises:
        InputError: if a name is no factor, or is there twice.

    Example:
        >>> levels = grid_levels({"shape": 2, "size": 2})
        >>> labels_by(levels, ["shape", "size"], {"shape": ["cube", "ball"]}).tolist()
        ['cube-0', 'cube-1', 'ball-0', 'ball-1']
    """
    names = [group_by] if isinstance(group_by, str) else group_by
    if not isinstance(names, Sequence) or not names:
        raise InputError(
            f"dataset.group_by must be a factor ({', '.join(levels)}) or a list of them, "
            f"not {shown(group_by)}"
        )
    for name in names:
        check_choice("dataset.group_by", name, levels)
    if len(set(names)) < len(names):
        raise InputError(f"dataset.group_by must name each factor once, not {list(names)}")
    columns = [
        np.array(words[name])[levels[name]] if words and name in words else levels[name]
        for name in names
    ]
    if len(columns) == 1:
        return columns[0]
    return np.array(["-".join(map(str, row)) for row in zip(*columns, strict=True)])
