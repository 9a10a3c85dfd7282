r"""Rules that compute the content posterior q(c | x_G) of a group from its members' q(c | x_i).

The posterior of a member is :math:`N(\mu_i, e^{\ell_i})`, with the precision
:math:`\lambda_i = e^{-\ell_i}`. A group G has n members. The prior p(c) is N(0, I). Dimensions are
independent, so each formula is for one dimension. A rule has no parameters, and its result does
not depend on the order of the members or on other groups. In float32, all rules are finite for
log-variances of :math:`\pm 80` and for groups of 1 to 100,000 members.

Posteriors on the simplex have one rule. The posterior of a member is Dir(:math:`\alpha + e_i`)
with the prior Dir(:math:`\alpha`), and that of the group is Dir(:math:`\alpha + \sum_i e_i`): the
evidence of all members with the prior counted once. It has the names "prior_product" and
"prior_corrected". :func:`accumulated` applies the other rules to the Gaussians with the same
moments.

Shapes: N observations, G groups, C content dimensions.
"""

from __future__ import annotations

from typing import Any

import torch

from mlvae.errors import check_choice
from mlvae.evidence.evidence import Evidence
from mlvae.evidence.pseudo_counts import PseudoCounts
from mlvae.groups import Groups
from mlvae.posteriors.dirichlet import Dirichlet
from mlvae.posteriors.gaussian import DiagonalGaussian
from mlvae.posteriors.mixture import GroupMixture

__all__ = [
    "ACCUMULATIONS",
    "COUNT_RULES",
    "EVIDENCE_RULES",
    "POSTERIOR_RULES",
    "SUM_RULES",
    "Posterior",
    "accumulated",
    "evidence_of",
    "mean",
    "mixture",
    "prior_corrected",
    "prior_product",
    "product",
    "with_prior",
]

#: Result of a rule: G distributions of C dimensions with a mean, a variance and a KL.
Posterior = DiagonalGaussian | GroupMixture | Dirichlet


