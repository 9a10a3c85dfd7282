r"""Logarithms of Gamma variables, differentiable in the shape parameter.

The logarithm does not underflow: for a shape of 1e-5 a Gamma variable itself is 0 in float32.

Every element takes the same number of random numbers, whatever its shape parameter. So the noise
of a row does not depend on the other rows of a batch, and a share of a batch draws the rows of the
whole batch (:mod:`mlvae.noise`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.noise import normal, uniform

__all__ = ["log_gamma_approximate", "log_gamma_exact"]

#: Proposals of each element. One is accepted with a probability of at least .95, so all are
#: refused with a probability below 1e-10.
PROPOSALS = 8


def log_gamma_approximate(
    shape: Tensor, repetitions: tuple[int, ...], *, generator: torch.Generator | None = None
) -> Tensor:
    r"""The approximation of the inverse Gamma CDF that DirVAE uses, the log v of ``shape`` a.

    .. math:: v = (u \, a \, \Gamma(a))^{1/a}, \qquad u \sim U(0, 1)

    It inverts :math:`F(v) \approx v^a / (a \Gamma(a))`, the first term of the CDF for small v
    (Joo et al. 2019, arXiv:1901.02739; D. Knowles: Stochastic gradient variational Bayes for gamma
    approximating distributions. 2015, arXiv:1509.01631). Mean and variance are

    .. math:: \Gamma(a + 1)^{1/a} \frac{a}{a + 1}, \qquad
        \Gamma(a + 1)^{2/a} \left( \frac{a}{a + 2} - \frac{a^2}{(a + 1)^2} \right),

    far below those of the Gamma distribution, a and a, unless a is much smaller than 1.

    Args:
        shape: a, (..., N, D) with the rows of a batch on axis 0.
        repetitions: shape of independent repetitions, in front of that of ``shape``.
        generator: source of the noise.
    """
    noise = uniform(
        (*repetitions, *shape.shape),
        generator=generator,
        axis=len(repetitions),
        dtype=shape.dtype,
        device=shape.device,
    )
    return (torch.log1p(-noise) + torch.lgamma(shape + 1)) / shape


def log_gamma_exact(
    shape: Tensor, repetitions: tuple[int, ...], *, generator: torch.Generator | None = None
) -> Tensor:
    r"""The log v of exact Gamma variables of ``shape`` a and rate 1, with implicit gradients.

    .. math:: v = g \, u^{1/a}, \qquad g \sim \mathrm{Gamma}(a + 1), \quad u \sim U(0, 1)

    has the distribution Gamma(a). g is drawn by rejection (G. Marsaglia, W. Tsang: A Simple Method
    for Generating Gamma Variables. ACM TOMS 2000). Its gradient is the implicit one,
    :math:`-\partial_a F(g; a) / f(g; a)` (M. Figurnov, S. Mohamed, A. Mnih: Implicit
    Reparameterization Gradients. NeurIPS 2018, arXiv:1805.08498), from PyTorch.

    Arguments are those of :func:`log_gamma_approximate`.
    """
    options = {
        "generator": generator,
        "axis": len(repetitions),
        "dtype": shape.dtype,
        "device": shape.device,
    }
    full = (*repetitions, *shape.shape)
    proposal = normal((*full, PROPOSALS), **options)
    noise = torch.log1p(-uniform((*full, PROPOSALS + 1), **options))
    raised = (shape + 1).expand(full)
    with torch.no_grad():
        log_g = _accepted(raised, proposal, noise[..., 1:])
        g = log_g.exp()
        slope = _implicit_gradient(raised.contiguous(), g.contiguous()) / g
    # The value of the bracket is 0, its derivative 1.
    return log_g + (raised - raised.detach()) * slope + noise[..., 0] / shape


@torch.library.custom_op("mlvae::gamma_gradient", mutates_args=())
def _implicit_gradient(shape: Tensor, value: Tensor) -> Tensor:
    """The derivative of Gamma variables by their shape, opaque to the compiler."""
    return torch._standard_gamma_grad(shape, value)  # pyright: ignore[reportPrivateImportUsage]


@_implicit_gradient.register_fake
def _(shape: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(value)


def _accepted(shape: Tensor, proposal: Tensor, log_uniform: Tensor) -> Tensor:
    """The log g of Gamma variables of ``shape`` (...), at least 1: the first accepted proposal."""
    centre = (shape - 1 / 3)[..., None]
    step = proposal * (9 * centre).rsqrt()
    inside = step > -1
    log_cube = 3 * torch.log1p(step.masked_fill(~inside, 0))
    bound = 0.5 * proposal.square() + centre * (log_cube - log_cube.expm1())
    accepted = inside & (log_uniform <= bound)
    first = accepted.byte().argmax(-1, keepdim=True)
    # If all are refused, the first proposal is taken; outside of the domain it is the mode.
    return centre[..., 0].log() + log_cube.gather(-1, first)[..., 0]
