"""Models, batch sizes and data of the measurements of speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

import mlvae
from mlvae.data import GroupedData, Shuffled
from mlvae.networks import MLP, Conv

__all__ = ["AUTHOR", "LABELS", "RECIPES", "Recipe", "small"]

#: Groups of the random data. A CUDA graph is valid for one number of groups; with ten, nearly
#: every batch contains all groups.
LABELS = 10

#: The network of the first author's MNIST code.
MLP_OF_AUTHOR = MLP(hidden=(500,), activation="tanh", init="lecun")


@dataclass(frozen=True)
class Recipe:
    """A model and its batches; the defaults are those of the first author's MNIST code.

    Args:
        name: name in the tables.
        batch_size: observations in a batch.
        network: network of encoders and decoder.
        shape: shape of an observation.
        images: number of images of random data.
        content_dim: dimensions of the content, or of the content of each grouping.
        style_dim: dimensions of the style.
    """

    name: str
    batch_size: int = 256
    network: MLP | Conv = MLP_OF_AUTHOR
    shape: tuple[int, ...] = (1, 28, 28)
    images: int = 50_000
    content_dim: int | Mapping[str, int] = 10
    style_dim: int = 10

    def model(self) -> mlvae.models.MLVAE:
        """A new model, on the CPU."""
        return mlvae.models.MLVAE(
            self.shape,
            content_dim=self.content_dim,
            style_dim=self.style_dim,
            network=self.network,
            likelihood=mlvae.likelihoods.LearnedGaussian(-1.0, 1.0),
        )

    @property
    def batching(self) -> Shuffled:
        """Batches of random observations."""
        return Shuffled(self.batch_size)

    def data(self, root: str | None = None) -> tuple[GroupedData, str]:
        """MNIST's training images from ``root``, or random bytes with ten labels; and a name.

        A recipe of another shape than MNIST's uses random bytes in any case.
        """
        if root is not None and self.shape == (1, 28, 28):
            return mlvae.data.mnist(root).train, "MNIST, 50,000 images"
        generator = torch.Generator().manual_seed(0)
        shape = (self.images, *self.shape)
        x = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        labels = torch.randint(LABELS, (self.images,), generator=generator)
        size = "x".join(map(str, self.shape[1:]))
        return GroupedData(x, labels), f"random bytes, {self.images:,} images of {size}"


#: The recipe of configs/experiment/mnist_author.yaml.
AUTHOR = Recipe("author's recipe, batch 256")

RECIPES = (
    AUTHOR,
    Recipe("author's MLP, batch 1,000", batch_size=1000),
    Recipe("author's MLP, batch 10,000", batch_size=10_000),
    Recipe("convolutional 64x64, batch 64", 64, Conv(), shape=(3, 64, 64), images=2000),
)


def small(recipe: Recipe) -> Recipe:
    """A tiny version for a quick check; its figures have no meaning."""
    mlp = isinstance(recipe.network, MLP)
    network = MLP((16,), "tanh") if mlp else Conv((4, 8), activation="tanh")
    return replace(
        recipe,
        name=f"tiny: {recipe.name}",
        batch_size=max(8, recipe.batch_size // 64),
        network=network,
        shape=(recipe.shape[0], 8, 8),
        images=320,
    )
