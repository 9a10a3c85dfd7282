"""Networks: from observations to posteriors, and from latents to a likelihood's parameters.

A network is a small frozen record (:class:`MLP`, :class:`Conv`, :class:`Conv1d`,
:class:`ConvMLP`, :class:`PlainConv`, :class:`TopicMLP`) that builds an encoder and a decoder for
the shape of an observation. So a model can be saved and rebuilt from plain values.
:class:`Network` describes a network of your own.
"""

from mlvae.networks.coders import (
    ACTIVATIONS,
    ConditionalEncoder,
    Decoder,
    Encoder,
    SeparateEncoders,
)
from mlvae.networks.conv import Conv
from mlvae.networks.conv1d import Conv1d
from mlvae.networks.hybrid import ConvMLP
from mlvae.networks.mlp import MLP
from mlvae.networks.plain_conv import PlainConv
from mlvae.networks.protocol import ConditionalNetwork, Network
from mlvae.networks.topic import TopicMLP

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
    "ConditionalEncoder",
    "ConditionalNetwork",
    "Conv",
    "Conv1d",
    "ConvMLP",
    "Decoder",
    "Encoder",
    "Network",
    "PlainConv",
    "SeparateEncoders",
    "TopicMLP",
]

NETWORKS = (MLP, Conv, Conv1d, ConvMLP, PlainConv, TopicMLP)
