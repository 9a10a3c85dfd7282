"""Can content and style be changed independently?

Pictures laid out as in the paper, of images outside the training data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.data import GroupedData
from mlvae.errors import check_integer, check_number
from mlvae.evaluation.answer import Answer, Figure
from mlvae.evaluation.charts import image
from mlvae.evaluation.measures.codes import disjoint_sets
from mlvae.evaluation.subject import Subject
from mlvae.grids import (
    accumulation_grid,
    generation_grid,
    interpolation_grid,
    reconstruction_grid,
    separates,
    swap_grid,
    traversal_grid,
)
from mlvae.groups import Groups
from mlvae.models import Model

__all__ = ["Manipulation"]


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

    def __post_init__(self) -> None:
        for name in ("groups", "members", "steps"):
            check_integer(f"evaluation.manipulation.{name}", vars(self)[name], minimum=2)
        check_number("evaluation.manipulation.span", self.span, minimum=0, exclusive=True)
        check_integer("evaluation.manipulation.seed", self.seed, minimum=0)

    def ask(self, subject: Subject) -> Answer:
        """Draw the pictures for the test split, and for unseen groups if there are some."""
        title = "Can content and style be changed independently?"
        shape = subject.splits.train.shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            return Answer(
                title, ["Not shown: the observations are not images of 1 or 3 channels."]
            )
        figures = []
        for name, data in subject.splits:
            if name in ("test", "unseen"):
                figures += self._figures(subject.model, data, name)
        return Answer(
            title,
            [
                "All images are decoded from posterior means, unless the caption states "
                "otherwise. None was used in training."
            ],
            figures=figures,
        )

    def _figures(self, model: Model, data: GroupedData, name: str) -> list[Figure]:
        generator = torch.Generator(data.device).manual_seed(self.seed)
        what = "test images" if name == "test" else "images of groups never seen in training"
        chosen = disjoint_sets(data.groups, 1, generator=generator)[:, 0]
        batch = data.singles(_one_of_each(chosen, data.groups, self.groups))
        with torch.no_grad():
            codes = model.codes(batch)
        split = separates(codes)
        figures = [
            image(
                f"reconstructions_{name}",
                f"Above, {what}; below each its reconstruction from itself alone.",
                reconstruction_grid(model, batch),
            ),
            self._interpolation(model, batch, name, what, split),
        ]
        if codes["style" if split else next(iter(codes))].random:
            figures.append(self._generation(model, data, name, generator, split))
        figures.append(
            image(
                f"traversal_{name}",
                f"The effect of each latent dimension on one of the {what}: a row for each "
                f"dimension, in the order {', '.join(codes)}, from -{self.span:g} to "
                f"{self.span:g} prior standard deviations. The other dimensions are fixed.",
                traversal_grid(
                    model,
                    batch.singles(torch.zeros(1, dtype=torch.int64, device=batch.x.device)),
                    steps=self.steps,
                    span=self.span,
                ),
            )
        )
        if split:
            figures.insert(0, self._swap(model, batch, name, what))
            if (grid := self._accumulation(model, data, name, generator)) is not None:
                figures.insert(3, grid)
        return figures

    def _swap(self, model: Model, batch: Batch, name: str, what: str) -> Figure:
        return image(
            f"swaps_{name}",
            f"Swaps. First row and first column: {what}. Second row and column: their "
            "reconstructions. Other tiles: content of the column's image with the style of the "
            "row's image, each inferred from that image alone.",
            swap_grid(model, batch),
        )

    def _interpolation(
        self, model: Model, batch: Batch, name: str, what: str, split: bool
    ) -> Figure:
        how = (
            "The content changes along the columns, the style along the rows"
            if split
            else "The latent changes along the row"
        )
        ends = batch.singles(torch.tensor([0, len(batch) - 1], device=batch.x.device))
        return image(
            f"interpolation_{name}",
            f"Interpolation between two of the {what}, from the top left to the bottom right. "
            f"{how}, on a straight line between posterior means.",
            interpolation_grid(model, ends, steps=self.steps),
        )

    def _generation(
        self,
        model: Model,
        data: GroupedData,
        name: str,
        generator: torch.Generator,
        split: bool,
    ) -> Figure:
        caption = (
            "Generation. Left: images of a group. Right: the content accumulated over the members "
            "of that group (up to 100) with styles sampled from the prior, the same in every row."
            if split
            else "Generation: images decoded from samples of the prior."
        )
        rows = [
            rows[torch.randperm(len(rows), generator=generator, device=data.device)[:100]]
            for rows in _members(data.groups, self.groups)
        ]
        grid = generation_grid(model, data.batch(torch.cat(rows)), generator=generator)
        return image(f"generation_{name}", caption, grid)

    def _accumulation(
        self, model: Model, data: GroupedData, name: str, generator: torch.Generator
    ) -> Figure | None:
        if int(data.groups.sizes.max()) < self.members:
            return None
        sets = disjoint_sets(data.groups, self.members, generator=generator)
        first = _one_of_each(sets[:, 0], data.groups, self.groups)
        rows = sets[torch.isin(sets[:, 0], first)].flatten()
        return image(
            f"accumulation_{name}",
            f"The effect of accumulation. Left: {self.members} images of a group in a row. "
            "Middle: each reconstructed with its own content. Right: each reconstructed with the "
            "content accumulated over the row. The style is always the image's own.",
            accumulation_grid(model, data.batch(rows)),
        )


def _one_of_each(candidates: Tensor, groups: Groups, limit: int) -> Tensor:
    """The first of ``candidates`` of each group, for at most ``limit`` groups."""
    index = groups.index[candidates]
    order = index.argsort(stable=True)
    new = torch.ones_like(index, dtype=torch.bool)
    new[1:] = index[order][1:] != index[order][:-1]
    return candidates[order[new][:limit]]


def _members(groups: Groups, limit: int) -> list[Tensor]:
    """Indices of the members of each of the first groups."""
    return list(groups.index.argsort(stable=True).split(groups.sizes.tolist()))[:limit]
