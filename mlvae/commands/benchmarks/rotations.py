"""The speed of a training step of Rotations, beside the same step as loops.

The loops are those of the published way: over the episodes of a batch, over the steps of an
episode, and over the planes of each action. The matrix of an action is made once for each batch.
Both ways have the same layers, loss and optimiser.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.batch import Batch
from mlvae.commands.benchmarks.machine import facts, line, timed
from mlvae.commands.benchmarks.tables import Rows, table
from mlvae.data import torus
from mlvae.models.rotations import Rotations, entanglement, planes
from mlvae.networks import MLP

__all__ = ["looped_loss", "measure", "report"]

#: By name: cells along each direction, dimensions of a state, actions of an episode, episodes.
KINDS = {
    "torus 5 x 5, 4 dimensions, 5 steps, 16 episodes": ((5, 5), 4, 5, 16),
    "torus 5 x 5, 4 dimensions, 10 steps, 64 episodes": ((5, 5), 4, 10, 64),
    "torus 5 x 5, 8 dimensions, 5 steps, 16 episodes": ((5, 5), 8, 5, 16),
}


def measure(
    device: torch.device, *, rounds: int, seconds: float, quick: bool = False
) -> dict[str, Any]:
    """Training steps per second of both ways, which take turns."""
    rows: Rows = []
    for kind, (size, dim, steps, episodes) in list(KINDS.items())[: 1 if quick else None]:
        data = torus(size=size, trajectories=episodes, steps=steps, validation=0, test=0).train.to(
            device
        )
        batch = data.batch()
        rates: dict[str, list[float]] = {}
        ways = {"loops": looped_loss, "library": lambda model, batch: model(batch).loss}
        steppers = {}
        for way, loss in ways.items():
            torch.manual_seed(0)
            model = Rotations(data.shape, latent_dim=dim, network=MLP((64,), "relu")).to(device)
            adam = torch.optim.Adam(model.parameters(), 1e-2)
            steppers[way] = _stepper(model, adam, batch, loss)
        for _ in range(rounds):
            for way, work in steppers.items():
                rates.setdefault(way, []).append(1 / timed(work, device, seconds=seconds))
        for way, values in rates.items():
            ratios = [a / b for a, b in zip(values, rates["loops"], strict=True)]
            row = {"data": kind, "way": way, "per_second": values, "times_the_loops": ratios}
            rows.append(row)
    return {**facts(device), "rows": rows}


def report(result: dict[str, Any]) -> str:
    """The result as a table."""
    title = "training steps of Rotations per second, beside loops over episodes, steps and planes"
    return f"{title}\n{line(result)}\n\n{table(result['rows'])}"


def _stepper(model: Rotations, adam: torch.optim.Optimizer, batch: Batch, loss: Any) -> Any:
    """A function that makes one training step."""

    def step() -> None:
        adam.zero_grad()
        loss(model, batch).backward()
        adam.step()

    return step


def looped_loss(model: Rotations, batch: Batch) -> Tensor:
    """The loss of Rotations for one-hot frames, written as loops."""
    angles, total = model.transition.table, batch.x.new_zeros(())
    actions = batch.given["action"].tolist()
    made: dict[int, Tensor] = {}
    steps = batch.x.shape[1] - 1
    for frames, chosen in zip(batch.x, actions, strict=True):
        raw = model.encoder(frames[:1])[0].mean[0]
        state = raw / raw.norm()
        for time in range(steps + 1):
            logits = model.decoder(state[None])[0, 0]
            total = total + functional.binary_cross_entropy_with_logits(logits, frames[time])
            if time < steps:
                action = chosen[time]
                if action not in made:
                    made[action] = _matrix(angles[action], model.latent_dim)
                state = made[action] @ state
    penalty = model.options.entanglement_weight * entanglement(angles)
    return total / (len(batch) * steps) + penalty


def _matrix(angles: Tensor, dim: int) -> Tensor:
    """The rotation of one action: a product over planes, one after the other."""
    matrix = torch.eye(dim, device=angles.device)
    for (i, j), angle in zip(planes(dim), angles, strict=True):
        plane = torch.eye(dim, device=angles.device)
        plane[i, i] = plane[j, j] = angle.cos()
        plane[i, j], plane[j, i] = -angle.sin(), angle.sin()
        matrix = matrix @ plane
    return matrix
