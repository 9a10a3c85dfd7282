r"""Posteriors of single observations, improved by gradient steps of their own.

An encoder computes the posterior of an observation at once, and rather badly for observations that
are unlike those of its training. A model of which each observation has its own optimum, as LDA,
has no encoder. So their bounds compare only after the same work for each observation.

Shapes: N observations, D dimensions of a posterior.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.errors import check_integer, check_number
from mlvae.posteriors import DiagonalGaussian, Dirichlet

__all__ = ["refined"]

#: Smallest and largest concentration of a refined Dirichlet.
LEAST, MOST = 1e-5, 1e4


def refined(
    posterior: Dirichlet | DiagonalGaussian,
    log_likelihood: Callable[[Tensor], Tensor],
    *,
    steps: int = 50,
    rate: float = 0.1,
    generator: torch.Generator | None = None,
) -> Dirichlet | DiagonalGaussian:
    r"""Posteriors that have a higher evidence lower bound than those they begin from.

    .. math:: \max_{q_i} \; \mathbb E_{q_i(z)}[\log p(x_i \mid z)]
        - \mathrm{KL}(q_i(z) \,\|\, p(z))

    by stochastic gradient steps (Adam) on the parameters of each :math:`q_i`: the logarithm of the
    concentration, or the mean and the log-variance. The model does not change. The bound at the
    result, with new samples, is a bound on log p(x) as before (Y. Kim, S. Wiseman, A. C. Miller,
    D. Sontag, A. M. Rush: Semi-Amortized Variational Autoencoders. ICML 2018, arXiv:1802.02550,
    there in training too).

    Args:
        posterior: of the encoder, (N, D).
        log_likelihood: from values z (N, D) to :math:`\log p(x_i \mid z_i)` (N,) in nats.
        steps: number of steps; 0 returns the posterior.
        rate: learning rate, which falls linearly to 0.
        generator: source of the samples, on the device of the posterior; None is torch's own.

    Example:
        >>> def toward_one(z):
        ...     return -50 * (z - 1).square().sum(1)  # the optimum has the mean 0.990
        >>> start = DiagonalGaussian(torch.zeros(1, 1), torch.zeros(1, 1))
        >>> seeded = torch.Generator().manual_seed(0)
        >>> bool((refined(start, toward_one, steps=200, generator=seeded).mean - 1).abs() < 0.1)
        True
    """
    check_type("posterior", posterior, (Dirichlet, DiagonalGaussian), "a posterior")
    check_integer("steps", steps, minimum=0)
    check_number("rate", rate, minimum=0, exclusive=True)
    if steps == 0:
        return posterior
    leaf = _raw(posterior).detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        with torch.enable_grad():
            q = _of_raw(posterior, leaf)
            loss = (q.kl() - log_likelihood(q.sample(generator=generator))).sum()
            (leaf.grad,) = torch.autograd.grad(loss, leaf)
        optimizer.step()
    return _of_raw(posterior, leaf.detach())


def _raw(posterior: Dirichlet | DiagonalGaussian) -> Tensor:
    """The parameters that are real numbers, (N, D) or (N, 2 D)."""
    if isinstance(posterior, Dirichlet):
        return posterior.concentration.log()
    return torch.cat((posterior.mean, posterior.log_variance), 1)


def _of_raw(like: Dirichlet | DiagonalGaussian, raw: Tensor) -> Dirichlet | DiagonalGaussian:
    """The posteriors of the family and with the prior of ``like`` that have these parameters."""
    if isinstance(like, Dirichlet):
        return Dirichlet.unchecked(raw.exp().clamp(LEAST, MOST), like.prior_concentration)
    return DiagonalGaussian(*raw.chunk(2, 1))
