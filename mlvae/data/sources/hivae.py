"""Tables in the form of HI-VAE: a file of rows, a file of kinds, and files of hidden cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import read_regular
from mlvae.data.grouped import GroupedData
from mlvae.data.published import file_of
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.data.tables.files import read_table
from mlvae.data.tables.frames import read_data
from mlvae.data.tables.hidden import with_hidden
from mlvae.errors import InputError, check_integer, shown

__all__ = ["hivae"]

#: Largest size of a file of hidden cells in bytes.
MAX_BYTES = 2**28


def hivae(
    root: str | Path = "data",
    *,
    percent: int | None = None,
    mask: int = 1,
    validation: Held = 0,
    test: Held = 0,
    seed: int = 0,
) -> Splits:
    """A table of HI-VAE with its kinds of columns and its hidden cells.

    A. Nazábal, P. M. Olmos, Z. Ghahramani, I. Valera: Handling Incomplete Heterogeneous Data using
    VAEs. Pattern Recognition 107, 2020. Its repository has a folder for each table: Wine has 6,497
    wines of both colours with 13 columns. Each row is its own group.

    Args:
        root: the file ``data.csv``, whose folder has ``data_types.csv`` too; a folder with them;
            or the folder of its folder ``hivae_wine`` or ``Wine``.
        percent: percentage of hidden cells. They are those that the file
            ``Missing<percent>_<mask>.csv`` beside the table lists, a line ``row,column`` for each,
            counted from 1. None: no cell is hidden.
        mask: number of this file. HI-VAE has 1 to 10 of 10, 20, 30, 40 and 50 percent.
        validation: size of the validation: a fraction, or a number of rows.
        test: size of the test, likewise. The published errors are those of all rows.
        seed: seed of the split.

    Raises:
        InputError: if a file is not found or cannot be read.
    """
    check_integer("dataset.seed", seed, minimum=0)
    check_integer("dataset.mask", mask, minimum=1)
    if percent is not None:
        check_integer("dataset.percent", percent, minimum=1)
    path = file_of(as_path("dataset.root", root), ("data.csv",), ("hivae_wine", "Wine"))
    frame = read_table(path, header=False)
    data = read_data(
        frame,
        np.arange(len(frame)),
        kinds=path.with_name("data_types.csv"),
        missing="keep",
        what=str(path),
    )
    assert isinstance(data, GroupedData)
    if percent is not None:
        shape = (len(data), len(frame.column_names))
        data = with_hidden(data, _cells(path.with_name(f"Missing{percent}_{mask}.csv"), shape))
    return split_by(data, "observations", validation=validation, test=test, seed=seed)


def _cells(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """The cells that a file lists, booleans of the shape."""
    try:
        lines = read_regular(path, MAX_BYTES).decode().split()
        places = np.array([[int(place) for place in line.split(",")] for line in lines])
    except (OSError, ValueError) as error:
        raise InputError(
            f"dataset.percent and dataset.mask need {path.name} beside data.csv, with a line "
            f"row,column for each cell: {first_line(error)}"
        ) from error
    if places.shape != (len(lines), 2) or not len(lines):
        raise InputError(f"{path.name} must have two numbers in each line")
    if wrong := [place for place in places.tolist() if not _within(place, shape)]:
        raise InputError(
            f"{path.name} must have rows from 1 to {shape[0]} and columns from 1 "
            f"to {shape[1]}, not {shown(wrong[0])}"
        )
    cells = np.zeros(shape, bool)
    cells[places[:, 0] - 1, places[:, 1] - 1] = True
    return cells


def _within(place: list[int], shape: tuple[int, int]) -> bool:
    return all(1 <= number <= size for number, size in zip(place, shape, strict=True))
