"""Published tables of people whose columns have causal roles: Adult, and Law School."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.data.published import file_of
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.data.tables.frames import read_columns
from mlvae.errors import InputError, check_flag

__all__ = ["adult", "law_school"]

#: The columns of the file of Adult, in its order.
ADULT = (
    "age",
    "workclass",
    "weight",
    "education",
    "years",
    "marital",
    "occupation",
    "relationship",
    "race",
    "sex",
    "gain",
    "loss",
    "hours",
    "country",
    "income",
)

#: Values that stand for college: some years of it, or a degree.
COLLEGE = ("Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Doctorate")
COLLEGE += ("Prof-school",)

#: The binary columns of Adult: name, column of the file, and the condition of 1. These are the
#: conditions of the published file of DCEVAE, found by comparison of all 48,842 rows.
BITS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    ("sex", "sex", lambda value: value == "Male"),
    ("race", "race", lambda value: value == "White"),
    ("age", "age", lambda value: int(value) > 37),
    ("country", "country", lambda value: value == "United-States"),
    ("marital", "marital", lambda value: value != "Married-civ-spouse"),
    ("education", "education", lambda value: value in COLLEGE),
    ("occupation", "occupation", lambda value: value != "Craft-repair"),
    ("hours", "hours", lambda value: int(value) > 40),
    ("workclass", "workclass", lambda value: value == "Private"),
    ("relationship", "relationship", lambda value: value == "Not-in-family"),
    ("income", "income", lambda value: value.startswith(">50K")),
)

#: The kinds of the columns of Adult as they are.
KINDS = {
    "sex": "binary",
    "race": "categorical",
    "age": "positive",
    "country": "binary",
    "marital": "categorical",
    "education": "real",
    "occupation": "categorical",
    "hours": "real",
    "workclass": "categorical",
    "relationship": "categorical",
    "income": "binary",
}

#: The columns of the file of Law School.
LAW = ("race", "sex", "LSAT", "UGPA", "ZFYA")


def adult(
    root: str | Path = "data",
    *,
    binary: bool = True,
    validation: Held = 0.2,
    test: Held = 0.2,
    seed: int = 0,
) -> Splits:
    """Adult (census income): 48,842 people of the US census of 1994; each is its own group.

    B. Becker, R. Kohavi: Adult. UCI Machine Learning Repository, 1996, CC BY 4.0. The columns are
    those of the publication of DCEVAE: sex (1 is male), race, age, country, marital, education,
    occupation, hours, workclass, relationship, and income (1 is above 50,000 dollars). The
    published file has 16,281 of the rows twice; here each is there once.

    Args:
        root: a folder with ``adult.data`` and ``adult.test``, or the folder of its folder
            ``adult``; the files may end in ``.gz``.
        binary: whether each column is 0 or 1, as in the publication: race is white, age above 37,
            country the United States, marital not a civilian spouse, education college,
            occupation not craft and repair, hours above 40, workclass private, relationship
            outside a family. False: numbers and categories; education is its number of years,
            country is 0 or 1, and an unknown value is the category "?".
        validation: size of the validation: a fraction, or a number of rows.
        test: size of the test, likewise. The rows of both files are drawn together.
        seed: seed of the split.

    Raises:
        InputError: if the files are not found, or a row cannot be read.
    """
    check_flag("dataset.binary", binary)
    first = file_of(as_path("dataset.root", root), ("adult.data.gz", "adult.data"), ("adult",))
    second = first.with_name(first.name.replace("data", "test"))
    if not second.is_file():
        raise InputError(
            f"dataset.root={first.parent} must have {second.name} beside {first.name}"
        )
    rows = [row for path in (first, second) for row in _rows_of_adult(path)]
    cells = {name: [row[place] for row in rows] for place, name in enumerate(ADULT)}
    try:
        bits = {name: [right(v) for v in cells[column]] for name, column, right in BITS}
        if binary:
            return _splits(bits, dict.fromkeys(bits, "binary"), first, validation, test, seed)
        numbers = {name: [float(v) for v in cells[name]] for name in ("age", "hours")}
        numbers["education"] = [float(v) for v in cells["years"]]
    except ValueError as error:
        raise InputError(f"{first} must have numbers as age, hours and years: {error}") from error
    mixed = {name: numbers.get(name, cells[name]) for name in KINDS}
    mixed |= {name: bits[name] for name, kind in KINDS.items() if kind == "binary"}
    return _splits(mixed, KINDS, first, validation, test, seed)


def law_school(
    root: str | Path = "data",
    *,
    validation: Held = 0.2,
    test: Held = 0.2,
    seed: int = 0,
) -> Splits:
    """Law School: 19,567 white and black students of US law schools; each is its own group.

    L. F. Wightman: LSAC National Longitudinal Bar Passage Study. LSAC, 1998. The columns are those
    of M. J. Kusner, J. Loftus, C. Russell, R. Silva: Counterfactual Fairness. NeurIPS 2017:
    black (1) or white (0), male, the score of the admission test ``LSAT``, the average grade of
    college ``UGPA``, and the standardised average of the first year ``ZFYA``.

    Args:
        root: the file ``law_data.csv`` or ``law_data.csv.gz``, a folder with it, or the folder of
            its folder ``law_school``.
        validation: size of the validation: a fraction, or a number of rows.
        test: size of the test, likewise.
        seed: seed of the split.

    Raises:
        InputError: if the file is not found, or a row cannot be read.
    """
    names = ("law_data.csv.gz", "law_data.csv")
    path = file_of(as_path("dataset.root", root), names, ("law_school",))
    lines = csv.DictReader(_text(path))
    rows = list(lines)
    if absent := [name for name in LAW if name not in (lines.fieldnames or ())]:
        raise InputError(f"{path} must have the columns {', '.join(LAW)}, but has no {absent[0]}")
    rows = [row for row in rows if row["race"] in ("White", "Black")]
    try:
        cells: dict[str, Any] = {
            "black": [row["race"] == "Black" for row in rows],
            "male": [int(row["sex"]) == 2 for row in rows],
            **{name: [float(row[name]) for row in rows] for name in LAW[2:]},
        }
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} must have numbers as sex, {', '.join(LAW[2:])}: {error}") from (
            error
        )
    kinds = {"black": "binary", "male": "binary", **dict.fromkeys(LAW[2:], "real")}
    return _splits(cells, kinds, path, validation, test, seed)


def _text(path: Path) -> io.StringIO:
    """The text of a file, which may be compressed."""
    try:
        with open_regular(path) as file:
            content = file.read()
        content = gzip.decompress(content) if path.name.endswith(".gz") else content
        return io.StringIO(content.decode("utf-8-sig"), newline="")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a text file: {first_line(error)}") from error


def _rows_of_adult(path: Path) -> Iterator[list[str]]:
    """The rows of a file of Adult. The file of the test begins with a line that is no row."""
    for number, row in enumerate(csv.reader(_text(path), skipinitialspace=True), 1):
        if not row or row[0].startswith("|"):
            continue
        if len(row) != len(ADULT):
            raise InputError(
                f"{path} must have {len(ADULT)} values in each line, but line {number} has "
                f"{len(row)}"
            )
        yield row


def _splits(
    cells: Mapping[str, Sequence[Any]],
    kinds: Mapping[str, str],
    path: Path,
    validation: Held,
    test: Held,
    seed: int,
) -> Splits:
    """Splits of rows with columns of the given kinds."""
    data = read_columns(cells, kinds=kinds, what=path.name)
    return split_by(data, "observations", validation=validation, test=test, seed=seed)
