"""Models: each returns an objective for a batch, and can be rebuilt from plain values.

:mod:`mlvae.models.protocol` describes the interface of a model.
"""

from mlvae.models.ada import AdaVAE
from mlvae.models.building import MODELS, build, plain_vae, rebuilt
from mlvae.models.conditional import ConditionalVAE
from mlvae.models.dcevae import DCEVAE, Roles
from mlvae.models.dirvae import DirVAE
from mlvae.models.mlvae import MLVAE
from mlvae.models.protocol import Model, Traits, traits
from mlvae.models.rotations import Rotations
from mlvae.models.standardise import Standardise
from mlvae.models.svqvae import SVQVAE
from mlvae.models.vae import VAE
from mlvae.models.vsae import VSAE

__all__ = [
    "DCEVAE",
    "MLVAE",
    "MODELS",
    "SVQVAE",
    "VAE",
    "VSAE",
    "AdaVAE",
    "ConditionalVAE",
    "DirVAE",
    "Model",
    "Roles",
    "Rotations",
    "Standardise",
    "Traits",
    "build",
    "plain_vae",
    "rebuilt",
    "traits",
]
