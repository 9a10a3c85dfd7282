"""How probable a model finds observations: a lower bound on log p(x) by importance weighting.

Shapes: N observations, G groups, K content and M style draws, C content and S style dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mlvae.accumulation import ACCUMULATIONS
from mlvae.data import GroupedData
from mlvae.errors import InputError, check_integer
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.mixture import GroupMixture
from mlvae.models import MLVAE, VAE
from mlvae.observations import as_observations

__all__ = ["importance_weighted_bound"]


@torch.no_grad()
def importance_weighted_bound(
    model: MLVAE | VAE,
    data: GroupedData,
    *,
    num_content: int = 64,
    num_style: int = 8,
    chunk: int = 1024,
    seed: int = 0,
) -> Tensor:
    r"""A lower bound on log p(x_G) for each group, from K content draws and M style draws.

    .. math::
        \log p(x_G) \ge \mathbb E \log \frac1K \sum_{k=1}^K
        \frac{p(c_k)}{q(c_k \mid x_G)} \prod_{i \in G} \frac1M \sum_{m=1}^M
        \frac{p(x_i \mid c_k, s_{ikm}) \, p(s_{ikm})}{q(s_{ikm} \mid x_i)}

    with :math:`c_k \sim q(c \mid x_G)`, accumulated from all members, and
    :math:`s_{ikm} \sim q(s \mid x_i)`, or :math:`q(s \mid x_i, c_k)`. The members are
    independent given the content, so each average over m estimates :math:`p(x_i \mid c_k)`
    without bias and their product :math:`p(x_G \mid c_k)`; the average over k then estimates
    :math:`p(x_G)` without bias, and its logarithm is below :math:`\log p(x_G)` in expectation,
    ever less so as K and M grow (Y. Burda, R. Grosse, R. Salakhutdinov: Importance Weighted
    Autoencoders. ICLR 2016, arXiv:1509.00519, section 3 and theorem 1, for the average over k).
    With K = M = 1 it is the group ELBO. Under the rule "mixture" the draws are of the Gaussian
    with the moments of the mixture, which stands for q(c | x_G) throughout: any other
    distribution gives a bound too.

    What is returned is one estimate of that expectation: it may lie above :math:`\log p(x_G)` by
    chance. Weights in the model's objective do not enter. Under the Bernoulli likelihood grey
    images have no density, and the values compare only with those of other Bernoulli models.

    The draws are taken one after another, and decoded in pieces. So memory grows neither with K
    and M nor, beyond the posteriors and one draw of every latent, with the size of groups.

    Args:
        model: a :class:`MLVAE`, or a :class:`VAE`, for which every observation is a group of its
            own and its latent takes the place of the content.
        data: observations and their groups; moved to the model's device if they are elsewhere.
        num_content: K, for a VAE the number of draws of its latent.
        num_style: M, for each observation and content draw; a VAE has no style and ignores it.
        chunk: number of observations encoded or decoded at once. It changes the memory needed and,
            but for rounding, not the result.
        seed: of the noise; the same seed gives the same result on the same device.

    Returns:
        The bound in nats, float64 on the model's device: per group, shape (G,) in the order of
        ``data.group_names``; for a VAE per observation, shape (N,).

    Raises:
        InputError: if an argument is out of range, the model is neither of the two, or the
            observations do not have the model's shape or no probability under its likelihood.

    Example:
        >>> model = MLVAE((1, 8, 8), content_dim=2, style_dim=2)
        >>> data = GroupedData(torch.rand(4, 1, 8, 8), ["ann", "bob", "ann", "eve"])
        >>> importance_weighted_bound(model, data, num_content=5, num_style=2).shape
        torch.Size([3])
    """
    _check(model, num_content=num_content, num_style=num_style, chunk=chunk, seed=seed)
    device = next(model.parameters()).device
    data = data.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    chunks = torch.arange(len(data), device=device).split(chunk)
    training = model.training
    model.eval()
    try:
        content, style, groups = _posteriors(model, data, chunks)
        if isinstance(model, VAE):
            num_style = 1
        total = content.mean.new_full((groups.num_groups,), -torch.inf)
        for _ in range(num_content):
            c, log_weight = _draw(content, generator)
            if getattr(model, "style_given_content", False):
                style = _posteriors(model, data, chunks, c)[1]
            member = style.mean.new_full((len(data),), -torch.inf)
            for _ in range(num_style):
                s, log_ratio = _draw(style, generator)
                log_likelihood = _log_likelihood(model, data, chunks, c, s, groups)
                member = torch.logaddexp(member, log_likelihood + log_ratio)
            log_weight = log_weight + groups.sum(member - math.log(num_style))
            total = torch.logaddexp(total, log_weight)
    finally:
        model.train(training)
    return total - math.log(num_content)


def _check(model: object, *, seed: int, **counts: int) -> None:
    if not isinstance(model, MLVAE | VAE):
        raise InputError(f"model must be an MLVAE or a VAE, not {type(model).__name__}")
    for name, value in counts.items():
        check_integer(name, value, minimum=1)
    check_integer("seed", seed, minimum=0)


def _posteriors(
    model: MLVAE | VAE, data: GroupedData, chunks: Sequence[Tensor], c: Tensor | None = None
) -> tuple[DiagonalGaussian, DiagonalGaussian, Groups]:
    """q(c | x_G) (G, C), q(s | x_i) (N, S), both float64, and the groups that share a content.

    Where the style is inferred given the content, it is so given ``c`` (G, C). A VAE is a model
    without style, S = 0, whose observations are groups of one.
    """
    encoded = []
    for rows in chunks:
        x = _observations(model, data, rows)
        model.likelihood.check(x)
        if isinstance(model, VAE):
            encoded.append(model.encoder(x))
            continue
        each, style_given = model.posteriors(x)
        of_group = each.mean if c is None else c[data.groups.index[rows]].to(x.dtype)
        encoded.append((each, style_given(of_group)))
    each, *styles = (
        DiagonalGaussian(
            torch.cat([q.mean for q in pieces]).double(),
            torch.cat([q.log_variance for q in pieces]).double(),
        )
        for pieces in zip(*encoded, strict=True)
    )
    if isinstance(model, VAE):
        nothing = each.mean.new_empty(len(data), 0)
        groups = Groups.singletons(len(data), each.mean.device)
        return each, DiagonalGaussian(nothing, nothing), groups
    content = ACCUMULATIONS[model.accumulation](each, data.groups)
    if isinstance(content, GroupMixture):
        content = content.moments()
    return content, styles[0], data.groups


def _draw(q: DiagonalGaussian, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One draw z (..., D) of ``q`` and log p(z) - log q(z) (...), p being the standard normal."""
    noise = torch.randn(
        q.mean.shape, generator=generator, dtype=q.mean.dtype, device=q.mean.device
    )
    z = q.mean + q.std * noise
    # By the noise and not by q.log_prob(z): z - mean has no digits left where the standard
    # deviation is far below the mean.
    return z, 0.5 * (noise.square() + q.log_variance - z.square()).sum(-1)


def _log_likelihood(
    model: MLVAE | VAE,
    data: GroupedData,
    chunks: Sequence[Tensor],
    c: Tensor,
    s: Tensor,
    groups: Groups,
) -> Tensor:
    """The log p(x_i | c, s_i) (N,) in float64, for content (G, C) of all groups and style (N, S).

    The observations are made floats anew each time: they stay bytes, and that is cheap.
    """
    pieces = []
    for rows in chunks:
        x = _observations(model, data, rows)
        latent = torch.cat((c[groups.index[rows]], s[rows]), 1).to(x.dtype)
        pieces.append(model.likelihood.log_prob(model.decoder(latent), x).double())
    return torch.cat(pieces)


def _observations(model: MLVAE | VAE, data: GroupedData, rows: Tensor) -> Tensor:
    return as_observations(data.observations(rows), model.shape, model)
