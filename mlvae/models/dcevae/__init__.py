"""The disentangled causal effect VAE: what a row would be after an intervention."""

from mlvae.models.dcevae.dcevae import DCEVAE, DCEVAEOptions
from mlvae.models.dcevae.roles import Roles

__all__ = ["DCEVAE", "DCEVAEOptions", "Roles"]
