"""A classifier of real observations, which reads predicted ones.

A reader is trained on real observations and their labels in several groupings. It then reads the
labels of a decoded observation. A prediction is good if the reader reads its labels as often as
those of a real observation.

Shapes: N observations, K groupings, L labels of a grouping, ... one observation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.observations import as_floats
from mlvae.training.seeding import default_generator, seeded

__all__ = ["Reader", "fit_reader"]

BATCH, RATE, DROPOUT, FEATURES = 256, 3e-3, 0.3, 256

#: Smallest height and width of images that are read by convolutions.
LEAST_SIDE = 8


class Reader(nn.Module):
    """A classifier of observations of one shape, with one output for each grouping.

    Images are read by three convolutions with a stride of 2; other observations by a hidden
    layer. Observations are standardised by the mean and the deviation of the training data.

    Args:
        shape: shape of one observation.
        sizes: number of labels L of each grouping.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: tuple[int, ...], sizes: Sequence[int]) -> None:
        super().__init__()
        images = len(shape) == 3 and min(shape[1:]) >= LEAST_SIDE
        self.trunk = _convolutions(shape) if images else _hidden(shape)
        self.heads = nn.ModuleList([nn.Linear(FEATURES, size) for size in sizes])
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits (N, L) of observations (N, ...) for each grouping."""
        features = self.trunk((x - self.mean) / self.deviation)
        return [head(features) for head in self.heads]

    @torch.no_grad()
    def read(self, x: Tensor, *, chunk: int = 2048) -> Tensor:
        """The most probable label of each observation (N, ...) by grouping, int64 (N, K)."""
        self.eval()
        parts = [self(as_floats(part)) for part in x.split(chunk)]
        return torch.cat([torch.stack([y.argmax(1) for y in part], 1) for part in parts])


def fit_reader(
    x: Tensor, labels: Tensor, sizes: Sequence[int], *, steps: int = 1500, seed: int = 0
) -> Reader:
    """Train a reader by Adam; the rate falls to 0 as a cosine.

    Args:
        x: observations (N, ...), uint8 images or floats.
        labels: int64 (N, K), each in [0, L); -1 for a missing label.
        sizes: L of each grouping.
        steps: number of steps of at most 256 observations.
        seed: seed of the weights, the batches and the dropout.

    Example:
        >>> x = torch.arange(40.0).view(40, 1) % 2
        >>> reader = fit_reader(x, x.long(), [2], steps=50)
        >>> reader.read(torch.tensor([[0.0], [1.0]]))
        tensor([[0],
                [1]])
    """
    generator = seeded(torch.Generator(x.device), seed, "reader")
    with torch.random.fork_rng():  # the initial weights and the dropout
        seeded(torch.default_generator, seed, "weights of a reader")
        if x.device.type == "cuda":  # its dropout draws from another generator
            seeded(default_generator(x.device), seed, "dropout of a reader")
        reader = Reader(tuple(x.shape[1:]), sizes).to(x.device)
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
            loss = _loss(reader(as_floats(x[rows])), labels[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    return reader.eval()


def _loss(logits: Sequence[Tensor], labels: Tensor) -> Tensor:
    """The cross-entropy of known labels, summed over groupings."""
    losses = [
        functional.cross_entropy(one, y, ignore_index=-1, reduction="sum")
        / (y >= 0).sum().clamp_min(1)
        for one, y in zip(logits, labels.T, strict=True)
    ]
    return torch.stack(losses).sum()


def _convolutions(shape: tuple[int, ...]) -> nn.Sequential:
    channels, *size = shape
    layers: list[nn.Module] = []
    for inputs, width, kernel in ((channels, 24, 5), (24, 48, 3), (48, 64, 3)):
        layers += [nn.Conv2d(inputs, width, kernel, 2, kernel // 2), nn.BatchNorm2d(width)]
        layers.append(nn.ReLU())
    features = 64 * math.prod(-(-side // 8) for side in size)
    last = (nn.Linear(features, FEATURES), nn.ReLU(), nn.Dropout(DROPOUT))
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(DROPOUT), *last)


def _hidden(shape: tuple[int, ...]) -> nn.Sequential:
    features = math.prod(shape)
    first = (nn.Flatten(), nn.Linear(features, FEATURES), nn.BatchNorm1d(FEATURES))
    return nn.Sequential(*first, nn.ReLU(), nn.Dropout(DROPOUT))
