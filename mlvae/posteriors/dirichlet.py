"""Dirichlet distributions: latents on the simplex.

Shapes: ... any leading shape (observations or groups), N observations, G groups, K components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from mlvae.arguments import check_floats, check_type
from mlvae.errors import InputError, check_choice, check_number, shown
from mlvae.groups import Groups
from mlvae.noise import per_group
from mlvae.posteriors.gamma import log_gamma_approximate, log_gamma_exact
from mlvae.posteriors.gaussian import (
    DiagonalGaussian,
    Rows,
    check_parts_of,
    expands,
    sample_shape,
)

__all__ = ["DIVERGENCES", "SAMPLERS", "Dirichlet", "EvidenceHead"]

#: Concentrations of a network's head are at least the first and at most the second.
LEAST, MOST = 1e-5, 1e4

SAMPLERS = {"implicit": log_gamma_exact, "approximate": log_gamma_approximate}
DIVERGENCES = ("dirichlet", "gamma")


class Dirichlet:
    r"""A family of posteriors on the simplex: K shares that are positive and have the sum 1.

    .. math:: \mathrm{Dir}(z; a) = \frac{\Gamma(a_0)}{\prod_k \Gamma(a_k)}
        \prod_k z_k^{a_k - 1}, \qquad a_0 = \sum_k a_k

    Normalised Gamma variables :math:`v_k \sim \mathrm{Gamma}(a_k, 1)` have this distribution,
    :math:`z_k = v_k / \sum_j v_j`. Values and gradients are finite in float32 for concentrations
    from 1e-5 to 1e4. Half-precision concentrations become float32.

    Args:
        concentration: :math:`a`, positive, shape (..., K).
        prior: concentration of the prior: a positive number for all components, or (K,).

    Attributes:
        parameters_per_dim: 1; a network's head gives the concentration.
        random: True; two samples differ.
        simplex: True; the components of a value have the sum 1.
        prior_concentration: concentration of the prior, (K,).

    Raises:
        InputError: if the concentrations are not tensors of positive floats.

    Example:
        >>> q = Dirichlet(torch.tensor([[1.0, 2.0, 1.0]]))
        >>> q.mean
        tensor([[0.2500, 0.5000, 0.2500]])
        >>> q.sample().sum(1)
        tensor([1.])
    """

    parameters_per_dim: ClassVar[int] = 1
    random: ClassVar[bool] = True
    simplex: ClassVar[bool] = True

    def __init__(self, concentration: Tensor, prior: float | Tensor = 1.0) -> None:
        check_floats("concentration", concentration, "(..., K)")
        if not _positive(concentration):
            raise InputError(
                "concentration must be positive and finite, not in "
                f"[{float(concentration.min()):g}, {float(concentration.max()):g}]"
            )
        if isinstance(prior, Tensor):
            check_floats("prior", prior, "(K,)", ndim=1)
            if prior.shape[0] != concentration.shape[-1] or not _positive(prior):
                raise InputError(
                    f"prior must be {concentration.shape[-1]} positive numbers, one for each "
                    f"component, not {shown(prior)}"
                )
        else:
            check_number("prior", prior, minimum=0, exclusive=True)
            prior = concentration.new_full(concentration.shape[-1:], float(prior))
        self._set(concentration, prior)

    def _set(self, concentration: Tensor, prior: Tensor) -> None:
        half = (torch.bfloat16, torch.float16)
        self.concentration = (
            concentration.float() if concentration.dtype in half else concentration
        )
        self.prior_concentration = prior.to(self.concentration)

    @classmethod
    def unchecked(cls, concentration: Tensor, prior: Tensor) -> Dirichlet:
        """Distributions without checks of the values, which would wait for a device.

        Args:
            concentration: as above, (..., K).
            prior: concentration of the prior, (K,).
        """
        made = cls.__new__(cls)
        made._set(concentration, prior)
        return made

    @classmethod
    def from_raw(cls, raw: Tensor) -> Dirichlet:
        r"""The distributions that the outputs ``raw`` (N, K) of a network's head describe.

        The concentration is :math:`\operatorname{softplus}(r) + 10^{-5}`, at most
        :math:`10^4`. The prior has the concentration 1; see :meth:`with_prior`.
        """
        check_floats("raw", raw, "(N, K)", ndim=2)
        raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
        concentration = (functional.softplus(raw) + LEAST).clamp(max=MOST)
        return cls.unchecked(concentration, concentration.new_ones(raw.shape[1]))

    @classmethod
    def cat(cls, parts: Sequence[Dirichlet]) -> Dirichlet:
        """The rows of all ``parts``, one after the other; all have the prior of the first."""
        check_parts_of(cls, parts)
        whole = torch.cat([part.concentration for part in parts])
        return cls.unchecked(whole, parts[0].prior_concentration)

    def with_prior(self, prior: Tensor) -> Dirichlet:
        """The same distributions with another prior, (K,)."""
        return Dirichlet.unchecked(self.concentration, prior)

    def prior_rows(self, number: int) -> Dirichlet:
        """The prior, ``number`` times: (number, K)."""
        prior = self.prior_concentration
        return Dirichlet.unchecked(prior.expand(number, -1), prior)

    def __repr__(self) -> str:
        return (
            f"Dirichlet(shape={tuple(self.concentration.shape)}, dtype={self.concentration.dtype})"
        )

    def __len__(self) -> int:
        return len(self.concentration)

    def __getitem__(self, rows: Rows) -> Dirichlet:
        """The distributions at ``rows`` of the leading shape; an index tensor may repeat rows."""
        return Dirichlet.unchecked(self.concentration[rows], self.prior_concentration)

    def to(self, target: torch.dtype | torch.device | str) -> Dirichlet:
        """The distributions with concentrations of another dtype or on another device."""
        return Dirichlet.unchecked(
            self.concentration.to(target), self.prior_concentration.to(target)
        )

    @property
    def mean(self) -> Tensor:
        r"""Expected shares :math:`m_k = a_k / a_0`, shape (..., K)."""
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def log_variance(self) -> Tensor:
        r"""Logarithm of the variance :math:`m_k (1 - m_k) / (a_0 + 1)` of each share, (..., K)."""
        total = self.concentration.sum(-1, keepdim=True)
        # A share of 1 up to rounding has a variance below the smallest difference from 1.
        rest = (total - self.concentration).clamp(min=torch.finfo(total.dtype).tiny)
        return self.concentration.log() + rest.log() - 2 * total.log() - torch.log1p(total)

    @property
    def variance(self) -> Tensor:
        """Variance of each share, shape (..., K)."""
        return self.log_variance.exp()

    @property
    def std(self) -> Tensor:
        """Standard deviation of each share, shape (..., K)."""
        return (0.5 * self.log_variance).exp()

    def moments(self) -> DiagonalGaussian:
        """The Gaussians with the means and variances of the shares. Covariances are lost."""
        return DiagonalGaussian(self.mean, self.log_variance)

    def sample(
        self,
        shape: tuple[int, ...] = (),
        *,
        generator: torch.Generator | None = None,
        sampler: str = "implicit",
    ) -> Tensor:
        """Differentiable samples, points on the simplex: ``shape`` + (..., K).

        A share that is too small for the dtype is 0.

        Args:
            shape: shape of independent repetitions.
            generator: source of the noise, on the device of the concentration; None is torch's
                own.
            sampler: "implicit": exact samples with implicit gradients
                (:func:`mlvae.posteriors.gamma.log_gamma_exact`). "approximate": the approximation
                of the inverse Gamma CDF of DirVAE
                (:func:`mlvae.posteriors.gamma.log_gamma_approximate`), whose samples have another
                distribution: for concentrations near 1 and above, they are far too concentrated
                at the mean.
        """
        return self._log_sample(sample_shape(shape), generator, sampler).exp()

    def _log_sample(
        self, shape: tuple[int, ...], generator: torch.Generator | None, sampler: str = "implicit"
    ) -> Tensor:
        check_choice("sampler", sampler, SAMPLERS)
        log_v = SAMPLERS[sampler](self.concentration, shape, generator=generator)
        return log_v.log_softmax(-1)

    def sample_groups(self, *, generator: torch.Generator | None = None) -> Tensor:
        """One exact sample for each group, (G, K), where rows are groups."""
        return self.sample(generator=per_group(generator))

    def sample_members(
        self, groups: Groups, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """For each observation of ``groups`` an own exact sample of its group's posterior."""
        check_type("groups", groups, Groups, "Groups")
        spread = groups.spread(self.concentration)
        return Dirichlet.unchecked(spread, self.prior_concentration).sample(generator=generator)

    def weighted_sample(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One exact sample z (..., K) and log p(z) - log q(z) in nats (...), p the prior."""
        log_z = self._log_sample((), generator)
        ratio = _log_density(self.prior_concentration.expand_as(log_z), log_z)
        return log_z.exp(), (ratio - _log_density(self.concentration, log_z)).to(log_z.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of points on the simplex in nats.

        Args:
            value: the shape of the concentration, or one with more leading axes, as of
                ``sample(shape)``. A share of 0, as a sample may have it by rounding, counts as the
                smallest positive normal number.

        Raises:
            InputError: if the shape of the concentration does not expand to that of the value.
        """
        check_floats("value", value, "(..., K)")
        if not expands(self.concentration.shape, value.shape):
            raise InputError(
                f"value must have the shape of the concentration, "
                f"{tuple(self.concentration.shape)}, not {tuple(value.shape)}"
            )
        log_value = value.clamp(min=torch.finfo(value.dtype).tiny).log()
        return _log_density(self.concentration, log_value).to(value.dtype)

    def kl(self, divergence: str = "dirichlet") -> Tensor:
        r"""Divergence from the prior in nats, summed over components: shape (...).

        With the prior's concentration :math:`\alpha` and the digamma function :math:`\psi`:

        - "dirichlet": :math:`\mathrm{KL}(\mathrm{Dir}(a) \,\|\, \mathrm{Dir}(\alpha))`,

          .. math:: \log \frac{\Gamma(a_0)}{\Gamma(\alpha_0)}
              - \sum_k \log \frac{\Gamma(a_k)}{\Gamma(\alpha_k)}
              + \sum_k (a_k - \alpha_k) (\psi(a_k) - \psi(a_0))

        - "gamma": that of the K independent Gamma variables before they are normalised, as in
          DirVAE (Joo et al. 2019, arXiv:1901.02739); the sum of :meth:`component_kl`.

        The second is an upper bound on the first, because the shares are a function of the Gamma
        variables. So both give a lower bound on the evidence.
        """
        check_choice("divergence", divergence, DIVERGENCES)
        total = self.component_kl().sum(-1)
        if divergence == "gamma":
            return total
        # The Gamma variables are independent of their sum, a Gamma variable too: its KL is the
        # difference.
        a, prior = (_wide(x.sum(-1)) for x in (self.concentration, self.prior_concentration))
        return (_wide(self._component_kl().sum(-1)) - _gamma_kl(a, prior)).to(total.dtype)

    def component_kl(self) -> Tensor:
        r"""KL divergence of each Gamma variable from the prior's, in nats: (..., K).

        .. math:: \log \Gamma(\alpha_k) - \log \Gamma(a_k) + (a_k - \alpha_k) \psi(a_k)
        """
        return self._component_kl().to(self.concentration.dtype)

    def _component_kl(self) -> Tensor:
        """The same with the precision of :func:`_wide`."""
        return _gamma_kl(_wide(self.concentration), _wide(self.prior_concentration))


@dataclass(frozen=True)
class EvidenceHead:
    r"""A head whose outputs are the evidence of an observation about the shares of its group.

    The evidence :math:`e_k = \operatorname{softplus}(r_k)`, at most :math:`10^4`, is not negative,
    and the posterior of a single observation is Dir(:math:`\alpha + e`).

    Args:
        alpha: concentration :math:`\alpha` of every component of the prior.
    """

    alpha: float = 1.0

    parameters_per_dim: ClassVar[int] = 1

    def from_raw(self, raw: Tensor) -> Dirichlet:
        """The distributions that the outputs ``raw`` (N, K) of a network's head describe."""
        check_floats("raw", raw, "(N, K)", ndim=2)
        raw = raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw
        evidence = functional.softplus(raw).clamp(max=MOST)
        return Dirichlet.unchecked(
            self.alpha + evidence, raw.new_full((raw.shape[1],), self.alpha)
        )


def _gamma_kl(a: Tensor, prior: Tensor) -> Tensor:
    """KL(Gamma(a, 1) || Gamma(prior, 1)), elementwise."""
    return torch.lgamma(prior) - torch.lgamma(a) + (a - prior) * torch.digamma(a)


def _log_density(concentration: Tensor, log_value: Tensor) -> Tensor:
    """The log-density (...) of shares with the logarithms ``log_value`` (..., K)."""
    a = _wide(concentration)
    constant = torch.lgamma(a.sum(-1)) - torch.lgamma(a).sum(-1)
    return constant + ((a - 1) * _wide(log_value)).sum(-1)


def _wide(x: Tensor) -> Tensor:
    """float64 where the device has it: log-Gamma functions of 1e4 cancel to a few nats."""
    return x if x.device.type == "mps" else x.double()


def _positive(x: Tensor) -> bool:
    """Whether all elements are positive and finite; on the device "meta" there are none."""
    return x.device.type == "meta" or bool(((x > 0) & x.isfinite()).all())
