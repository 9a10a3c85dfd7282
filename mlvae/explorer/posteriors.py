"""The posteriors of a page: those of single observations, whose evidence the page adds itself.

Shapes: M observations, G groups, D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.data import GroupedData
from mlvae.evidence.rules import COUNT_RULES, accumulated
from mlvae.explorer.arrays import Arrays
from mlvae.explorer.selection import Grouping, Selection
from mlvae.groups import Groups
from mlvae.groups.grouping import UNNAMED
from mlvae.models.protocol import Traits, traits
from mlvae.posteriors import DiagonalGaussian, Dirichlet, Family, Point

__all__ = ["code_record", "codes_of", "grouping_of_codes"]

#: Observations that are encoded at once.
BATCH = 512


def grouping_of_codes(model: Any, names: Sequence[str], first: str) -> dict[str, str]:
    """The name of the grouping of every code that the observations of a group share.

    Args:
        model: a model with codes.
        names: names of the codes.
        first: name of the first grouping of the data, which is that of codes without a name.
    """
    stated = traits(model)
    found = {name: stated.grouping_of.get(name, UNNAMED) for name in names}
    return {
        name: first if grouping == UNNAMED else grouping
        for name, grouping in found.items()
        if name in stated.group_codes
    }


@torch.no_grad()
def codes_of(model: Any, selection: Selection) -> dict[str, Family]:
    """The posterior of every code for each observation of a page by itself, (M, D).

    In a model whose style depends on the content, the style is given the content of the group's
    observations in the page.
    """
    device = next(model.parameters()).device
    found: dict[str, list[Family]] = {}
    for data, rows in selection.parts:
        for part in rows.split(BATCH):
            for name, q in model.codes(data.singles(part).to(device)).items():
                found.setdefault(name, []).append(q)
        if traits(model).style_given_content:
            _replace_style(model, data, rows, found)
    return {name: type(some[0]).cat(some) for name, some in found.items()}


def _replace_style(
    model: Any, data: GroupedData, rows: Tensor, found: Mapping[str, list[Family]]
) -> None:
    """Put the style given the content of whole groups in the place of the last parts."""
    device = next(model.parameters()).device
    del found["style"][-len(rows.split(BATCH)) :]
    found["style"].append(model.codes(data.batch(rows).to(device))["style"])


def code_record(
    name: str,
    q: Family,
    stated: Traits,
    grouping: Grouping | None,
    arrays: Arrays,
) -> dict[str, Any]:
    """What a page has of a code.

    Args:
        name: name of the code.
        q: its posterior for each observation by itself, (M, D).
        stated: the traits of the model.
        grouping: the partition whose groups share the code; None: each observation has its own.
        arrays: receives the parameters.
    """
    rule = stated.pooling.get(name) or "product"
    if name in stated.given_codes:
        rule = "given"
    if isinstance(q, Dirichlet) and grouping is not None and rule not in COUNT_RULES:
        q = q.moments()
    rows = q if grouping is None else _of_groups(q, grouping, rule)
    means = rows.mean.float().cpu().numpy()
    return {
        "name": name,
        "grouping": None if grouping is None else grouping.name,
        "dim": means.shape[1],
        "rule": rule,
        "simplex": bool(q.simplex),
        **_parameters(q, arrays),
        "plane": _plane(means, arrays),
        "use": _use(rows).tolist(),
        "low": means.min(0).tolist(),
        "high": means.max(0).tolist(),
    }


def _of_groups(q: Family, grouping: Grouping, rule: str) -> Any:
    """The posterior of each group, (G, D), of its observations in the page."""
    index = torch.tensor(grouping.index)
    if rule == "given":
        first = [grouping.index.index(group) for group in range(len(grouping.labels))]
        return q[torch.tensor(first).to(q.mean.device)]
    return accumulated(q, Groups(index.to(q.mean.device)), rule)


def _parameters(q: Family, arrays: Arrays) -> dict[str, Any]:
    """The family of a posterior and its parameters (M, D)."""
    if isinstance(q, Dirichlet):
        return {
            "family": "dirichlet",
            "concentration": arrays.add(_host(q.concentration)),
            "prior": arrays.add(_host(q.prior_concentration)),
        }
    if isinstance(q, Point):
        return {"family": "point", "mean": arrays.add(_host(q.mean))}
    moments = q.moments()
    return {
        "family": "gaussian",
        "mean": arrays.add(_host(moments.mean)),
        "log_variance": arrays.add(_host(moments.log_variance)),
    }


def _plane(means: np.ndarray, arrays: Arrays) -> dict[str, Any]:
    """The two directions of largest variance of means (n, D), and their share of the variance."""
    centre = means.mean(0, dtype=np.float64)
    _, deviations, directions = np.linalg.svd(means - centre, full_matrices=False)
    basis = np.zeros((2, means.shape[1]))
    basis[: min(2, len(directions))] = directions[:2]
    # The sign of a direction is free; the largest entry is positive in every page.
    largest = np.abs(basis).argmax(1)
    signs = np.sign(basis[np.arange(2), largest])
    basis *= np.where(signs == 0, 1, signs)[:, None]
    total = float(np.square(deviations).sum())
    share = float(np.square(deviations[:2]).sum()) / total if total > 0 else 1.0
    return {"centre": arrays.add(centre), "basis": arrays.add(basis), "share": share}


def _use(q: Any) -> np.ndarray:
    """How much each dimension is used, (D,).

    The KL to the prior in nats of Gaussians, as a mean over rows; the deviation of the means of
    other families.
    """
    if isinstance(q, DiagonalGaussian):
        ratio = q.log_variance
        return (0.5 * (ratio.expm1() - ratio + q.mean.square())).mean(0).cpu().numpy()
    return q.mean.std(0, correction=0).cpu().numpy()


def _host(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
