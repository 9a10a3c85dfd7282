"""Can content and style be changed, one without the other?

Pictures laid out as in the paper, of images that the model was not trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlvae.data import GroupedData
from mlvae.errors import check_integer, check_number
from mlvae.evaluation.answer import Answer, Figure
from mlvae.evaluation.charts import image
from mlvae.evaluation.codes import disjoint_sets
from mlvae.evaluation.subject import Subject
from mlvae.grids import (
    accumulation_grid,
    generation_grid,
    interpolation_grid,
    reconstruction_grid,
    swap_grid,
    traversal_grid,
)
from mlvae.groups import Groups
from mlvae.models import told_groups

__all__ = ["Manipulation"]


@dataclass(frozen=True)
class Manipulation:
    """The question, and how it is asked.

    Args:
        groups: number of groups shown.
        members: images whose evidence is accumulated in the figure on accumulation.
        steps: tiles along an axis of interpolations and traversals.
        span: of traversals, in standard deviations of the prior.
        seed: of the images and of the styles that are drawn.
    """

    groups: int = 10
    members: int = 4
    steps: int = 9
    span: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("groups", "members", "steps"):
            check_integer(f"evaluation.manipulation.{name}", getattr(self, name), minimum=2)
        check_number("evaluation.manipulation.span", self.span, minimum=0, exclusive=True)
        check_integer("evaluation.manipulation.seed", self.seed, minimum=0)

    def ask(self, subject: Subject) -> Answer:
        """Draw the pictures for the test split, and for unseen groups if there are some."""
        title = "Can content and style be changed, one without the other?"
        shape = subject.splits.train.shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            return Answer(title, ["Not shown: the observations are no images of 1 or 3 channels."])
        if told_groups(subject.model):
            return Answer(title, ["Not shown: the model is told the group of every observation."])
        figures = []
        for name in ("test", "unseen"):
            if (data := getattr(subject.splits, name)) is not None:
                figures += self._figures(subject.model, data, name)
        return Answer(
            title,
            [
                "All images are decoded from posterior means unless the caption says otherwise, "
                "and none was seen in training."
            ],
            figures=figures,
        )

    def _figures(self, model: nn.Module, data: GroupedData, name: str) -> list[Figure]:
        generator = torch.Generator(data.device).manual_seed(self.seed)
        of = "test images" if name == "test" else "images of groups never seen in training"
        chosen = disjoint_sets(data.groups, 1, generator=generator)[:, 0]
        x = data.observations(_one_of_each(chosen, data.groups, self.groups))
        figures = [
            image(
                f"reconstructions_{name}",
                f"Above, {of}; below each its reconstruction from itself alone.",
                reconstruction_grid(model, x),
            ),
            self._interpolation(model, x, name, of),
            self._generation(model, data, name, generator),
            image(
                f"traversal_{name}",
                f"What each latent dimension does to one of the {of}: a row for each"
                + (", those of the content above those of the style" if _split(model) else "")
                + f", from -{self.span:g} to {self.span:g} prior standard deviations, the others "
                "kept.",
                traversal_grid(model, x[:1], steps=self.steps, span=self.span),
            ),
        ]
        if _split(model):
            figures.insert(0, self._swap(model, x, name, of))
            if (grid := self._accumulation(model, data, name, generator)) is not None:
                figures.insert(3, grid)
        return figures

    def _swap(self, model: nn.Module, x: Tensor, name: str, of: str) -> Figure:
        return image(
            f"swaps_{name}",
            f"Swaps. First row and first column: {of}. Second row and column: their "
            "reconstructions. Elsewhere: content of the column's image with the style of the "
            "row's, each from that image alone.",
            swap_grid(model, x),
        )

    def _interpolation(self, model: nn.Module, x: Tensor, name: str, of: str) -> Figure:
        how = (
            "Content changes along the columns, style along the rows"
            if _split(model)
            else "The latent changes along the row"
        )
        return image(
            f"interpolation_{name}",
            f"Interpolation between two of the {of}: from the top left to the bottom right. "
            f"{how}, both on a straight line between posterior means.",
            interpolation_grid(model, x[:1], x[-1:], steps=self.steps),
        )

    def _generation(
        self, model: nn.Module, data: GroupedData, name: str, generator: torch.Generator
    ) -> Figure:
        caption = (
            "Generation. Left: images of a group. Right: the content accumulated over the members "
            "of that group (up to 100) with styles drawn from the prior, the same in every row."
            if _split(model)
            else "Generation: images decoded from draws of the prior."
        )
        rows = [
            rows[torch.randperm(len(rows), generator=generator, device=data.device)[:100]]
            for rows in _members(data.groups, self.groups)
        ]
        x = data.observations(torch.cat(rows))
        index = torch.arange(len(rows), device=x.device).repeat_interleave(
            torch.tensor([len(part) for part in rows], device=x.device)
        )
        grid = generation_grid(model, x, Groups(index), generator=generator)
        return image(f"generation_{name}", caption, grid)

    def _accumulation(
        self, model: nn.Module, data: GroupedData, name: str, generator: torch.Generator
    ) -> Figure | None:
        if int(data.groups.sizes.max()) < self.members:
            return None
        sets = disjoint_sets(data.groups, self.members, generator=generator)
        first = _one_of_each(sets[:, 0], data.groups, self.groups)
        rows = sets[torch.isin(sets[:, 0], first)].flatten()
        groups = Groups.of(data.groups.index[rows])
        return image(
            f"accumulation_{name}",
            f"What accumulation adds. Left: {self.members} images of a group in a row. Middle: "
            "each reconstructed with the content of itself alone. Right: with the content "
            "accumulated over the row; the style is always its own.",
            accumulation_grid(model, data.observations(rows), groups),
        )


def _split(model: nn.Module) -> bool:
    """Whether the model tells content from style."""
    return hasattr(model, "infer_style")


def _one_of_each(candidates: Tensor, groups: Groups, limit: int) -> Tensor:
    """The first of ``candidates`` of each group, for at most ``limit`` groups."""
    index = groups.index[candidates]
    order = index.argsort(stable=True)
    new = torch.ones_like(index, dtype=torch.bool)
    new[1:] = index[order][1:] != index[order][:-1]
    return candidates[order[new][:limit]]


def _members(groups: Groups, limit: int) -> list[Tensor]:
    """Members of each of the first groups."""
    return list(groups.index.argsort(stable=True).split(groups.sizes.tolist()))[:limit]
