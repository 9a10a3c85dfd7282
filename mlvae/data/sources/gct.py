"""Plates in GCT files, and one plate of LINCS L1000.

Shapes: N wells, D genes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlvae.arguments import as_path
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.field_splits import chosen_rows, split_by_fields
from mlvae.data.splitting.splits import Splits
from mlvae.data.tables.columns import Column, Columns
from mlvae.data.tables.gct import Gct, read_gct
from mlvae.data.tables.hidden import check_fraction, features, with_fraction_hidden
from mlvae.errors import (
    InputError,
    check_choice,
    check_integer,
    check_number,
    check_text,
    check_texts,
    shown,
)

__all__ = ["gct", "l1000", "robust_scores"]

#: Texts that stand for a missing value; LINCS writes -666.
MISSING = ("", "na", "nan", "-666")

#: A normal deviation as a multiple of the median absolute deviation.
NORMAL = 1.4826

#: The plate, and its places below a root.
PLATE = "LJP005_A375_24H_X1_B19.gct"
PLACES = tuple(f"{folder}{PLATE}{end}" for folder in ("l1000/", "") for end in (".gz", ""))


def gct(
    root: str | Path,
    *,
    group: str,
    factors: Sequence[str] = (),
    features: str | None = None,
    control: Mapping[str, Any] | None = None,
    floor: float = 0.1,
    clip: float | None = 10.0,
    split: str | None = None,
    validation: Any = 0.1,
    test: Any = 0.1,
    within: float = 0.0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """The columns of a GCT file, such as the wells of a plate, as observations.

    With ``control`` the values become robust z-scores against the wells of the control, gene by
    gene (:func:`robust_scores`), and these wells are left out.

    Args:
        root: the file, ``.gct`` or ``.gct.gz``; see :func:`mlvae.data.read_gct`.
        group: field of the columns whose values are the groups, such as the compound.
        factors: fields of the columns that become known factors. Words become their number in
            sorted order; the texts "", "NA" and "-666" are missing values.
        features: field of the rows with the names of the features; None: their identifiers.
        control: values by field that choose the wells of the control, such as
            ``{"pert_type": "ctl_vehicle"}``; None: values stay as they are, and ``floor`` and
            ``clip`` have no effect.
        floor: added to the deviation of each gene, in units of the file.
        clip: largest absolute score; None: no limit.
        split: "groups" (None), "members" or "observations", as ``by`` of
            :func:`mlvae.data.split`.
        validation: size of the validation part as in :func:`mlvae.data.split`, or values of
            fields, such as ``{"pert_dose": ["10"]}``; see
            :func:`~mlvae.data.splitting.field_splits.split_by_fields`.
        test: as ``validation``.
        within: with split="groups", fraction of each training group's wells for the test.
        unseen_groups: labels of groups to keep out of training, validation and test.
        seed: seed of the split.

    Raises:
        InputError: if the file cannot be read, a field is unknown, or a value is out of range.
    """
    plate = read_gct(as_path("dataset.root", root))
    check_number("dataset.floor", floor, minimum=0)
    if clip is not None:
        check_number("dataset.clip", clip, minimum=0, exclusive=True)
    if control is not None:
        plate = _scored(plate, control, floor, clip)
    check_texts("dataset.factors", factors)
    for option, name in (("group", group), *(("factors", name) for name in factors)):
        check_text(f"dataset.{option}", name)
        check_choice(f"dataset.{option}", name, list(plate.fields))
    data = GroupedData(
        plate.x,
        plate.fields[group],
        {name: _factor(name, plate.fields[name]) for name in factors},
        names=plate.names,
        feature_names=_feature_names(plate, features),
        kind="array",
    )
    return split_by_fields(
        data,
        plate.fields,
        split=split,
        validation=validation,
        test=test,
        within=within,
        unseen_groups=unseen_groups,
        seed=seed,
    )


def l1000(
    root: str | Path = "data",
    *,
    test_dose: float | None = None,
    genes: int | None = None,
    hidden: float = 0.0,
    validation: float = 0,
    unseen_groups: Sequence[object] = (),
    seed: int = 0,
) -> Splits:
    """One plate of LINCS L1000: the expression of 978 genes in 351 wells, grouped by compound.

    A. Subramanian and others: A Next Generation Connectivity Map: L1000 Platform and the First
    1,000,000 Profiles. Cell 171, 2017. The plate LJP005_A375_24H_X1_B19 has 59 kinase inhibitors
    in five or six doses from 0.04 to 10 micromolar, after 24 hours in the melanoma line A375; it
    is a test file of the package cmapPy (BSD-3-Clause). Values are robust z-scores against its 26
    wells of DMSO (:func:`gct`). The known factor ``pert_dose`` is the dose in micromolar.

    Args:
        root: the file, or a folder with it, also in its folder ``l1000``.
        test_dose: the dose whose wells are the test: 0.04, 0.12, 0.37, 1.11, 3.33 or 10. None: all
            wells are for training.
        genes: number of genes with the largest variance in training; None: all.
        hidden: fraction of the cells of all wells to hide at random, for models that take missing
            cells. The splits are then a table of real columns, and ``hidden`` of each split has
            the true values.
        validation: number or fraction of the other wells for validation, drawn at random.
        unseen_groups: compounds to keep out of the other parts.
        seed: seed of the draws.

    Raises:
        InputError: if the file is not found, or the dose is unknown.
    """
    check_integer("dataset.seed", seed, minimum=0)
    check_fraction(hidden)
    if genes is not None:
        check_integer("dataset.genes", genes, minimum=1)
    path = as_path("dataset.root", root)
    path = next((path / place for place in PLACES if (path / place).is_file()), path)
    test: Any = 0
    if test_dose is not None:
        check_number("dataset.test_dose", test_dose, minimum=0, exclusive=True)
        test = {"pert_dose": f"{test_dose:g}"}
    splits = gct(
        path,
        group="pert_iname",
        factors=["pert_dose"],
        features="pr_gene_symbol",
        control={"pert_type": "ctl_vehicle"},
        split=None if test else "observations",
        validation=validation,
        test=test,
        unseen_groups=unseen_groups,
        seed=seed,
    )
    if genes is not None:
        splits = _with_genes(splits, int(genes))
    if hidden == 0:
        return splits
    parts = {
        name: with_fraction_hidden(_as_table(data), hidden, mechanism="mcar", seed=(seed, place))
        for place, (name, data) in enumerate(splits)
    }
    return Splits(**parts)


def _with_genes(splits: Splits, number: int) -> Splits:
    """The splits with the genes whose variance is the largest in training, in their order."""
    x = features(splits.train)
    if number > x.shape[1]:
        raise InputError(f"dataset.genes must be at most {x.shape[1]}, not {number}")
    genes = np.sort(np.argsort(-x.astype(np.float64).var(0), kind="stable")[:number])
    parts = {}
    for name, data in splits:
        parts[name] = copy.copy(data)
        parts[name].x = torch.from_numpy(features(data)[:, genes])
        if data.feature_names is not None:
            parts[name].feature_names = [data.feature_names[gene] for gene in genes.tolist()]
    return Splits(**parts)


def _as_table(data: GroupedData) -> GroupedData:
    """The wells as rows of a table of real columns, in which cells may be missing."""
    assert data.feature_names is not None
    table = copy.copy(data)
    table.columns = Columns(tuple(Column(name) for name in data.feature_names))
    table.given = {**data.given, "observed": torch.ones(data.x.shape, dtype=torch.bool)}
    return table


def robust_scores(
    x: np.ndarray, control: np.ndarray, *, floor: float = 0.1, clip: float | None = 10.0
) -> np.ndarray:
    r"""Robust z-scores of values against a control.

    .. math:: \frac{x - \mathrm{median}(c)}{1.4826 \; \mathrm{MAD}(c) + f}

    with the median absolute deviation MAD. For normal values 1.4826 MAD is the standard deviation.

    Args:
        x: values (N, D).
        control: values of the control c, (M, D).
        floor: f, which keeps genes that hardly vary in the control from large scores.
        clip: largest absolute score; None: no limit.

    Returns:
        Scores, float32 (N, D).

    Raises:
        InputError: if the scale of a feature is 0.

    Example:
        >>> robust_scores(np.array([[3.0]]), np.array([[0.0], [1.0], [2.0]]), floor=0.0).round(2)
        array([[1.35]], dtype=float32)
    """
    control = np.asarray(control, np.float64)
    centre = np.median(control, 0)
    deviation = NORMAL * np.median(np.abs(control - centre), 0) + floor
    if not (deviation > 0).all():
        raise InputError(
            f"dataset.floor must be above 0: {int((deviation == 0).sum())} features do not vary "
            "in the control"
        )
    scores = (np.asarray(x, np.float64) - centre) / deviation
    if clip is not None:
        scores = scores.clip(-clip, clip)
    return scores.astype(np.float32)


def _scored(plate: Gct, control: Mapping[str, Any], floor: float, clip: float | None) -> Gct:
    """The wells without those of the control, with scores against them."""
    if not isinstance(control, Mapping):
        raise InputError(f"dataset.control must be values by field, not {shown(control)}")
    of_control = chosen_rows(plate.fields, control, "dataset.control")
    if of_control.all():
        raise InputError("dataset.control must leave a well that is no control, not none")
    kept = ~of_control
    what = ", ".join(f"{name}={value}" for name, value in control.items())
    print(
        f"{int(of_control.sum())} columns with {what} are the control of robust z-scores and are "
        "left out",
        flush=True,
    )
    return plate._replace(
        x=robust_scores(plate.x[kept], plate.x[of_control], floor=floor, clip=clip),
        names=plate.names[kept],
        fields={name: values[kept] for name, values in plate.fields.items()},
    )


def _feature_names(plate: Gct, field: str | None) -> list[str]:
    """The names of the features: identifiers of the rows, or a field of them."""
    if field is None:
        return plate.features
    check_text("dataset.features", field)
    check_choice("dataset.features", field, list(plate.feature_fields))
    names = plate.feature_fields[field].tolist()
    if len(set(names)) < len(names) or "" in names:
        raise InputError(
            f"dataset.features={field} must have a different text for each row; set it to null "
            "for their identifiers"
        )
    return names


def _factor(name: str, texts: np.ndarray) -> np.ndarray:
    """Numbers, or the numbers of words in sorted order, float64 (N,); NaN where missing."""
    missing = np.isin(np.char.lower(texts), MISSING)
    values = np.full(len(texts), np.nan)
    try:
        values[~missing] = texts[~missing].astype(float)
    except ValueError:
        words, values[~missing] = np.unique(texts[~missing], return_inverse=True)
        numbered = ", ".join(f"{i} {word}" for i, word in enumerate(words[:20].tolist()))
        print(f"factor {name}: {numbered}{', ...' if len(words) > 20 else ''}", flush=True)
    return values
