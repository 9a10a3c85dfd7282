"""Training costs that remove group information from the style, in addition to the bound.

The bound of the Multi-Level VAE does not penalise group information in the style. If the style
posterior depends on its own image only, the penalty is at most the information about the group in
nats, and the decoder may use content or style. The files define costs of one kind each. Costs are
in nats, except the kernel discrepancy. :class:`Separation` has the weights of the costs.
"""

from mlvae.costs.separation import Separation, Separators

__all__ = ["Separation", "Separators"]
