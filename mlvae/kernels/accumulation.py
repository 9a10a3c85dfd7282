r"""The evidence of a batch added up within each group, as one kernel.

.. math:: \lambda_G = \sum_{i \in G} \lambda_i, \qquad
    \mu_G = \sum_{i \in G} \frac{\lambda_i}{\lambda_G} \mu_i, \qquad \lambda = e^{-\ell}

(Bouchacourt, Tomioka and Nowozin 2018, arXiv:1705.08841), and with
:math:`r_i = \lambda_i / \lambda_G = e^{\ell_G - \ell_i}` the gradient

.. math:: \frac{\partial \mu_G}{\partial \mu_i} = r_i, \qquad
    \frac{\partial \mu_G}{\partial \ell_i} = -r_i (\mu_i - \mu_G), \qquad
    \frac{\partial \ell_G}{\partial \ell_i} = r_i,

which needs no sum over members. It is what :class:`mlvae.evidence.Evidence` does by a maximum and
a segment sum, of which a CUDA device makes five kernels that are nothing but waiting.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

__all__ = ["accumulated", "worthwhile"]

#: Members are compared with every group, G N C times; beyond this a segment sum is faster.
MOST_COMPARED = 2**18


def worthwhile(mean: Tensor, num_groups: int) -> bool:
    """Whether ``mean`` (N, C) of so many groups is where this kernel is of use."""
    compared = mean.numel() * num_groups
    return mean.is_cuda and mean.dtype == torch.float32 and compared <= MOST_COMPARED


@torch.library.custom_op("mlvae::accumulated", mutates_args=())
def accumulated(
    log_variance: Tensor, mean: Tensor, index: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """Log-variance and mean of each group's product of Gaussians, (G, C) each.

    Args:
        log_variance: of each observation's Gaussian, float32 (N, C).
        mean: of the same.
        index: group of each observation, (N,).
        num_groups: G; a group without members has the prior, 0 and 0.
    """
    if mean.is_cuda:
        from mlvae.kernels import accumulation_triton

        return accumulation_triton.accumulated(log_variance, mean, index, num_groups)
    member = index == torch.arange(num_groups, device=index.device)[:, None]
    log_precision = torch.where(member[:, :, None], -log_variance, -torch.inf)
    total = log_precision.logsumexp(1)
    none = total == -torch.inf
    weight = log_precision.softmax(1).masked_fill(none[:, None], 0)
    return torch.where(none, 0, -total), (weight * mean).sum(1)


@accumulated.register_fake
def _(log_variance: Tensor, mean: Tensor, index: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    shape = num_groups, mean.shape[1]
    return mean.new_empty(shape), mean.new_empty(shape)


def _remember(ctx: FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output)


def _gradients(
    ctx: FunctionCtx, of_log_variance: Tensor, of_mean: Tensor
) -> tuple[Tensor | None, ...]:
    log_variance, mean, index, whole_log_variance, whole_mean = ctx.saved_tensors
    part = (whole_log_variance[index] - log_variance).exp()
    of_mean = part * of_mean[index]
    of_each = part * of_log_variance[index] - of_mean * (mean - whole_mean[index])
    return of_each, of_mean, None, None


accumulated.register_autograd(_gradients, setup_context=_remember)
