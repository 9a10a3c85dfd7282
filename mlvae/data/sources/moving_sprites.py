"""Sprites that move on a plane whose opposite edges are joined; each trajectory has one sprite.

Shapes: N trajectories of T steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlvae.data.sources.sprites import FACTORS, SHAPES, render
from mlvae.data.splitting.splits import Splits
from mlvae.data.trajectories.environment import draw_splits, opposite_moves
from mlvae.data.trajectories.episodes import Truth
from mlvae.errors import InputError, check_integer

__all__ = ["MovingSprites", "moving_sprites"]

#: Numbers of values of the factors of an identity: shape, scale, orientation.
IDENTITY = ("shape", "scale", "orientation")
COUNTS = tuple(len(FACTORS[name]) for name in IDENTITY)


@dataclass(frozen=True, eq=False)
class MovingSprites:
    """The environment of :func:`moving_sprites`.

    A state is the number of the identity and the place along x and y, integers (N, 3).

    Attributes:
        identities: numbers of shape, scale and orientation of each identity, (I, 3).
        period: steps around the plane.
        size: height and width of an image, in pixels; a multiple of the period.
    """

    identities: np.ndarray
    period: int
    size: int

    @property
    def truth(self) -> Truth:
        """The group structure of the actions."""
        return opposite_moves(("right", "left", "down", "up"), (self.period, self.period))

    @property
    def names(self) -> list[str]:
        """The label of each identity, such as heart-5-12."""
        return [f"{SHAPES[shape]}-{size}-{turn}" for shape, size, turn in self.identities.tolist()]

    def start(self, number: int, generator: np.random.Generator) -> Tensor:
        """Random states (N, S)."""
        ends = (len(self.identities), self.period, self.period)
        return torch.from_numpy(generator.integers(ends, size=(number, 3)))

    def choose(self, number: int, steps: int, generator: np.random.Generator) -> Tensor:
        """Random actions (N, T)."""
        return torch.from_numpy(generator.integers(4, size=(number, steps)))

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states (N, T + 1, S) from ``states`` (N, S) on."""
        moves = torch.tensor([[0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])[actions]
        path = torch.cat((states[:, None], states[:, None] + moves.cumsum(1)), 1)
        return path % torch.tensor([len(self.identities), self.period, self.period])

    def draw(self, states: Tensor) -> Tensor:
        """uint8 images: the sprite in the middle, shifted around the edges by whole pixels."""
        kinds, kind = states[:, 0].unique(return_inverse=True)
        levels = self.identities[kinds.numpy()]
        factors = {
            name: torch.from_numpy(FACTORS[name][levels[:, column]])
            for column, name in enumerate(IDENTITY)
        }
        middle = torch.full((len(kinds),), 0.5)
        base = render({**factors, "x": middle, "y": middle}, size=self.size)[:, 0]
        pixels, step = torch.arange(self.size), self.size // self.period
        x, y = ((pixels - step * states[:, axis, None]) % self.size for axis in (1, 2))
        return base[kind[:, None, None], y[:, :, None], x[:, None, :]][:, None]

    def labels(self, states: Tensor) -> list:
        """The label of the group of each of N trajectories."""
        names = self.names
        return [names[number] for number in states[:, 0].tolist()]

    def factors(self, states: Tensor) -> dict[str, Tensor]:
        """Known numbers (N,) of the first states (N, S), by name."""
        levels = torch.from_numpy(self.identities[states[:, 0].numpy()]).float()
        named = dict(zip(IDENTITY, levels.unbind(1), strict=True))
        return {**named, "x": states[:, 1].float(), "y": states[:, 2].float()}


def moving_sprites(
    *,
    identities: int = 60,
    unseen: int = 12,
    period: int = 8,
    size: int = 32,
    trajectories: int = 12_000,
    steps: int = 5,
    validation: int = 500,
    test: int = 2000,
    episodes: int = 50,
    length: int = 100,
    seed: int = 0,
) -> Splits:
    """Sprites that actions move right, left, down and up on a torus.

    Each trajectory has one identity: a shape, a scale and an orientation, as in
    :func:`~mlvae.data.sprites`, drawn from their 720 combinations without replacement. It is the
    group of the trajectory. An action moves the sprite by ``size / period`` pixels.

    Args:
        identities: number of identities.
        unseen: number of these that training does not see.
        period: steps around the plane, at least 2; a divisor of ``size``.
        size: height and width of an image, in pixels; at least 8.
        trajectories: number of trajectories for training and for the unseen identities.
        steps: T, so that an observation has T + 1 frames.
        validation: number of trajectories for validation, before those of unseen identities are
            left out.
        test: number of trajectories for the test, likewise.
        episodes: number of long trajectories for the test of rollouts, of all identities.
        length: their number of steps.
        seed: seed of all draws.

    Returns:
        uint8 images (N, T + 1, 1, size, size) with the integers ``given["action"]`` (N, T), and
        the values of the identity and the first place as known factors. ``test.episodes`` are the
        long trajectories with the truth of the actions.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> moving_sprites(trajectories=60, validation=0, test=0, size=16, unseen=0).train.shape
        (6, 1, 16, 16)
    """
    check_integer("dataset.period", period, minimum=2)
    check_integer("dataset.size", size, minimum=8)
    check_integer("dataset.identities", identities, minimum=1)
    check_integer("dataset.unseen", unseen, minimum=0)
    check_integer("dataset.seed", seed, minimum=0)
    total = math.prod(COUNTS)
    if identities > total or unseen >= identities:
        raise InputError(
            f"dataset.identities must be at most {total}, and dataset.unseen below it, not "
            f"{identities} and {unseen}"
        )
    if size % period:
        raise InputError(f"dataset.size must be a multiple of dataset.period={period}, not {size}")
    environment = MovingSprites(_identities(identities, seed), period, size)
    return draw_splits(
        environment,
        trajectories=trajectories,
        steps=steps,
        validation=validation,
        test=test,
        episodes=episodes,
        length=length,
        seed=seed,
        unseen_groups=tuple(environment.names[:unseen]),
    )


def _identities(number: int, seed: int) -> np.ndarray:
    """Different combinations of shape, scale and orientation, integers (I, 3)."""
    generator = np.random.default_rng([seed, 4])
    chosen = generator.choice(math.prod(COUNTS), number, replace=False)
    return np.stack(np.unravel_index(chosen, COUNTS), 1)
