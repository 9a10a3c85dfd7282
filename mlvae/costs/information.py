r"""A critic that estimates the information of the style about the content, in nats.

The critic is a function :math:`T(s, c) = f(s) \cdot g(c) / \sqrt{E}` with two networks f and g of
E outputs. Of N pairs, its estimate is the mean of

.. math:: r_i = T(s_i, c_i) - \log \frac1N \sum_j e^{T(s_i, c_j)}

over i (A. van den Oord, Y. Li, O. Vinyals: Representation Learning with Contrastive Predictive
Coding. 2018, arXiv:1807.03748). The expectation is a lower bound of the mutual information I(s; c)
and at most log N. For the optimal T, :math:`r_i` tends to :math:`\log p(c_i \mid s_i) - \log
p(c_i)` (B. Poole et al.: On Variational Bounds of Mutual Information. ICML 2019,
arXiv:1905.06922). Every content of a batch is a negative example for every style, so the estimate
has less noise than that of a critic with one negative example.

A critic that learns from one batch at a time misses most of the information. So the critic also
learns from codes of past batches, with new posterior draws: :class:`CodeMemory`.

Shapes: N observations, M codes in the memory, C content and S style dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlvae.costs.critics import Reversal
from mlvae.noise import normal, uniform
from mlvae.posteriors import DiagonalGaussian

__all__ = ["CodeMemory", "InformationCritic"]

#: Number E of outputs of each network.
FEATURES = 64


class InformationCritic(nn.Module):
    """Estimates the information between style and content.

    Args:
        content_dim: number C of content dimensions.
        style_dim: number S of style dimensions.
        width: units of each hidden layer.
    """

    def __init__(self, content_dim: int, style_dim: int, width: int) -> None:
        super().__init__()
        self.of_style, self.of_content = _network(style_dim, width), _network(content_dim, width)

    def forward(self, style: Tensor, content: Tensor) -> Tensor:
        """The terms :math:`r_i` (N,) in nats of pairs of styles (N, S) and contents (N, C)."""
        with torch.autocast(style.device.type, enabled=False):  # small differences of logits
            dtype = next(self.parameters()).dtype
            left, right = self.of_style(style.to(dtype)), self.of_content(content.to(dtype))
            scores = left @ right.T / math.sqrt(FEATURES)
            return scores.diagonal() - scores.logsumexp(1) + math.log(len(scores))

    def losses(self, style: Tensor, content: Tensor, weight: float) -> Tensor:
        """Minus the terms (N,), with the gradient of the style multiplied by ``-weight``.

        The critic minimises them, so it maximises the estimate; the encoder minimises
        ``weight`` times the estimate. The content gets no gradient.
        """
        return -self(Reversal.apply(style, weight), content.detach())


class CodeMemory(nn.Module):
    """The style posteriors and contents of the last M observations of past batches.

    The buffers are part of the model's state, so a resumed training has the same memory.

    Args:
        length: number M of codes.
        content_dim: number C of content dimensions.
        style_dim: number S of style dimensions.

    Example:
        >>> memory = CodeMemory(100, content_dim=3, style_dim=2)
        >>> memory.write(DiagonalGaussian(torch.zeros(7, 2), torch.zeros(7, 2)), torch.ones(7, 3))
        >>> style, content = memory.draw(50)
        >>> style.shape, content.unique()
        (torch.Size([50, 2]), tensor([1.]))
    """

    written: Tensor
    mean: Tensor
    log_variance: Tensor
    content: Tensor

    def __init__(self, length: int, content_dim: int, style_dim: int) -> None:
        super().__init__()
        self.register_buffer("written", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(length, style_dim))
        self.register_buffer("log_variance", torch.zeros(length, style_dim))
        self.register_buffer("content", torch.zeros(length, content_dim))

    @torch.no_grad()
    def write(self, style: DiagonalGaussian, content: Tensor) -> None:
        """Store posteriors (N, S) and contents (N, C) in the place of the oldest ones."""
        length = len(self.mean)
        number = min(len(content), length)
        rows = torch.arange(number, device=content.device)
        rows = (rows + self.written).remainder(length)
        for stored, values in (
            (self.mean, style.mean),
            (self.log_variance, style.log_variance),
            (self.content, content),
        ):
            stored.index_copy_(0, rows, values[-number:].to(stored.dtype))
        self.written.add_(number)

    @torch.no_grad()
    def draw(
        self, number: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Random stored codes with a new draw of each style: (number, S), (number, C)."""
        filled = self.written.clamp(max=len(self.mean))
        share = uniform((number,), generator=generator, device=self.mean.device)
        rows = (share * filled).long().clamp(max=filled - 1)
        noise = normal(
            (number, self.mean.shape[1]), generator=generator, device=self.mean.device
        ).to(self.mean.dtype)
        style = self.mean[rows] + (0.5 * self.log_variance[rows]).exp() * noise
        return style, self.content[rows]


def _network(inputs: int, width: int) -> nn.Sequential:
    """Two hidden layers, from (N, inputs) to (N, E)."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, FEATURES),
    )
