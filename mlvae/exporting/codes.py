r"""The columns in which codes leave a graph: evidence that a client adds, or moments.

A code that a group shares is exported as the evidence of each observation, of which the sum over a
group gives the posterior:

- "precisions": :math:`\lambda_i` and :math:`\lambda_i \mu_i`; the group has the precision
  :math:`\lambda_0 + \sum_i \lambda_i` and the mean
  :math:`\sum_i \lambda_i \mu_i / (\lambda_0 + \sum_i \lambda_i)`, with the prior's
  :math:`\lambda_0` of 0 (the rule "product") or 1 ("prior_product", "prior_corrected");
- "means": :math:`\mu_i` and :math:`\sigma^2_i`, of which the group has the averages ("mean");
- "counts": :math:`e_i` of a Dirichlet; the group has the concentration
  :math:`\alpha + \sum_i e_i`.

Shapes: N observations, D dimensions of a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mlvae.errors import InputError
from mlvae.evidence import PseudoCounts
from mlvae.evidence.rules import COUNT_RULES
from mlvae.groups.grouping import UNNAMED
from mlvae.models.protocol import Traits
from mlvae.posteriors import Dirichlet, Family, Point

__all__ = ["ExportedCode", "exported_codes"]

#: Rules of Gaussians whose result is a function of sums, and the precision of the prior.
PRIOR_PRECISION = {"product": 0.0, "prior_product": 1.0, "prior_corrected": 1.0}


@dataclass(frozen=True)
class ExportedCode:
    """A code, and the names of the outputs of a graph that have its parameters.

    Attributes:
        name: name of the code.
        dim: number D of its dimensions.
        kind: "precisions", "means" or "counts" of a code that a group shares; "gaussian",
            "dirichlet" or "point" of a code of each observation.
        columns: names of the outputs, (N, D) each.
        grouping: name of the grouping whose groups share the code; None: a code of each
            observation.
        rule: name of the accumulation rule of a shared code.
        prior: what a client adds to the sum: the precision of the prior, or its concentration for
            each component.
    """

    name: str
    dim: int
    kind: str
    columns: tuple[str, ...]
    grouping: str | None = None
    rule: str | None = None
    prior: float | list[float] | None = None

    def values(self, q: Family) -> tuple[Tensor, ...]:
        """The columns (N, D) of the posteriors of single observations."""
        if self.kind == "precisions" and self.prior:
            return _above_the_prior(q)
        return _VALUES[self.kind](q)

    def record(self) -> dict[str, Any]:
        """The code in mlvae.json."""
        found: dict[str, Any] = {
            "dim": self.dim,
            "of": "observation" if self.grouping is None else "group",
            "kind": self.kind,
            "columns": list(self.columns),
        }
        if self.grouping is not None:
            found |= {"grouping": self.grouping, "rule": self.rule, "prior": self.prior}
        return found


def exported_codes(codes: Mapping[str, Family], stated: Traits) -> list[ExportedCode]:
    """The form of each code that is inferred from the observation.

    Args:
        codes: posteriors of single observations by name.
        stated: the traits of the model.

    Raises:
        InputError: if the posterior of a group is no function of sums over its members.
    """
    return [
        _shared(name, q, stated) if name in stated.group_codes else _single(name, q)
        for name, q in codes.items()
        if name not in stated.given_codes
    ]


def _single(name: str, q: Family) -> ExportedCode:
    if isinstance(q, Dirichlet):
        kind, columns = "dirichlet", (f"{name}_concentration",)
    elif isinstance(q, Point):
        kind, columns = "point", (f"{name}_mean",)
    else:
        kind, columns = "gaussian", (f"{name}_mean", f"{name}_log_variance")
    return ExportedCode(name, q.mean.shape[1], kind, columns)


def _shared(name: str, q: Family, stated: Traits) -> ExportedCode:
    pooling = stated.pooling.get(name, "product")
    option = (stated.config or {}).get("accumulation")
    rule = option if isinstance(option, str) else pooling
    grouping = stated.grouping_of.get(name, UNNAMED)
    prior: float | list[float] | None
    if isinstance(q, Dirichlet) and pooling in COUNT_RULES:
        kind, columns = "counts", (f"{name}_counts",)
        prior = q.prior_concentration.tolist()
    elif pooling in PRIOR_PRECISION:
        kind, columns = "precisions", (f"{name}_precision", f"{name}_precision_mean")
        prior = PRIOR_PRECISION[pooling]
    elif pooling == "mean":
        kind, columns, prior = "means", (f"{name}_mean", f"{name}_variance"), None
    else:
        raise InputError(
            f"accumulation={rule} cannot be exported: the posterior of a group is no function of "
            "sums over its members; train with accumulation=product, prior_product, "
            "prior_corrected or mean"
        )
    return ExportedCode(name, q.mean.shape[1], kind, columns, grouping, rule, prior)


def _gaussian(q: Family) -> tuple[Tensor, ...]:
    q = q.moments()
    return q.mean, q.log_variance


def _precisions(q: Family) -> tuple[Tensor, ...]:
    q = q.moments()
    precision = (-q.log_variance).exp()
    return precision, precision * q.mean


def _above_the_prior(q: Family) -> tuple[Tensor, ...]:
    """The precision that an observation adds to that of the prior, 1."""
    q = q.moments()
    return (-q.log_variance).expm1().clamp(min=0), (-q.log_variance).exp() * q.mean


def _means(q: Family) -> tuple[Tensor, ...]:
    q = q.moments()
    return q.mean, q.log_variance.exp()


def _counts(q: Any) -> tuple[Tensor, ...]:
    return (PseudoCounts.of(q).counts,)


_VALUES: dict[str, Any] = {
    "gaussian": _gaussian,
    "dirichlet": lambda q: (q.concentration,),
    "point": lambda q: (q.mean,),
    "precisions": _precisions,
    "means": _means,
    "counts": _counts,
}
