r"""A critic that estimates the information of the style about the content, in nats.

The critic is :math:`T(s, c) = b \tanh(f(s) \cdot g(c) / (b \sqrt{E}))`, with two networks
f and g of E outputs and the bound b. Of N pairs, its estimate is the mean of

.. math:: r_i = T(s_i, c_i) - \log \frac1N \sum_j e^{T(s_i, c_j)}

over i (A. van den Oord, Y. Li, O. Vinyals: Representation Learning with Contrastive Predictive
Coding. 2018, arXiv:1807.03748). The expectation is a lower bound of the mutual information I(s; c)
and at most log N. For the optimal T, :math:`r_i` tends to :math:`\log p(c_i \mid s_i) - \log
p(c_i)` (B. Poole et al.: On Variational Bounds of Mutual Information. ICML 2019,
arXiv:1905.06922). Every content of a batch is a negative example for every style, so the estimate
has less noise than that of a critic with one negative example.

A critic that learns as fast as the encoder misses most of the information: the encoder moves it to
where the critic does not look. So the critic has an optimiser of its own and takes several steps
at each step of the model, on codes of past batches with new posterior draws
(:class:`CodeMemory`).

Shapes: N observations, M codes in the memory, C content and S style dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlvae.noise import normal, uniform
from mlvae.posteriors import DiagonalGaussian

__all__ = ["CodeMemory", "InformationCritic"]

#: Number E of outputs of each network.
FEATURES = 64

#: Bound b of the scores. A critic of codes that have changed since is certain and wrong; bounded,
#: it has almost no gradient there.
BOUND = 3.0

#: Constants of Adam.
BETAS = (0.9, 0.999)


class InformationCritic(nn.Module):
    """Estimates the information between style and content, and learns by its own steps of Adam.

    Its weights and the averages of Adam are buffers: they are part of the model's state, and the
    optimiser of the model does not move them.

    Args:
        content_dim: number C of content dimensions.
        style_dim: number S of style dimensions.
        width: units of each hidden layer.
        rate: learning rate.
    """

    count: Tensor

    def __init__(
        self, content_dim: int, style_dim: int, width: int, *, rate: float = 1e-3
    ) -> None:
        super().__init__()
        self.rate = rate
        self.names = []
        for side, inputs in (("style", style_dim), ("content", content_dim)):
            for name, initial in _network(inputs, width).named_parameters():
                self.names.append(f"{side}_{name.replace('.', '_')}")
                self.register_buffer(self.names[-1], initial.detach().clone())
        for name in self.names:
            for average in ("first", "second"):
                zeros = torch.zeros_like(self.get_buffer(name))
                self.register_buffer(f"{name}_{average}", zeros)
        self.register_buffer("count", torch.zeros(()))

    def _buffers_of(self, suffix: str = "") -> list[Tensor]:
        """The weights, or an average of Adam of each of them."""
        return [self.get_buffer(name + suffix) for name in self.names]

    def forward(self, style: Tensor, content: Tensor) -> Tensor:
        """The terms :math:`r_i` (N,) in nats of pairs of styles (N, S) and contents (N, C)."""
        return _terms(self._buffers_of(), style, content)

    def learn(self, style: Tensor, content: Tensor) -> None:
        """Take a step of Adam that raises the estimate of pairs (N, S), (N, C).

        Kingma and Ba 2015, algorithm 1, with their constants.
        """
        weights = self._buffers_of()
        with torch.enable_grad():
            leaves = [weight.detach().requires_grad_() for weight in weights]
            loss = -_terms(leaves, style.detach(), content.detach()).mean()
            gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            self.count.add_(1)
            first, second = self._buffers_of("_first"), self._buffers_of("_second")
            corrections = [1 - beta**self.count for beta in BETAS]
            for weight, mean, square, gradient in zip(
                weights, first, second, gradients, strict=True
            ):
                mean.lerp_(gradient, 1 - BETAS[0])
                square.lerp_(gradient.square(), 1 - BETAS[1])
                scale = (square / corrections[1]).sqrt_().add_(1e-8)
                weight.sub_(self.rate * (mean / corrections[0]) / scale)


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
        filled = self.written.clamp(1, len(self.mean))  # an empty memory has one code, zero
        share = uniform((number,), generator=generator, device=self.mean.device)
        rows = (share * filled).long().minimum(filled - 1)
        noise = normal(
            (number, self.mean.shape[1]), generator=generator, device=self.mean.device
        ).to(self.mean.dtype)
        style = self.mean[rows] + (0.5 * self.log_variance[rows]).exp() * noise
        return style, self.content[rows]


def _terms(weights: Sequence[Tensor], style: Tensor, content: Tensor) -> Tensor:
    """The terms (N,) of a critic with the weights and biases of both networks."""
    half = len(weights) // 2
    with torch.autocast(style.device.type, enabled=False):  # small differences of logits
        left = _outputs(weights[:half], style.to(weights[0].dtype))
        right = _outputs(weights[half:], content.to(weights[0].dtype))
        scores = BOUND * (left @ right.T / (BOUND * math.sqrt(FEATURES))).tanh()
        return scores.diagonal() - scores.logsumexp(1) + math.log(len(scores))


def _outputs(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """The outputs (N, E) of a network with these weights and biases, for x (N, inputs)."""
    for layer in range(0, len(weights), 2):
        x = functional.linear(
            x if layer == 0 else functional.leaky_relu(x, 0.2), *weights[layer : layer + 2]
        )
    return x


def _network(inputs: int, width: int) -> nn.Sequential:
    """Linear layers with PyTorch's initial values: two hidden layers and E outputs."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, FEATURES)
    )
