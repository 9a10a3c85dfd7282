"""The reference of the benchmark: a training step as it is commonly written.

A DataLoader with a transform per image, one layer per head, a Python loop over the groups, eager
execution in float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor, nn
from torch.distributions import Normal
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from mlvae.commands.benchmarks.recipes import Recipe
from mlvae.data import GroupedData
from mlvae.networks import Encoder

__all__ = ["CommonModel", "common_steps"]


class Images(Dataset):
    """Images as torchvision's datasets return them: one at a time, through PIL and a transform."""

    def __init__(self, data: GroupedData) -> None:
        assert isinstance(data.x, Tensor), "the images must be in memory"
        self.images, self.labels = data.x.cpu(), data.groups.index.cpu()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        pixels = self.images[i].permute(1, 2, 0).numpy()
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return self.transform(image), int(self.labels[i])


class CommonModel(nn.Module):
    """The layers of a recipe, with one head for each mean and each log-variance."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        content, style, network = recipe.content_dim, recipe.style_dim, recipe.network
        assert isinstance(content, int), "the common way has one grouping"
        encoder = network.encoder(recipe.shape, (1,))
        decoder, other = (network.decoder(content + style, recipe.shape, 1) for _ in range(2))
        assert isinstance(encoder, Encoder)
        self.content_dim = content
        self.encode, self.decode = encoder.trunk, decoder.trunk
        width = encoder.heads.in_features
        self.style_mean, self.style_log_variance = (nn.Linear(width, style) for _ in range(2))
        self.content_mean, self.content_log_variance = (
            nn.Linear(width, content) for _ in range(2)
        )
        self.pixel_mean, self.pixel_log_variance = decoder.head, other.head

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """The loss: the negative mean of the group bounds."""
        h = self.encode(x)
        style_mean, style_log_variance = self.style_mean(h), self.style_log_variance(h)
        content, content_kl, num_groups = self._content(h, labels)
        style = style_mean + (0.5 * style_log_variance).exp() * torch.randn_like(style_mean)
        style_kl = 0.5 * (style_log_variance.exp() + style_mean**2 - 1 - style_log_variance).sum()
        h = self.decode(torch.cat((style, content), 1))
        std = (0.5 * self.pixel_log_variance(h).tanh()).exp()
        pixels = Normal(self.pixel_mean(h).flatten(1), std.flatten(1))
        log_likelihood = pixels.log_prob(x.flatten(1)).sum()
        return (content_kl + style_kl - log_likelihood) / num_groups

    def _content(self, h: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
        """A sample of the content for each image, the content KL in nats, the number of groups."""
        mean, log_variance = self.content_mean(h), self.content_log_variance(h)
        content = torch.empty(len(h), self.content_dim, device=h.device)
        content_kl = torch.zeros((), device=h.device)
        groups = labels.unique()
        for group in groups:
            members = (labels == group).nonzero()[:, 0]
            precision = (-log_variance[members]).exp()
            group_variance = 1 / precision.sum(0)
            group_mean = group_variance * (precision * mean[members]).sum(0)
            noise = torch.randn(len(members), self.content_dim, device=h.device)
            content[members] = group_mean + group_variance.sqrt() * noise
            kl = group_variance + group_mean**2 - 1 - group_variance.log()
            content_kl = content_kl + 0.5 * kl.sum()
        return content, content_kl, len(groups)


def common_steps(recipe: Recipe, data: GroupedData) -> Iterator[int]:
    """Train with DataLoader, loop over groups and Adam; yield the images of each step."""
    model = CommonModel(recipe).to(data.device)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    while True:
        for x, labels in DataLoader(Images(data), batch_size=recipe.batch_size, shuffle=True):
            loss = model(x.to(data.device), labels.to(data.device))
            adam.zero_grad()
            loss.backward()
            adam.step()
            loss.item()
            yield len(x)
