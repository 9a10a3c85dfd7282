"""What is trained in the measurements of speed: models, batch sizes, data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

import mlvae
from mlvae.data import GroupedData, Shuffled
from mlvae.networks import MLP, Conv

__all__ = ["AUTHOR", "LABELS", "RECIPES", "Recipe", "small"]

#: Of the data. So few that a batch has all of them nearly always: a CUDA graph serves one number.
LABELS = 10


MLP_OF_AUTHOR = MLP(hidden=(500,), activation="tanh", init="lecun")


@dataclass(frozen=True)
class Recipe:
    """A model and the batches it is trained on; by default that of the first author's MNIST code.

    Args:
        name: what the tables call it.
        batch_size: observations in a batch.
        network: of encoders and decoder.
        shape: of an observation.
        images: in the data, where they are random bytes.
        content_dim: dimensions of the content.
        style_dim: dimensions of the style.
    """

    name: str
    batch_size: int = 256
    network: MLP | Conv = MLP_OF_AUTHOR
    shape: tuple[int, ...] = (1, 28, 28)
    images: int = 50_000
    content_dim: int = 10
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
        """Random observations."""
        return Shuffled(self.batch_size)

    def data(self, root: str | None = None) -> tuple[GroupedData, str]:
        """MNIST's training images from ``root``, or random bytes with ten labels; and their name.

        MNIST is for recipes of its shape only.
        """
        if root is not None and self.shape == (1, 28, 28):
            return mlvae.data.mnist(root).train, "MNIST, 50,000 images"
        generator = torch.Generator().manual_seed(0)
        shape = (self.images, *self.shape)
        x = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        labels = torch.randint(LABELS, (self.images,), generator=generator)
        size = "x".join(map(str, self.shape[1:]))
        return GroupedData(x, labels), f"random bytes, {self.images:,} images of {size}"


#: configs/experiment/mnist_author.yaml in Python.
AUTHOR = Recipe("author's recipe, batch 256")

RECIPES = (
    AUTHOR,
    Recipe("author's MLP, batch 1,000", batch_size=1000),
    Recipe("author's MLP, batch 10,000", batch_size=10_000),
    Recipe("convolutional 64x64, batch 64", 64, Conv(), shape=(3, 64, 64), images=2000),
)


def small(recipe: Recipe) -> Recipe:
    """The same in little: to see that all runs. Its figures mean nothing."""
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
