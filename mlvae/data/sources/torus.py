"""A cell that moves on a grid whose opposite edges are joined.

Shapes: N trajectories of T steps, k directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mlvae.data.splitting.splits import Splits
from mlvae.data.trajectories.environment import draw_splits, opposite_moves
from mlvae.data.trajectories.episodes import Truth
from mlvae.errors import InputError, check_flag, check_integer, shown

__all__ = ["Torus", "torus"]


@dataclass(frozen=True)
class Torus:
    """The environment of :func:`torus`. A state is the place along each direction, (N, k).

    Attributes:
        size: number of cells along each direction.
        image: whether frames are images.
        cell: side of a cell in an image, in pixels.
    """

    size: tuple[int, ...]
    image: bool = False
    cell: int = 4

    @property
    def truth(self) -> Truth:
        """The group structure of the actions."""
        axes = range(1, len(self.size) + 1)
        names = tuple(f"{sign}{axis}" for axis in axes for sign in "+-")
        return opposite_moves(names, self.size)

    def start(self, number: int, generator: np.random.Generator) -> Tensor:
        """Random states (N, S)."""
        return torch.from_numpy(generator.integers(self.size, size=(number, len(self.size))))

    def choose(self, number: int, steps: int, generator: np.random.Generator) -> Tensor:
        """Random actions (N, T)."""
        return torch.from_numpy(generator.integers(2 * len(self.size), size=(number, steps)))

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states (N, T + 1, S) from ``states`` (N, S) on."""
        forward = torch.eye(len(self.size), dtype=torch.int64)
        moves = torch.stack((forward, -forward), 1).flatten(0, 1)[actions]
        path = torch.cat((states[:, None], states[:, None] + moves.cumsum(1)), 1)
        return path % torch.tensor(self.size)

    def draw(self, states: Tensor) -> Tensor:
        """The frames (n, ...) of states (n, S)."""
        place = torch.zeros(len(states), dtype=torch.int64)
        for axis, length in enumerate(self.size):
            place = place * length + states[:, axis]
        cells = functional.one_hot(place, math.prod(self.size))
        if not self.image:
            return cells.float()
        grid = (255 * cells.view(-1, 1, *self.size)).to(torch.uint8)
        return grid.repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)

    def labels(self, states: Tensor) -> list:
        """The label of the group of each of N trajectories."""
        return ["torus"] * len(states)

    def factors(self, states: Tensor) -> dict[str, Tensor]:
        """Known numbers (N,) of the first states (N, S), by name."""
        return {f"place {axis + 1}": states[:, axis].float() for axis in range(len(self.size))}


def torus(
    *,
    size: Sequence[int] = (5, 5),
    image: bool = False,
    cell: int = 4,
    trajectories: int = 8000,
    steps: int = 5,
    validation: int = 500,
    test: int = 500,
    episodes: int = 100,
    length: int = 100,
    seed: int = 0,
) -> Splits:
    """Random walks on a grid whose opposite edges are joined: the grid world of Quessard et al.

    Each action moves one cell forward or back along a direction: two directions have four actions.
    The action of a direction with p cells has the period p, and all actions commute.

    Args:
        size: number of cells along each direction, at least 2 each; two for images.
        image: False: a frame has one number for each cell, 1 where the cell is. True: a frame is
            an image of the grid.
        cell: side of a cell in an image, in pixels.
        trajectories: number N of trajectories to train on.
        steps: T, so that an observation has T + 1 frames.
        validation: number of trajectories for validation.
        test: number of trajectories for the test.
        episodes: number of long trajectories for the test of rollouts.
        length: their number of steps.
        seed: seed of all draws.

    Returns:
        Floats (N, T + 1, cells), or uint8 images (N, T + 1, 1, height, width), with the integers
        ``given["action"]`` (N, T). All have one group. ``test.episodes`` are the long trajectories
        with the truth of the actions.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> data = torus(size=(3, 4), trajectories=8, validation=0, test=2).train
        >>> data, data.given["action"].shape
        (GroupedData(8 observations of shape (6, 12) in 1 groups), torch.Size([8, 5]))
    """
    check_flag("dataset.image", image)
    check_integer("dataset.cell", cell, minimum=1)
    if not isinstance(size, list | tuple) or not size:
        raise InputError(f"dataset.size must be a list of lengths, as [5, 5], not {shown(size)}")
    for cells in size:
        check_integer("dataset.size", cells, minimum=2)
    if image and len(size) != 2:
        raise InputError(f"dataset.image=true needs dataset.size of two lengths, not {list(size)}")
    return draw_splits(
        Torus(tuple(size), image, cell),
        trajectories=trajectories,
        steps=steps,
        validation=validation,
        test=test,
        episodes=episodes,
        length=length,
        seed=seed,
    )
