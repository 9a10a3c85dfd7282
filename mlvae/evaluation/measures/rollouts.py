"""Errors of predicted frames after several numbers of steps, and identities of a group.

Shapes: M episodes of L steps, H horizons, ... one frame, A actions, n dimensions of a state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlvae.data.trajectories.episodes import Episodes, Truth
from mlvae.evaluation.answer import Estimate
from mlvae.likelihoods import Bernoulli

__all__ = ["floor", "group_errors", "horizons_of", "one_hot", "rollout_errors"]


def horizons_of(episodes: Episodes, horizons: Sequence[int]) -> list[int]:
    """The numbers of steps that the episodes have; their own number if none of these fits."""
    steps = episodes.action.shape[1]
    return [number for number in horizons if number <= steps] or [steps]


def one_hot(x: Tensor) -> bool:
    """Whether all frames x (M, L, features) have one 1 and zeros."""
    return x.ndim == 3 and bool(((x == 0) | (x == 1)).all() and (x.sum(2) == 1).all())


@torch.no_grad()
def rollout_errors(
    model: Any, episodes: Episodes, horizons: Sequence[int], *, copy: bool = False
) -> list[dict[str, Any]]:
    """The error of the frame after each number of steps, from the first frame and the actions.

    Args:
        model: with ``encode``, ``path``, ``log_prob`` and ``frames``, as
            :class:`~mlvae.models.Rotations`.
        episodes: on the model's device.
        horizons: numbers of steps up to L.
        copy: predict the first state for every step: the control without actions.

    Returns:
        A record for each horizon, in which ``nats`` is minus the log-probability per element,
        ``excess`` is this minus the smallest possible value (:func:`floor`), ``squared_error`` is
        the mean over elements, and ``accuracy`` is the share of frames whose largest element is
        right, of frames with one 1. Each with the standard error over episodes.
    """
    x = episodes.floats()
    frames = x[:, list(horizons)]
    start = model.encode(x[:, 0])
    if copy:
        states = start[:, None].expand(-1, len(horizons), -1)
    else:
        states = model.path(start, episodes.action)[:, list(horizons)]
    elements = math.prod(frames.shape[2:])
    nats = -model.log_prob(frames, states) / elements
    expected = model.frames(states)
    squared = (expected - frames).square().flatten(2).mean(2)
    lowest = floor(model.likelihood, frames)
    right = None
    if one_hot(x):
        right = (expected.argmax(2) == frames.argmax(2)).float()
    records = []
    for column, steps in enumerate(horizons):
        record: dict[str, Any] = {"steps": steps, "nats": _mean(nats[:, column])}
        if lowest is not None:
            record["excess"] = _mean(nats[:, column] - lowest[:, column])
        record["squared_error"] = _mean(squared[:, column])
        if right is not None:
            record["accuracy"] = _mean(right[:, column])
        records.append(record)
    return records


def floor(likelihood: object, x: Tensor) -> Tensor | None:
    """The smallest value of minus the log-probability per element of frames x (M, H, ...): (M, H).

    With a Bernoulli likelihood it is the entropy of the grey values in nats; None: it is not known
    for another likelihood.
    """
    if not isinstance(likelihood, Bernoulli):
        return None
    entropy = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x))
    return entropy.flatten(2).mean(2)


def _mean(values: Tensor) -> Estimate:
    """The mean of values (M,) with its standard error over them."""
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), math.nan, error)


def group_errors(matrices: Tensor, truth: Truth) -> dict[str, Any]:
    """How far matrices of actions (A, n, n) are from the identities of their group.

    Returns:
        ``periods``: for each action with a period p, the largest element of g^p - I.
        ``inverses``: for each pair of opposite actions, the largest element of g h - I.
        ``commutators``: for each pair of commuting actions, the largest element of g h - h g.
        The keys of pairs are the names of both actions.
    """
    eye = torch.eye(matrices.shape[-1], dtype=torch.float64, device=matrices.device)
    g = matrices.double()

    def gap(difference: Tensor) -> float:
        return float(difference.abs().max())

    def name(pair: tuple[int, int]) -> str:
        return " ".join(truth.names[action] for action in pair)

    return {
        "periods": {
            truth.names[action]: gap(torch.linalg.matrix_power(g[action], period) - eye)
            for action, period in enumerate(truth.periods)
            if period is not None
        },
        "inverses": {name((a, b)): gap(g[a] @ g[b] - eye) for a, b in truth.inverses},
        "commutators": {name((a, b)): gap(g[a] @ g[b] - g[b] @ g[a]) for a, b in truth.commuting},
    }
