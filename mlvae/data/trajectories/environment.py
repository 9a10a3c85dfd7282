"""Trajectories drawn from an environment whose group structure is known.

Shapes: N trajectories of T steps, S numbers of a state, A numbers of a continuous action, ... one
frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.splits import Splits, hold_out
from mlvae.data.trajectories.episodes import Episodes, Truth
from mlvae.errors import check_integer

__all__ = ["Environment", "draw_splits", "opposite_moves"]


class Environment(Protocol):
    """States, actions that change them, and a picture of each state."""

    @property
    def truth(self) -> Truth:
        """The group structure of the actions."""
        ...

    def start(self, number: int, generator: np.random.Generator) -> Tensor:
        """Random states (N, S)."""
        ...

    def choose(self, number: int, steps: int, generator: np.random.Generator) -> Tensor:
        """Random actions: integers (N, T), or floats (N, T, A)."""
        ...

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states (N, T + 1, S) from ``states`` (N, S) on."""
        ...

    def draw(self, states: Tensor) -> Tensor:
        """The frames (n, ...) of states (n, S): uint8 images, or floats."""
        ...

    def labels(self, states: Tensor) -> list:
        """The label of the group of trajectories that begin in states (N, S)."""
        ...

    def factors(self, states: Tensor) -> Mapping[str, Tensor]:
        """Known numbers (N,) of the first states (N, S), by name."""
        ...


def draw_splits(
    environment: Environment,
    *,
    trajectories: int,
    steps: int,
    validation: int,
    test: int,
    episodes: int,
    length: int,
    seed: int,
    unseen_groups: tuple = (),
) -> Splits:
    """Random trajectories for training, validation and test.

    Args:
        environment: what is drawn.
        trajectories: number N of trajectories to train on.
        steps: T.
        validation: number of trajectories for validation; 0: none.
        test: number of trajectories for the test; 0: none.
        episodes: number of long trajectories that the test split has as ``episodes``.
        length: their number of steps.
        seed: seed of all draws. The draws of one split do not depend on the size of another.
        unseen_groups: labels of groups whose trajectories of the training draw are
            ``Splits.unseen``; they are left out of the other splits.

    Raises:
        InputError: if an option is out of range.
    """
    counts = {"trajectories": trajectories, "validation": validation, "test": test}
    for name, number in {"steps": steps, "trajectories": trajectories, "length": length}.items():
        check_integer(f"dataset.{name}", number, minimum=1)
    for name, number in {
        "validation": validation,
        "test": test,
        "episodes": episodes,
        "seed": seed,
    }.items():
        check_integer(f"dataset.{name}", number, minimum=0)
    parts: dict[str, GroupedData] = {}
    for part, (name, number) in enumerate(counts.items()):
        if number:
            generator = np.random.default_rng([seed, part])
            parts[name] = _data(environment, number, steps, generator)
    splits: dict[str, GroupedData | None] = {}
    for name, data in parts.items():
        held = [label for label in unseen_groups if label in data.group_names]
        kept, unseen = hold_out(data, held)
        splits |= {"train": kept, "unseen": unseen} if name == "trajectories" else {name: kept}
    if test and episodes:
        long = _episodes(environment, episodes, length, np.random.default_rng([seed, 3]))
        splits["test"] = splits["test"].with_episodes(long)  # pyright: ignore
    return Splits(**splits)  # pyright: ignore


def _data(
    environment: Environment, number: int, steps: int, generator: np.random.Generator
) -> GroupedData:
    """Random trajectories."""
    states = environment.start(number, generator)
    actions = environment.choose(number, steps, generator)
    return GroupedData(
        _frames(environment, environment.path(states, actions)),
        environment.labels(states),
        environment.factors(states),
        given={"action": actions},
        kind="auto" if environment.draw(states[:1]).dtype == torch.uint8 else "array",
    )


def _episodes(
    environment: Environment, number: int, length: int, generator: np.random.Generator
) -> Episodes:
    """Random long trajectories."""
    states = environment.start(number, generator)
    actions = environment.choose(number, length, generator)
    frames = _frames(environment, environment.path(states, actions))
    return Episodes(frames, actions, environment.truth)


def _frames(environment: Environment, path: Tensor) -> Tensor:
    """The frames (N, T + 1, ...) of states (N, T + 1, S)."""
    return environment.draw(path.flatten(0, 1)).unflatten(0, path.shape[:2])


def opposite_moves(names: tuple[str, ...], periods: tuple[int, ...]) -> Truth:
    """The truth of actions that come in pairs, one forward and one back, and all commute.

    Args:
        names: of the actions: forward, back, forward, back, ...
        periods: of each pair.

    Example:
        >>> opposite_moves(("up", "down", "right", "left"), (5, 7)).periods
        (5, 5, 7, 7)
    """
    pairs = tuple((2 * i, 2 * i + 1) for i in range(len(periods)))
    number = len(names)
    return Truth(
        names=names,
        periods=tuple(period for period in periods for _ in range(2)),
        inverses=pairs,
        commuting=tuple((i, j) for i in range(number) for j in range(i + 1, number)),
    )
