"""Long trajectories for the test of rollouts, and what is known of their actions.

Shapes: M episodes of L steps, ... one frame, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from mlvae.arguments import check_type
from mlvae.errors import InputError, shown
from mlvae.observations import as_floats

__all__ = ["Episodes", "Truth"]


@dataclass(frozen=True, eq=False)
class Truth:
    """The group structure of the actions of an environment.

    Attributes:
        names: name of each action.
        periods: number of times after which an action has led back to every state; None: no such
            number.
        inverses: pairs of actions that undo each other.
        commuting: pairs of actions whose order makes no difference.
        actions: for continuous actions, the actions (A', A) that the other fields are about;
            None: the actions are discrete.
    """

    names: tuple[str, ...]
    periods: tuple[int | None, ...]
    inverses: tuple[tuple[int, int], ...]
    commuting: tuple[tuple[int, int], ...]
    actions: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Episodes:
    """Trajectories that are longer than the observations of a split.

    Args:
        x: frames (M, L + 1, ...): uint8 images, or floats.
        action: integers (M, L), or floats (M, L, A).
        truth: the structure of the actions; None: unknown.

    Raises:
        InputError: if the numbers of frames and actions do not fit.
    """

    x: Tensor
    action: Tensor
    truth: Truth | None = None

    def __post_init__(self) -> None:
        for name in ("x", "action"):
            check_type(name, getattr(self, name), Tensor, "a tensor")
        if self.action.ndim < 2 or self.x.shape[:2] != (
            self.action.shape[0],
            self.action.shape[1] + 1,
        ):
            raise InputError(
                "episodes must have one frame more than actions, as x (M, L + 1, ...) and action "
                f"(M, L), not {shown(self.x)} and {shown(self.action)}"
            )

    def __len__(self) -> int:
        return len(self.x)

    def floats(self) -> Tensor:
        """The frames as float32, images in [0, 1]."""
        return as_floats(self.x)

    def to(self, device: Any) -> Episodes:
        """The same episodes on another device."""
        return replace(self, x=self.x.to(device), action=self.action.to(device))

    def first(self, number: int) -> Episodes:
        """The first ``number`` episodes.

        Example:
            >>> import torch
            >>> Episodes(torch.zeros(3, 8, 2), torch.zeros(3, 7, dtype=torch.int64)).first(2)
            Episodes(2 of 7 steps)
        """
        return replace(self, x=self.x[:number], action=self.action[:number])

    def __repr__(self) -> str:
        return f"Episodes({len(self)} of {self.action.shape[1]} steps)"
