"""Verification: do two observations belong to the same group, judged by the distance of codes?

One seed gives the same pairs for all codes of the same groups, on every device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, check_integer
from mlvae.evaluation.answer import Estimate, estimate
from mlvae.evaluation.measures.nearest import Codes, checked_codes, pair_distances
from mlvae.groups import Groups

__all__ = ["Verification", "verification"]


class Verification(NamedTuple):
    """Separation of same-group pairs from different-group pairs by a distance.

    Attributes:
        auc: area under the ROC curve, the probability that a same-group pair is nearer than a
            different-group pair; 1 is perfect, 0.5 is chance.
        eer: equal error rate, at the threshold where the fraction of accepted different-group
            pairs equals the fraction of rejected same-group pairs; 0 is perfect, 0.5 is chance.
    """

    auc: Estimate
    eer: Estimate


@torch.no_grad()
def verification(
    codes: Codes,
    groups: Groups | object,
    *,
    pairs: int = 10_000,
    galleries: int = 10,
    distance: str = "cosine",
    seed: int = 0,
) -> Verification:
    """Separate same-group pairs of observations from different-group pairs by their distance.

    Pairs are drawn with replacement, uniformly from all pairs of two different observations of one
    group, and uniformly from all pairs of observations of two groups. Large groups have more
    weight. Groups of one member occur in different-group pairs only.

    Args:
        codes: see :func:`~mlvae.evaluation.measures.nearest.n_shot_accuracy`.
        groups: see :func:`~mlvae.evaluation.measures.nearest.n_shot_accuracy`.
        pairs: number of same-group pairs, and of different-group pairs, in each repetition.
        galleries: number of repetitions, at least 2.
        distance: "cosine" or "mahalanobis", see
            :func:`~mlvae.evaluation.measures.nearest.n_shot_accuracy`.
        seed: seed of the pairs.

    Raises:
        InputError: if there is only one group, if no group has two members, if codes are not
            finite or not (N, D), or if an argument is out of range.

    Example:
        >>> mean = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
        >>> verification(mean, ["ann", "ann", "ann", "bob", "bob", "bob"]).auc
        Estimate(mean=1.0, standard_error=0.0)
    """
    check_integer("pairs", pairs, minimum=1)
    q, groups, generator = checked_codes(codes, groups, galleries, distance, seed)
    groups = groups.to("cpu")
    if groups.num_groups < 2 or int(groups.sizes.max()) < 2:
        raise InputError(
            "verification needs at least two groups, and two members of at least one, "
            f"not {groups.num_groups} groups of at most {int(groups.sizes.max())} members"
        )
    auc, eer = [], []
    for _ in range(galleries):
        same, different = _pairs(groups, pairs, generator)
        area, error = _roc(
            pair_distances(q, same, distance), pair_distances(q, different, distance)
        )
        auc.append(area)
        eer.append(error)
    return Verification(estimate(auc), estimate(eer))


def _pairs(groups: Groups, pairs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Same-group and different-group pairs of observations, drawn uniformly: (2, ``pairs``)."""
    order = groups.index.argsort(stable=True)
    first = groups.sizes.cumsum(0) - groups.sizes
    total = groups.num_observations

    def draw(partners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Groups, a member of each, and one of that member's ``partners`` (G,): (pairs,) each."""
        weight = (groups.sizes * partners).double()
        group = torch.multinomial(weight, pairs, replacement=True, generator=generator)
        # The range is so large that the bias of the remainder is negligible.
        member, partner = torch.randint(2**62, (2, pairs), generator=generator)
        return group, member % groups.sizes[group], partner % partners[group]

    # On a circle, a step of at least one and less than a full turn never returns to its start:
    # same-group pairs step around the group, different-group pairs around all other observations.
    group, member, step = draw(groups.sizes - 1)
    same = torch.stack((member, (member + 1 + step) % groups.sizes[group])) + first[group]
    group, member, step = draw(total - groups.sizes)
    behind = first[group] + groups.sizes[group]
    different = torch.stack((first[group] + member, (behind + step) % total))
    return order[same], order[different]


def _roc(same: np.ndarray, different: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve and equal error rate of the rule that accepts near pairs."""
    # A local import: scikit-learn takes seconds, which `import mlvae` does not need.
    from sklearn.metrics import roc_auc_score, roc_curve

    label = np.repeat([1, 0], [len(same), len(different)])
    nearness = -np.concatenate((same, different))
    false_positive, true_positive, _ = roc_curve(label, nearness)
    # Increases along the curve from -1 to 1; at zero both error rates are equal.
    excess = false_positive - (1 - true_positive)
    eer = np.interp(0.0, excess, false_positive)
    return float(roc_auc_score(label, nearness)), float(eer)
