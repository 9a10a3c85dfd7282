"""Your own trajectories, from a file of NumPy arrays.

Shapes: F frames of all episodes, N trajectories of T steps, A numbers of a continuous action.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.collections.regular import open_regular
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.shares import check_share, count_of
from mlvae.data.splitting.splits import Splits
from mlvae.data.trajectories.episodes import Episodes
from mlvae.errors import InputError, check_integer, shown

__all__ = ["rollouts"]

#: Names of the arrays in a file.
ARRAYS = ("x", "action", "episode")

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

    The file has the frames of all episodes in their order, ``x`` of shape (F, ...): uint8 images,
    or floats. ``action`` has the action between each frame and the next one: integers (F,), or
    floats (F, A). That of the last frame of an episode has no effect. ``episode``, integers or
    words (F,), has the episode of each frame; without it, all are one episode. Pickled objects are
    refused.

    Each episode is cut into trajectories of T steps; the last frame of one is the first of the
    next. Frames at the end that do not fill a trajectory are left out. With three episodes or
    more, whole episodes are drawn for validation and test. With fewer, the last trajectories in
    time are the test, and those before are the validation.

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
    x, action, episode = _load(path)
    names, index = np.unique(episode, return_inverse=True)
    rows = [np.flatnonzero(index == number) for number in range(len(names))]
    rows = [part for part in rows if len(part) > steps]
    if not rows:
        raise InputError(
            f"{path} must have an episode of more than dataset.steps={steps} frames; lower it"
        )
    for part in rows:
        if part[-1] - part[0] + 1 != len(part):
            raise InputError(
                f"the frames of an episode in {path} must follow each other, but those of "
                f"{shown(episode[part[0]])} do not"
            )
    parts = _divided(rows, steps, {"validation": validation, "test": test}, seed)
    splits = {
        name: _data(x, action, episode, pieces, steps) for name, pieces in parts.items() if pieces
    }
    if "test" in splits:
        splits["test"] = splits["test"].with_episodes(_episodes(x, action, parts["test"], length))
    return Splits(**splits)


def _load(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, actions and episodes of a file."""
    try:
        with open_regular(path) as stream, np.load(stream, allow_pickle=False) as file:
            content = {name: file[name] for name in ARRAYS if name in file.files}
            found = ", ".join(file.files[:10])
    except Exception as error:  # numpy and zipfile raise many types for a damaged file
        raise InputError(
            f"dataset.root={path} must be a file written by numpy.savez(file, x=x, action=action):"
            f" {first_line(error)}"
        ) from error
    for name in ("x", "action"):
        if name not in content:
            raise InputError(f"{path} must have the arrays x and action, but has {found}")
    x, action = content["x"], content["action"]
    if x.ndim < 2:
        raise InputError(f"x in {path} must be frames (F, ...), not {shown(x)}")
    discrete = action.ndim == 1 and action.dtype.kind in "iu"
    continuous = action.ndim == 2 and action.dtype.kind == "f"
    if len(action) != len(x) or not (discrete or continuous):
        raise InputError(
            f"action in {path} must be integers ({len(x)},), or floats ({len(x)}, A) of "
            f"continuous actions, not {shown(action)}"
        )
    episode = content.get("episode", np.zeros(len(x), np.int64))
    if episode.shape != (len(x),) or episode.dtype.kind not in "iuU":
        raise InputError(
            f"episode in {path} must be integers or words ({len(x)},), not {shown(episode)}"
        )
    return x, action, episode


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
    images = x.dtype == np.uint8 and x.ndim == 4
    return GroupedData(
        x[frames],
        episode[starts],
        given={"action": action[frames[:, :-1]]},
        kind="auto" if images else "array",
    )


def _episodes(
    x: np.ndarray, action: np.ndarray, pieces: list[np.ndarray], length: int
) -> Episodes:
    """The pieces that have at least as many steps as half of all, cut to that number."""
    longest = sorted((len(piece) - 1 for piece in pieces), reverse=True)
    steps = min(length, longest[(len(longest) - 1) // 2])
    frames = np.stack([piece[: steps + 1] for piece in pieces if len(piece) > steps])
    found = x[frames]
    frames_kept = torch.from_numpy(found if found.dtype == np.uint8 else found.astype(np.float32))
    actions = action[frames[:, :-1]]
    return Episodes(
        frames_kept,
        torch.from_numpy(actions.astype(np.int64 if actions.dtype.kind in "iu" else np.float32)),
    )
