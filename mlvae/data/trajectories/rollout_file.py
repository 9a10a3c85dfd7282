"""Frames, actions and episodes in a file of NumPy arrays.

Shapes: F frames of all episodes, A numbers of a continuous action.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlvae.data.collections.members import printable
from mlvae.data.collections.npz import read_npz
from mlvae.errors import InputError, shown

__all__ = ["Rollouts", "read_rollouts"]

#: Names of the arrays in a file.
ARRAYS = ("x", "action", "episode")


class Rollouts(NamedTuple):
    """The content of a file.

    Attributes:
        x: frames (F, ...): uint8 images (F, channels, height, width), or floats.
        action: int64 (F,), or float32 (F, A).
        episode: integers or words (F,).
    """

    x: np.ndarray
    action: np.ndarray
    episode: np.ndarray


def read_rollouts(path: Path) -> Rollouts:
    """Read a file; see :func:`mlvae.data.rollouts`. Other arrays are named in a line.

    Raises:
        InputError: if the file is not as described.
    """
    content = _load(path)
    x, action = _frames(path, content["x"]), content["action"]
    if action.shape[:1] != (len(x),) or not (_is_discrete(action) or _is_continuous(action)):
        raise InputError(
            f"action in {path} must be integers ({len(x)},), or floats ({len(x)}, A) of "
            f"continuous actions, not {shown(action)}{_advice(action, len(x))}"
        )
    episode = content.get("episode", np.zeros(len(x), np.int64))
    if episode.shape != (len(x),) or episode.dtype.kind not in "iuU":
        raise InputError(
            f"episode in {path} must be integers or words ({len(x)},), not {shown(episode)}"
        )
    if _is_discrete(action):
        if action.dtype == np.uint64 and (action >= 2**63).any():
            raise InputError(f"action in {path} must have integers below 2^63")
        return Rollouts(x, action.astype(np.int64), episode)
    used = np.append(episode[1:] == episode[:-1], [False] * bool(len(x)))
    if (wrong := used & ~np.isfinite(action).all(1)).any():
        raise InputError(
            f"action in {path} must be finite but for the last frame of an episode, not "
            f"{shown(action[wrong][0].tolist())} at frame {int(wrong.argmax())}"
        )
    return Rollouts(x, action.astype(np.float32), episode)


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name, x and action at least."""
    content, names = read_npz(
        path,
        ARRAYS.__contains__,
        form="a .npz file of numbers, as numpy.savez(file, x=x, action=action) writes it",
    )
    if missing := [name for name in ("x", "action") if name not in content]:
        found = ", ".join(map(printable, names[:10])) or "none"
        raise InputError(
            f"{path} must have the arrays x and action, but has no {missing[0]}, only: {found}"
        )
    if others := [printable(name) for name in names if name not in ARRAYS]:
        print(
            f"{path}: {', '.join(others[:10])} {'is' if len(others) == 1 else 'are'} not read; "
            "only x, action and episode are",
            flush=True,
        )
    return content


def _frames(path: Path, x: np.ndarray) -> np.ndarray:
    """Frames, grey images with a channel."""
    if x.ndim < 2:
        raise InputError(f"x in {path} must be frames (F, ...), not {shown(x)}")
    if x.dtype == np.uint8 and x.ndim not in (3, 4):
        raise InputError(
            f"x in {path} may be grey levels or counts, because it is {shown(x)}; give grey "
            "levels as floats, x / 255, and other numbers as x.astype('float32')"
        )
    if x.dtype.kind == "f" and (wrong := ~np.isfinite(x).all(tuple(range(1, x.ndim)))).any():
        raise InputError(
            f"x in {path} must be finite, but frame {int(wrong.argmax())} has NaN or an infinity"
        )
    return x[:, None] if x.dtype == np.uint8 and x.ndim == 3 else x


def _is_discrete(action: np.ndarray) -> bool:
    return action.ndim == 1 and action.dtype.kind in "iu"


def _is_continuous(action: np.ndarray) -> bool:
    return action.ndim == 2 and action.dtype.kind == "f"


def _advice(action: np.ndarray, frames: int) -> str:
    """How to convert actions of another form."""
    kind = action.dtype.kind
    if action.ndim and len(action) == frames - 1:
        return "; append an action for the last frame, which has no effect"
    if action.ndim == 1 and (kind == "b" or (kind == "f" and (action == action.round()).all())):
        return "; convert it: action.astype(int)"
    if action.ndim == 1 and kind == "f":
        return "; give one number of a continuous action as action[:, None]"
    if action.ndim == 2 and kind in "biu" and action.shape[1] == 1:
        return "; give action[:, 0]"
    if action.ndim == 2 and kind in "biu":
        return "; give action.argmax(1) of actions of one 1 each, or action.astype(float)"
    if kind in "US":
        return "; number the words: numpy.unique(action, return_inverse=True)[1]"
    return ""
