"""What the library expects of a model, and the properties that a model may state.

Training calls ``model(batch)`` and receives an :class:`~mlvae.objectives.Objective`. Evaluation,
export and pictures call ``model.codes(batch)`` and ``model.decode(**codes)``. No code of the
library depends on the class of a model.

Shapes: N observations, ... the shape of one observation, D dimensions of a code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from mlvae.batch import Batch
from mlvae.groups.grouping import UNNAMED
from mlvae.likelihoods import Likelihood
from mlvae.models.standardise import Standardise
from mlvae.objectives import Objective
from mlvae.parts import name_of, to_config
from mlvae.posteriors import Family

__all__ = ["Model", "Traits", "config_of", "has_codes", "takes_options", "traits"]

Class = TypeVar("Class", bound=type)


class Model(Protocol):
    """A model of this library: a :class:`torch.nn.Module` with these methods.

    A model that is only trained needs ``forward`` alone. ``codes`` and ``decode`` are needed for
    evaluation and pictures. A model may also have any attribute of :class:`Traits`.
    """

    training: bool

    def __call__(self, batch: Batch, *, generator: torch.Generator | None = None) -> Objective:
        """The objective of a batch. All random numbers come from ``generator``."""
        ...

    def codes(self, batch: Batch) -> Mapping[str, Family]:
        """The posterior of every code for each observation of ``batch``, by the code's name.

        Each has N rows (N, D). The content of a group is repeated for each of its observations.
        Codes are named "content" and "style", or "latent", or by the model's own words.
        """
        ...

    def decode(self, *args: Any, **codes: Any) -> Tensor:
        """The expected observations (N, ...) of values (N, D) of every code, by name."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Set training or evaluation mode, as in :class:`torch.nn.Module`."""
        ...

    def eval(self) -> Any:
        """Set evaluation mode, as in :class:`torch.nn.Module`."""
        ...

    def parameters(self, recurse: bool = True) -> Any:
        """All parameters, as in :class:`torch.nn.Module`."""
        ...


@dataclass(frozen=True)
class Traits:
    """Properties of a model. A model states one by an attribute of the same name.

    Attributes:
        shape: shape of one observation; None: any.
        config: plain values from which :func:`mlvae.models.build` builds the model again; None:
            the model cannot be built from a config.
        likelihood: the observation model, whose ``check`` accepts the training data; None: any
            data.
        needs: keys of ``batch.given`` that training needs.
        check_given: raises :class:`mlvae.InputError` unless the given values of all observations
            fit the model; None: any values.
        group_names: labels of the groups that the model knows; None: the model takes any group.
        largest_group: largest number of observations of a group in a training batch; None: any.
        players: disjoint lists of parameters by the name of the player that minimises a loss of
            its own; None: the player "model" has all of them.
        scales: factors of the objective that a warm-up sets, shape () each.
        pooling: by code, the accumulation rule that makes the posterior of a set of observations
            from the posteriors of single observations; a missing code: the product.
        group_codes: names of codes that the observations of a group share; other names than those
            of the model's codes have no effect.
        grouping_of: by code, the name of the grouping whose groups share it; "group" is the first
            grouping of the data, whatever its name. It must name the groupings of all
            ``group_codes`` but "content".
        nested: names of groupings, each of which has its groups within those of the one before.
        given_codes: names of codes that are looked up from ``given``, not inferred from x.
        unconditional_codes: in a model with ``given_codes``, names of codes that are inferred from
            x alone; the other ones are inferred given these values.
        spans_ranks: whether the members of a group may be on several ranks.
        importance_weighted: whether ``posteriors(x)`` and ``pooled(each, groups)`` give the
            densities for :func:`mlvae.evaluation.importance_weighted_bound`.
        style_given_content: whether the style posterior depends on the content.
        missing_cells: whether the model takes observations with missing cells, which
            ``given["observed"]`` states.
        decode_given: names of further arguments of ``decode``, one number for each row.
        standardise: the scale of the observations, which training measures before its first step;
            None: the model works with raw units.
    """

    shape: tuple[int, ...] | None = None
    config: Mapping[str, Any] | None = None
    likelihood: Likelihood | None = None
    needs: frozenset[str] = frozenset()
    check_given: Callable[[Mapping[str, Tensor]], None] | None = None
    group_names: Sequence[object] | None = None
    largest_group: int | None = None
    players: Mapping[str, Sequence[nn.Parameter]] | None = None
    scales: Mapping[str, Tensor] = field(default_factory=dict)
    pooling: Mapping[str, str] = field(default_factory=dict)
    group_codes: frozenset[str] = frozenset({"content"})
    grouping_of: Mapping[str, str] = field(default_factory=lambda: {"content": UNNAMED})
    nested: Sequence[str] = ()
    given_codes: frozenset[str] = frozenset()
    unconditional_codes: frozenset[str] = frozenset()
    spans_ranks: bool = False
    importance_weighted: bool = False
    style_given_content: bool = False
    missing_cells: bool = False
    decode_given: tuple[str, ...] = ()
    standardise: Standardise | None = None


def traits(model: object) -> Traits:
    """The traits that ``model`` states; a trait that it does not state has its default."""
    names = [trait.name for trait in fields(Traits)]
    return Traits(**{name: getattr(model, name) for name in names if hasattr(model, name)})


def has_codes(model: object) -> TypeGuard[Model]:
    """Whether ``model`` has ``codes`` and ``decode``, which evaluation and pictures need."""
    methods = [getattr(model, name, None) for name in ("codes", "decode")]
    return not inspect.isclass(model) and all(map(callable, methods))


def config_of(model: object, options: object) -> dict[str, Any]:
    """The ``config`` of a model with the record ``options``: its class's name and its options."""
    return {**to_config(options), "name": name_of(type(model))}


def takes_options(options: type) -> Callable[[Class], Class]:
    """Class decorator: the keyword arguments of the class are the fields of ``options``.

    ``help`` and completion show them. ``Options`` of the class is the record.

    Args:
        options: a frozen dataclass.
    """

    def decorate(model: Class) -> Class:
        shape = inspect.Parameter("shape", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        keywords = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(options).parameters.values()
        ]
        model.Options = options
        model.__signature__ = inspect.Signature([shape, *keywords])
        return model

    return decorate
