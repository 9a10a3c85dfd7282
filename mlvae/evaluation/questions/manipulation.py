"""Can content and style be changed independently?

Pictures of observations outside the training data: images, or line plots of series.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data import GroupedData
from mlvae.errors import check_number
from mlvae.evaluation.answer import Answer, not_evaluated
from mlvae.evaluation.charts import grid_figure
from mlvae.evaluation.measures.codes import disjoint_sets, shuffled
from mlvae.evaluation.options import check_question
from mlvae.evaluation.subject import Subject
from mlvae.grids import (
    Grid,
    accumulation_grid,
    drawable,
    generation_grid,
    interpolation_grid,
    reconstruction_grid,
    separates,
    swap_grid,
    traversal_grid,
)
from mlvae.groups import Groups
from mlvae.models import Model, traits

__all__ = ["Manipulation"]

#: The observations of each split in captions; "{}" is "images" or "observations".
PICTURED = {"test": "test {}", "unseen": "{} of groups never seen in training"}


@dataclass(frozen=True)
class Manipulation:
    """The question and its options.

    Args:
        groups: number of groups in a figure.
        members: images whose evidence is accumulated in the figure on accumulation.
        steps: tiles along an axis of interpolations and traversals.
        span: half the range of traversals, in standard deviations of the prior.
        seed: seed of the choice of images and of the sampled styles.
    """

    groups: int = 10
    members: int = 4
    steps: int = 9
    span: float = 3.0
    seed: int = 0

    title: ClassVar[str] = "Can content and style be changed independently?"

    def __post_init__(self) -> None:
        check_question(self, minimum={"groups": 2, "members": 2, "steps": 2, "seed": 0})
        check_number("evaluation.manipulation.span", self.span, minimum=0, exclusive=True)

    def ask(self, subject: Subject) -> Answer:
        """Draw the pictures for the test split, and for unseen groups if there are some."""
        shape = subject.splits.train.shape
        if not drawable(shape):
            return not_evaluated(
                self.title, "only images with 1 or 3 channels and series can be drawn"
            )
        kind = "images" if len(shape) == 3 else "observations"
        names = tuple(subject.splits.train.feature_names or ())
        figures = [
            grid_figure(f"{name}_{split}", caption, replace(grid, features=names))
            for split, data in subject.splits
            if split in PICTURED
            for name, caption, grid in self._grids(
                subject.model, data, kind, PICTURED[split].format(kind)
            )
        ]
        text = f"All {kind} are decoded from posterior means, unless the caption says otherwise."
        return Answer(self.title, [f"{text} None was used in training."], figures=figures)

    def _grids(
        self, model: Model, data: GroupedData, kind: str, these: str
    ) -> Iterator[tuple[str, str, Grid]]:
        """Name, caption and grid of every figure; the caption calls the data ``these``."""
        generator = torch.Generator(data.device).manual_seed(self.seed)
        chosen = disjoint_sets(data.groups, 1, generator=generator)[:, 0]
        batch = data.singles(_one_of_each(chosen, data.groups, self.groups))
        with torch.no_grad():
            codes = model.codes(batch)
        split = separates(codes)
        if split:
            yield (
                "swaps",
                f"Swaps of {these}, which are in the first row and in the first column. Each "
                "other cell has the content of its column and the style of its row, both inferred "
                "from one observation. The framed diagonal has the reconstructions. If content "
                "and style are separated, a column keeps its group and a row keeps its style.",
                swap_grid(model, batch),
            )
        source, given = "itself alone", ", ".join(sorted(traits(model).given_codes))
        if given:
            source = f"its own codes ({given}: that of its label)"
        yield (
            "reconstructions",
            f"Above, {these}; below each its reconstruction from {source}.",
            reconstruction_grid(model, batch),
        )
        path = f"The {'latent changes' if len(codes) == 1 else 'codes change'} from left to right"
        if split:
            path = "The content changes from left to right, the style from top to bottom"
        ends = batch.singles(torch.tensor([0, len(batch) - 1], device=batch.x.device))
        if len(batch) > 1:
            yield (
                "interpolation",
                f"Interpolation between two of the {these}. {path}, on a straight line between "
                "posterior means.",
                interpolation_grid(model, ends, steps=self.steps),
            )
        if split and int(data.groups.sizes.max()) >= self.members:
            yield (
                "accumulation",
                f"The effect of accumulation. Left: {self.members} {kind} of a group in a row. "
                "Middle: each reconstructed with its own content. Right: each reconstructed with "
                "the content accumulated over the row. The style is always its own.",
                accumulation_grid(model, self._pooled(data, generator)),
            )
        sampled = [codes["style"]] if split else codes.values()
        if all(q.random for q in sampled):
            caption = f"Generation: {kind} decoded from samples of the prior."
            if split:
                caption = (
                    f"Generation. Left: {kind} of a group. Right: the content accumulated over "
                    "the members of that group (up to 100) with styles sampled from the prior. A "
                    "column has the same style in every row."
                )
            members = self._members(data, generator)
            yield "generation", caption, generation_grid(model, members, generator=generator)
        if not any(q.random for q in codes.values()):
            return  # codes without a prior have no scale for a traversal
        shares = [name for name, q in codes.items() if q.simplex]
        ends = f"from -{self.span:g} to {self.span:g} prior standard deviations"
        if shares:
            ends += f"; a share of the {' and the '.join(shares)} goes from 0 to 1"
        yield (
            "traversal",
            f"The effect of each latent dimension on one of the {these}: a row for each "
            f"dimension, in the order {', '.join(codes)}, {ends}. The other dimensions are fixed.",
            traversal_grid(
                model,
                batch.singles(torch.zeros(1, dtype=torch.int64, device=batch.x.device)),
                steps=self.steps,
                span=self.span,
            ),
        )

    def _pooled(self, data: GroupedData, generator: torch.Generator) -> Batch:
        """A set of ``members`` images of each of the first groups that have one."""
        sets = disjoint_sets(data.groups, self.members, generator=generator)
        first = _one_of_each(sets[:, 0], data.groups, self.groups)
        return data.batch(sets[torch.isin(sets[:, 0], first)].flatten())

    def _members(self, data: GroupedData, generator: torch.Generator) -> Batch:
        """At most 100 random members of each of the first groups."""
        order, rank = shuffled(data.groups, generator)
        shown = (rank < 100) & (data.groups.index[order] < self.groups)
        return data.batch(order[shown])


def _one_of_each(candidates: Tensor, groups: Groups, limit: int) -> Tensor:
    """The first of ``candidates`` of each group, for at most ``limit`` groups."""
    index = groups.index[candidates]
    order = index.argsort(stable=True)
    new = torch.ones_like(index, dtype=torch.bool)
    new[1:] = index[order][1:] != index[order][:-1]
    return candidates[order[new][:limit]]
