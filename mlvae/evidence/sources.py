"""Training options that infer the content from a part of the evidence of a group.

Each function has the arguments ``(evidence, groups, generator)``: the evidence (N, C) of the
observations, their groups, and the source of random draws (None is torch's default).

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

import torch

from mlvae.evidence.evidence import Evidence
from mlvae.groups import Groups

__all__ = ["EVIDENCE_FROM", "fellow", "other_part", "others", "subset"]


def subset(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Return the evidence (G, C) of a random subset of the members of each group.

    :meth:`mlvae.Groups.random_subset` defines the distribution of its size.
    """
    return evidence.only(groups.random_subset(generator=generator)).accumulate(groups)


def others(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Return, per observation (N, C), the evidence of all other members of its group.

    An observation without other members has no evidence.
    """
    return evidence.leave_one_out(groups)


def other_part(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Split each group at random in two parts, and return the evidence of the other part (N, C).

    :meth:`mlvae.Groups.random_subset` with ``proper=True`` draws one of the parts, which has 1 to
    n - 1 members. An observation without other members has no evidence.
    """
    inside = groups.random_subset(generator=generator, proper=True)
    first = evidence.only(inside).accumulate(groups)
    second = evidence.only(~inside).accumulate(groups)
    group, mask = groups.index, inside[:, None]
    return Evidence(
        torch.where(mask, second.log_precision[group], first.log_precision[group]),
        torch.where(mask, second.mean[group], first.mean[group]),
    )


def fellow(evidence: Evidence, groups: Groups, generator: torch.Generator | None) -> Evidence:
    """Return, per observation (N, C), the evidence of one other member of its group.

    An observation without other members has no evidence.
    """
    members = evidence[groups.fellow_members(generator=generator)]
    return members.only(groups.spread(groups.sizes) > 1)


#: Functions by name, the values of a model's option ``evidence_from`` besides "all".
EVIDENCE_FROM = {"subset": subset, "others": others, "other_part": other_part, "fellow": fellow}
