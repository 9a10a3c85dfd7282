"""Published tables for the measurement of imputed values: mushroom, wine, breast cancer."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line, printable
from mlvae.data.collections.regular import open_regular, read_regular
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.data.tables.frames import read_columns
from mlvae.data.tables.hidden import check_fraction, features, with_fraction_hidden, with_hidden
from mlvae.errors import InputError, check_choice, check_flag, check_integer, shown

__all__ = ["uci"]

#: Columns of the file of mushrooms, after the class.
MUSHROOM = (
    *("cap-shape", "cap-surface", "cap-color", "bruises", "odor", "gill-attachment"),
    *("gill-spacing", "gill-size", "gill-color", "stalk-shape", "stalk-root"),
    *("stalk-surface-above-ring", "stalk-surface-below-ring", "stalk-color-above-ring"),
    *("stalk-color-below-ring", "veil-type", "veil-color", "ring-number", "ring-type"),
    *("spore-print-color", "population", "habitat"),
)

#: Columns of the files of wine quality, before the grade.
QUALITY = (
    *("fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides"),
    *("free sulfur dioxide", "total sulfur dioxide", "density", "pH", "sulphates", "alcohol"),
)

#: Largest size of a file in bytes.
MAX_BYTES = 2**24

#: The value of ``hidden`` for the published mask of a table.
PUBLISHED = "published"


class _Table(NamedTuple):
    """The content of a published table.

    Attributes:
        columns: values by the name of the column.
        group: label of each row.
        kind: kind of all columns.
    """

    columns: dict[str, Any]
    group: Any
    kind: str


def uci(
    root: str | Path = "data",
    *,
    entry: str = "wine",
    hidden: float | str = 0.0,
    mechanism: str = "mcar",
    grouped: bool = False,
    validation: Held = 0,
    test: Held = 0.2,
    seed: int = 0,
) -> Splits:
    """A small published table, in which cells of all rows may be hidden.

    D. Dua, C. Graff: UCI Machine Learning Repository, CC BY 4.0.

    - mushroom: 22 categories of 8,124 mushrooms; an unknown root is the category "?". The groups
      are edible (e) and poisonous (p).
    - wine: 13 numbers of 178 wines of three cultivars, in scikit-learn.
    - white_wine, red_wine: 11 numbers of 4,898 and 1,599 wines (P. Cortez and others: Modeling
      Wine Preferences by Data Mining from Physicochemical Properties. Decision Support Systems 47,
      2009). The groups are the grades of quality.
    - breast_cancer: 30 numbers of 569 tumours, benign or malignant, in scikit-learn.

    Hidden cells are missing in training, validation and test. ``hidden`` of each split has their
    true values, which the question ``imputation`` compares with imputed ones.

    Args:
        root: a folder with the files of the repository (``agaricus-lepiota.data``,
            ``winequality-white.csv``, ``winequality-red.csv``), also in folders of the
            tables or in a ``.tar.gz``; or the folder of its folder ``uci``. Tables in scikit-learn
            need no file.
        entry: one of the names above.
        hidden: fraction of the cells to hide; or "published". This is, of wine, a half of the
            cells as in the notebook of B. Muzellec, J. Josse, C. Boyer, M. Cuturi: Missing Data
            Imputation using Optimal Transport. ICML 2020; of white_wine, the cells of the first
            five columns that are above the mean of their column, as in that of N. B. Ipsen,
            P.-A. Mattei, J. Frellsen: not-MIWAE. ICLR 2021.
        mechanism: of a fraction, "mcar": at random; "mar": by values of other columns; "mnar": by
            the own value, large ones more often.
        grouped: whether rows are in the groups of the table; False: each row is its own group.
        validation: size of the validation: a fraction, or a number of rows.
        test: size of the test, likewise.
        seed: seed of the hidden cells and of the split.

    Raises:
        InputError: if the file is not found or cannot be read, or a value is out of range.

    Example:
        >>> splits = uci(entry="wine", hidden=0.3)
        >>> splits.train
        GroupedData(142 observations of shape (13,) in 142 groups)
        >>> bool((splits.train.given["observed"].numpy() == ~splits.train.hidden.cells).all())
        True
    """
    check_choice("dataset.entry", entry, TABLES)
    check_flag("dataset.grouped", grouped)
    check_integer("dataset.seed", seed, minimum=0)
    fraction = 0.0
    if isinstance(hidden, str):
        _check_published(entry, hidden)
    else:
        fraction = hidden
    check_fraction(fraction, mechanism)
    found = TABLES[entry](as_path("dataset.root", root))
    data = _data(found, entry, grouped)
    if isinstance(hidden, str):
        data = with_hidden(data, MASKS[entry](features(data)))
    data = with_fraction_hidden(data, float(fraction), mechanism=mechanism, seed=int(seed))
    return split_by(data, "observations", validation=validation, test=test, seed=seed)


def _check_published(entry: str, hidden: str) -> None:
    """Raise :class:`InputError` unless ``hidden`` is the published mask of the table."""
    if hidden != PUBLISHED or entry not in MASKS:
        also = f", or {PUBLISHED!r} for {' and '.join(MASKS)}"
        raise InputError(
            f"dataset.hidden must be a fraction{also}, not {shown(hidden)} with "
            f"dataset.entry={entry}"
        )


def _data(found: _Table, name: str, grouped: bool) -> GroupedData:
    """The rows of a table."""
    return read_columns(
        found.columns,
        found.group if grouped else None,
        kinds=dict.fromkeys(found.columns, found.kind),
        missing="keep",
        what=f"the table {name}",
    )


def _mushroom(root: Path) -> _Table:
    rows = _rows(root, "agaricus-lepiota.data", "mushroom", 1 + len(MUSHROOM))
    columns = dict(zip(MUSHROOM, zip(*(row[1:] for row in rows), strict=True), strict=True))
    columns = {name: list(values) for name, values in columns.items()}
    return _Table(columns, [row[0] for row in rows], "categorical")


def _quality(root: Path, colour: str) -> _Table:
    """The wines of a colour. The first line of the original files has names."""
    name = f"winequality-{colour}.csv"
    rows = _rows(root, name, f"wine-quality-{colour}", len(QUALITY) + 1)
    rows = rows[1:] if rows[0][-1] == "quality" else rows
    try:
        numbers = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{name} must have numbers: {first_line(error)}") from error
    columns = {column: numbers[:, place] for place, column in enumerate(QUALITY)}
    return _Table(columns, numbers[:, -1].astype(int), "real")


def _sklearn(name: str) -> _Table:
    """A table of scikit-learn."""
    from sklearn import datasets  # takes seconds, which `import mlvae` saves

    found: Any = getattr(datasets, f"load_{name}")()
    columns = {str(c): found.data[:, place] for place, c in enumerate(found.feature_names)}
    return _Table(columns, found.target_names[found.target].tolist(), "real")


#: The functions that read the tables.
TABLES: dict[str, Callable[[Path], _Table]] = {
    "mushroom": _mushroom,
    "wine": lambda root: _sklearn("wine"),
    "white_wine": lambda root: _quality(root, "white"),
    "red_wine": lambda root: _quality(root, "red"),
    "breast_cancer": lambda root: _sklearn("breast_cancer"),
}


def _half(x: np.ndarray) -> np.ndarray:
    """The mask of the notebook for wine, whose seed is 42."""
    return np.random.RandomState(42).rand(*x.shape) < 0.5


def _above_mean(x: np.ndarray) -> np.ndarray:
    """Cells of the first half of the columns that are above the mean of their column."""
    x = x.astype(np.float64)
    above = x > x.mean(0)
    above[:, x.shape[1] // 2 :] = False
    return above


#: Published masks, from complete features (N, D).
MASKS = {"wine": _half, "white_wine": _above_mean}


def _rows(root: Path, name: str, folder: str, width: int) -> list[list[str]]:
    """The rows of a text file, whose separators are semicolons, commas or spaces."""
    try:
        lines = _content(root, name, folder).decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{name} must be a text file: {first_line(error)}") from error
    rows = [_cells(line) for line in lines if line.strip()]
    if wrong := [place for place, row in enumerate(rows, 1) if len(row) != width]:
        raise InputError(
            f"{name} must have {width} values in each line, but line {wrong[0]} has "
            f"{len(rows[wrong[0] - 1])}"
        )
    if len(rows) < 2:
        raise InputError(f"{name} must have rows, not {len(rows)} lines")
    return rows


def _cells(line: str) -> list[str]:
    """The cells of a line."""
    separator = next((mark for mark in ";," if mark in line), None)
    return [cell.strip().strip('"') for cell in line.split(separator)]


def _content(root: Path, name: str, folder: str) -> bytes:
    """The content of a file below the root, or in an archive there."""
    if not root.is_dir():
        raise InputError(f"dataset.root={printable(str(root))} must be a folder with {name}")
    places = [base / part for base in (root, root / "uci") for part in ("", folder)]
    archives = [path for base in (root / "uci", root) for path in sorted(base.glob("*.tar.gz"))]
    try:
        for place in places:
            if (place / name).is_file():
                return read_regular(place / name, MAX_BYTES)
        for path in archives:
            if (content := _in_archive(path, name)) is not None:
                return content
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InputError(f"{name} cannot be read: {first_line(error)}") from error
    raise InputError(
        f"dataset.root={printable(str(root))} must have {name}, in itself, in its folder uci or "
        f"{folder}, or in a .tar.gz there; the UCI Machine Learning Repository publishes it for "
        "download"
    )


def _in_archive(path: Path, name: str) -> bytes | None:
    """The content of the first file of this name in an archive; None if there is none."""
    with open_regular(path) as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
        for member in archive:
            if member.isfile() and Path(member.name).name == name and member.size <= MAX_BYTES:
                content = archive.extractfile(member)
                assert content is not None
                return content.read()
    return None
