"""The Multi-Level VAE: its options, its contents, nested priors, and the model."""

from mlvae.models.mlvae.model import MLVAE
from mlvae.models.mlvae.options import MLVAEOptions

__all__ = ["MLVAE", "MLVAEOptions"]
