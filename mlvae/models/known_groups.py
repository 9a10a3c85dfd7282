"""The groups that a model knows by their labels.

Shapes: N observations, K groupings, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.errors import InputError, shown

__all__ = ["checked_names", "labels_of"]


def checked_names(names: Any) -> tuple:
    """The labels of a model's groups as a tuple, or :class:`InputError`."""
    listed = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    labels = tuple(names) if listed else ()
    plain = all(isinstance(label, str | Number) for label in labels)
    if not labels or not plain or len(set(labels)) < len(labels):
        what = "names that occur twice" if labels and plain else shown(names)
        raise InputError(
            "model.group_names must be the different labels of the training data, as "
            f"data.group_names, not {what}"
        )
    return labels


def labels_of(batch: Batch, model: Any, *, wait: bool = True) -> Tensor:
    """The number of each observation's label in the model's ``group_names``.

    Args:
        batch: observations with labels.
        model: its ``group_names`` are the known labels, or those of each grouping by its name.
        wait: whether the check of the numbers may wait for a GPU; a training step does not.

    Returns:
        int64 (N,), or (N, K) with several groupings.

    Raises:
        InputError: if the batch has no labels, or numbers beyond those of the model.
    """
    if "label" not in batch.given:
        raise InputError(
            f"a {type(model).__name__} needs batch.given['label'], the label of each observation; "
            "take batches from data.labelled(model.group_names)"
        )
    label, names = batch.given["label"], model.group_names
    several = isinstance(names, Mapping)
    sizes = [len(each) for each in names.values()] if several else [len(names)]
    shape = (len(batch), len(sizes)) if several else (len(batch),)
    if label.dtype != torch.int64 or tuple(label.shape) != shape:
        raise InputError(
            f"batch.given['label'] must be int64 of shape {shape}, not {shown(label)}; take "
            "batches from data.labelled(model.group_names)"
        )
    checked = (wait or label.device.type == "cpu") and not torch.compiler.is_compiling()
    if checked:
        for size, column in zip(sizes, label.T if several else [label], strict=True):
            wrong = (column < 0) | (column >= size)
            if wrong.any():
                raise InputError(
                    f"batch.given['label'] must lie in [0, {size}), the groups that the model "
                    f"knows, not be {int(column[wrong][0])}"
                )
    return label
