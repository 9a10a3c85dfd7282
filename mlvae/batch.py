"""What a model is trained on, one step at a time."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from mlvae.groups import Groups

__all__ = ["Batch"]


class Batch(NamedTuple):
    """Some observations and the groups they form.

    Attributes:
        x: observations (N, ...); images are float in [0, 1], shape (N, channels, height, width).
        groups: the G groups among them.
    """

    x: Tensor
    groups: Groups
