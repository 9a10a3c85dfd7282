"""Actions of trajectories that a user gives: their type, their shape, and which are known.

Shapes: N trajectories of T steps, A numbers of a continuous action.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mlvae.errors import InputError, shown

__all__ = ["as_actions", "check_actions", "check_known", "listed_actions"]

#: Integers of PyTorch with few operations, which become int64.
WIDE = (torch.uint16, torch.uint32, torch.uint64)


class Actions(Protocol):
    """The options of a model about its actions."""

    @property
    def actions(self) -> int:
        """Number of discrete actions, or of the numbers A of a continuous one."""
        ...

    @property
    def continuous(self) -> bool:
        """Whether an action is A numbers."""
        ...


def as_actions(actions: Any, options: Actions, number: int, device: torch.device) -> Tensor:
    """Actions as a tensor on a device: int64 (N, T), or float32 (N, T, A).

    Args:
        actions: a tensor, an array, a table or a list.
        options: of the model.
        number: N.
        device: the device.

    Raises:
        InputError: if the actions have another type or shape, or an action is unknown or not
            finite.
    """
    if (found := _tensor(actions)) is None:
        raise _wrong(actions, options, number, None)
    check_actions(found, options, number)
    check_known(found, options)
    return found.to(device, torch.float32 if options.continuous else torch.int64)


def listed_actions(actions: Any, options: Actions, device: torch.device) -> Tensor:
    """Actions as int64 (n,), or float32 (n, A) of continuous ones; None: all discrete ones.

    Raises:
        InputError: if continuous actions are left out, or actions have another type or shape.
    """
    if actions is None and not options.continuous:
        return torch.arange(options.actions, device=device)
    found = None if actions is None else _tensor(actions)
    if found is None or found.ndim != 1 + options.continuous:
        form = f"numbers (n, {options.actions})" if options.continuous else "integers (n,)"
        raise InputError(f"actions must be {form}, not {shown(actions)}")
    return as_actions(found[:, None], options, len(found), device)[:, 0]


def check_known(actions: Tensor, options: Actions) -> None:
    """Raise :class:`InputError` unless a model knows discrete actions, or others are finite."""
    if options.continuous:
        if not actions.isfinite().all():
            raise InputError("actions must be finite, but some are NaN or infinite")
        return
    if not actions.numel():
        return
    low, high = (int(end) for end in actions.long().aminmax())
    if low < 0 or high >= options.actions:
        raise InputError(
            f"actions must lie in [0, {options.actions}), not in [{low}, {high}]; set "
            "model.actions, the number of actions"
        )


def check_actions(
    actions: object, options: Actions, number: int, steps: int | None = None
) -> None:
    """Raise :class:`InputError` unless ``actions`` have the type and shape of ``options``.

    Args:
        actions: actions of trajectories.
        options: of the model.
        number: N.
        steps: T; None: any.
    """
    if torch.compiler.is_compiling():
        return
    shape = (number, steps, options.actions) if options.continuous else (number, steps)
    fits = isinstance(actions, Tensor) and actions.ndim == len(shape)
    if isinstance(actions, Tensor) and fits:
        fits = all(want in (None, have) for want, have in zip(shape, actions.shape, strict=True))
        inexact = actions.is_floating_point() or actions.dtype == torch.bool
        fits = fits and not actions.is_complex() and (options.continuous or not inexact)
    if not fits:
        raise _wrong(actions, options, number, steps)


def _wrong(actions: object, options: Actions, number: int, steps: int | None) -> InputError:
    """An error about actions of another type or shape."""
    kind, form, last = "integers", "(N, T)", []
    if options.continuous:
        kind, form, last = "numbers", "(N, T, A)", [options.actions]
    shape = ", ".join(map(str, [number, "T" if steps is None else steps, *last]))
    return InputError(
        f"actions must be {kind} {form} = ({shape}), not {shown(actions)}; a trajectory has one "
        "frame more than actions, and model.continuous and model.actions state what an action is"
    )


def _tensor(actions: Any) -> Tensor | None:
    """Actions as a tensor, or None if they are no numbers of one shape."""
    if isinstance(actions, Tensor):
        found = actions.detach()
    else:
        if isinstance(actions, list | tuple):
            actions = [each.tolist() if isinstance(each, Tensor) else each for each in actions]
        try:
            array = np.asarray(actions)
        except (ValueError, TypeError, RuntimeError):
            return None
        if np.ma.is_masked(actions) or array.dtype.kind not in "biuf" or array.itemsize > 8:
            return None
        found = torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    return found.to(torch.int64) if found.dtype in WIDE else found
