"""A ball that moves on a plane whose opposite edges are joined, drawn by the library.

Shapes: N trajectories of T steps.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlvae.data.splitting.splits import Splits
from mlvae.data.trajectories.environment import draw_splits, opposite_moves
from mlvae.data.trajectories.episodes import Truth
from mlvae.errors import InputError, check_integer, check_number, shown

__all__ = ["Flatland", "flatland"]

#: Names of the actions; the last two with colours.
NAMES = ("right", "left", "down", "up", "next colour", "previous colour")

#: Largest number of pixels that are drawn at once.
CHUNK = 2**22


@dataclass(frozen=True)
class Flatland:
    """The environment of :func:`flatland`. A state is x, y in [0, 1), and a colour: (N, 2 or 3).

    Attributes:
        period: steps around the plane.
        colours: number of colours; 0: a white ball.
        size: height and width of an image, in pixels.
        radius: of the ball, as a fraction of the side.
    """

    period: int = 10
    colours: int = 0
    size: int = 28
    radius: float = 0.15

    @property
    def truth(self) -> Truth:
        """The group structure of the actions."""
        periods = (self.period, self.period)
        if not self.colours:
            return opposite_moves(NAMES[:4], periods)
        return opposite_moves(NAMES, (*periods, self.colours))

    def start(self, number: int, generator: np.random.Generator) -> Tensor:
        """Random states (N, S)."""
        states = torch.from_numpy(generator.random((number, 2)))
        if not self.colours:
            return states
        colour = torch.from_numpy(generator.integers(self.colours, size=(number, 1)))
        return torch.cat((states, colour), 1)

    def choose(self, number: int, steps: int, generator: np.random.Generator) -> Tensor:
        """Random actions (N, T)."""
        actions = 6 if self.colours else 4
        return torch.from_numpy(generator.integers(actions, size=(number, steps)))

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states (N, T + 1, S) from ``states`` (N, S) on."""
        forward = torch.eye(states.shape[1], dtype=states.dtype)
        forward[:2] /= self.period
        moves = torch.stack((forward, -forward), 1).flatten(0, 1)[actions]
        path = torch.cat((states[:, None], states[:, None] + moves.cumsum(1)), 1)
        around = torch.tensor([1.0, 1.0, self.colours or 1.0], dtype=states.dtype)
        return path % around[: states.shape[1]]

    def draw(self, states: Tensor) -> Tensor:
        """The frames (n, ...) of states (n, S)."""
        parts = states.split(max(1, CHUNK // self.size**2))
        return torch.cat([self._balls(part) for part in parts])

    def _balls(self, states: Tensor) -> Tensor:
        """uint8 images. A pixel at the edge of the ball is as grey as its distance from it."""
        middles = (torch.arange(self.size) + 0.5) / self.size
        x, y = (((middles - states[:, axis, None] + 0.5) % 1 - 0.5).float() for axis in range(2))
        distance = torch.hypot(x[:, None, :], y[:, :, None])
        ball = ((self.radius - distance) * self.size + 0.5).clamp(0, 1)[:, None]
        if self.colours:
            ball = (
                ball * self._palette()[states[:, 2].round().long() % self.colours][..., None, None]
            )
        return (255 * ball).round().to(torch.uint8)

    def _palette(self) -> Tensor:
        """Colours at equal distances of hue, (colours, 3)."""
        hues = [number / self.colours for number in range(self.colours)]
        return torch.tensor([colorsys.hsv_to_rgb(hue, 0.9, 1.0) for hue in hues])

    def labels(self, states: Tensor) -> list:
        """The label of the group of each of N trajectories."""
        return ["flatland"] * len(states)

    def factors(self, states: Tensor) -> dict[str, Tensor]:
        """Known numbers (N,) of the first states (N, S), by name."""
        return dict(zip(("x", "y", "colour"), states.float().unbind(1), strict=False))


def flatland(
    *,
    period: int = 10,
    colours: int = 0,
    size: int = 28,
    radius: float = 0.15,
    trajectories: int = 8000,
    steps: int = 5,
    validation: int = 500,
    test: int = 500,
    episodes: int = 50,
    length: int = 100,
    seed: int = 0,
) -> Splits:
    """A ball that moves right, left, down and up on a torus: Flatland of Quessard et al.

    The first place of a ball is uniform. ``period`` steps in one direction lead back to it. With
    colours, two more actions change to the next colour and to the previous one. All actions
    commute.

    Args:
        period: steps around the plane, at least 2.
        colours: number of colours, at least 2; 0: a white ball.
        size: height and width of an image, in pixels; at least 8. The authors have 84.
        radius: of the ball, as a fraction of the side, below one half.
        trajectories: number N of trajectories to train on.
        steps: T, so that an observation has T + 1 frames.
        validation: number of trajectories for validation.
        test: number of trajectories for the test.
        episodes: number of long trajectories for the test of rollouts.
        length: their number of steps.
        seed: seed of all draws.

    Returns:
        uint8 images (N, T + 1, channels, size, size) with the integers ``given["action"]`` (N, T).
        All have one group. ``test.episodes`` are the long trajectories with the truth of the
        actions.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> flatland(trajectories=8, validation=0, test=0, size=16).train
        GroupedData(8 observations of shape (6, 1, 16, 16) in 1 groups)
    """
    check_integer("dataset.period", period, minimum=2)
    check_integer("dataset.colours", colours, minimum=0)
    if colours == 1:
        raise InputError(f"dataset.colours must be 0 or at least 2, not {shown(colours)}")
    check_integer("dataset.size", size, minimum=8)
    check_number("dataset.radius", radius, minimum=0, maximum=0.5, exclusive=True)
    return draw_splits(
        Flatland(period, colours, size, radius),
        trajectories=trajectories,
        steps=steps,
        validation=validation,
        test=test,
        episodes=episodes,
        length=length,
        seed=seed,
    )
