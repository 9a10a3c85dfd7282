"""The labels that probes predict: a grouping or a known factor of the splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mlvae.data import GroupedData, Splits
from mlvae.evaluation.measures.leakage.division import LEAST, divided
from mlvae.training.seeding import seeded

__all__ = ["Others", "Target", "target_of", "tested_split"]

#: Largest number of observations of other groups.
MOST_OTHERS = 10_000


class Others(NamedTuple):
    """Observations of the training, whose groups are not those that are predicted.

    Attributes:
        data: the training split.
        rows: indices of the observations that are used, (M,).
        labels: their labels, (M,).
    """

    data: GroupedData
    rows: Tensor
    labels: Tensor


class Target(NamedTuple):
    """A label that is predicted: a grouping or a factor.

    Attributes:
        sources: observations to train on, by the name of the split; the first ones are held out
            in part.
        test: observations to test on.
        labels: number of each observation's label, (N,), by the source, "test" among them.
        rows: indices of the observations that are used; None: all.
        number: number of labels.
        split: name of the split that is tested on.
        divided: whether the probes are trained on a part of the tested observations.
        others: observations of other groups, if the tested ones are divided.
    """

    sources: dict[str, GroupedData]
    test: GroupedData
    labels: dict[str, Tensor]
    rows: dict[str, Tensor | None]
    number: int
    split: str
    divided: bool = False
    others: Others | None = None

    def count(self, part: str) -> int:
        """Number of observations of a source, or of "test", that are used."""
        rows = self.rows[part]
        return len(self.labels[part] if rows is None else rows)


def tested_split(splits: Splits, split: str | None = None) -> tuple[str, GroupedData] | None:
    """The test split, or else the unseen groups, with its name; None if there is neither.

    Args:
        splits: the observations.
        split: "test" or "unseen", for this one alone.
    """
    for name in ("test", "unseen") if split is None else (split,):
        data = getattr(splits, name)
        if data is not None:
            return name, data
    return None


def target_of(splits: Splits, name: str, seed: int, split: str | None = None) -> Target | str:
    """The label ``name`` of the tested observations, or the reason why it is not predicted.

    Probes are trained on another split that has all labels of the tested one. If there is none,
    as for unseen groups, they are trained on a part of the tested observations of each label.

    Args:
        splits: the observations; :func:`tested_split` is not None.
        name: name of a grouping or of a known factor.
        seed: seed of the division of the tested observations.
        split: as of :func:`tested_split`.
    """
    place = tested_split(splits, split)
    assert place is not None
    where, test = place
    tested = _labels_by(test, name)
    if tested is None:
        return f"{name} is neither a grouping nor a known factor of the {where} split"
    what = "" if len(test.groupings) == 1 and name in test.groupings else f" of {name}"
    if len(tested.names) < 2:
        return (
            f"a probe needs at least two groups{what}, and the {where} split has only "
            f"{tested.names[0] if tested.names else None!r}"
        )
    others = {"validation": splits.validation, "train": splits.train}
    known = {
        other: (data, each)
        for other, data in others.items()
        if data is not None and (each := _labels_by(data, name)) is not None
    }
    names = [each.names for _, each in known.values() if set(tested.names) <= set(each.names)]
    if not names:
        found = _divided(where, test, tested, what, seed)
        if isinstance(found, str):
            return found
        return found._replace(others=_others(splits.train, name, seed))
    sources = {key: pair for key, pair in known.items() if set(pair[1].names) == set(names[0])}
    number = {label: i for i, label in enumerate(names[0])}
    labels, rows = {}, {}
    for part, (_, each) in {**sources, "test": (test, tested)}.items():
        labels[part] = each.numbered(number)
        rows[part] = None if bool(each.known.all()) else each.known.nonzero()[:, 0]
    data = {key: pair[0] for key, pair in sources.items()}
    return Target(data, test, labels, rows, len(number), where)


def _divided(split: str, data: GroupedData, tested: _Labels, what: str, seed: int) -> Target | str:
    """The target of observations whose labels no other split has: a part of them trains."""
    sizes = torch.bincount(tested.index[tested.known], minlength=len(tested.names))
    names = [
        label for label, size in zip(tested.names, sizes.tolist(), strict=True) if size >= LEAST
    ]
    if len(names) < 2:
        return (
            f"no split that was used in training has the groups{what} of the {split} split, and "
            f"of these {len(names)} have {LEAST} observations; a probe needs two"
        )
    number = {label: i for i, label in enumerate(names)}
    index = tested.numbered(number)
    rows = (tested.known & (index >= 0)).nonzero()[:, 0]
    test, held, rest = divided(index[rows], seed)
    source = f"part of {split}"
    return Target(
        sources={source: data},
        test=data,
        labels={source: index, "test": index},
        rows={source: rows[torch.cat([held, rest])], "test": rows[test]},
        number=len(names),
        split=split,
        divided=True,
    )


def _others(train: GroupedData, name: str, seed: int) -> Others | None:
    """Observations of the training with a label, at most :data:`MOST_OTHERS` at random."""
    found = _labels_by(train, name)
    if found is None or len(found.names) < 2:
        return None
    rows = found.known.nonzero()[:, 0]
    if len(rows) > MOST_OTHERS:
        generator = seeded(torch.Generator(rows.device), seed, "other groups")
        order = torch.randperm(len(rows), generator=generator, device=rows.device)
        rows = rows[order[:MOST_OTHERS].sort().values]
    return Others(train, rows, found.index[rows])


class _Labels(NamedTuple):
    """Labels of one split.

    Attributes:
        names: the known labels.
        index: number of each observation's label, (N,).
        known: mask (N,) of the observations with a label.
    """

    names: list
    index: Tensor
    known: Tensor

    def numbered(self, number: Mapping[object, int]) -> Tensor:
        """Each observation's label as its value in ``number``; -1 if it has none."""
        table = torch.tensor(
            [*(number.get(label, -1) for label in self.names), -1], device=self.index.device
        )
        return table[self.index.masked_fill(~self.known, len(self.names))]


def _labels_by(data: GroupedData, name: str) -> _Labels | None:
    """The labels by a grouping or by a factor of ``data``; None if it has neither."""
    if (grouping := data.groupings.get(name)) is not None:
        names = [label for label in grouping.names if label is not None]  # these are the first
        return _Labels(names, grouping.groups.index, grouping.labelled)
    if (values := data.factors.get(name)) is None:
        return None
    known = values.isfinite()
    names, index = values[known].unique(return_inverse=True)
    every = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    every[known] = index
    return _Labels(names.tolist(), every, known)
