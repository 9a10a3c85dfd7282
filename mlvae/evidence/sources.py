"""Training options that infer the content from a part of the evidence of a group.

Each function has the arguments ``(evidence, groups, generator)``: the evidence (N, C) of the
observations, their groups, and the source of random draws (None is torch's default). The evidence
is of Gaussians (:class:`mlvae.Evidence`) or of Dirichlets
(:class:`mlvae.evidence.pseudo_counts.PseudoCounts`), and the result is of the same class.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

from typing import Any

import torch

from mlvae.groups import Groups

__all__ = ["EVIDENCE_FROM", "fellow", "other_part", "others", "subset"]


def subset(evidence: Any, groups: Groups, generator: torch.Generator | None) -> Any:
    """Return the evidence (G, C) of a random subset of the members of each group.

    :meth:`mlvae.Groups.random_subset` defines the distribution of its size.
    """
    return evidence.only(groups.random_subset(generator=generator)).accumulate(groups)


def others(evidence: Any, groups: Groups, generator: torch.Generator | None) -> Any:
    """Return, per observation (N, C), the evidence of all other members of its group.

    An observation without other members has no evidence.
    """
    return evidence.leave_one_out(groups)


def other_part(evidence: Any, groups: Groups, generator: torch.Generator | None) -> Any:
    """Split each group at random in two parts, and return the evidence of the other part (N, C).

    :meth:`mlvae.Groups.random_subset` with ``proper=True`` draws one of the parts, which has 1 to
    n - 1 members. An observation without other members has no evidence.
    """
    inside = groups.random_subset(generator=generator, proper=True)
    first = evidence.only(inside).accumulate(groups)
    second = evidence.only(~inside).accumulate(groups)
    return second[groups.index].where(inside, first[groups.index])


def fellow(evidence: Any, groups: Groups, generator: torch.Generator | None) -> Any:
    """Return, per observation (N, C), the evidence of one other member of its group.

    An observation without other members has no evidence.
    """
    members = evidence[groups.fellow_members(generator=generator)]
    return members.only(groups.spread(groups.sizes) > 1)


#: Functions by name, the values of a model's option ``evidence_from`` besides "all".
EVIDENCE_FROM = {"subset": subset, "others": others, "other_part": other_part, "fellow": fellow}
