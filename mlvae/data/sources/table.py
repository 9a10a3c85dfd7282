"""Your own table, from a file of comma-separated values or a Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlvae.arguments import as_path
from mlvae.data.splitting.group_splits import Held
from mlvae.data.splitting.splits import SPLIT_BY, Splits, split_by
from mlvae.data.tables.columns import LEVELLED
from mlvae.data.tables.files import read_table
from mlvae.data.tables.frames import read_data
from mlvae.data.tables.opened import opened
from mlvae.errors import check_choice, check_flag, check_text, check_texts

__all__ = ["table"]


def table(
    root: str | Path,
    *,
    group: str | Sequence[str] | None = "group",
    header: bool = True,
    features: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    factors: Sequence[str] = (),
    kinds: Mapping[str, Any] | str | Path | None = None,
    missing: str = "refuse",
    markers: Sequence[str] = (),
    split: str | None = None,
    validation: Held = 0.1,
    test: Held = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """Rows of a table as observations: a ``.csv``, ``.tsv`` or ``.parquet`` file.

    Columns become features as in :meth:`mlvae.GroupedData.from_frame`. Train with
    ``model.standardise=feature``, unless all columns have one scale.

    Args:
        root: the file.
        group: name of the column with the labels of the groups, or a list of such names, of
            several groupings. Labels of a CSV file are text if they are written in another way
            than their numbers, as 01. An empty cell in one of several columns is a missing label.
            None: each row is a group of its own.
        header: whether the first line of a CSV file has the names of the columns. False: the names
            are "1", "2" and so on.
        features: names of the columns that become features; None: all others.
        categories: names of columns of text or integers whose values are categories.
        factors: names of the columns of known factors.
        kinds: kinds of columns, as in :meth:`mlvae.GroupedData.from_frame`.
        missing: "refuse" or "keep" missing cells. An empty cell of a CSV file is missing.
        markers: further words in a CSV file that stand for a missing cell, such as "?".
        split: what is divided, "observations", "members" or "groups", as ``by`` in
            :func:`mlvae.data.split`. None: the column ``split`` with the words train, validation
            and test; if there is none, observations.
        validation: size of the validation part, if no column says, as in
            :func:`mlvae.data.split`: a count, or a fraction of the observations (with
            split="groups", of the groups).
        test: size of the test, likewise.
        within: with split="groups", fraction of the observations of each training group that
            ``Splits.test`` has.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the split.

    Raises:
        InputError: if the file cannot be read, or a column cannot be converted.
    """
    if split is not None:
        check_choice("dataset.split", split, SPLIT_BY)
    if isinstance(group, str):
        check_text("dataset.group", group)
    elif group is not None:
        check_texts("dataset.group", group)
    check_flag("dataset.header", header)
    path = as_path("dataset.root", root)
    several = isinstance(markers, Sequence) and not isinstance(markers, str)
    check_texts("dataset.markers", list(markers) if several else markers)
    labels = _labels(group, categories, kinds)
    frame = read_table(path, markers=list(markers), header=header, labels=labels)
    names = list(opened(frame, f"dataset.root={path}").columns)
    words = "split" if "split" in names and split is None else None
    if "split" in names and words is None:
        frame = frame.drop_columns(["split"])  # the other splits divide the same features
    data = read_data(
        frame,
        range(len(frame)) if group is None else group,
        features=features,
        categories=categories,
        factors=factors,
        kinds=kinds,
        missing=missing,
        split=words,
        what=f"dataset.root={path}",
        unseen_groups=unseen_groups,
    )
    if isinstance(data, Splits):
        return data
    return split_by(
        data,
        split or "observations",
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


def _labels(
    group: str | Sequence[str] | None,
    categories: Sequence[str],
    kinds: Mapping[str, Any] | str | Path | None,
) -> list[str]:
    """The names of the columns whose cells are labels: groups and categories."""
    found: list[Any] = []
    for names in (group, categories):  # read_data checks them
        found += names if isinstance(names, list | tuple) else [names]
    for name, kind in kinds.items() if isinstance(kinds, Mapping) else ():
        if not isinstance(kind, str) or kind in LEVELLED:  # a list has the order of the values
            found.append(name)
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))
