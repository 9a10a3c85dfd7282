"""A lower bound on log p(x) by importance weighting.

Shapes: N observations, G groups, K content and M style draws, C content and S style dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mlvae.arguments import check_type
from mlvae.data import GroupedData
from mlvae.errors import InputError, check_integer
from mlvae.groups import Groups
from mlvae.models import Standardise, traits
from mlvae.observations import as_observations
from mlvae.posteriors import Family

__all__ = ["importance_weighted_bound"]


@torch.no_grad()
def importance_weighted_bound(
    model: Any,
    data: GroupedData,
    *,
    num_content: int = 64,
    num_style: int = 8,
    chunk: int = 1024,
    seed: int = 0,
) -> Tensor:
    r"""A lower bound on log p(x_G) for each group, from K content samples and M style samples.

    .. math::
        \log p(x_G) \ge \mathbb E \log \frac1K \sum_{k=1}^K
        \frac{p(c_k)}{q(c_k \mid x_G)} \prod_{i \in G} \frac1M \sum_{m=1}^M
        \frac{p(x_i \mid c_k, s_{ikm}) \, p(s_{ikm})}{q(s_{ikm} \mid x_i)}

    with :math:`c_k \sim q(c \mid x_G)`, accumulated from all members, and
    :math:`s_{ikm} \sim q(s \mid x_i)`, or :math:`q(s \mid x_i, c_k)`. The members are
    independent given the content. So each average over m estimates :math:`p(x_i \mid c_k)`
    without bias, and their product :math:`p(x_G \mid c_k)`. The average over k then estimates
    :math:`p(x_G)` without bias. The expectation of its logarithm is below :math:`\log p(x_G)`, and
    approaches it as K and M grow (Y. Burda, R. Grosse, R. Salakhutdinov: Importance Weighted
    Autoencoders. ICLR 2016, arXiv:1509.00519, section 3 and theorem 1, for the average over k).
    With K = M = 1 it is the group ELBO. Under the rule "mixture", the Gaussian with the moments of
    the mixture takes the place of q(c | x_G): any distribution gives a bound.

    The function returns one estimate of that expectation, which can exceed :math:`\log p(x_G)` by
    chance. Weights of the model's objective have no effect. Under the Bernoulli likelihood grey
    images have no density, and the values compare only with those of other Bernoulli models.

    Samples are drawn one after another and decoded in chunks. So the memory does not grow with K
    and M. Beyond the posteriors and one sample of every latent it does not grow with the size of
    groups either.

    Args:
        model: one with the trait ``importance_weighted``: :class:`~mlvae.models.MLVAE`, or
            :class:`~mlvae.models.VAE`, for which every observation is a group of one and the
            latent takes the place of the content.
        data: observations and their groups; moved to the model's device.
        num_content: K, for a VAE the number of samples of its latent.
        num_style: M, for each observation and content sample. A VAE has no style and ignores it.
        chunk: number of observations that are encoded or decoded at once. It changes the memory,
            and the result by rounding only.
        seed: seed of the noise; the same seed gives the same result on the same device.

    Returns:
        Bounds in nats, float64 on the model's device. They are per group, of shape (G,) in the
        order of ``data.group_names``; for a VAE per observation, of shape (N,).

    Raises:
        InputError: if an argument is out of range, the model has no such posteriors, or the
            observations do not have the model's shape or have no probability under its likelihood.

    Example:
        >>> from mlvae.models import MLVAE
        >>> model = MLVAE((1, 8, 8), content_dim=2, style_dim=2)
        >>> data = GroupedData(torch.rand(4, 1, 8, 8), ["ann", "bob", "ann", "eve"])
        >>> importance_weighted_bound(model, data, num_content=5, num_style=2).shape
        torch.Size([3])
    """
    stated = traits(model)
    if not stated.importance_weighted or stated.likelihood is None or stated.shape is None:
        raise InputError(
            f"importance weighting needs the posteriors of a model such as MLVAE or VAE; a "
            f"{type(model).__name__} has none"
        )
    counts = {"num_content": num_content, "num_style": num_style, "chunk": chunk}
    for name, value in counts.items():
        check_integer(name, value, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_type("data", data, GroupedData, "GroupedData")
    device = next(model.parameters()).device
    data = data.to(device)
    generator = torch.Generator(device).manual_seed(int(seed))
    chunks = torch.arange(len(data), device=device).split(int(chunk))
    training = model.training
    model.eval()
    try:
        content, style, groups = _posteriors(model, data, chunks)
        if style.mean.shape[1] == 0:
            num_style = 1
        total = content.mean.new_full((groups.num_groups,), -torch.inf)
        for _ in range(num_content):
            c, log_weight = content.weighted_sample(generator)
            style = _posteriors(model, data, chunks, c)[1] if stated.style_given_content else style
            member = style.mean.new_full((len(data),), -torch.inf)
            for _ in range(num_style):
                s, log_ratio = style.weighted_sample(generator)
                log_likelihood = _log_likelihood(model, data, chunks, c, s, groups)
                member = torch.logaddexp(member, log_likelihood + log_ratio)
            log_weight = log_weight + groups.sum(member - math.log(num_style))
            total = torch.logaddexp(total, log_weight)
    finally:
        model.train(training)
    return total - math.log(num_content)


def _posteriors(
    model: Any, data: GroupedData, chunks: Sequence[Tensor], c: Tensor | None = None
) -> tuple[Family, Family, Groups]:
    """q(c | x_G) (G, C), q(s | x_i) (N, S), both float64, and the groups that share a content.

    A style that is inferred given the content is given ``c`` (G, C).
    """
    encoded = []
    for rows in chunks:
        x = _observations(model, data, rows)
        known = _observed(model, data, rows)
        model.likelihood.check(x, **known)
        member_q, style_given = model.posteriors(x, known) if known else model.posteriors(x)
        given = member_q.mean if c is None else c[data.groups.index[rows]].to(x.dtype)
        encoded.append((member_q, style_given(given)))
    member_q, style = (
        type(pieces[0]).cat(pieces).to(torch.float64) for pieces in zip(*encoded, strict=True)
    )
    content, groups = model.pooled(member_q, data.groups)
    # A mixture has no density that is a sum over dimensions; other families have their own.
    return content if hasattr(content, "weighted_sample") else content.moments(), style, groups


def _log_likelihood(
    model: Any,
    data: GroupedData,
    chunks: Sequence[Tensor],
    c: Tensor,
    s: Tensor,
    groups: Groups,
) -> Tensor:
    """The log p(x_i | c, s_i) (N,) in float64, for content (G, C) of all groups and style (N, S).

    uint8 observations are converted again for each sample, which needs less memory.
    """
    pieces, scale = [], traits(model).standardise or Standardise(None, model.shape)
    for rows in chunks:
        x = _observations(model, data, rows)
        latent = torch.cat((c[groups.index[rows]], s[rows]), 1).to(x.dtype)
        parameters = model.decoder(latent)
        given = {name: values[rows] for name, values in data.given.items()}
        pieces.append(scale.log_prob(model.likelihood, parameters, x, given).double())
    return torch.cat(pieces)


def _observations(model: Any, data: GroupedData, rows: Tensor) -> Tensor:
    observed = _observed(model, data, rows).get("observed")
    return as_observations(data.observations(rows), model.shape, model, observed=observed)


def _observed(model: Any, data: GroupedData, rows: Tensor) -> dict[str, Tensor]:
    """The mask of observed cells by its name, if rows of the model may miss cells."""
    mask = data.given.get("observed") if traits(model).missing_cells else None
    return {} if mask is None else {"observed": mask[rows]}
