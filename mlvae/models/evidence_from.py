"""Whose evidence the content is inferred from, while training.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

import torch

from mlvae.evidence import Evidence
from mlvae.groups import Groups

__all__ = ["EVIDENCE_FROM", "fellow", "other_part", "others", "subset"]


def subset(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Of each group (G, C), from a random subset of its members, one about as often as many.

    See :meth:`mlvae.Groups.random_subset` for their number.
    """
    return evidence.only(groups.random_subset(generator=generator)).accumulate(groups)


def others(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Of each observation (N, C), from all the other members of its group; none if it is alone."""
    return evidence.leave_one_out(groups)


def other_part(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Of each observation (N, C), from the part of its group that it is not in.

    Every group is parted in two at random, of 1 to n - 1 members, few as often as many. None if it
    is alone.
    """
    inside = groups.random_subset(generator=generator, proper=True)
    within = evidence.only(inside).accumulate(groups)
    without = evidence.only(~inside).accumulate(groups)
    here, mask = groups.index, inside[:, None]
    return Evidence(
        torch.where(mask, without.log_precision[here], within.log_precision[here]),
        torch.where(mask, without.mean[here], within.mean[here]),
    )


def fellow(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Of each observation (N, C), from one other member of its group; none if it is alone."""
    chosen = evidence[groups.fellow_members(generator=generator)]
    return chosen.only(groups.spread(groups.sizes) > 1)


#: By the name that a model's ``evidence_from`` gives, besides "all".
EVIDENCE_FROM = {"subset": subset, "others": others, "other_part": other_part, "fellow": fellow}
