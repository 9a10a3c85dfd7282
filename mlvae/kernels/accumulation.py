r"""Evidence of a batch accumulated within each group, as one kernel.

.. math:: \lambda_G = \sum_{i \in G} \lambda_i, \qquad
    \mu_G = \sum_{i \in G} \frac{\lambda_i}{\lambda_G} \mu_i, \qquad \lambda = e^{-\ell}

(Bouchacourt, Tomioka and Nowozin 2018, arXiv:1705.08841). With
:math:`r_i = \lambda_i / \lambda_G = e^{\ell_G - \ell_i}`, the gradient is

.. math:: \frac{\partial \mu_G}{\partial \mu_i} = r_i, \qquad
    \frac{\partial \mu_G}{\partial \ell_i} = -r_i (\mu_i - \mu_G), \qquad
    \frac{\partial \ell_G}{\partial \ell_i} = r_i.

It needs no sum over members. :meth:`mlvae.evidence.Evidence.posterior_of` computes the same by a
segment maximum and a segment sum. On a CUDA device these are five kernels, and their launches take
longer than their work.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

__all__ = ["accumulated", "applies", "worthwhile"]

#: Largest number of comparisons of members with groups, G N C. A segment sum is faster above it.
MOST_MEMBERSHIP_TESTS = 2**18


def applies(mean: Tensor, num_groups: int) -> bool:
    """Return whether a compiled model uses this kernel for ``mean`` (N, C)."""
    return torch.compiler.is_compiling() and worthwhile(mean, num_groups)


def worthwhile(mean: Tensor, num_groups: int) -> bool:
    """Return whether this kernel is faster than a segment sum for ``mean`` (N, C)."""
    tests = mean.numel() * num_groups
    return mean.is_cuda and mean.dtype == torch.float32 and tests <= MOST_MEMBERSHIP_TESTS


@torch.library.custom_op("mlvae::accumulated", mutates_args=())
def accumulated(
    log_variance: Tensor, mean: Tensor, index: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """Return log-variance and mean of each group's product of Gaussians, (G, C) each.

    Args:
        log_variance: of the Gaussian of each observation, float32 (N, C).
        mean: of the Gaussian of each observation, float32 (N, C).
        index: group of each observation, (N,).
        num_groups: number G of groups. A group without members has the prior: log-variance 0 and
            mean 0.
    """
    if mean.is_cuda:
        from mlvae.kernels import accumulation_triton

        return accumulation_triton.accumulated(log_variance, mean, index, num_groups)
    member = index == torch.arange(num_groups, device=index.device)[:, None]
    log_precision = torch.where(member[:, :, None], -log_variance, -torch.inf)
    total = log_precision.logsumexp(1)
    empty = total == -torch.inf
    weight = log_precision.softmax(1).masked_fill(empty[:, None], 0)
    return torch.where(empty, 0, -total), (weight * mean).sum(1)


@accumulated.register_fake
def _(log_variance: Tensor, mean: Tensor, index: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    shape = num_groups, mean.shape[1]
    return mean.new_empty(shape), mean.new_empty(shape)


class _Context(FunctionCtx):
    """Inputs and outputs that the forward pass saves for the backward pass."""

    saved_tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _save(ctx: _Context, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3], *output)


def _gradients(
    ctx: _Context, group_log_variance_gradient: Tensor, group_mean_gradient: Tensor
) -> tuple[Tensor | None, ...]:
    log_variance, mean, index, group_log_variance, group_mean = ctx.saved_tensors
    ratio = (group_log_variance[index] - log_variance).exp()
    mean_gradient = ratio * group_mean_gradient[index]
    log_variance_gradient = ratio * group_log_variance_gradient[index]
    log_variance_gradient = log_variance_gradient - mean_gradient * (mean - group_mean[index])
    return log_variance_gradient, mean_gradient, None, None


accumulated.register_autograd(_gradients, setup_context=_save)
