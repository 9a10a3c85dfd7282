r"""Networks for documents: a fully connected encoder, and topics as the only layer of the decoder.

Shapes: N documents, D dimensions of a posterior, L latent dimensions, P parameters of the
likelihood per element, E elements of an observation (words).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlvae.errors import InputError, check_choice, check_flag, check_number
from mlvae.networks.coders import ConditionalEncoder, Decoder, Encoder, Heads, SeparateEncoders
from mlvae.networks.mlp import MLP
from mlvae.networks.normalisation import BatchNorm
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Head

__all__ = ["TopicMLP"]

#: Deviation of the initial weights of a mixture. The normalisation divides by it, so that small
#: weights learn fast.
INITIAL = 0.1

#: Factor of the biases of a mixture, so that the frequencies of words are learned in the first
#: steps, and are no topics.
FREQUENCIES = 10.0

#: Added to the variance of a word's weights.
EPS = 1e-5

#: Smallest probability of a word, whose logarithm float32 has.
SMALLEST = 1e-30


@dataclass(frozen=True)
class TopicMLP:
    r"""The encoder of :class:`MLP`, and a decoder with one weight for each topic and word.

    The outputs of the encoder's heads have a batch normalisation, as in ProdLDA (below), so that
    documents differ in each topic from the first step on.

    The decoder "mixture" is that of latent Dirichlet allocation (D. M. Blei, A. Y. Ng, M. I.
    Jordan. JMLR 3, 2003): a document is a mixture of the topics' words,

    .. math:: a_v(z) = \log \sum_{l = 1}^{L} z_l \beta_{lv}, \qquad
        \beta_l = \mathrm{softmax}_v \Bigl( b_v + g_v \frac{W_{lv} - \bar W_v}{s_v} \Bigr)

    with the mean :math:`\bar W_v` and the deviation :math:`s_v` of a word's weights over the
    topics. So no training begins or ends with equal topics. With a softmax, as of
    ``likelihood=multinomial``, the shares of words are the mixture itself.

    The decoder "product" is a product of experts, as in ProdLDA (A. Srivastava, C. Sutton:
    Autoencoding Variational Inference for Topic Models. ICLR 2017, arXiv:1703.01488): topics
    multiply where in LDA they are mixed,

    .. math:: a(z) = \mathrm{BatchNorm} \Bigl( \sum_{l = 1}^{L} z_l W_l \Bigr)

    Args:
        hidden: widths of the encoder's hidden layers, each with a batch normalisation.
        activation: after each hidden layer, one of tanh, relu, gelu, silu, elu, softplus.
        shared: True: one trunk with a head for every posterior. False: a separate encoder for
            each.
        dropout: probability that a unit of the last hidden layer is dropped in training mode.
        mixing: of the decoder: "mixture", for latents that are shares
            (:class:`~mlvae.models.DirVAE`), or "product", for any latents.
        softmax: whether the decoder makes shares of the latents by a softmax first, for models
            whose latents are any real numbers: a VAE is then a topic model with a logistic-normal
            posterior.

    Raises:
        InputError: if an option is out of range; of the decoder, on the host, if latents of a
            mixture are below 0.
    """

    hidden: tuple[int, ...] = (256,)
    activation: str = "softplus"
    shared: bool = True
    dropout: float = 0.2
    mixing: str = "mixture"
    softmax: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", self._mlp().hidden)  # it checks its options
        check_number("network.dropout", self.dropout, minimum=0, maximum=0.999)
        check_choice("network.mixing", self.mixing, MIXINGS)
        check_flag("network.softmax", self.softmax)

    def _mlp(self) -> MLP:
        return MLP(self.hidden, self.activation, self.shared, batch_norm=True)

    def encoder(
        self, shape: Sequence[int], dims: Sequence[int], family: Heads = DiagonalGaussian
    ) -> Encoder | SeparateEncoders:
        """From observations of ``shape`` to one posterior of ``family`` for each of ``dims``."""
        encoder = self._mlp().encoder(shape, dims, family)
        each = encoder.encoders if isinstance(encoder, SeparateEncoders) else [encoder]
        for one in each:
            self._finish(one)
        return encoder

    def conditional_encoder(
        self, shape: Sequence[int], dim: int, context: int, family: Head = DiagonalGaussian
    ) -> ConditionalEncoder:
        """From ``shape`` and ``context`` known numbers to a posterior of ``dim`` dimensions."""
        encoder = self._mlp().conditional_encoder(shape, dim, context, family)
        self._finish(encoder)
        return encoder

    def _finish(self, encoder: nn.Module) -> None:
        """Append the dropout to the trunk of an encoder, and the normalisation to its heads."""
        if self.dropout:
            assert isinstance(encoder.trunk, nn.Sequential)
            encoder.trunk.append(nn.Dropout(self.dropout))
        linear = encoder.heads
        assert isinstance(linear, nn.Linear)
        encoder.heads = nn.Sequential(linear, BatchNorm(linear.out_features))  # type: ignore

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> Decoder:
        """From ``latent_dim`` latents to ``outputs`` parameters per element of ``shape``."""
        elements = outputs * math.prod(shape)
        first = [nn.Softmax(1)] if self.softmax else []
        head = MIXINGS[self.mixing](latent_dim, elements)
        return Decoder(nn.Sequential(*first), head, (outputs, *shape))


class _Product(nn.Module):
    """Weights of topics, and the normalisation of each element over a batch."""

    def __init__(self, topics: int, elements: int) -> None:
        super().__init__()
        self.topics = nn.Linear(topics, elements, bias=False)
        nn.init.xavier_uniform_(self.topics.weight)
        self.norm = BatchNorm(elements)

    def forward(self, shares: Tensor) -> Tensor:
        """Parameters (N, P * E) of shares (N, L)."""
        return self.norm(self.topics(shares))


class _Mixture(nn.Module):
    """Topics as distributions over the elements, and logarithms of their mixtures."""

    def __init__(self, topics: int, elements: int) -> None:
        super().__init__()
        self.topics = nn.Parameter(INITIAL * torch.randn(topics, elements))
        self.scale = nn.Parameter(torch.ones(elements))
        self.bias = nn.Parameter(torch.zeros(elements))

    def forward(self, shares: Tensor) -> Tensor:
        """Parameters (N, P * E) of shares (N, L)."""
        on_host = not torch.compiler.is_compiling() and shares.device.type == "cpu"
        if on_host and bool((shares < 0).any()):
            raise InputError(
                "model.network.mixing=mixture needs latents that are shares, not below 0: "
                f"{float(shares.min()):g}; set model.network.mixing=product, or "
                "model.network.softmax=true"
            )
        variance, mean = torch.var_mean(self.topics, 0, correction=0, keepdim=True)
        normal = (self.topics - mean) * (variance + EPS).rsqrt()
        words = (FREQUENCIES * self.bias + self.scale * normal).softmax(1)
        return (shares @ words).clamp_min(SMALLEST).log()


MIXINGS: dict[str, type[nn.Module]] = {"mixture": _Mixture, "product": _Product}
