"""A ball on a sphere that turns about three axes by any angle, as voxels.

Shapes: N trajectories of T steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlvae.data.splitting.splits import Splits
from mlvae.data.trajectories.environment import draw_splits
from mlvae.data.trajectories.episodes import Truth
from mlvae.errors import check_integer, check_number

__all__ = ["Sphere", "sphere"]

#: Period of the actions that the truth is about.
PERIOD = 5

#: Largest number of voxels that are drawn at once.
CHUNK = 2**22


@dataclass(frozen=True)
class Sphere:
    """The environment of :func:`sphere`. A state is a unit vector, (N, 3).

    An action is three numbers: the angle about each axis in radians, of which one is not 0.

    Attributes:
        size: voxels along each side of the cube.
        turn: largest angle of an action.
    """

    size: int = 10
    turn: float = 0.4 * math.pi

    @property
    def truth(self) -> Truth:
        """Turns of a fifth about each axis, forward and back. Those of one axis commute."""
        angle = torch.eye(3) * 2 * math.pi / PERIOD
        pairs = ((0, 1), (2, 3), (4, 5))
        return Truth(
            names=("+x", "-x", "+y", "-y", "+z", "-z"),
            periods=(PERIOD,) * 6,
            inverses=pairs,
            commuting=pairs,
            actions=torch.stack((angle, -angle), 1).flatten(0, 1),
        )

    def start(self, number: int, generator: np.random.Generator) -> Tensor:
        """Random states (N, S)."""
        states = torch.from_numpy(generator.standard_normal((number, 3)))
        return states / states.norm(dim=1, keepdim=True)

    def choose(self, number: int, steps: int, generator: np.random.Generator) -> Tensor:
        """Random actions (N, T)."""
        axis = torch.from_numpy(generator.integers(3, size=(number, steps)))
        angle = torch.from_numpy(generator.uniform(-self.turn, self.turn, (number, steps, 1)))
        return (torch.eye(3)[axis] * angle).float()

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states (N, T + 1, S) from ``states`` (N, S) on."""
        path = [states]
        for action in actions.double().unbind(1):
            path.append(_turned(path[-1], action))
        return torch.stack(path, 1)

    def draw(self, states: Tensor) -> Tensor:
        """The frames (n, ...) of states (n, S)."""
        ticks = torch.arange(self.size) - (self.size - 1) / 2
        voxels = torch.cartesian_prod(ticks, ticks, ticks)
        middles = states.float() * (self.size / 2 - 1)
        parts = middles.split(max(1, CHUNK // self.size**3))
        # A voxel at the surface of the ball is as grey as its distance from it.
        radius = self.size / 6
        return torch.cat(
            [(radius + 0.5 - torch.cdist(part, voxels)).clamp(0, 1) for part in parts]
        )

    def labels(self, states: Tensor) -> list:
        """The label of the group of each of N trajectories."""
        return ["sphere"] * len(states)

    def factors(self, states: Tensor) -> dict[str, Tensor]:
        """Known numbers (N,) of the first states (N, S), by name."""
        return dict(zip("xyz", states.float().unbind(1), strict=True))


def _turned(states: Tensor, action: Tensor) -> Tensor:
    """States (N, 3) after rotations by the vector ``action`` (N, 3): Rodrigues' formula."""
    angle = action.norm(dim=1, keepdim=True)
    axis = action / angle.clamp(min=1e-12)
    along = (axis * states).sum(1, keepdim=True) * axis * (1 - angle.cos())
    return states * angle.cos() + torch.linalg.cross(axis, states) * angle.sin() + along


def sphere(
    *,
    size: int = 10,
    turn: float = 0.4 * math.pi,
    trajectories: int = 8000,
    steps: int = 5,
    validation: int = 500,
    test: int = 500,
    episodes: int = 50,
    length: int = 100,
    seed: int = 0,
) -> Splits:
    """A ball on a sphere, which actions turn about one of three axes: that of Quessard et al.

    An action is three numbers, the angle about each axis, of which one is not 0. Turns about
    different axes do not commute. A model needs ``continuous=True, actions=3, latent_dim=3``.

    Args:
        size: voxels along each side of the cube around the sphere, at least 6.
        turn: largest angle of an action, in radians; angles are uniform up to it, to both sides.
        trajectories: number N of trajectories to train on.
        steps: T, so that an observation has T + 1 frames.
        validation: number of trajectories for validation.
        test: number of trajectories for the test.
        episodes: number of long trajectories for the test of rollouts.
        length: their number of steps.
        seed: seed of all draws.

    Returns:
        Floats (N, T + 1, size^3) in [0, 1] with the floats ``given["action"]`` (N, T, 3). All have
        one group. ``test.episodes`` are the long trajectories; their truth is about turns by a
        fifth.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> sphere(trajectories=8, validation=0, test=0, size=6).train
        GroupedData(8 observations of shape (6, 216) in 1 groups)
    """
    check_integer("dataset.size", size, minimum=6)
    check_number("dataset.turn", turn, minimum=0, exclusive=True)
    return draw_splits(
        Sphere(size, float(turn)),
        trajectories=trajectories,
        steps=steps,
        validation=validation,
        test=test,
        episodes=episodes,
        length=length,
        seed=seed,
    )
