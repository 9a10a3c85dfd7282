r"""Group-wise matching: the styles of every group together look like the prior.

If the style is independent of the content, the styles of each group's members are draws of one
and the same distribution, p(s). So what differs between a group's styles and the prior is what
the style tells of the group, or what the prior does not know.

Shapes: N observations, G groups, S style dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlvae.groups import Groups

__all__ = ["moment_gap", "squared_mmd"]

#: Of the kernel, in units of 2 S, the expected squared distance of two draws of the prior.
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def moment_gap(style: Tensor, groups: Groups) -> Tensor:
    r"""How far each group's mean and variances are from those of the prior: (G,).

    .. math:: \tfrac12 \sum_d \left( v_d - 1 - \log v_d + m_d^2 \right)

    which is KL(N(m, diag v) || N(0, I)) in nats, with m and v the mean and the variances of the
    group's styles. A group of one has no variance: it costs nothing.

    Args:
        style: one draw for each observation, (N, S).
        groups: which observation is in which group.
    """
    sizes = groups.sizes[:, None]
    mean = groups.sum(style) / sizes
    variance = groups.sum((style - groups.spread(mean)).square()) / (sizes - 1).clamp_min(1)
    variance = torch.where(sizes > 1, variance, 1).clamp_min(1e-6)
    gap = 0.5 * (variance - 1 - variance.log() + mean.square()).sum(1)
    return gap * (groups.sizes > 1)


def squared_mmd(style: Tensor, prior: Tensor, groups: Groups) -> Tensor:
    r"""Squared maximum mean discrepancy of each group's styles from the prior, without bias: (G,).

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} k(s_i, s_j)
        - \frac{2}{n m} \sum_{i, l} k(s_i, z_l)
        + \frac{1}{m (m - 1)} \sum_{l \ne l'} k(z_l, z_{l'})

    (A. Gretton et al.: A Kernel Two-Sample Test. JMLR 13, 2012, lemma 6), with the sum of inverse
    multiquadratics :math:`k(a, b) = \sum_h C_h / (C_h + |a - b|^2)`, :math:`C_h = 2 S h` (I.
    Tolstikhin, O. Bousquet, S. Gelly, B. Schoelkopf: Wasserstein Auto-Encoders. ICLR 2018,
    arXiv:1711.01558, section 4), divided by the number of scales: between 0 and 2 in expectation,
    and without a unit. A group of one costs nothing.

    Args:
        style: one draw for each observation, (N, S).
        prior: as many or as few draws of the prior, (M, S); two at least to be without bias.
        groups: which observation is in which group.
    """
    same = groups.index[:, None] == groups.index
    same = same & ~torch.eye(len(style), dtype=torch.bool, device=style.device)
    within = (_kernel(style, style) * same).sum(1)
    across = _kernel(style, prior).mean(1)
    n, m = groups.sizes, len(prior)
    among = (_kernel(prior, prior).sum() - m) / max(m * (m - 1), 1)  # k(z, z) is 1
    result = groups.sum(within) / (n * (n - 1)).clamp_min(1) - 2 * groups.sum(across) / n + among
    return result * (n > 1)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of every row of ``a`` (N, S) with every row of ``b`` (M, S): (N, M)."""
    with torch.autocast(a.device.type, enabled=False):  # small differences of large numbers
        square = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    square = square.clamp_min(0)
    scales = [2 * a.shape[1] * h for h in SCALES]
    return sum(scale / (scale + square) for scale in scales) / len(scales)
