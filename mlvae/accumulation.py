r"""The rules that make the posterior q(c | x_G) of a group's content of its members' q(c | x_i).

A member's posterior is :math:`N(\mu_i, e^{\ell_i})` with the precision
:math:`\lambda_i = e^{-\ell_i}`; a group G has n members; the prior p(c) is N(0, I). Dimensions are
independent, so every formula is for one of them. No rule asks how members are ordered or what
other groups there are, none has parameters, and all stay finite in float32 for log-variances of
:math:`\pm 80` and for groups of 1 and of 100,000.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

import torch

from mlvae.evidence import Evidence
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.mixture import GroupMixture

__all__ = [
    "ACCUMULATIONS",
    "OF_EVIDENCE",
    "OF_POSTERIORS",
    "SUMS",
    "Posterior",
    "mean",
    "mixture",
    "prior_corrected",
    "prior_product",
    "product",
    "with_prior",
]

#: What a rule gives: G distributions of C dimensions, each with a mean, a variance and a KL.
Posterior = DiagonalGaussian | GroupMixture


def product(posterior: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
    r"""The normalised product of the members, the rule of the paper.

    .. math:: q(c \mid x_G) \propto \prod_{i \in G} q(c \mid x_i): \qquad
        \lambda_G = \sum_i \lambda_i, \qquad \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    (Bouchacourt, Tomioka and Nowozin 2018, arXiv:1705.08841.) The prior is none of the factors,
    and n equal members shrink the variance n times. What disentanglement_lib and disent call
    ML-VAE takes the harmonic mean of the variances of two members: the same mean, and twice this
    variance, so evidence never sharpens it; it also pays the KL once for each member.

    Args:
        posterior: q(c | x_i) of each observation, (N, C).
        groups: which observation is in which group.

    Returns:
        q(c | x_G) of each group, (G, C); of a group without members the prior.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1))
        >>> product(q, Groups.of([0, 0])).variance
        tensor([[0.5000]])
    """
    return Evidence.of(posterior).posterior_of(groups)


def prior_product(posterior: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
    r"""The normalised product of the members and of the prior, which is one more expert.

    .. math:: q(c \mid x_G) \propto p(c) \prod_{i \in G} q(c \mid x_i): \qquad
        \lambda_G = 1 + \sum_i \lambda_i, \qquad \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    (M. Wu, N. Goodman: Multimodal Generative Models for Scalable Weakly-Supervised Learning.
    NeurIPS 2018, arXiv:1802.05335.) What the encoder gives is then no posterior but the evidence
    alone, a likelihood of c up to a factor: read so, the rule is Bayes' rule for members that are
    independent given c. The posterior is never wider than the prior, and that of a single
    observation is :math:`N(\lambda \mu / (1 + \lambda), 1 / (1 + \lambda))`.

    Arguments and result are those of :func:`product`.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[3.0]]), torch.zeros(1, 1))
        >>> prior_product(q, Groups.of([0])).mean
        tensor([[1.5000]])
    """
    return with_prior(Evidence.of(posterior).accumulate(groups))


def prior_corrected(posterior: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
    r"""The product of the members with the prior counted once instead of n times.

    .. math:: q(c \mid x_G) \propto p(c) \prod_{i \in G} \frac{q(c \mid x_i)}{p(c)}: \qquad
        \lambda_G = 1 + \sum_i \max(\lambda_i - 1, 0), \qquad
        \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    Members are independent given c (their styles are independent and integrated out), hence
    :math:`p(c \mid x_G) \propto p(c) \prod_i p(x_i \mid c) \propto p(c) \prod_i p(c \mid x_i) /
    p(c)`: with exact posteriors of single observations the rule gives the exact posterior of the
    group, where :func:`product` counts the prior n times. (It is the MVAE-Q of Wu and Goodman
    2018, arXiv:1802.05335, whose MVAE is :func:`prior_product`.)

    Without the maximum it is that formula, and equals it wherever no member is wider than the
    prior. Where :math:`\lambda_i < 1`, :math:`q(c \mid x_i) / p(c)` grows without bound in c, and
    a few such members leave nothing that can be normalised. Of such a member the logarithm of
    the factor keeps its slope :math:`\lambda_i \mu_i` at the prior mean and loses its upward
    curvature. So q(c | x_G) is proper and never wider than the prior whatever the encoder gives,
    no member cancels the evidence of another, and a member that knows nothing,
    :math:`\lambda_i \to 0`, changes nothing.

    A group of one has q(c | x_i) itself where :math:`\lambda_i \ge 1`, and
    :math:`N(\lambda_i \mu_i, 1)` elsewhere. Members barely narrower than the prior add up their
    means: n of :math:`\lambda_i = 1` have :math:`\mu_G = \sum_i \mu_i`, since their factors are
    slopes without curvature.

    Arguments and result are those of :func:`product`.

    Example:
        >>> q = DiagonalGaussian(torch.ones(2, 1), torch.full((2, 1), 0.5).log())
        >>> prior_corrected(q, Groups.of([0, 0])).variance
        tensor([[0.3333]])
    """
    log_variance = posterior.log_variance
    # All is divided by the largest precision, the prior's 1 included: it cancels from the result.
    scale = groups.max(-log_variance.detach()).clamp(min=0)
    weight = (-log_variance - groups.spread(scale)).exp()
    # lambda - 1 = -lambda expm1(l) keeps its digits where lambda is close to 1.
    gained = -weight * log_variance.clamp(max=0).expm1()
    gained, slope = groups.sum(torch.stack((gained, weight * posterior.mean), 1)).unbind(1)
    precision = (-scale).exp() + gained
    return DiagonalGaussian(slope / precision, -(scale + precision.log()))


def mean(posterior: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
    r"""The Gaussian with the mean of the members' means and the mean of their variances.

    .. math:: \mu_G = \frac1n \sum_i \mu_i, \qquad
        e^{\ell_G} = \frac1n \sum_i e^{\ell_i}

    (GVAE: H. Hosoya: Group-based Learning of Disentangled Representations with Generalizability
    for Novel Contents. IJCAI 2019, arXiv:1809.02383.) The certain count no more than the
    uncertain, and evidence does not narrow the posterior: n equal members give that of one.

    Arguments and result are those of :func:`product`.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]).log())
        >>> mean(q, Groups.of([0, 0])).variance
        tensor([[2.]])
    """
    sizes = groups.sizes[:, None]
    size = sizes.clamp(min=1).to(posterior.mean.dtype)
    log_variance = groups.logsumexp(posterior.log_variance) - size.log()
    return DiagonalGaussian(
        groups.sum(posterior.mean) / size, log_variance.masked_fill(sizes == 0, 0)
    )


def mixture(posterior: DiagonalGaussian, groups: Groups) -> GroupMixture:
    r"""The uniform mixture of the members: one of them is right, nobody knows which.

    .. math:: q(c \mid x_G) = \frac1n \sum_{i \in G} q(c \mid x_i)

    (The alternative to the product in Bouchacourt, Tomioka and Nowozin 2018; a mixture of experts
    in Shi, Siddharth, Paige and Torr 2019, arXiv:1911.03393.) It is no Gaussian: see
    :class:`mlvae.mixture.GroupMixture` for how it is drawn from and for the bound that its KL is.

    Arguments are those of :func:`product`; the result has the shape (G, C).

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> mixture(q, Groups.of([0, 0])).variance
        tensor([[2.]])
    """
    return GroupMixture(posterior, groups)


def with_prior(evidence: Evidence) -> DiagonalGaussian:
    """The posterior of accumulated evidence (..., C) and of the prior N(0, I) as one more."""
    nothing = torch.zeros_like(evidence.mean)  # a mean of 0 and a log-precision of 0
    return (evidence + Evidence(nothing, nothing)).posterior()


#: The rules that need no more than the sum of the members' evidence, as functions of it.
OF_EVIDENCE = {"product": Evidence.posterior, "prior_product": with_prior}

#: Rules whose posterior of a single observation is not what the encoder gave for it, and the rule
#: that makes of such posteriors what the rule itself makes of the encoder's. With the prior in
#: each, it is to be counted once.
OF_POSTERIORS = {"prior_product": "prior_corrected"}

#: Rules that need sums over a group alone, so that its members may be on several ranks.
SUMS = ("product", "prior_product", "prior_corrected", "mean")

#: Accumulation rules by the name that a model's ``accumulation`` gives.
ACCUMULATIONS = {
    "product": product,
    "prior_product": prior_product,
    "prior_corrected": prior_corrected,
    "mean": mean,
    "mixture": mixture,
}
