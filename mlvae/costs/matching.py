r"""Group-wise matching of the style distribution to the prior.

If the style is independent of the content, the styles in each group have the same distribution,
which is p(s). A difference between the styles of a group and the prior is group information in the
style, or a mismatch of prior and aggregate posterior.

Shapes: N observations, G groups, S style dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.groups import Groups

__all__ = ["moment_gap", "squared_mmd"]

#: Scales of the kernel in units of 2 S, the expected squared distance of two draws of the prior.
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def moment_gap(style: Tensor, groups: Groups) -> Tensor:
    r"""Return the KL from each group's moments to the prior: (G,), in nats.

    .. math:: \operatorname{KL}(N(m, \operatorname{diag} v) \,\|\, N(0, I))
        = \tfrac12 \sum_d \left( v_d - 1 - \log v_d + m_d^2 \right)

    with the mean m and the unbiased variances v of the styles in the group. A group of one has no
    variance and the value 0.

    Args:
        style: one draw of the style of each observation, (N, S).
        groups: groups of the N observations.
    """
    sizes = groups.sizes[:, None]
    mean = groups.sum(style) / sizes.clamp_min(1)
    variance = groups.sum((style - groups.spread(mean)).square()) / (sizes - 1).clamp_min(1)
    variance = torch.where(sizes > 1, variance, 1).clamp_min(1e-6)
    gap = 0.5 * (variance - 1 - variance.log() + mean.square()).sum(1)
    return gap * (groups.sizes > 1)


def squared_mmd(style: Tensor, prior: Tensor, groups: Groups) -> Tensor:
    r"""Return the unbiased squared maximum mean discrepancy of each group from the prior: (G,).

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} k(s_i, s_j)
        - \frac{2}{n m} \sum_{i, l} k(s_i, z_l)
        + \frac{1}{m (m - 1)} \sum_{l \ne l'} k(z_l, z_{l'})

    (A. Gretton et al.: A Kernel Two-Sample Test. JMLR 13, 2012, lemma 6), with the sum of inverse
    multiquadratics :math:`k(a, b) = \sum_h C_h / (C_h + |a - b|^2)`, :math:`C_h = 2 S h` (I.
    Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf: Wasserstein Auto-Encoders. ICLR 2018,
    arXiv:1711.01558, section 4), divided by the number of scales. n is the size of the group. The
    expectation is between 0 and 2, without a unit. A group of one has the value 0.

    Args:
        style: one draw of the style of each observation, (N, S).
        prior: draws of the prior, (M, S). The estimate is unbiased for M of at least 2.
        groups: groups of the N observations.
    """
    pairs = groups.index[:, None] == groups.index
    pairs = pairs & ~torch.eye(len(style), dtype=torch.bool, device=style.device)
    within = (_kernel(style, style) * pairs).sum(1)
    across = _kernel(style, prior).mean(1)
    n, m = groups.sizes, len(prior)
    among = (_kernel(prior, prior).sum() - m) / max(m * (m - 1), 1)  # k(z, z) is 1
    result = (
        groups.sum(within) / (n * (n - 1)).clamp_min(1)
        - 2 * groups.sum(across) / n.clamp_min(1)
        + among
    )
    return result * (n > 1)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """Return the kernel of each row of ``a`` (N, S) with each row of ``b`` (M, S): (N, M)."""
    with torch.autocast(a.device.type, enabled=False):  # it subtracts large numbers
        square = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    square = square.clamp_min(0)
    total = square.new_zeros(())
    for scale in (2 * a.shape[1] * h for h in SCALES):
        total = total + scale / (scale + square)
    return total / len(SCALES)
