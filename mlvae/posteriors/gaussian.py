"""Gaussians with a diagonal covariance.

Shapes: ... any leading shape (observations or groups), N observations, G groups, D latent
dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mlvae.arguments import check_floats, check_generator, check_type
from mlvae.errors import InputError, check_integer, check_number, shown
from mlvae.groups import Groups
from mlvae.noise import normal, per_group

__all__ = ["DiagonalGaussian", "Rows", "check_parts_of", "expands", "sample_shape"]

#: Indices into the leading shape, as a tensor takes them.
Rows = Tensor | slice | int | list[int] | tuple[slice | None, ...] | None


class DiagonalGaussian:
    r"""A family of posteriors: independent normal variables, one for each latent dimension.

    .. math:: N(z; \mu, \operatorname{diag} e^{\ell}) =
        \prod_d (2 \pi e^{\ell_d})^{-1/2} \exp(-(z_d - \mu_d)^2 / (2 e^{\ell_d}))

    Half-precision parameters become float32, so that samples, densities and KL divergences keep
    their precision under autocast.

    Args:
        mean: :math:`\mu`, shape (..., D).
        log_variance: :math:`\ell`, natural logarithm of the variance, shape (..., D).

    Attributes:
        parameters_per_dim: 2; a network's head gives the mean and the log-variance.
        random: True; two samples differ.
        simplex: False; the dimensions of a value are independent.

    Raises:
        InputError: if the parameters are not tensors of floats of one shape.

    Example:
        >>> q = DiagonalGaussian(torch.zeros(3, 2), torch.zeros(3, 2))
        >>> q.kl()
        tensor([0., 0., 0.])
    """

    parameters_per_dim: ClassVar[int] = 2
    random: ClassVar[bool] = True
    simplex: ClassVar[bool] = False

    def __init__(self, mean: Tensor, log_variance: Tensor) -> None:
        check_floats("mean", mean, "(..., D)")
        check_floats("log_variance", log_variance, "(..., D)")
        if mean.shape != log_variance.shape:
            raise InputError(
                "mean and log_variance must have one shape, "
                f"not {tuple(mean.shape)} and {tuple(log_variance.shape)}"
            )
        half = (torch.bfloat16, torch.float16)
        self.mean = mean.float() if mean.dtype in half else mean
        self.log_variance = log_variance.float() if log_variance.dtype in half else log_variance

    @classmethod
    def from_raw(cls, raw: Tensor) -> DiagonalGaussian:
        """The Gaussians that the outputs ``raw`` (N, 2 D) of a network's head describe.

        Raises:
            InputError: if ``raw`` has another shape.
        """
        check_floats("raw", raw, "(N, 2 D)", ndim=2)
        if raw.shape[1] % 2:
            raise InputError(f"raw must have the shape (N, 2 D), not {tuple(raw.shape)}")
        return cls(*raw.chunk(2, 1))

    @classmethod
    def cat(cls, parts: Sequence[DiagonalGaussian]) -> DiagonalGaussian:
        """The rows of all ``parts``, one after the other."""
        check_parts_of(cls, parts)
        return cls(
            torch.cat([part.mean for part in parts]),
            torch.cat([part.log_variance for part in parts]),
        )

    @classmethod
    def prior(cls, *shape: int, like: Tensor) -> DiagonalGaussian:
        """Standard normal distributions of ``shape``; dtype and device are those of ``like``."""
        return cls(like.new_zeros(shape), like.new_zeros(shape))

    def prior_rows(self, number: int) -> DiagonalGaussian:
        """The prior, ``number`` times: standard normal distributions (number, D)."""
        return DiagonalGaussian.prior(number, self.mean.shape[-1], like=self.mean)

    def __repr__(self) -> str:
        return f"DiagonalGaussian(shape={tuple(self.mean.shape)}, dtype={self.mean.dtype})"

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: Rows) -> DiagonalGaussian:
        """The Gaussians at ``rows`` of the leading shape; an index tensor may repeat rows."""
        return DiagonalGaussian(self.mean[rows], self.log_variance[rows])

    def to(self, target: torch.dtype | torch.device | str) -> DiagonalGaussian:
        """The Gaussians with parameters of another dtype or on another device."""
        return DiagonalGaussian(self.mean.to(target), self.log_variance.to(target))

    def moments(self) -> DiagonalGaussian:
        """This distribution itself: a Gaussian is its own moments."""
        return self

    @property
    def variance(self) -> Tensor:
        """Variance of each dimension, shape (..., D)."""
        return self.log_variance.exp()

    @property
    def std(self) -> Tensor:
        """Standard deviation of each dimension, shape (..., D)."""
        return (0.5 * self.log_variance).exp()

    def sample(
        self, shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Reparametrised samples (Kingma and Welling 2014, section 2.4).

        They are differentiable in both parameters.

        Args:
            shape: shape of independent repetitions, in front of the Gaussian's own shape.
            generator: source of the noise, on the device of the mean; None is torch's own.

        Returns:
            Samples of shape ``shape`` + (..., D).
        """
        shape = sample_shape(shape)
        noise = normal(
            (*shape, *self.mean.shape),
            generator=generator,
            axis=len(shape),
            dtype=self.mean.dtype,
            device=self.mean.device,
        )
        return self.mean + self.std * noise

    def sample_groups(self, *, generator: torch.Generator | None = None) -> Tensor:
        """One sample of each group's posterior, (G, D), for Gaussians that are rows of groups."""
        return self.sample(generator=per_group(generator))

    def sample_members(
        self, groups: Groups, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """For each observation of ``groups`` an own sample of its group's posterior: (N, D)."""
        check_type("groups", groups, Groups, "Groups")
        spread = (groups.spread(self.mean), groups.spread(self.log_variance))
        return DiagonalGaussian(*spread).sample(generator=generator)

    def weighted_sample(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One sample z (..., D) and log p(z) - log q(z) in nats (...), p the standard normal."""
        check_generator(generator)
        noise = torch.randn(
            self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device
        )
        z = self.mean + self.std * noise
        # From the noise, not by log_prob(z): z - mean has no digits left where the standard
        # deviation is far below the mean.
        return z, 0.5 * (noise.square() + self.log_variance - z.square()).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of ``value`` in nats, summed over dimensions.

        Args:
            value: the shape of the mean, or one with more leading axes, as of ``sample(shape)``.
                One Gaussian, a row of length 1, takes any number of values.

        Raises:
            InputError: if the shape of the mean does not expand to that of the value.
        """
        check_floats("value", value, "(..., D)")
        if not expands(self.mean.shape, value.shape):
            raise InputError(
                f"value must have the shape of the mean, {tuple(self.mean.shape)}, not "
                f"{tuple(value.shape)}"
            )
        error = (value - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (error + self.log_variance + math.log(2 * math.pi)).sum(-1)

    def kl(self, other: DiagonalGaussian | None = None) -> Tensor:
        r"""Divergence KL(self || other) in nats, summed over dimensions: shape (...).

        .. math:: \tfrac12 \sum_d \left( e^{\ell_d - m_d} - 1 - (\ell_d - m_d)
            + (\mu_d - \nu_d)^2 e^{-m_d} \right)

        for ``other`` with mean :math:`\nu` and log-variance :math:`m`; None is the standard normal
        (Kingma and Welling 2014, appendix B).

        Raises:
            InputError: if ``other`` is no DiagonalGaussian of this shape.
        """
        if other is not None and not isinstance(other, DiagonalGaussian):
            raise InputError(f"other must be a DiagonalGaussian or None, not {shown(other)}")
        if other is not None and other.mean.shape != self.mean.shape:
            raise InputError(
                f"other must have the shape {tuple(self.mean.shape)}, not "
                f"{tuple(other.mean.shape)}"
            )
        if other is None:
            ratio, error = self.log_variance, self.mean.square()
        else:
            ratio = self.log_variance - other.log_variance
            error = (self.mean - other.mean).square() * (-other.log_variance).exp()
        # expm1(r) - r loses no digits where the two variances are nearly equal.
        return 0.5 * (ratio.expm1() - ratio + error).sum(-1)

    def active(self, *, least: float = 0.1) -> Tensor:
        """Which dimensions have information: a mask (D,).

        A dimension is active if its KL to the standard normal, as a mean over all rows, is above
        ``least`` nats. (Y. Burda, R. Grosse, R. Salakhutdinov: Importance Weighted Autoencoders.
        ICLR 2016, arXiv:1509.00519, have another criterion for the same purpose.) In the other
        dimensions the posterior is the prior, and a decoder cannot use them. Their means are near
        zero but not equal, and a probe of means magnifies the differences. So replace them by 0
        where one vector for each observation is needed: ``q.mean * mask``.

        Args:
            least: nats, at least 0. Use the mask of many observations, such as those of training,
                for all others.

        Example:
            >>> means = torch.tensor([[2.0, 0.01], [-2.0, -0.01]])
            >>> DiagonalGaussian(means, torch.tensor([[-4.0, 0.0]]).expand(2, 2)).active()
            tensor([ True, False])
        """
        check_number("least", least, minimum=0)
        ratio = self.log_variance
        kl = 0.5 * (ratio.expm1() - ratio + self.mean.square())
        return kl.reshape(-1, kl.shape[-1]).mean(0) > least


def expands(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether an array of ``shape`` expands to ``target`` without a change of its last axis."""
    leading = target[len(target) - len(shape) :]
    return (
        len(shape) <= len(target)
        and shape[-1] == target[-1]
        and all(length in (1, wanted) for length, wanted in zip(shape[:-1], leading, strict=False))
    )


def check_parts_of(family: type, parts: object) -> None:
    """Raise :class:`InputError` unless ``parts`` is a list of posteriors of equal width."""
    name = family.__name__
    if (
        not isinstance(parts, Sequence)
        or not parts
        or not all(isinstance(part, family) for part in parts)
    ):
        raise InputError(f"parts must be a list of {name}, not {shown(parts)}")
    shapes = {tuple(part.mean.shape[1:]) for part in parts}
    if len(shapes) > 1:
        raise InputError(
            f"parts must have equal shapes behind the first axis, not {shown(shapes)}"
        )


def sample_shape(shape: object) -> tuple[int, ...]:
    """The shape of repetitions as a tuple, or :class:`InputError`."""
    if not isinstance(shape, list | tuple):
        raise InputError(f"shape must be a tuple of integers, not {shown(shape)}")
    for length in shape:
        check_integer("shape", length, minimum=0)
    return tuple(shape)
