"""Posteriors of observations by the encoders of the Multi-Level VAE.

Shapes: N observations, G groups, C dimensions of a content, S of the style.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from mlvae.data.grouped import GroupedData
from mlvae.errors import InputError
from mlvae.evidence.rules import Posterior
from mlvae.groups import Groups
from mlvae.groups.grouping import UNNAMED
from mlvae.models.cells import with_mask
from mlvae.models.inputs import Observations, observations
from mlvae.models.latents import Latents, values_of
from mlvae.models.mlvae.contents import as_groups, contents_of, side_by_side
from mlvae.posteriors import DiagonalGaussian

__all__ = [
    "check_one",
    "decoded",
    "inferred",
    "inferred_style",
    "inputs_of",
    "means_alone",
    "named_groups",
    "posterior_alone",
    "posteriors",
    "read",
]


def posteriors(
    model: Any, x: Tensor, given: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Any], Callable[[Tensor], DiagonalGaussian]]:
    """The outputs of the encoders: each content by its name, and the style given the contents."""
    x = inputs_of(model, x, given)
    if not model.style_given_content:
        *contents, style = model.encoder(x)
        return dict(zip(model.contents, contents, strict=True)), lambda content: style
    contents = model.encoder(x)
    features = model.style_encoder.trunk(x)
    return (
        dict(zip(model.contents, contents, strict=True)),
        lambda content: model.style_encoder.given(features, content).moments(),
    )


def inputs_of(model: Any, x: Tensor, given: Mapping[str, Tensor] | None) -> Tensor:
    """The inputs of the encoders for observations x, float (N, ...)."""
    if model.missing_cells:
        return with_mask(model.likelihood, x, given)  # type: ignore[arg-type]
    return model.standardise.inputs(model.likelihood, x)


def posterior_alone(model: Any, member_q: Any) -> Posterior:
    """The content posteriors (N, C) of observations that are groups of one."""
    return model.rule(member_q, Groups.singletons(len(member_q), member_q.mean.device))


def means_alone(model: Any, member_qs: Mapping[str, Any]) -> Tensor:
    """The means of all contents (N, C) of observations that are groups of one."""
    return side_by_side({name: posterior_alone(model, q).mean for name, q in member_qs.items()})


def read(model: Any, x: Observations) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Observations as floats on the device of the model, and the given values of data."""
    device = next(model.parameters()).device
    given = x.given if isinstance(x, GroupedData) else {}
    moved = {name: values.to(device) for name, values in given.items()}
    return observations(x, model.shape, model), moved


def named_groups(model: Any, x: Observations, groups: Any) -> dict[str, Any]:
    """The groups of observations by the name of the grouping: those given, or those of data."""
    if not isinstance(x, GroupedData):
        return as_groups(groups, model.grouping_of.values())
    if groups is not None:
        raise InputError("groups must be None where x is GroupedData, which has groups")
    return {name: each.groups for name, each in x.groupings.items()} | {UNNAMED: x.groups}


def inferred(
    model: Any, x: Tensor, given: Mapping[str, Tensor], groups: Mapping[str, Any]
) -> dict[str, Any]:
    """The content posterior of each group of each content; None groups are of one member."""
    found = {}
    for name, each in groups.items():
        known = Groups.singletons(len(x)) if each is None else Groups.of(each)
        if known.num_observations != len(x):
            raise InputError(
                f"groups must name the group of each of the {len(x)} observations, "
                f"not of {known.num_observations}"
            )
        found[name] = known.to(x.device)
    inputs = inputs_of(model, x, given)
    encoded = dict(zip(model.contents, model.encoder(inputs), strict=False))
    return {name: model.rule(encoded[name], known) for name, known in found.items()}


def inferred_style(
    model: Any,
    x: Tensor,
    given: Mapping[str, Tensor],
    content: Latents | None = None,
    contents: Mapping[str, Latents] | None = None,
) -> DiagonalGaussian:
    """The style posterior (N, S) of observations as floats on the device of the model."""
    member_qs, style_given = posteriors(model, x, given)
    if content is None and contents is None:
        values = {name: posterior_alone(model, q) for name, q in member_qs.items()}
    else:
        values = contents_of(model, content, contents, {})
    checked = {}
    for name, dim in model.contents.items():
        checked[name] = values_of(name, values[name], dim, model)
        number = len(member_qs[name])
        if len(checked[name]) != number:
            raise InputError(
                f"{name} must have a row for each of the {number} observations, not "
                f"{len(checked[name])}; content[groups.index] gives each observation the "
                "content of its group"
            )
    return style_given(side_by_side(checked))


def decoded(model: Any, contents: dict[str, Any], style: Any, **sizes: Any) -> Tensor:
    """The expected observations (N, ...) of contents by the name of the grouping."""
    if UNNAMED in contents:
        return model.decode(contents[UNNAMED], style, **sizes)
    return model.decode(style=style, contents=contents, **sizes)


def check_one(model: Any, method: str, advice: str) -> None:
    """Raise :class:`InputError` if the model has several contents."""
    if len(model.contents) > 1:
        raise InputError(
            f"{method} is for a model with one content, not with {', '.join(model.contents)}; "
            f"use {advice}"
        )
