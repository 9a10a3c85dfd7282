"""The variational selective auto-encoder: rows of a table with missing cells."""

from mlvae.models.vsae.vsae import VSAE, VSAEOptions

__all__ = ["VSAE", "VSAEOptions"]
