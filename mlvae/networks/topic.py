r"""Networks for documents: a fully connected encoder, and topics as the only layer of the decoder.

Shapes: N documents, D dimensions of a posterior, L latent dimensions, P parameters of the
likelihood per element, E elements of an observation (words).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mlvae.errors import check_flag, check_number
from mlvae.networks.coders import ConditionalEncoder, Decoder, Encoder, Heads, SeparateEncoders
from mlvae.networks.mlp import MLP
from mlvae.networks.normalisation import BatchNorm
from mlvae.posteriors import DiagonalGaussian
from mlvae.posteriors.family import Head

__all__ = ["TopicMLP"]


@dataclass(frozen=True)
class TopicMLP:
    r"""The encoder of :class:`MLP`, and a decoder with one weight for each topic and word.

    The decoder is a product of experts, as in ProdLDA (A. Srivastava, C. Sutton: Autoencoding
    Variational Inference for Topic Models. ICLR 2017, arXiv:1703.01488):

    .. math:: a(z) = \mathrm{BatchNorm} \Bigl( \sum_{l = 1}^{L} z_l W_l \Bigr)

    with a row :math:`W_l` of E weights for each latent dimension. With a softmax, as of
    ``likelihood=multinomial``, topics multiply where in LDA they are mixed. The normalisation, of
    each element over a batch, keeps a training from a state in which all topics are equal.

    Args:
        hidden: widths of the encoder's hidden layers, each with a batch normalisation.
        activation: after each hidden layer, one of tanh, relu, gelu, silu, elu, softplus.
        shared: True: one trunk with a head for every posterior. False: a separate encoder for
            each.
        dropout: probability that a unit of the last hidden layer is dropped in training mode.
        softmax: whether the decoder makes shares of the latents by a softmax first, for models
            whose latents are any real numbers: a VAE is then a topic model with a logistic-normal
            posterior.

    Raises:
        InputError: if an option is out of range.
    """

    hidden: tuple[int, ...] = (256,)
    activation: str = "softplus"
    shared: bool = True
    dropout: float = 0.2
    softmax: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", self._mlp().hidden)  # it checks its options
        check_number("network.dropout", self.dropout, minimum=0, maximum=0.999)
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
            self._drop(one)
        return encoder

    def conditional_encoder(
        self, shape: Sequence[int], dim: int, context: int, family: Head = DiagonalGaussian
    ) -> ConditionalEncoder:
        """From ``shape`` and ``context`` known numbers to a posterior of ``dim`` dimensions."""
        encoder = self._mlp().conditional_encoder(shape, dim, context, family)
        self._drop(encoder)
        return encoder

    def _drop(self, encoder: nn.Module) -> None:
        """Append the dropout to the trunk of an encoder."""
        if self.dropout:
            assert isinstance(encoder.trunk, nn.Sequential)
            encoder.trunk.append(nn.Dropout(self.dropout))

    def decoder(self, latent_dim: int, shape: Sequence[int], outputs: int) -> Decoder:
        """From ``latent_dim`` latents to ``outputs`` parameters per element of ``shape``."""
        elements = outputs * math.prod(shape)
        topics = nn.Linear(latent_dim, elements, bias=False)
        nn.init.xavier_uniform_(topics.weight)
        first = [nn.Softmax(1)] if self.softmax else []
        return Decoder(nn.Sequential(*first), _Topics(topics, elements), (outputs, *shape))


class _Topics(nn.Module):
    """Weights of topics, and the normalisation of each element over a batch."""

    def __init__(self, topics: nn.Linear, elements: int) -> None:
        super().__init__()
        self.topics, self.norm = topics, BatchNorm(elements)

    def forward(self, shares: Tensor) -> Tensor:
        """Parameters (N, P * E) of shares (N, L)."""
        return self.norm(self.topics(shares))
