"""The contents of several groupings: their groups, their noise, and values that a user gives.

Shapes: N observations, C dimensions of a content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mlvae.batch import Batch
from mlvae.errors import InputError, check_choice, shown
from mlvae.groups import Groups
from mlvae.groups.grouping import UNNAMED, grouping_of

__all__ = [
    "as_groups",
    "as_one",
    "contents_of",
    "groupings_of_batch",
    "side_by_side",
    "sources_of",
]


def as_one(values: Mapping[str, Any]) -> Any:
    """The only value of a mapping."""
    (value,) = values.values()
    return value


def side_by_side(values: Mapping[str, Tensor]) -> Tensor:
    """The values of all contents of each observation as one row, (N, sum of C)."""
    return as_one(values) if len(values) == 1 else torch.cat(list(values.values()), 1)


def groupings_of_batch(model: Any, batch: Batch) -> dict[str, Groups]:
    """The groups of a batch that share each content, by the content's name.

    A batch of single observations, each a group of one, needs no names of groupings.

    Raises:
        InputError: if the batch has no grouping of a content.
    """
    found, given = {}, batch.groupings
    for name in model.contents:
        grouping = model.grouping_of[name]
        if grouping == UNNAMED:
            found[name] = batch.groups
        elif grouping in given:
            found[name] = given[grouping]
        elif batch.groups.num_groups == len(batch):
            found[name] = batch.groups
        else:
            raise InputError(
                f"the model has a content of {grouping}, but the batch has the groupings "
                f"{', '.join(given)}; take batches from GroupedData(x, groups={{{grouping!r}: "
                "[...]}), or use Batch.of(x, groupings)"
            )
    if len(found) == 1 and as_one(found) is not batch.groups:
        (grouping,) = model.grouping_of.values()
        raise InputError(
            f"a model with one content needs {grouping} as the first grouping of a batch, not "
            f"{batch.grouping}; take batches from data.regrouped({grouping!r})"
        )
    return found


def as_groups(groups: Any, known: Iterable[str]) -> dict[str, Groups]:
    """Groups by the name of the grouping, from Groups or labels; some labels may be missing.

    Raises:
        InputError: if a name is not ``known``, or the labels are wrong.
    """
    if groups is None:
        return {}
    if not isinstance(groups, Mapping):
        raise InputError(
            "groups must be labels by the name of the grouping, as {'speaker': [...]}, not "
            f"{shown(groups)}"
        )
    for name in groups:
        check_choice("the name of a grouping", name, list(known))
    return {
        name: labels if isinstance(labels, Groups) else grouping_of(name, labels).groups
        for name, labels in groups.items()
    }


def contents_of(
    model: Any, content: Any, contents: Mapping[str, Any] | None, codes: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of each content by its name, in the order of the model.

    Args:
        model: the model.
        content: the values of the only content, or None.
        contents: values by the name of the grouping, or None.
        codes: values by the name of the content.

    Raises:
        InputError: if a content has no value, two values, or a name is unknown.
    """
    if contents is not None and not isinstance(contents, Mapping):
        raise InputError(
            f"contents must be values by the name of the grouping, not {shown(contents)}"
        )
    name_of = {grouping: name for name, grouping in model.grouping_of.items()}
    for grouping in contents or {}:
        check_choice("a name of contents", grouping, list(name_of))
    for name in codes:
        check_choice("a code", name, [*model.contents, "style"])
    found = [*((name_of[g], value) for g, value in (contents or {}).items()), *codes.items()]
    if content is not None:
        if len(model.contents) > 1:
            raise InputError(
                f"content must be None for a model with the contents {', '.join(model.contents)}; "
                "give each by its name"
            )
        found.append((next(iter(model.contents)), content))
    values = dict(found)
    if len(values) < len(found) or values.keys() != model.contents.keys():
        missing = [name for name in model.contents if name not in values]
        what = f"{missing[0]} is missing" if missing else "one is given twice"
        raise InputError(
            f"each content of the model, {', '.join(model.contents)}, must be given once, but "
            f"{what}"
        )
    return {name: values[name] for name in model.contents}


def sources_of(model: Any, content_of: Any, sources: Mapping[str, Any]) -> dict[str, Any]:
    """The observations that give each content, by the content's name.

    Args:
        model: the model.
        content_of: those of the only content, or None.
        sources: those of each grouping, by the name of the grouping and "_of".

    Raises:
        InputError: if a content has no observations, or a name is unknown.
    """
    known = {f"{grouping}_of": name for name, grouping in model.grouping_of.items()}
    for name in sources:
        check_choice("an argument of swap", name, [*known, "style_of"])
    return contents_of(model, content_of, None, {known[name]: x for name, x in sources.items()})
