"""Transitions of a state by actions: rotations, and the free maps that they are compared with.

Shapes: N trajectories, T steps, n dimensions of a state, A actions (or numbers of a continuous
action), K parameters of a transition.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.models.rotations.planes import planes, rotation_matrices

__all__ = ["TRANSITIONS", "Free", "Networks", "Turns"]


class Transition(nn.Module):
    """A map of states for each action, whose parameters are in a table or from a network.

    Args:
        dim: n.
        actions: A.
        continuous: whether a network computes the parameters of a continuous action; otherwise
            each action has a row of a table.
        width: units of the hidden layer of this network, and of :class:`Networks`.

    Attributes:
        table: parameters of discrete actions, (A, K).
        network: from continuous actions (..., A) to parameters (..., K).
    """

    table: nn.Parameter

    def __init__(self, dim: int, actions: int, *, continuous: bool, width: int) -> None:
        super().__init__()
        self.dim, self.width = dim, width
        size = self.size()
        if not continuous:
            self.network = None
            self.table = nn.Parameter(self.initial(torch.empty(actions, size)))
        else:
            head = nn.Linear(width, size)
            self.network = nn.Sequential(nn.Linear(actions, width), nn.Tanh(), head)
            with torch.no_grad():
                head.weight.mul_(0.1)
                head.bias.copy_(self.initial(torch.empty(1, size))[0])

    def size(self) -> int:
        """K."""
        raise NotImplementedError

    def initial(self, empty: Tensor) -> Tensor:
        """Random initial parameters with the shape of ``empty``, (A, K)."""
        raise NotImplementedError

    def parameters_of(self, actions: Tensor) -> Tensor:
        """Parameters (..., K) of discrete actions (...) or continuous ones (..., A)."""
        if self.network is None:
            return self.table[actions]
        return self.network(actions)

    def maps(self, actions: Tensor) -> Tensor:
        """What :meth:`step` needs of each action, (..., any shape)."""
        return self.parameters_of(actions)

    def step(self, states: Tensor, maps: Tensor) -> Tensor:
        """The states (N, n) after one action each, whose maps are ``maps`` (N, ...)."""
        raise NotImplementedError

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """The states (N, T + 1, n) from ``states`` (N, n) on, by actions (N, T) or (N, T, A)."""
        maps, path = self.maps(actions), [states]
        for time in range(actions.shape[1]):
            path.append(self.step(path[-1], maps[:, time]))
        return torch.stack(path, 1)


class Turns(Transition):
    """Rotations. K is the number of planes; the parameters are angles in radians.

    Initial angles are uniform in pi / n (-1, 1), as in the authors' code.
    """

    def size(self) -> int:
        """K, the number of planes."""
        return len(planes(self.dim))

    def initial(self, empty: Tensor) -> Tensor:
        """Random initial parameters with the shape of ``empty``, (A, K)."""
        return empty.uniform_(-math.pi / self.dim, math.pi / self.dim)

    def matrices(self, actions: Tensor) -> Tensor:
        """The rotations (..., n, n) of discrete actions (...) or continuous ones (..., A)."""
        if self.network is None:
            return rotation_matrices(self.table, self.dim)[actions]
        return rotation_matrices(self.network(actions), self.dim)

    def maps(self, actions: Tensor) -> Tensor:
        """The matrices (..., n, n) of actions."""
        return self.matrices(actions)

    def step(self, states: Tensor, maps: Tensor) -> Tensor:
        """The states (N, n) after one action each."""
        return (maps @ states[:, :, None])[:, :, 0]

    def path(self, states: Tensor, actions: Tensor) -> Tensor:
        """As of the class; rounding errors of many products do not leave the sphere."""
        return functional.normalize(super().path(states, actions), dim=-1)


class Free(Transition):
    """Any n x n matrix for each action: linear, without a constraint."""

    def size(self) -> int:
        """K, the number of elements of a matrix."""
        return self.dim**2

    def initial(self, empty: Tensor) -> Tensor:
        """Random initial parameters with the shape of ``empty``, (A, K)."""
        noise = empty.normal_(std=0.1)
        return noise + torch.eye(self.dim, dtype=empty.dtype, device=empty.device).flatten()

    def matrices(self, actions: Tensor) -> Tensor:
        """The matrices (..., n, n) of actions."""
        return self.parameters_of(actions).unflatten(-1, (self.dim, self.dim))

    def maps(self, actions: Tensor) -> Tensor:
        """The matrices (..., n, n) of actions."""
        return self.matrices(actions)

    def step(self, states: Tensor, maps: Tensor) -> Tensor:
        """The states (N, n) after one action each."""
        return (maps @ states[:, :, None])[:, :, 0]


class Networks(Transition):
    """A network with one hidden layer for each action, whose output is put on the sphere."""

    def size(self) -> int:
        """K, the number of weights and biases."""
        return self.width * (2 * self.dim + 1) + self.dim

    def initial(self, empty: Tensor) -> Tensor:
        """Random initial parameters with the shape of ``empty``, (A, K)."""
        into, bias, out, last = self._parts(empty)
        into.normal_(std=self.dim**-0.5)
        out.normal_(std=self.width**-0.5)
        bias.normal_(std=0.1)
        last.zero_()
        return empty

    def _parts(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """Weights (..., h, n), biases (..., h), weights (..., n, h), biases (..., n)."""
        n, h = self.dim, self.width
        into, bias, out, last = parameters.split((h * n, h, h * n, n), -1)
        return into.unflatten(-1, (h, n)), bias, out.unflatten(-1, (n, h)), last

    def step(self, states: Tensor, maps: Tensor) -> Tensor:
        """The states (N, n) after one action each."""
        into, bias, out, last = self._parts(maps)
        units = (into @ states[:, :, None])[:, :, 0] + bias
        return functional.normalize((out @ units.tanh()[:, :, None])[:, :, 0] + last, dim=-1)


#: Kinds of transitions by the option ``transition`` of the model.
TRANSITIONS: dict[str, type[Transition]] = {
    "rotation": Turns,
    "matrix": Free,
    "network": Networks,
}
