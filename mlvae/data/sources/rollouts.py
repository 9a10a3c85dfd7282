"""Your own trajectories, from a file of NumPy arrays.

Shapes: F frames of all episodes, N trajectories of T steps, A numbers of a continuous action.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mlvae.arguments import as_path
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.shares import check_share, count_of
from mlvae.data.splitting.splits import Splits
from mlvae.data.trajectories.episodes import Episodes
from mlvae.data.trajectories.rollout_file import read_rollouts
from mlvae.errors import InputError, check_integer, shown

__all__ = ["rollouts"]

#: Fewer episodes than this are divided in time, and not among each other.
FEW = 3


def rollouts(
    root: str | Path,
    *,
    steps: int = 5,
    validation: float = 0.1,
    test: float = 0.1,
    length: int = 100,
    seed: int = 0,
) -> Splits:
    """Trajectories from a ``.npz`` file, written by ``numpy.savez(file, x=x, action=action)``.

    The file has the frames of all episodes in their order, ``x`` of shape (F, ...): uint8 images
    (F, height, width) or (F, channels, height, width), or floats. ``action`` has the action
    between each frame and the next one: integers (F,), or floats (F, A). That of the last frame of
    an episode has no effect. ``episode``, integers or words (F,), has the episode of each frame;
    without it, all are one episode. Pickled objects are refused, and other arrays are named.

    Each episode is cut into trajectories of T steps; the last frame of one is the first of the
    next. Frames at the end that do not fill a trajectory are left out, as are episodes without a
    whole trajectory, whose number is printed. With three episodes or more, whole episodes are
    drawn for validation and test. With fewer, the last trajectories in time are the test, and
    those before are the validation.

    Args:
        root: the file.
        steps: T, so that an observation has T + 1 frames.
        validation: size of the validation: an integer counts trajectories (with three episodes or
            more: episodes), and a float is a fraction of them.
        test: size of the test, likewise.
        length: largest number of steps of the episodes of the test, for the test of rollouts.
        seed: seed of the draw of episodes.

    Returns:
        Trajectories (N, T + 1, ...) with ``given["action"]`` (N, T) or (N, T, A). The group of a
        trajectory is its episode. ``test.episodes`` are the episodes of the test, cut to the
        number of steps that half of them have.

    Raises:
        InputError: if the file is not as described.
    """
    check_integer("dataset.steps", steps, minimum=1)
    check_integer("dataset.length", length, minimum=1)
    check_integer("dataset.seed", seed, minimum=0)
    path = as_path("dataset.root", root)
    x, action, episode = read_rollouts(path)
    rows = _long_enough(path, _rows(path, episode), steps)
    parts = _divided(rows, steps, {"validation": validation, "test": test}, seed)
    splits = {
        name: _data(x, action, episode, pieces, steps) for name, pieces in parts.items() if pieces
    }
    if "test" in splits:
        splits["test"] = splits["test"].with_episodes(_episodes(x, action, parts["test"], length))
    return Splits(**splits)


def _rows(path: Path, episode: np.ndarray) -> list[np.ndarray]:
    """The frames of each episode."""
    names, index = np.unique(episode, return_inverse=True)
    rows = [np.flatnonzero(index == number) for number in range(len(names))]
    for part in rows:
        if part[-1] - part[0] + 1 != len(part):
            flags = set(names.tolist()) <= {0, 1}
            raise InputError(
                f"the frames of an episode in {path} must follow each other, but those of "
                f"{shown(episode[part[0]])} do not"
                + ("; of flags at the last frames, episode is cumsum(flags) - flags" * flags)
            )
    return rows


def _long_enough(path: Path, rows: list[np.ndarray], steps: int) -> list[np.ndarray]:
    """The episodes of more than ``steps`` frames; a line has the number of the others."""
    found = [part for part in rows if len(part) > steps]
    if not found:
        raise InputError(
            f"{path} must have an episode of more than dataset.steps={steps} frames; lower it"
        )
    if short := len(rows) - len(found):
        print(
            f"{path}: {short:,} of {len(rows):,} episodes are left out, because they have at most "
            f"dataset.steps={steps} frames",
            flush=True,
        )
    return found


def _divided(
    rows: list[np.ndarray], steps: int, held: dict[str, float], seed: int
) -> dict[str, list[np.ndarray]]:
    """The frames of the pieces of each split; a piece is an episode, or a part of one."""
    whole = len(rows) >= FEW
    unit = "episodes" if whole else "trajectories"
    if whole:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        pieces = [rows[number] for number in order.tolist()]
    else:
        starts = [(part, start) for part in rows for start in range(0, len(part) - steps, steps)]
        pieces = [part[start : start + steps + 1] for part, start in reversed(starts)]
    counts = {}
    for name, share in held.items():
        check_share(f"dataset.{name}", share, unit)
        counts[name] = count_of(share, len(pieces))
    tested, validated = counts["test"], counts["validation"]
    if tested + validated >= len(pieces):
        raise InputError(
            f"dataset.validation={held['validation']} and dataset.test={held['test']} must leave "
            f"at least one of {len(pieces)} {unit} to train on"
        )
    parts = {
        "test": pieces[:tested],
        "validation": pieces[tested : tested + validated],
        "train": pieces[tested + validated :],
    }
    return parts if whole else {name: _joined(part[::-1]) for name, part in parts.items()}


def _joined(pieces: list[np.ndarray]) -> list[np.ndarray]:
    """Pieces in time order; those that share a frame become one."""
    joined: list[np.ndarray] = []
    for piece in pieces:
        if joined and joined[-1][-1] == piece[0]:
            joined[-1] = np.concatenate((joined[-1], piece[1:]))
        else:
            joined.append(piece)
    return joined


def _data(
    x: np.ndarray, action: np.ndarray, episode: np.ndarray, pieces: list[np.ndarray], steps: int
) -> GroupedData:
    """Trajectories of ``steps`` steps, cut from pieces of episodes."""
    starts = np.concatenate([piece[: len(piece) - steps : steps] for piece in pieces])
    frames = starts[:, None] + np.arange(steps + 1)
    return GroupedData(
        x[frames],
        episode[starts],
        given={"action": action[frames[:, :-1]]},
        kind="auto" if x.dtype == np.uint8 else "array",
    )


def _episodes(
    x: np.ndarray, action: np.ndarray, pieces: list[np.ndarray], length: int
) -> Episodes:
    """The pieces that have at least as many steps as half of all, cut to that number."""
    longest = sorted((len(piece) - 1 for piece in pieces), reverse=True)
    steps = min(length, longest[(len(longest) - 1) // 2])
    frames = np.stack([piece[: steps + 1] for piece in pieces if len(piece) > steps])
    found = x[frames]
    kept = torch.from_numpy(found if found.dtype == np.uint8 else found.astype(np.float32))
    return Episodes(kept, torch.from_numpy(action[frames[:, :-1]]))
