"""Codes of explicit sets of observations, on which questions about a representation are asked.

A set is k members of one group whose evidence is accumulated to one code. Sets are disjoint and
their size is always stated: a code pooled over many images of one class is easy to classify for
any encoder, even an untrained one, so a figure without its k has no meaning.

Shapes: N observations, M sets of k observations, D dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mlvae.arguments import check_generator, check_type
from mlvae.batch import Batch
from mlvae.data import GroupedData
from mlvae.data.chosen import at_equal_distances
from mlvae.errors import InputError, check_choice, check_integer, check_part, shown
from mlvae.evidence.rules import ACCUMULATIONS, accumulated
from mlvae.groups import Groups
from mlvae.models.protocol import Model, has_codes, traits
from mlvae.models.standardise import Standardise
from mlvae.observations import as_floats
from mlvae.posteriors import DiagonalGaussian, Dirichlet, Family, GroupFamily, Point

__all__ = [
    "Representation",
    "accumulate_sets",
    "common_labels",
    "cut_sets",
    "disjoint_sets",
    "encode",
    "encode_all",
    "pixels",
    "principal_components",
    "representations",
    "shuffled",
    "standardised",
]

#: From a batch of N observations, each a group of one, to one posterior for each, (N, D).
Representation = Callable[[Batch], Family]


@torch.no_grad()
def representations(model: object, data: GroupedData) -> dict[str, Representation]:
    """The codes that ``model`` infers from single observations, by name.

    Codes that are looked up from given values are left out: they repeat those values.

    Args:
        model: the model.
        data: observations that the model takes; one is encoded to find the names of the codes.

    Raises:
        InputError: if the model has no codes.
    """
    check_type("data", data, GroupedData, "GroupedData")
    if not has_codes(model):
        raise InputError(
            f"a {type(model).__name__} has no codes to evaluate: it needs codes(batch) and "
            "decode(**codes)"
        )
    given = traits(model).given_codes
    names = model.codes(data.singles([0])).keys()
    return {name: _code(model, name) for name in names if name not in given}


def _code(model: Model, name: str) -> Representation:
    return lambda batch: model.codes(batch)[name]


def standardised(representation: Representation, scale: Standardise | None) -> Representation:
    """A representation of observations on the ``scale`` of a model; None: in raw units.

    Controls see the observations as the model's networks see them.
    """
    if scale is None or scale.kind is None:
        return representation
    return lambda batch: representation(replace(batch, x=scale(as_floats(batch.x))))


def pixels(batch: Batch) -> Point:
    """The control without a model: the observations themselves."""
    check_type("batch", batch, Batch, "a Batch, as data.singles([0, 1])")
    return Point(as_floats(batch.x).flatten(1))


def principal_components(
    data: GroupedData, dim: int, *, most: int = 20_000, scale: Standardise | None = None
) -> Representation:
    """The control without a network: the first ``dim`` principal components of observations.

    Components of faces are called eigenfaces (Turk and Pentland 1991).

    Args:
        data: the observations that determine the components; the training data.
        dim: number of components; fewer if observations have fewer dimensions.
        most: number of observations that are used, at equal distances.
        scale: the scale of a model that standardises; None: raw units.
    """
    check_type("data", data, GroupedData, "GroupedData")
    check_integer("dim", dim, minimum=1)
    check_integer("most", most, minimum=1)
    if scale is not None:
        check_type("scale", scale, Standardise, "the scale of a model, model.standardise, or None")
    from sklearn.decomposition import PCA  # takes seconds to import

    rows = at_equal_distances(len(data), int(most), device=data.device)
    x = data.observations(rows)
    x = (x if scale is None else scale(x)).flatten(1).cpu().numpy()
    found = PCA(min(int(dim), *x.shape), svd_solver="auto", random_state=0).fit(x)
    mean, axes = (
        torch.from_numpy(array).to(data.device) for array in (found.mean_, found.components_)
    )

    def components(batch: Batch) -> Point:
        return Point((batch.x.flatten(1) - mean.to(batch.x)) @ axes.to(batch.x).T)

    return standardised(components, scale)


@torch.no_grad()
def encode(
    representation: Representation, data: GroupedData, *, chunk: int = 4096
) -> DiagonalGaussian | Dirichlet:
    """The posterior of every observation of ``data`` by itself, shape (N, D).

    Gaussians and Dirichlets stay what they are. Other families become Gaussians with their
    moments, so that every measure can pool them.

    Args:
        representation: as of :func:`representations`.
        data: the observations.
        chunk: number of observations that are encoded at once.

    Raises:
        InputError: if an argument is of another kind.
    """
    if not callable(representation) or isinstance(representation, type):
        raise InputError(
            "representation must be a function of a batch, as representations(model, data) "
            f"returns, not {shown(representation)}"
        )
    check_type("data", data, GroupedData, "GroupedData")
    check_integer("chunk", chunk, minimum=1)
    rows = torch.arange(len(data), device=data.device)
    parts = [representation(data.singles(part)) for part in rows.split(int(chunk))]
    return _joined(parts)


def _joined(parts: Sequence[Any]) -> DiagonalGaussian | Dirichlet:
    """The posteriors of all parts, as measures take them."""
    whole = type(parts[0]).cat(parts)
    return whole if isinstance(whole, Dirichlet) else whole.moments()


@torch.no_grad()
def encode_all(
    model: Model, names: Sequence[str], data: GroupedData, *, chunk: int = 4096
) -> dict[str, DiagonalGaussian | Dirichlet]:
    """The posteriors of :func:`encode` for several codes of a model, by name, in one pass.

    Args:
        model: the model.
        names: names of its codes.
        data: the observations.
        chunk: number of observations that are encoded at once.
    """
    rows = torch.arange(len(data), device=data.device)
    parts = [model.codes(data.singles(part)) for part in rows.split(chunk)]
    return {name: _joined([codes[name] for codes in parts]) for name in names}


def disjoint_sets(groups: Groups, k: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Cut every group at random into sets of k members; up to k - 1 members of each are unused.

    Args:
        groups: the groups to cut.
        k: members of a set.
        generator: source of the cut, on the device of the groups.

    Returns:
        Indices of observations, shape (M, k). The members of a row are of one group, and no
        observation is in two rows.

    Raises:
        InputError: if no group has k members.
    """
    check_type("groups", groups, Groups, "Groups")
    check_integer("k", k, minimum=1)
    check_generator(generator)
    if int(groups.sizes.max()) < k:
        raise InputError(
            f"k={k} must not exceed the size of the largest group, which has "
            f"{int(groups.sizes.max())} members"
        )
    order, rank = shuffled(groups, generator)
    # Whole sets only, so that no row has members of two groups.
    return order[rank < (groups.sizes // k * k)[groups.index[order]]].view(-1, int(k))


def shuffled(groups: Groups, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Observations in random order within their groups, group by group, and the rank in each."""
    device = groups.index.device
    order = torch.randperm(groups.num_observations, generator=generator, device=device)
    order = order[groups.index[order].argsort(stable=True)]
    first = groups.sizes.cumsum(0) - groups.sizes
    return order, torch.arange(len(order), device=device) - first[groups.index[order]]


def cut_sets(
    groups: Groups, k: int, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sets to train a probe on, about as many as observations, and held-out sets.

    A tenth of the sets of one cut are held out, at least one of each group that has two sets. The
    other observations are cut k times into :func:`disjoint_sets`. Sets of different cuts may
    overlap, but none has an observation of a held-out set. If no group has two sets, none is held
    out.

    Returns:
        Indices of observations: training sets (M, k) and held-out sets (H, k).
    """
    sets = disjoint_sets(groups, k, generator=generator)
    group = groups.index[sets[:, 0]]
    whole = torch.bincount(group, minlength=groups.num_groups)
    rank = torch.arange(len(sets), device=sets.device) - (whole.cumsum(0) - whole)[group]
    number = torch.where(whole > 1, (whole // 10).clamp_min(1), 0)
    held = sets[rank < number[group]]
    if k == 1:
        return sets[rank >= number[group]], held
    free = torch.ones_like(groups.index, dtype=torch.bool)
    free[held.flatten()] = False
    rest = free.nonzero()[:, 0]
    left = Groups.unchecked(groups.index[rest], groups.sizes - k * number)
    cuts = [rest[disjoint_sets(left, k, generator=generator)] for _ in range(k)]
    return torch.cat(cuts), held


def common_labels(train: GroupedData, test: GroupedData) -> tuple[Tensor, Tensor]:
    """Number of each observation's group in both parts; equal names have equal numbers.

    Raises:
        InputError: if a group of ``test`` is not in ``train``.
    """
    known = {name: number for number, name in enumerate(train.group_names)}
    if missing := [name for name in test.group_names if name not in known]:
        raise InputError(f"a probe must have seen every group it is tested on, but not {missing}")
    numbers = torch.tensor([known[name] for name in test.group_names], device=test.device)
    return train.groups.index, numbers[test.groups.index]


def accumulate_sets(
    posterior: Family, sets: Tensor, *, accumulation: str | None = None
) -> GroupFamily:
    """The accumulated posterior of each set.

    Args:
        posterior: posteriors of single observations, (N, D).
        sets: indices of observations, (M, k).
        accumulation: name of the rule; None is the product of normals.

    Returns:
        Posteriors of shape (M, D), as :func:`mlvae.evidence.rules.accumulated` gives them; a
        Dirichlet of a set of one observation stays what it is. Under the rule "mixture" their
        means and variances are the moments of the mixture, and a sample is one of the mixture
        itself.
    """
    if accumulation is not None:
        check_choice("accumulation", accumulation, ACCUMULATIONS)
    check_part("posterior", posterior, (DiagonalGaussian,), ("moments", "__getitem__", "__len__"))
    _check_sets(sets, len(posterior))
    if isinstance(posterior, Dirichlet) and sets.shape[1] == 1:
        return posterior[sets[:, 0]]
    index = torch.arange(len(sets), device=sets.device).repeat_interleave(sets.shape[1])
    members = Groups.unchecked(index, torch.full_like(sets[:, 0], sets.shape[1]))
    return accumulated(posterior[sets.flatten()], members, accumulation)


def _check_sets(sets: Any, length: int) -> None:
    """Raise :class:`InputError` unless ``sets`` are indices (M, k) of ``length`` observations."""
    fits = isinstance(sets, Tensor) and sets.dtype == torch.int64 and sets.ndim == 2
    if not fits or sets.numel() == 0 or int(sets.min()) < 0 or int(sets.max()) >= length:
        raise InputError(
            f"sets must be indices (M, k) in [0, {length}), as of disjoint_sets, not {shown(sets)}"
        )
