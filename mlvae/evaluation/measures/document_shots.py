r"""Classes of documents from k documents of each, by the nearest sum of features.

Shapes: N documents, G classes, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mlvae.arguments import check_floats
from mlvae.errors import InputError, check_flag, check_integer
from mlvae.evaluation.answer import Estimate, estimate
from mlvae.evaluation.measures.codes import shuffled
from mlvae.groups import Groups

__all__ = ["Features", "document_shots"]


class Features(NamedTuple):
    r"""Features that add up over documents.

    Attributes:
        values: nonnegative, (N, D).
        prior: what is added to a sum of documents, and to a single one, (D,).
        shares: whether sums are compared as shares, by the Bhattacharyya coefficient
            :math:`\sum_d \sqrt{p_d q_d}`; otherwise by their cosine.
    """

    values: Tensor
    prior: Tensor
    shares: bool


def document_shots(
    features: Features, groups: Groups, *, shots: int, galleries: int = 50, seed: int = 0
) -> Estimate:
    """Accuracy of the assignment of documents to the class with the most similar sum.

    In each gallery, ``shots`` random documents of each class are known; their features are added.
    Every other document is assigned to the class whose sum is the most similar to it. For
    pseudo-counts, with the concentration of the prior as ``prior``, the sum is the concentration
    of the posterior of the class. For topic mixtures and TF-IDF vectors, without ``prior``, it is
    the direction of their mean.

    Args:
        features: of all documents.
        groups: the class of each document.
        shots: k, less than the size of each class.
        galleries: number of random galleries, the same for all features.
        seed: seed of the galleries.

    Returns:
        The mean over galleries with its standard error.

    Raises:
        InputError: if a class has not more than ``shots`` documents, or there is one class.
    """
    check_floats("features.values", features.values, "(N, D)", ndim=2)
    check_flag("features.shares", features.shares)
    check_integer("shots", shots, minimum=1)
    check_integer("galleries", galleries, minimum=1)
    groups = groups.to("cpu")
    smallest = int(groups.sizes.min())
    if groups.num_groups < 2 or smallest <= shots:
        raise InputError(
            f"shots={shots} needs two classes with more documents than that, not "
            f"{groups.num_groups} with {smallest} in the smallest"
        )
    values, prior = features.values.double().cpu(), features.prior.double().cpu()
    single = _direction(values + prior, features.shares)
    generator = torch.Generator().manual_seed(seed)
    accuracy = []
    for _ in range(galleries):
        order, rank = shuffled(groups, generator)
        known, probes = order[rank < shots], order[rank >= shots]
        sums = values.new_zeros(groups.num_groups, values.shape[1])
        sums.index_add_(0, groups.index[known], values[known])
        similarity = single[probes] @ _direction(sums + prior, features.shares).T
        found = similarity.argmax(1) == groups.index[probes]
        accuracy.append(float(found.double().mean()))
    return estimate(accuracy)


def _direction(values: Tensor, shares: bool) -> Tensor:
    """Vectors of the length 1; of ``shares``, their square roots."""
    roots = values.sqrt() if shares else values
    return roots / roots.norm(dim=1, keepdim=True).clamp_min(1e-300)
