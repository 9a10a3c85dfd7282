"""Ways to keep the group out of the style, beyond what the bound asks for.

The bound of the Multi-Level VAE does not forbid a style that tells of its group. Where the style
posterior reads only its own image, that costs at most what the group is worth in nats, and a
decoder may use either. Each file has costs of one kind, in nats but for the kernel discrepancy;
:class:`Separation` says which of them a model pays, and how much.
"""

from mlvae.separation.separation import Separation, Separators

__all__ = ["Separation", "Separators"]