def product(posterior: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
    r"""Return the normalised product of the members, the rule of the paper.

    .. math:: q(c \mid x_G) \propto \prod_{i \in G} q(c \mid x_i): \qquad
        \lambda_G = \sum_i \lambda_i, \qquad \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    (Bouchacourt, Tomioka and Nowozin 2018, arXiv:1705.08841.) The prior is not one of the factors.
    With n equal members, the variance is that of one member divided by n.

    Note:
        The ML-VAE of disentanglement_lib and disent uses the harmonic mean of the variances of two
        members. Its mean is the same, but its variance is twice this one, so evidence never
        reduces the variance. It also adds the KL once for each member.

    Args:
        posterior: q(c | x_i) of each observation, (N, C).
        groups: groups of the N observations.

    Returns:
        q(c | x_G) of each group, (G, C). A group without members has the prior.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1))
        >>> product(q, Groups.of([0, 0])).variance
        tensor([[0.5000]])
    """
    return Evidence.of(posterior).posterior_of(groups)


def prior_product(posterior: Any, groups: Groups) -> Any:
    r"""Return the normalised product of the members and the prior, which is one more factor.

    .. math:: q(c \mid x_G) \propto p(c) \prod_{i \in G} q(c \mid x_i): \qquad
        \lambda_G = 1 + \sum_i \lambda_i, \qquad \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    (M. Wu, N. Goodman: Multimodal Generative Models for Scalable Weakly-Supervised Learning.
    NeurIPS 2018, arXiv:1802.05335.) Under this rule, the encoder computes the likelihood
    p(x_i | c) up to a factor, and not a posterior. The rule is then Bayes' rule for members that
    are independent given c. The posterior is never wider than the prior. The posterior of a single
    observation is :math:`N(\lambda \mu / (1 + \lambda), 1 / (1 + \lambda))`.

    Arguments and result are those of :func:`product`.

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[3.0]]), torch.zeros(1, 1))
        >>> prior_product(q, Groups.of([0])).mean
        tensor([[1.5000]])
    """
    return with_prior(evidence_of(posterior).accumulate(groups))


def prior_corrected(posterior: Any, groups: Groups) -> Any:
    r"""Return the product of the members, with the prior counted once instead of n times.

    .. math:: q(c \mid x_G) \propto p(c) \prod_{i \in G} \frac{q(c \mid x_i)}{p(c)}: \qquad
        \lambda_G = 1 + \sum_i \max(\lambda_i - 1, 0), \qquad
        \lambda_G \mu_G = \sum_i \lambda_i \mu_i

    Members are independent given c, because their styles are independent and integrated out.
    Hence :math:`p(c \mid x_G) \propto p(c) \prod_i p(x_i \mid c) \propto p(c) \prod_i
    p(c \mid x_i) / p(c)`. If the posteriors of single observations are exact, this rule computes
    the exact posterior of the group, and :func:`product` counts the prior n times. It is the
    MVAE-Q of Wu and Goodman 2018, arXiv:1802.05335, whose MVAE is :func:`prior_product`.

    The first formula has no maximum. The two are equal if no member is wider than the prior. If
    :math:`\lambda_i < 1`, the factor :math:`q(c \mid x_i) / p(c)` is unbounded in c, and the
    product of a few such factors cannot be normalised. The maximum removes the upward curvature of
    the logarithm of such a factor and keeps its slope :math:`\lambda_i \mu_i` at the prior mean.
    For any output of the encoder, q(c | x_G) is therefore a proper distribution and never wider
    than the prior, and no member cancels the evidence of another. A member without information,
    :math:`\lambda_i \to 0`, changes nothing.

    The posterior of a group of one is q(c | x_i) if :math:`\lambda_i \ge 1`, and
    :math:`N(\lambda_i \mu_i, 1)` otherwise. The factor of a member with :math:`\lambda_i = 1` has
    a slope and no curvature, so n such members have :math:`\mu_G = \sum_i \mu_i`.

    Arguments and result are those of :func:`product`.

    Example:
        >>> q = DiagonalGaussian(torch.ones(2, 1), torch.full((2, 1), 0.5).log())
        >>> prior_corrected(q, Groups.of([0, 0])).variance
        tensor([[0.3333]])
    """
    if isinstance(posterior, Dirichlet):
        return prior_product(posterior, groups)
    log_variance = posterior.log_variance
    # All terms are divided by the largest precision, which is at least the prior's 1. It cancels.
    scale = groups.max(-log_variance.detach()).clamp(min=0)
    weight = (-log_variance - groups.spread(scale)).exp()
    # lambda - 1 = -lambda expm1(l) keeps its digits if lambda is close to 1.
    gained = -weight * log_variance.clamp(max=0).expm1()
    gained, slope = groups.sum(torch.stack((gained, weight * posterior.mean), 1)).unbind(1)
    precision = (-scale).exp() + gained
    return DiagonalGaussian(slope / precision, -(scale + precision.log()))


def mean(posterior: DiagonalGaussian, groups: Groups) -> DiagonalGaussian:
    r"""Return the Gaussian with the mean of the members' means and the mean of their variances.

    .. math:: \mu_G = \frac1n \sum_i \mu_i, \qquad
        e^{\ell_G} = \frac1n \sum_i e^{\ell_i}

    (GVAE: H. Hosoya: Group-based Learning of Disentangled Representations with Generalizability
    for Novel Contents. IJCAI 2019, arXiv:1809.02383.) All members have the same weight, whatever
    their precision. Evidence does not narrow the posterior: n equal members have the posterior of
    one of them.

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
    r"""Return the uniform mixture of the members.

    .. math:: q(c \mid x_G) = \frac1n \sum_{i \in G} q(c \mid x_i)

    (The alternative to the product in Bouchacourt, Tomioka and Nowozin 2018; a mixture of experts
    in Shi, Siddharth, Paige and Torr 2019, arXiv:1911.03393.) It is not a Gaussian.
    :class:`mlvae.posteriors.mixture.GroupMixture` defines how to draw from it.

    Warning:
        The KL of the result is an upper bound; see :class:`mlvae.posteriors.mixture.GroupMixture`.

    Arguments are those of :func:`product`. The result has the shape (G, C).

    Example:
        >>> q = DiagonalGaussian(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1))
        >>> mixture(q, Groups.of([0, 0])).variance
        tensor([[2.]])
    """
    return GroupMixture(posterior, groups)


def evidence_of(posterior: DiagonalGaussian | Dirichlet) -> Any:
    """Return the evidence in the posteriors of single observations: Evidence or PseudoCounts."""
    kind = PseudoCounts if isinstance(posterior, Dirichlet) else Evidence
    return kind.of(posterior)  # type: ignore[arg-type]


def with_prior(evidence: Evidence | PseudoCounts) -> Any:
    """Return the posterior of accumulated evidence (..., C) with the prior as a factor.

    The prior is N(0, I), or the Dirichlet of the pseudo-counts.
    """
    if isinstance(evidence, PseudoCounts):
        return evidence.posterior()
    zero = torch.zeros_like(evidence.mean)  # both the mean and the log-precision of the prior
    return (evidence + Evidence(zero, zero)).posterior()


#: Rules that are functions of the sum of the members' evidence, and these functions.
EVIDENCE_RULES = {"product": Evidence.posterior, "prior_product": with_prior}

#: Rules under which the posterior of a single observation differs from the encoder's output. For
#: each, the rule that accumulates these posteriors to the same result. The prior is in each of
#: the posteriors, and the second rule counts it once.
POSTERIOR_RULES = {"prior_product": "prior_corrected"}

#: Rules that need sums over a group alone, so that its members may be on several ranks.
SUM_RULES = ("product", "prior_product", "prior_corrected", "mean")

#: Rules that add the pseudo-counts of posteriors on the simplex.
COUNT_RULES = ("prior_product", "prior_corrected")

#: Accumulation rules by name, the values of a model's option ``accumulation``.
ACCUMULATIONS = {
    "product": product,
    "prior_product": prior_product,
    "prior_corrected": prior_corrected,
    "mean": mean,
    "mixture": mixture,
}


def accumulated(posterior: Any, groups: Groups, accumulation: str | None = None) -> Any:
    """Return the posterior (G, C) of each group of any family, by the name of a rule.

    Args:
        posterior: q(c | x_i) of each observation, (N, C). Of other families than Gaussians the
            Gaussians with the same moments are accumulated, except for a Dirichlet under
            "prior_product" and "prior_corrected".
        groups: groups of the N observations.
        accumulation: name of the rule; None is "product".
    """
    name = accumulation or "product"
    check_choice("accumulation", name, ACCUMULATIONS)
    counts = isinstance(posterior, Dirichlet) and name in COUNT_RULES
    return ACCUMULATIONS[name](posterior if counts else posterior.moments(), groups)
