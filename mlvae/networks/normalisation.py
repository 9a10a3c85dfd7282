"""Batch normalisation of hidden units.

Shapes: N observations, H hidden units.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm"]


class BatchNorm(nn.BatchNorm1d):
    """:class:`torch.nn.BatchNorm1d` that also takes a training batch of one observation.

    In training mode the H units have the mean and the variance of the batch, and running averages
    are updated; in evaluation mode they have the running averages, so that an observation depends
    on no other one. One observation has no variance: it gets the running averages, which stay as
    they are. The averages are buffers, which a run saves and resumes.

    S. Ioffe, C. Szegedy: Batch Normalization. ICML 2015, arXiv:1502.03167.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised units (N, H)."""
        if self.training and len(input) == 1:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)
