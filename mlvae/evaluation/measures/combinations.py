"""Combinations of labels of several groupings: those that training lacks, and predictions of them.

A combination is one label of each grouping, such as a character and a font. The controls of this
file predict an observation of a combination from training observations alone, without a model.

Shapes: N training observations, M other observations, K groupings, L labels of a grouping, D
elements of an observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.evaluation.measures.classes import centred

__all__ = [
    "additive_mean",
    "labels_of",
    "nearest_combination",
    "nearest_observation",
    "new_combinations",
    "twins",
]


def labels_of(data: GroupedData, known: Mapping[str, Sequence[object]]) -> Tensor:
    """The number of each observation's label among the ``known`` ones, int64 (M, K).

    Args:
        data: the observations, with all groupings that ``known`` names.
        known: labels by grouping, in the order of their numbers. A label that is not among them
            has the number -1.
    """
    columns = []
    for name, labels in known.items():
        number = {label: i for i, label in enumerate(labels) if label is not None}
        grouping = data.groupings[name]
        own = torch.tensor([number.get(label, -1) for label in grouping.names])
        columns.append(own.to(grouping.groups.index.device)[grouping.groups.index])
    return torch.stack(columns, 1)


def new_combinations(seen: Tensor, labels: Tensor) -> Tensor:
    """Whether a combination is new, while each of its labels occurs in training.

    Args:
        seen: labels of training observations, int64 (N, K).
        labels: labels of other observations, (M, K); -1 for an unknown label.

    Returns:
        A mask (M,).

    Example:
        >>> seen = torch.tensor([[0, 0], [0, 1], [1, 0]])
        >>> new_combinations(seen, torch.tensor([[1, 1], [0, 1], [1, -1]]))
        tensor([ True, False, False])
    """
    known = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    for place in range(labels.shape[1]):
        known &= torch.isin(labels[:, place], seen[:, place]) & (labels[:, place] >= 0)
    both = torch.cat((seen, labels)).unique(dim=0, return_inverse=True)[1]
    return known & ~torch.isin(both[len(seen) :], both[: len(seen)])


def twins(labels: Tensor, factors: Tensor, new: Tensor) -> Tensor:
    """For each observation of a new combination, one of a seen combination with equal factors.

    Args:
        labels: labels, int64 (M, K); an observation with an unknown label, -1, is no twin.
        factors: known factors of the style, (M, F); NaN where one is unknown.
        new: mask (M,) of the observations of new combinations.

    Returns:
        For each new one the index (n,) of its twin, which shares no label with it; -1 for none.

    Example:
        >>> labels = torch.tensor([[0, 0], [1, 1], [0, 1]])
        >>> twins(labels, torch.tensor([[0.5], [0.5], [0.5]]), torch.tensor([True, False, False]))
        tensor([1])
    """
    rows = new.nonzero()[:, 0]
    others = (~new & (labels >= 0).all(1)).nonzero()[:, 0]
    found = torch.full((len(rows),), -1, device=labels.device)
    if factors.shape[1] == 0:
        return found
    index = factors.nan_to_num(0.0).unique(dim=0, return_inverse=True)[1]
    index = torch.where(factors.isnan().any(1), -1, index)
    by_style: dict[int, list[int]] = {}
    for place, style in zip(others.tolist(), index[others].tolist(), strict=True):
        by_style.setdefault(style, []).append(place)
    for i, (row, style) in enumerate(zip(rows.tolist(), index[rows].tolist(), strict=True)):
        for place in by_style.get(style, []) if style >= 0 else []:
            if bool((labels[place] != labels[row]).all()):
                found[i] = place
                break
    return found


def additive_mean(x: Tensor, seen: Tensor, wanted: Tensor, sizes: Sequence[int]) -> Tensor:
    r"""The additive control: a mean of all, plus an effect of each label, by least squares.

    .. math:: \hat x = \mu + \sum_k a^{(k)}_{l_k}

    Args:
        x: training observations (N, ...).
        seen: their labels, int64 (N, K).
        wanted: combinations to predict, int64 (M, K).
        sizes: number of labels of each grouping.

    Returns:
        Predictions (M, ...).

    Example:
        >>> seen = torch.tensor([[0, 0], [0, 1], [1, 0]])
        >>> x = torch.tensor([[1.0], [3.0], [5.0]])
        >>> additive_mean(x, seen, torch.tensor([[1, 1]]), [2, 2])
        tensor([[7.]])
    """
    design, target = _effects(seen, sizes), x.flatten(1).double()
    # The minimum-norm solution: the effects of a grouping are determined up to a constant.
    effects = torch.linalg.pinv(design.T @ design) @ (design.T @ target)
    return (_effects(wanted, sizes) @ effects).to(x.dtype).unflatten(1, x.shape[1:])


def _effects(labels: Tensor, sizes: Sequence[int]) -> Tensor:
    """One column for the mean and one for each label, (N, 1 + sum of sizes)."""
    columns = [torch.ones(len(labels), 1, dtype=torch.float64, device=labels.device)]
    for place, size in enumerate(sizes):
        columns.append(torch.nn.functional.one_hot(labels[:, place], size).double())
    return torch.cat(columns, 1)


def nearest_combination(x: Tensor, seen: Tensor, wanted: Tensor, kept: int) -> Tensor:
    """The control of the nearest seen combination: its mean, with one label kept.

    The labels of the grouping ``kept`` stay. The other labels are replaced by those of the most
    similar seen combination. The distance of two sets of other labels is the mean squared
    distance of the mean observations of all labels of ``kept`` that training has with both.

    Args:
        x: training observations (N, ...).
        seen: their labels, int64 (N, K).
        wanted: combinations to predict, int64 (M, K); the label of ``kept`` occurs in training.
        kept: place of the grouping whose label stays.

    Returns:
        Predictions (M, ...).
    """
    rest = [place for place in range(seen.shape[1]) if place != kept]
    both = torch.cat((seen, wanted))[:, rest].unique(dim=0, return_inverse=True)[1]
    others, wanted_others = both[: len(seen)], both[len(seen) :]
    size, number = int(both.max()) + 1, int(torch.cat((seen, wanted))[:, kept].max()) + 1
    cell = seen[:, kept] * size + others
    count = torch.bincount(cell, minlength=number * size).double()
    total = torch.zeros(number * size, x[0].numel(), dtype=torch.float64, device=x.device)
    total.index_add_(0, cell, x.flatten(1).double())
    mean = (total / count.clamp_min(1)[:, None]).view(number, size, -1)
    there = count.view(number, size) > 0
    distance = _distances(mean, there)
    chosen = []
    for label, other in zip(wanted[:, kept].tolist(), wanted_others.tolist(), strict=True):
        far = distance[other].masked_fill(~there[label], torch.inf)
        far = torch.where(there[label] & far.isinf(), torch.finfo(far.dtype).max, far)
        chosen.append(mean[label, int(far.argmin())])
    return torch.stack(chosen).to(x.dtype).unflatten(1, x.shape[1:])


def _distances(mean: Tensor, there: Tensor) -> Tensor:
    """Mean squared distances of sets of other labels, (size, size); infinite without a shared one.

    Args:
        mean: mean observations (labels, size, D), 0 for combinations that do not occur.
        there: combinations that occur, (labels, size).
    """
    weight = there.double()
    square = (mean**2).sum(2)
    shared = weight.T @ weight
    cross = torch.einsum("lad,lbd->ab", mean, mean)  # 0 where one of both does not occur
    total = square.T @ weight + weight.T @ square - 2 * cross
    return torch.where(shared > 0, total / shared.clamp_min(1), torch.inf)


def nearest_observation(x: Tensor, seen: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
    """The control of retrieval: the training observation with the label that is nearest to truth.

    It knows the truth, so no retrieval of an observation with that label can have a smaller
    squared error.

    Args:
        x: training observations (N, ...).
        seen: their labels in one grouping, (N,).
        truth: observations to predict, (M, ...).
        labels: labels that the predictions must have, (M,).

    Returns:
        Training observations (M, ...).
    """
    found = torch.empty_like(truth)
    for label in labels.unique().tolist():
        rows, own = (labels == label).nonzero()[:, 0], (seen == label).nonzero()[:, 0]
        points = centred(truth[rows].flatten(1), x[own].flatten(1))
        found[rows] = x[own[torch.cdist(*points).argmin(1)]].to(truth)
    return found
