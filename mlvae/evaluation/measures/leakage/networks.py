"""Probes that are networks: logistic regression and MLPs, several trained as one.

Networks of equal shapes are slices of the same tensors, so one batched product evaluates all.
The codes are drawn anew in every epoch: a probe that sees one draw of a posterior fits its noise.

Shapes: S networks, M codes, D dimensions, L labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.evaluation.measures.leakage.drawn import Drawn, Scale
from mlvae.training.seeding import seeded

__all__ = ["Fit", "Network", "Schedule", "fit_networks"]

BATCH = 256


class Schedule(NamedTuple):
    """Length of the training of a network.

    Attributes:
        epochs: passes over the codes, each with new draws.
        least: smallest number of steps, for few codes.
        most: largest number of steps, for many codes.
        checks: number of evaluations of the held-out codes, at equal distances. The weights of
            the lowest held-out cross-entropy are kept.
        rate: learning rate of Adam at the first step; it falls to 0 as a cosine.
    """

    epochs: int = 60
    least: int = 400
    most: int = 4000
    checks: int = 40
    rate: float = 2e-3

    def steps(self, codes: int) -> int:
        """Number of steps for a number of training codes."""
        return min(max(self.epochs * codes // BATCH, self.least), self.most)


class Fit(NamedTuple):
    """Codes of one probe: to train on, and held out to choose the weights."""

    train: Drawn
    held: Drawn
    labels: int
    seed: int


class Network:
    """A trained probe.

    Args:
        scale: standardisation of the codes.
        weights: weight and bias of each layer.
        held_out: cross-entropy of the held-out codes in nats.
    """

    def __init__(self, scale: Scale, weights: list[Tensor], held_out: float) -> None:
        self.scale, self.weights, self.held_out = scale, weights, held_out

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Logarithm of the probability of each label, (M, L), for codes (M, D)."""
        with torch.no_grad():
            x = _forward(self.weights, self.scale(x.float())[None])[0]
            return x.double().log_softmax(-1)


def fit_networks(fits: Sequence[Fit], hidden: Sequence[int], schedule: Schedule) -> list[Network]:
    """Train a network for each of ``fits``, all at once.

    Args:
        fits: codes of the probes; D, L and the numbers of codes are the same for all.
        hidden: units of the hidden layers; none is multinomial logistic regression.
        schedule: length of the training.
    """
    noise = [seeded(torch.Generator(fit.train.labels.device), fit.seed, "probe") for fit in fits]
    sizes = (fits[0].train.dim, *hidden, fits[0].labels)
    weights = _initial(fits, sizes)
    scales = [Scale.of(fit.train.draw(n)) for fit, n in zip(fits, noise, strict=True)]
    held = [fit.held.draws(4, n) for fit, n in zip(fits, noise, strict=True)]
    held_x = torch.stack([scale(x) for scale, (x, _) in zip(scales, held, strict=True)])
    held_y = torch.stack([y for _, y in held])
    adam = torch.optim.Adam(weights, lr=schedule.rate, fused=True)
    best = torch.full((len(fits),), math.inf, device=held_x.device)
    kept = [weight.detach().clone() for weight in weights]
    step, last = 0, schedule.steps(len(fits[0].train))
    every = max(1, last // schedule.checks)
    while step < last:
        for x, y in _epoch(fits, scales, noise):
            rate = schedule.rate * 0.5 * (1 + math.cos(math.pi * step / last))
            adam.param_groups[0]["lr"] = rate
            loss = functional.cross_entropy(_forward(weights, x).flatten(0, 1), y.flatten())
            adam.zero_grad()
            (len(fits) * loss).backward()  # each network has the gradient of its own mean
            adam.step()
            step += 1
            if step % every == 0 or step == last:
                best = _keep(weights, kept, best, held_x, held_y)
            if step == last:
                break
    return [
        Network(scales[i], [weight[i : i + 1] for weight in kept], float(best[i]))
        for i in range(len(fits))
    ]


def _initial(fits: Sequence[Fit], sizes: Sequence[int]) -> list[Tensor]:
    """Weights (S, in, out) and biases (S, 1, out) of the layers, with PyTorch's initial values."""
    weights: list[Tensor] = []
    device = fits[0].train.labels.device
    draws = [seeded(torch.Generator(), fit.seed, "initial weights of a probe") for fit in fits]
    for inputs, outputs in pairwise(sizes):
        for shape in ((inputs, outputs), (1, outputs)):
            values = torch.stack([torch.rand(shape, generator=draw) for draw in draws])
            weights.append(((2 * values - 1) / math.sqrt(inputs)).to(device).requires_grad_())
    return weights


def _forward(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Logits (S, M, L) of codes (S, M, D)."""
    last = len(weights) - 2
    for layer in range(0, len(weights), 2):
        x = torch.baddbmm(weights[layer + 1], x, weights[layer])
        x = x if layer == last else x.relu()
    return x


def _epoch(
    fits: Sequence[Fit], scales: Sequence[Scale], noise: Sequence[torch.Generator]
) -> Iterator[tuple[Tensor, Tensor]]:
    """New draws of the codes in a random order, in batches (S, B, D) with their labels (S, B)."""
    parts = list(zip(fits, scales, noise, strict=True))
    orders = [torch.randperm(len(fit.train), generator=n, device=n.device) for fit, _, n in parts]
    codes = [fit.train.draw(n) for fit, _, n in parts]
    for start in range(0, len(orders[0]), BATCH):
        rows = [order[start : start + BATCH] for order in orders]
        yield (
            torch.stack([scales[i](codes[i][row]) for i, row in enumerate(rows)]),
            torch.stack([fits[i].train.y[row] for i, row in enumerate(rows)]),
        )


@torch.no_grad()
def _keep(
    weights: Sequence[Tensor], kept: Sequence[Tensor], best: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """Copy the weights of the networks whose held-out cross-entropy is the lowest so far."""
    loss = functional.cross_entropy(
        _forward(weights, x).flatten(0, 1), y.flatten(), reduction="none"
    )
    loss = loss.view(len(x), -1).mean(1)
    better = loss < best
    for target, weight in zip(kept, weights, strict=True):
        target[better] = weight[better]
    return torch.where(better, loss, best)
