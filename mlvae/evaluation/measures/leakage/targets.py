"""The labels that probes predict: a grouping or a known factor of the splits."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mlvae.data import GroupedData, Splits

__all__ = ["Target", "target_of"]


class Target(NamedTuple):
    """A label that is predicted: a grouping or a factor.

    Attributes:
        sources: observations to train on, by the name of the split; the first ones are held out
            in part.
        test: observations to test on.
        labels: number of each observation's label, (N,), by the split, "test" among them.
        rows: indices of the observations with a label; None: all.
        number: number of labels.
    """

    sources: dict[str, GroupedData]
    test: GroupedData
    labels: dict[str, Tensor]
    rows: dict[str, Tensor | None]
    number: int


def target_of(splits: Splits, test: GroupedData, name: str) -> Target | str:
    """The label ``name`` of all observations, or the reason why it is not predicted."""
    what = "" if len(test.groupings) == 1 and name in test.groupings else f" of {name}"
    train, validation = splits.train, splits.validation
    parts = {"train": train, "validation": validation, "test": test}
    found = {
        split: each
        for split, data in parts.items()
        if data is not None and (each := _labels_by(data, name)) is not None
    }
    if "test" not in found or "train" not in found:
        return f"{name} is neither a grouping nor a known factor of the training and test splits"
    own = set(found["test"].names)
    has_all = "validation" in found and own <= set(found["validation"].names)
    first = "validation" if has_all else "train"
    if not own <= set(found[first].names):
        return f"the test split has groups{what} that no other split has"
    if len(own) < 2:
        names = found["test"].names
        reason = f"a probe needs at least two groups{what}, and the test split has only "
        return f"{reason}{names[0] if names else None!r}"
    chosen = [first]
    if first != "train" and set(found[first].names) == set(found["train"].names):
        chosen.append("train")
    number = {label: i for i, label in enumerate(found[first].names)}
    labels, rows = {}, {}
    for split in (*chosen, "test"):
        each = found[split]
        table = torch.tensor([number[label] for label in each.names], device=each.index.device)
        labels[split] = table[each.index.clamp_max(len(table) - 1)]
        rows[split] = None if bool(each.known.all()) else each.known.nonzero()[:, 0]
    sources = {split: data for split in chosen if (data := parts[split]) is not None}
    return Target(sources, test, labels, rows, len(number))


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
