"""Classifiers of real observations, which read predicted ones.

A reader is trained on training observations and their labels. It then reads the label of a
decoded observation. A prediction is good if the reader reads the label as often as it reads that
of a real observation.

Shapes: N observations, L labels, ... one observation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.observations import as_floats
from mlvae.training.seeding import seeded

__all__ = ["Reader", "fit_reader"]

BATCH, RATE, DROPOUT = 256, 2e-3, 0.3

#: Smallest height and width of images that are read by convolutions.
LEAST_SIDE = 8


class Reader(nn.Module):
    """A classifier of observations of one shape.

    Images are read by three convolutions with a stride of 2; other observations by two hidden
    layers. Observations are standardised by the mean and the deviation of the training data.

    Args:
        shape: shape of one observation.
        labels: L.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: tuple[int, ...], labels: int) -> None:
        super().__init__()
        images = len(shape) == 3 and min(shape[1:]) >= LEAST_SIDE
        self.layers = _convolutions(shape, labels) if images else _hidden(shape, labels)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, L) of observations (N, ...)."""
        return self.layers((x - self.mean) / self.deviation)

    @torch.no_grad()
    def read(self, x: Tensor, *, chunk: int = 2048) -> Tensor:
        """The most probable label of each observation (N, ...), int64 (N,)."""
        self.eval()
        return torch.cat([self(as_floats(part)).argmax(1) for part in x.split(chunk)])


def fit_reader(x: Tensor, y: Tensor, labels: int, *, steps: int = 1500, seed: int = 0) -> Reader:
    """Train a reader by Adam; the rate falls to 0 as a cosine.

    Args:
        x: observations (N, ...), uint8 images or floats.
        y: labels, int64 (N,) in [0, L).
        labels: L.
        steps: number of steps of at most 256 observations.
        seed: seed of the weights and of the batches.

    Example:
        >>> x = torch.arange(40.0).view(40, 1) % 2
        >>> reader = fit_reader(x, x[:, 0].long(), 2, steps=50)
        >>> reader.read(torch.tensor([[0.0], [1.0]]))
        tensor([0, 1])
    """
    generator = seeded(torch.Generator(x.device), seed, "reader")
    with torch.random.fork_rng():
        seeded(torch.default_generator, seed, "initial weights of a reader")
        reader = Reader(tuple(x.shape[1:]), labels).to(x.device)
        some = as_floats(x[torch.randperm(len(x), generator=generator, device=x.device)[:4096]])
        reader.mean.copy_(some.mean())
        reader.deviation.copy_(some.std().clamp_min(1e-6))
        adam = torch.optim.Adam(reader.parameters(), lr=RATE)
        order = torch.empty(0, dtype=torch.int64, device=x.device)
        size = min(BATCH, len(x))
        reader.train()
        for step in range(steps):
            if len(order) < size:
                order = torch.randperm(len(x), generator=generator, device=x.device)
            rows, order = order[:size], order[size:]
            adam.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            loss = functional.cross_entropy(reader(as_floats(x[rows])), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return reader.eval()


def _convolutions(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    channels, *size = shape
    layers: list[nn.Module] = []
    for inputs, width, kernel in ((channels, 24, 5), (24, 48, 3), (48, 64, 3)):
        layers += [nn.Conv2d(inputs, width, kernel, 2, kernel // 2), nn.BatchNorm2d(width)]
        layers.append(nn.ReLU())
    features = 64 * math.prod(-(-side // 8) for side in size)
    return nn.Sequential(*layers, nn.Flatten(), *_head(features, labels))


def _hidden(shape: tuple[int, ...], labels: int) -> nn.Sequential:
    features = math.prod(shape)
    first = (nn.Flatten(), nn.Linear(features, 256), nn.BatchNorm1d(256), nn.ReLU())
    return nn.Sequential(*first, *_head(256, labels))


def _head(features: int, labels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Dropout(DROPOUT),
        nn.Linear(features, 256),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(256, labels),
    )
