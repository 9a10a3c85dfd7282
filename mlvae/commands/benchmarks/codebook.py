"""The speed of the S-VQ-VAE beside plain loops of its published objective and networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

import mlvae
from mlvae.commands.benchmarks.common import Images
from mlvae.commands.benchmarks.machine import facts
from mlvae.commands.benchmarks.recipes import AUTHOR, LABELS, Recipe
from mlvae.commands.benchmarks.training import COMMON, library_steps, rate, warm
from mlvae.data import GroupedData
from mlvae.likelihoods import Gaussian
from mlvae.networks import PlainConv

__all__ = ["PlainModel", "measure", "plain_steps"]

#: Dimensions of the published codes: 50 channels of 8x8.
DIM = 3200


@dataclass(frozen=True)
class Published(Recipe):
    """The published model of MNIST, as in experiment=mnist_svqvae."""

    name: str = "experiment=mnist_svqvae, batch 256"

    def model(self) -> Any:
        """A new model, on the CPU, which maps pixels in [0, 1] to [-1, 1]."""
        model = mlvae.models.SVQVAE(
            self.shape,
            group_names=range(LABELS),
            latent_dim=DIM,
            network=PlainConv(head=False),
            likelihood=Gaussian(),
            output_range=(-1, 1),
            standardise="range",
        )
        ends = torch.tensor([0.0, 1.0]).view(2, *[1] * len(self.shape))
        model.standardise.measure([ends.expand(2, *self.shape)])
        return model


class PlainModel(nn.Module):
    """The published networks and objective in plain PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 20, 5, 2), nn.ReLU(), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.Flatten()
        )
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (50, 8, 8)),
            nn.ConvTranspose2d(50, 20, 3, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(20, 1, 5),
            nn.Tanh(),
        )
        self.codebook = nn.Embedding(LABELS, DIM)
        self.codebook.weight.data.uniform_(-1 / LABELS, 1 / LABELS)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """The published loss, with beta 0.25 and lambda 0.1."""
        z = self.encoder(x).tanh()
        codes = self.codebook.weight
        distances = z.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * z @ codes.T
        found = distances.argmin(1)
        own, other = self.codebook(label), self.codebook(found)
        wrong = (found != label).to(z.dtype)[:, None]
        expected = self.decoder(z + (own - z).detach())
        loss = functional.mse_loss(expected, x)
        loss = loss + functional.mse_loss(own, z.detach())
        loss = loss + 0.25 * functional.mse_loss(z, own.detach())
        loss = loss - (wrong * (other - z.detach()).square()).mean()
        return loss - 0.1 * (wrong * (z - other.detach()).square()).mean()


def plain_steps(data: GroupedData, batch_size: int, *, loader: bool) -> Iterator[int]:
    """Train with a plain loop; yield the images of each step.

    Args:
        data: images in memory.
        batch_size: images of a step.
        loader: True: a DataLoader with a transform of each image, as in the notebook. False: rows
            of one tensor of floats in memory.
    """
    model = PlainModel().to(data.device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, amsgrad=True)
    for x, label in _batches(data, batch_size, loader):
        loss = model(2 * x.to(data.device) - 1, label.to(data.device))
        adam.zero_grad()
        loss.backward()
        adam.step()
        loss.item()
        yield len(x)


def _batches(data: GroupedData, size: int, loader: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images (n, 1, 28, 28) in [0, 1] and their labels (n,), epoch after epoch."""
    if loader:
        while True:
            yield from DataLoader(Images(data), batch_size=size, shuffle=True)
    assert isinstance(data.x, Tensor), "the images must be in memory"
    x, label = data.x.float() / 255, data.groups.index
    while True:
        for rows in torch.randperm(len(x), device=x.device).split(size):
            yield x[rows], label[rows]


def measure(
    device: torch.device, *, root: str | None, rounds: int, seconds: float, quick: bool
) -> dict[str, Any]:
    """Measure the loops and the library in turn."""
    recipe = Published(batch_size=16, images=64) if quick else Published()
    data, name = replace(AUTHOR, images=recipe.images).data(root)
    data = data.labelled(range(LABELS)).to(device)
    torch.manual_seed(0)
    ways = {
        COMMON: plain_steps(data, recipe.batch_size, loader=True),
        "plain loop, images in memory": plain_steps(data, recipe.batch_size, loader=False),
        "mlvae float32": library_steps(recipe, data, "float32"),
    }
    for steps in ways.values():
        warm(steps, data, min(1.0, seconds))
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, steps in ways.items():
            rates[way].append(rate(steps, seconds, device))
    common = rates[COMMON]
    return {
        "recipe": recipe.name,
        "data": name,
        **facts(device),
        "images_per_second": rates,
        "ratio_to_common_way": {
            way: [a / b for a, b in zip(found, common, strict=True)]
            for way, found in rates.items()
        },
    }
