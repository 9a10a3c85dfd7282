"""The bound of the Multi-Level VAE, from one sample of every latent.

Shapes: N observations, G groups, C dimensions of a content, S of the style.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.evidence.rules import EVIDENCE_RULES, evidence_of
from mlvae.evidence.sources import EVIDENCE_FROM
from mlvae.groups import Groups
from mlvae.groups.shares import per_grouping
from mlvae.models.mlvae.contents import (
    as_one,
    groupings_of_batch,
    side_by_side,
)
from mlvae.models.mlvae.inference import inputs_of, means_alone, posterior_alone, posteriors
from mlvae.models.mlvae.nested import upper_groups
from mlvae.models.observed import encoder_inputs
from mlvae.objectives import Objective
from mlvae.posteriors import DiagonalGaussian

__all__ = ["bound", "content_of", "recognise"]


def bound(model: Any, batch: Batch, generator: torch.Generator | None) -> Objective:
    """The bound of a batch, from one sample of every latent."""
    x, groupings = batch.x, groupings_of_batch(model, batch)
    member_qs, style_given = posteriors(model, x, batch.given)
    samples, contents, content_kls = {}, {}, {}
    # The order of these operations is a part of the results: gradients are added in it.
    for name, member_q in member_qs.items():
        groups = groupings[name]
        source = generator if groups is batch.groups else per_grouping(generator, groups)
        content = contents[name] = content_of(model, member_q, groups, source)
        if name not in model.options.uppers:
            content_kls[name] = content_kl(model, content, groups)
        samples[name] = sample_of(model, content, groups, source)
    for lower, upper in model.options.uppers.items():
        above = contents[upper][upper_groups(groupings[lower], groupings[upper])]
        prior: Any = model.priors[lower]
        content_kls[lower] = prior.kl(contents[lower], above)
    c = side_by_side(samples)
    style = style_given(c)
    s = style.sample(generator=generator)
    parameters = model.decoder(torch.cat((c, s), 1))
    log_likelihood = model.standardise.log_prob(model.likelihood, parameters, x, batch.given)
    objective = objective_of(model, log_likelihood, style.kl(), content_kls, groupings)
    if model.training and model.options.separation.active:
        named = len(samples) > 1
        return model.separators(
            objective,
            {model.grouping_of[n]: v for n, v in samples.items()} if named else c,
            s,
            {model.grouping_of[n]: v for n, v in groupings.items()} if named else batch.groups,
            recognise=partial(recognise, model),
            style=lambda: style_given(means_alone(model, member_qs).detach()),
            generator=generator,
        )
    return objective


def content_of(
    model: Any, member_q: Any, groups: Groups, generator: torch.Generator | None
) -> Any:
    """The content posterior of each group (G, C), or with ``content_per_member`` (N, C)."""
    if not model.training or model.options.evidence_from == "all":
        return model.rule(member_q, groups)
    source = EVIDENCE_FROM[model.options.evidence_from]
    chosen = source(evidence_of(member_q), groups, generator)
    return EVIDENCE_RULES[model.options.accumulation](chosen)


def sample_of(
    model: Any, content: Any, groups: Groups, generator: torch.Generator | None
) -> Tensor:
    """A sample of the content of each observation, (N, C)."""
    if model.training and model.options.content_per_member:
        return content.sample(generator=generator)  # no mixture, (N, C)
    if model.options.content_draw == "observation":
        return content.sample_members(groups, generator=generator)
    return groups.spread(content.sample_groups(generator=generator))


def content_kl(model: Any, content: Any, groups: Groups) -> Tensor:
    """The content KL of each group from the prior, (G,)."""
    kl = content.kl()
    if model.training and model.options.content_per_member:
        kl = groups.sum(kl) / groups.sizes.clamp(min=1)
    return kl


def objective_of(
    model: Any,
    log_likelihood: Tensor,
    style_kl: Tensor,
    content_kls: Mapping[str, Tensor],
    groupings: Mapping[str, Groups],
) -> Objective:
    """The objective of one grouping or of several."""
    if len(content_kls) > 1:
        return model.objective.of_groupings(
            log_likelihood=log_likelihood,
            style_kl=style_kl,
            content_kl={model.grouping_of[name]: kl for name, kl in content_kls.items()},
            groupings={model.grouping_of[name]: each for name, each in groupings.items()},
        )
    return model.objective(
        log_likelihood=log_likelihood,
        style_kl=style_kl,
        content_kl=as_one(content_kls),
        groups=as_one(groupings),
    )


def recognise(model: Any, content: Tensor, style: Tensor) -> Any:
    """The content posteriors (N, C) of decoded observations, which stay standardised."""
    decoded = model.likelihood.mean(model.decoder(torch.cat((content, style), 1)))
    inputs = (
        inputs_of(model, decoded, None)
        if model.missing_cells
        else encoder_inputs(model.likelihood, decoded)
    )
    single = [posterior_alone(model, q) for q in model.encoder(inputs)[: len(model.contents)]]
    if model.options.on_simplex:
        return single[0]
    moments = [q.moments() for q in single]
    if len(moments) == 1:
        return moments[0]
    return DiagonalGaussian(
        torch.cat([q.mean for q in moments], 1),
        torch.cat([q.log_variance for q in moments], 1),
    )
