r"""Uniform mixtures of the posteriors of a group's members.

Shapes: N observations, G groups, C dimensions.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.errors import InputError
from mlvae.groups import Groups
from mlvae.noise import per_group
from mlvae.posteriors.gaussian import DiagonalGaussian, Rows

__all__ = ["GroupMixture"]


class GroupMixture:
    r"""A family of group posteriors: the uniform mixture of the members' Gaussians.

    .. math:: q(c \mid x_G) = \frac1n \sum_{i \in G} N(c; \mu_i, \operatorname{diag} e^{\ell_i})

    (A mixture of experts with equal weights: Y. Shi, N. Siddharth, B. Paige, P. Torr: Variational
    Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative Models. NeurIPS 2019,
    arXiv:1911.03393.) One member is chosen for all C dimensions together, so the dimensions are
    not independent given the group. A group without members has the prior N(0, I).

    Args:
        components: q(c | x_i) of each observation, (N, C).
        groups: the group of each observation.

    Raises:
        InputError: if there is not one component for each observation of ``groups``.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> GroupMixture(q, Groups.of([0, 0])).kl()
        tensor([0.5000])
    """

    random: ClassVar[bool] = True
    simplex: ClassVar[bool] = False

    def __init__(self, components: DiagonalGaussian, groups: Groups) -> None:
        check_type("components", components, DiagonalGaussian, "a DiagonalGaussian")
        if components.mean.ndim != 2 or len(components) != groups.num_observations:
            raise InputError(
                f"components must be ({groups.num_observations}, C), one for each observation, "
                f"not {tuple(components.mean.shape)}"
            )
        self.components = components
        self.groups = groups

    def __repr__(self) -> str:
        shape = (self.groups.num_groups, self.components.mean.shape[1])
        return f"GroupMixture(shape={shape}, dtype={self.components.mean.dtype})"

    def __len__(self) -> int:
        return self.groups.num_groups

    def __getitem__(self, rows: Rows) -> DiagonalGaussian:
        """The Gaussians with the moments of the groups at ``rows``."""
        return self.moments()[rows]

    @property
    def mean(self) -> Tensor:
        """Mean of each mixture, the mean of its members' means: (G, C)."""
        return self.groups.sum(self.components.mean) / self._sizes

    @property
    def log_variance(self) -> Tensor:
        r"""Logarithm of the variance of each dimension of each mixture, (G, C).

        .. math:: \frac1n \sum_i e^{\ell_i} + \frac1n \sum_i (\mu_i - \mu_G)^2

        (the law of total variance).
        """
        within = self.groups.logsumexp(self.components.log_variance) - self._sizes.log()
        error = (self.components.mean - self.groups.spread(self.mean)).square()
        between = self.groups.sum(error) / self._sizes
        # Less than the smallest normal number has a logarithm whose gradient overflows.
        none = between < torch.finfo(between.dtype).tiny
        between = between.masked_fill(none, 1).log().masked_fill(none, -torch.inf)
        empty = self.groups.sizes[:, None] == 0
        return torch.logaddexp(within.masked_fill(empty, 0), between)

    @property
    def variance(self) -> Tensor:
        """Variance of each dimension of each mixture, (G, C)."""
        return self.log_variance.exp()

    @property
    def std(self) -> Tensor:
        """Standard deviation of each dimension of each mixture, (G, C)."""
        return (0.5 * self.log_variance).exp()

    def moments(self) -> DiagonalGaussian:
        """The Gaussians with the means and variances of the mixtures, (G, C)."""
        return DiagonalGaussian(self.mean, self.log_variance)

    def kl(self) -> Tensor:
        r"""An upper bound on KL(q(c | x_G) || p(c)) from the standard normal, in nats: (G,).

        .. math:: \mathrm{KL}\Bigl(\frac1n \sum_i q_i \,\|\, p\Bigr)
            \le \frac1n \sum_i \mathrm{KL}(q_i \,\|\, p)

        because the KL is convex (T. Cover, J. Thomas: Elements of Information Theory, 2nd edition
        2006, theorem 2.7.2). The KL of the mixture has no closed form. With this bound in place of
        the KL the objective is still a lower bound on the evidence. The difference is the mutual
        information of a sample and its member: at most log n nats, and zero where all members
        agree.
        """
        # Divided first: a sum over many uncertain members would leave float32.
        share = self.components.kl() / self.groups.spread(self._sizes[:, 0])
        return self.groups.sum(share)

    def sample_groups(self, *, generator: torch.Generator | None = None) -> Tensor:
        """One sample for each group, (G, C): of a random member, reparametrised.

        The sample is differentiable in the member's mean and log-variance. The choice of the
        member has no gradient.

        Args:
            generator: source of the choice and of the noise, on the device of the mean; None is
                torch's own.
        """
        order, start = self.groups.shuffled(generator=generator)
        # A group without members reads any row, which is then replaced.
        chosen = self.components[order[start.clamp(max=len(order) - 1)]]
        empty = self.groups.sizes[:, None] == 0
        prior = chosen.mean.masked_fill(empty, 0), chosen.log_variance.masked_fill(empty, 0)
        return DiagonalGaussian(*prior).sample(generator=per_group(generator))

    def sample_members(
        self, groups: Groups, *, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""For each observation a sample of its group's mixture, stratified: (N, C).

        A random permutation within each group assigns one member's Gaussian to each member. Every
        Gaussian of the group has the same probability for a member. So each sample is one of the
        mixture, and an average over samples is unbiased. (Samples of the members' own Gaussians
        would be biased: that is a VAE.)

        Each Gaussian is used once. So the permutation adds no noise to a sum over the group of one
        function of the samples. With one function per member, the log-likelihood, the permutation
        has the variance

        .. math:: \frac{1}{n - 1} \sum_{ij} (a_{ij} - a_{i \cdot} - a_{\cdot j}
            + a_{\cdot \cdot})^2

        where :math:`a_{ij}` is the expectation of the function of i under the Gaussian of j, and
        dots are means (W. Hoeffding: A combinatorial central limit theorem. Annals of Mathematical
        Statistics 1951); independent choices have
        :math:`\frac1n \sum_{ij} (a_{ij} - a_{i \cdot})^2`. The first is smaller where some
        members' contents fit the group better than others', and never more than n / (n - 1) times
        the second.

        Args:
            groups: the groups of this mixture.
            generator: as in :meth:`sample_groups`.
        """
        order, _ = self.groups.shuffled(generator=generator)
        dealt = torch.empty_like(order)
        dealt[self.groups.index.argsort(stable=True)] = order
        return self.components[dealt].sample(generator=generator)

    @property
    def _sizes(self) -> Tensor:
        """Members of each group as floats (G, 1), 1 where there are none."""
        return self.groups.sizes[:, None].clamp(min=1).to(self.components.mean.dtype)
