"""Options of the Multi-Level VAE, and which of them fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from mlvae.costs import Separation
from mlvae.errors import (
    InputError,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_texts,
    shown,
)
from mlvae.evidence.rules import ACCUMULATIONS, EVIDENCE_RULES
from mlvae.evidence.sources import EVIDENCE_FROM
from mlvae.groups.grouping import UNNAMED, check_grouping_name
from mlvae.likelihoods import Bernoulli, Likelihood
from mlvae.models.cells import check_cells
from mlvae.models.part_checks import check_parts
from mlvae.models.standardise import check_standardise
from mlvae.networks import MLP, Network

__all__ = ["MLVAEOptions", "content_name"]

CONTENT_DRAWS = ("observation", "group")
CONTENT_FAMILIES = ("gaussian", "dirichlet")


def content_name(grouping: str) -> str:
    """The name of the code of a grouping: "content_speaker" of "speaker"."""
    return f"content_{grouping}"


@dataclass(frozen=True)
class MLVAEOptions:
    """Options of :class:`MLVAE`."""

    content_dim: int | Mapping[str, int] = 10
    style_dim: int = 10
    network: Network = MLP()
    likelihood: Likelihood = Bernoulli()
    accumulation: str = "product"
    evidence_from: str = "all"
    content_draw: str = "observation"
    content_kl_weight: float = 1.0
    style_kl_weight: float = 1.0
    content_capacity: float | None = None
    style_capacity: float | None = None
    batch_groups: str = "whole"
    style_given_content: bool = False
    style_dropout: bool = True
    separation: Separation = Separation()
    standardise: str | None = None
    content_family: str = "gaussian"
    content_alpha: float = 1.0
    nested: tuple[str, ...] = ()
    cells: str | None = None

    def __post_init__(self) -> None:
        check_parts(self.network, self.likelihood)
        check_standardise(self.standardise, self.likelihood)
        self._check_contents()
        check_integer("style_dim", self.style_dim, minimum=1)
        check_choice("accumulation", self.accumulation, ACCUMULATIONS)
        check_choice("evidence_from", self.evidence_from, ("all", *EVIDENCE_FROM))
        check_choice("content_draw", self.content_draw, CONTENT_DRAWS)
        check_flag("style_given_content", self.style_given_content)
        check_flag("style_dropout", self.style_dropout)
        if not self.style_dropout and not self.style_given_content:
            raise InputError(
                "style_dropout=False needs style_given_content=True: only then has the style an "
                "encoder of its own options"
            )
        if not isinstance(self.separation, Separation):
            raise InputError(f"separation must be Separation(...), not {shown(self.separation)}")
        if self.evidence_from != "all" and self.accumulation not in EVIDENCE_RULES:
            raise InputError(
                f"evidence_from={self.evidence_from} needs accumulation="
                f"{' or '.join(EVIDENCE_RULES)}, not {self.accumulation!r}"
            )
        self._check_simplex()
        check_cells(self)
        if self.content_per_member and self.content_draw == "group":
            raise InputError(
                f"evidence_from={self.evidence_from} infers a content for each observation: it "
                "needs content_draw=observation, not 'group'"
            )
        self._check_nested()
        self._check_separation()

    def _check_contents(self) -> None:
        """Check the dimensions of the contents."""
        if not isinstance(self.content_dim, Mapping):
            check_integer("content_dim", self.content_dim, minimum=1)
            return
        if not self.content_dim:
            raise InputError("content_dim must have a number for each grouping, not be empty")
        for name, dim in self.content_dim.items():
            check_grouping_name(name)
            check_integer(f"content_dim.{name}", dim, minimum=1)
        object.__setattr__(self, "content_dim", dict(self.content_dim))

    def _check_simplex(self) -> None:
        """Check the options of contents on the simplex."""
        check_choice("content_family", self.content_family, CONTENT_FAMILIES)
        check_number("content_alpha", self.content_alpha, minimum=1e-5, maximum=1e4)
        if self.on_simplex:
            for dim in self.contents.values():
                check_integer("content_dim", dim, minimum=2)
            if self.accumulation != "prior_product":
                raise InputError(
                    "content_family=dirichlet needs accumulation=prior_product, the sum of the "
                    f"prior and of the evidence of all members, not {self.accumulation!r}"
                )
        elif self.content_alpha != 1.0:
            raise InputError(
                f"content_alpha={self.content_alpha:g} needs content_family=dirichlet, not "
                f"{self.content_family!r}"
            )

    def _check_nested(self) -> None:
        """Check the names of nested groupings, and the options that their prior needs."""
        nested = () if self.nested is None else self.nested
        check_texts("nested", nested)
        object.__setattr__(self, "nested", tuple(nested))
        if not self.nested:
            return
        known = self.content_dim if isinstance(self.content_dim, Mapping) else {}
        if len(self.nested) < 2 or len(set(self.nested)) < len(self.nested):
            raise InputError(
                "nested must be different groupings from the upper to the lower one, as "
                f"['study', 'donor'], not {shown(list(self.nested))}"
            )
        if unknown := [name for name in self.nested if name not in known]:
            raise InputError(
                f"nested must be groupings of content_dim ({', '.join(known) or 'none'}), not "
                f"{shown(unknown[0])}"
            )
        if self.on_simplex or self.content_per_member or self.accumulation == "mixture":
            raise InputError(
                "nested needs a Gaussian posterior for each group: content_family=gaussian, "
                "evidence_from=all or subset, and another accumulation than mixture"
            )

    def _check_separation(self) -> None:
        """Check the costs of separation against the number of contents."""
        several = len(self.contents) > 1
        if self.separation.contents and not several:
            raise InputError(
                "separation.contents needs several contents, as content_dim={'speaker': 8, "
                "'digit': 16}"
            )
        if several and self.separation.swap and self.on_simplex:
            raise InputError("separation.swap with several contents needs content_family=gaussian")

    @property
    def contents(self) -> dict[str, int]:
        """The dimensions of each content by the name of its code."""
        if isinstance(self.content_dim, Mapping):
            return {content_name(name): dim for name, dim in self.content_dim.items()}
        return {"content": self.content_dim}

    @property
    def grouping_of(self) -> dict[str, str]:
        """The name of each content's grouping; "group" is that of a content without a name."""
        if isinstance(self.content_dim, Mapping):
            return {content_name(name): name for name in self.content_dim}
        return {"content": UNNAMED}

    @property
    def uppers(self) -> dict[str, str]:
        """For the content of each nested grouping, the content of the grouping that it is in."""
        pairs = pairwise(map(content_name, self.nested))
        return {lower: upper for upper, lower in pairs}

    @property
    def on_simplex(self) -> bool:
        """Whether the content is a point on the simplex."""
        return self.content_family == "dirichlet"

    @property
    def content_per_member(self) -> bool:
        """Whether training infers one content posterior for each observation."""
        return self.evidence_from not in ("all", "subset")
