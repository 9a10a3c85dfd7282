"""Simple classifiers of observations into known classes: controls of a model's own classification.

Shapes: N observations, M training observations, K classes, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.evaluation.measures.leakage.discriminants import fitted_lda, projection

__all__ = ["CLASSIFIERS", "by_class_mean", "by_correlation", "by_lda", "by_neighbours", "centred"]

#: Largest number of distances that are held at once.
PIECE = 2**24


def by_class_mean(
    x: Tensor, train: Tensor, label: Tensor, number: int, *, rows: Tensor, neighbours: int
) -> Tensor:
    """The class (N,) whose training observations have the nearest mean.

    Args:
        x: observations to classify, (N, D).
        train: training observations (M, D).
        label: their classes, int64 (M,).
        number: number K of classes. One without training observations is never predicted.
        rows: not used: all training observations are averaged.
        neighbours: not used.

    Example:
        >>> train, label = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1])
        >>> options = {"rows": torch.arange(3), "neighbours": 1}
        >>> by_class_mean(torch.tensor([[2.9], [3.1]]), train, label, 2, **options)
        tensor([0, 1])
    """
    x, train = centred(x, train)
    total = train.new_zeros(number, train.shape[1]).index_add(0, label, train)
    sizes = torch.bincount(label, minlength=number)
    means = (total / sizes[:, None]).nan_to_num()
    return torch.cdist(x, means).masked_fill(sizes == 0, torch.inf).argmin(1)


def by_neighbours(
    x: Tensor, train: Tensor, label: Tensor, number: int, *, rows: Tensor, neighbours: int
) -> Tensor:
    """The majority (N,) of the nearest training observations; of equal classes the nearer one.

    Args:
        x: as in :func:`by_class_mean`, as the next three.
        train: training observations (M, D).
        label: their classes.
        number: number K of classes.
        rows: indices of the training observations that are used.
        neighbours: number of nearest ones.
    """
    x, known = centred(x, train[rows])
    label = label[rows]
    nearest = min(neighbours, len(known))
    parts = []
    for part in x.split(max(1, PIECE // len(known))):
        found = torch.cdist(part, known).topk(nearest, largest=False, sorted=True).indices
        # A nearer neighbour has a slightly larger vote, which decides between equal classes.
        vote = 1 + torch.linspace(1e-3, 0, nearest, device=x.device)
        votes = vote.new_zeros(len(part), number)
        votes.scatter_add_(1, label[found], vote.expand(len(part), -1))
        parts.append(votes.argmax(1))
    return torch.cat(parts)


def by_correlation(
    x: Tensor, train: Tensor, label: Tensor, number: int, *, rows: Tensor, neighbours: int
) -> Tensor:
    """The class (N,) of the training observation with the largest correlation over dimensions.

    Args:
        x: as in :func:`by_class_mean`, as the next three.
        train: training observations (M, D).
        label: their classes.
        number: number K of classes.
        rows: indices of the training observations that are used.
        neighbours: not used.
    """
    (x, known), label = [_unit(values) for values in (x, train[rows])], label[rows]
    parts = x.split(max(1, PIECE // len(known)))
    return torch.cat([label[(part @ known.T).argmax(1)] for part in parts])


def by_lda(
    x: Tensor, train: Tensor, label: Tensor, number: int, *, rows: Tensor, neighbours: int
) -> Tensor:
    """The class (N,) by linear discriminant analysis with a shrunken covariance.

    The covariance is that of O. Ledoit, M. Wolf: Honey, I Shrunk the Sample Covariance Matrix.
    Journal of Portfolio Management 30, 2004. Observations of many dimensions are first projected
    to their principal components: :func:`.discriminants.projection`.

    Args:
        x: as in :func:`by_class_mean`, as the next three.
        train: training observations (M, D).
        label: their classes.
        number: number K of classes.
        rows: indices of the training observations that are used.
        neighbours: not used.
    """
    known, classes = (values[rows].double().cpu().numpy() for values in (train, label))
    if len(set(classes.tolist())) < 2:
        return torch.full((len(x),), int(classes[0]), device=x.device)
    base = projection(known, 0)
    found = fitted_lda(known @ base, classes, "lsqr")
    return torch.from_numpy(found.predict(x.double().cpu().numpy() @ base)).long().to(x.device)


def centred(x: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Both, (N, D) and (M, D), minus the mean of ``train``, in their own types.

    Distances of points far from zero lose digits.
    """
    centre = train.mean(0, dtype=torch.float64)
    return (x.double() - centre).to(x.dtype), (train.double() - centre).to(train.dtype)


def _unit(values: Tensor) -> Tensor:
    """Rows (N, D) minus their mean, of length 1."""
    return functional.normalize(values - values.mean(1, keepdim=True))


#: Classifiers by name.
CLASSIFIERS: dict[str, Callable[..., Tensor]] = {
    "class_mean": by_class_mean,
    "neighbours": by_neighbours,
    "correlation": by_correlation,
    "lda": by_lda,
}
