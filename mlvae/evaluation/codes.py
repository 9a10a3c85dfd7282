"""Codes of explicit sets of observations: what questions about a representation are asked of.

A set is k members of one group whose evidence is accumulated to one code. Sets are disjoint and
their size is always said: a code pooled over many images of one class is easy to classify whatever
the encoder, even an untrained one, so a figure without its k says nothing.

Shapes: N observations, M sets of k observations, D dimensions, ... one observation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mlvae.accumulation import ACCUMULATIONS, Posterior, product
from mlvae.batch import Batch
from mlvae.data import GroupedData
from mlvae.errors import InputError, check_integer
from mlvae.gaussian import DiagonalGaussian
from mlvae.groups import Groups
from mlvae.models import told_groups

__all__ = [
    "Told",
    "accumulate_sets",
    "common_labels",
    "cut_sets",
    "disjoint_sets",
    "encode",
    "pixels",
    "principal_components",
    "representations",
]

#: From observations (N, ...) to one posterior for each, (N, D).
Representation = Callable[[Tensor], DiagonalGaussian]


@dataclass(frozen=True)
class Told:
    """A representation of observations whose groups it is told.

    Attributes:
        of: from a batch of N observations, each by itself, to their posteriors, (N, D).
    """

    of: Callable[[Batch], DiagonalGaussian]


def representations(model: nn.Module) -> dict[str, Representation | Told]:
    """What a model says of single observations, by name.

    "content" and "style" of a model that has both, otherwise "latent". Of a model that is told the
    groups "style" alone: its content says what it was told.
    """
    if told_groups(model):
        return {"style": Told(model.infer_style)}
    if hasattr(model, "infer_style"):
        return {"content": model.infer_content, "style": model.infer_style}
    if hasattr(model, "infer"):
        return {"latent": model.infer}
    raise InputError(
        f"a {type(model).__name__} has no codes to look at: it needs infer_content(x) and "
        "infer_style(x), or infer(x)"
    )


def pixels(x: Tensor) -> DiagonalGaussian:
    """The control without a model: observations themselves, with equal variances.

    The product of equal variances is the plain average. Only the mean of such a code is meant.
    """
    return DiagonalGaussian(x.flatten(1), torch.zeros_like(x.flatten(1)))


def principal_components(data: GroupedData, dim: int, *, most: int = 20_000) -> Representation:
    """The control without a network: the ``dim`` first principal components of observations.

    They are those of ``data``, or of ``most`` of its observations at equal distances; of faces
    they are called eigenfaces (Turk and Pentland 1991). As in :func:`pixels`, only the mean of
    such a code is meant.

    Args:
        data: the observations that the components are found on; those of training.
        dim: number of components; less if observations have fewer dimensions.
        most: number of observations that are looked at.
    """
    from sklearn.decomposition import PCA  # seconds that `import mlvae` need not take

    rows = torch.linspace(0, len(data) - 1, min(most, len(data)), device=data.device).long()
    x = data.observations(rows).flatten(1).cpu().numpy()
    found = PCA(min(dim, *x.shape), svd_solver="auto", random_state=0).fit(x)
    mean, axes = (
        torch.from_numpy(array).to(data.device) for array in (found.mean_, found.components_)
    )

    def project(x: Tensor) -> DiagonalGaussian:
        code = (x.flatten(1) - mean.to(x)) @ axes.to(x).T
        return DiagonalGaussian(code, torch.zeros_like(code))

    return project


@torch.no_grad()
def encode(
    representation: Representation | Told, data: GroupedData, *, chunk: int = 4096
) -> DiagonalGaussian:
    """The posterior of every observation of ``data`` by itself, shape (N, D)."""
    rows = torch.arange(len(data), device=data.device)
    if isinstance(representation, Told):
        parts = [representation.of(data.singles(part)) for part in rows.split(chunk)]
    else:
        parts = [representation(data.observations(part)) for part in rows.split(chunk)]
    return DiagonalGaussian(
        torch.cat([part.mean for part in parts]), torch.cat([part.log_variance for part in parts])
    )


def disjoint_sets(groups: Groups, k: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Cut every group at random into sets of k members; up to k - 1 members of each are left out.

    Args:
        groups: the groups to cut.
        k: members of a set.
        generator: of the cut, on the device of the groups.

    Returns:
        Indices of observations, shape (M, k): the members of a row are of one group, and no
        observation is in two rows.

    Raises:
        InputError: if no group has k members.
    """
    check_integer("k", k, minimum=1)
    if int(groups.sizes.max()) < k:
        raise InputError(
            f"k={k} must not exceed the size of every group, and the largest has "
            f"{int(groups.sizes.max())} members"
        )
    device = groups.index.device
    order = torch.randperm(groups.num_observations, generator=generator, device=device)
    order = order[groups.index[order].argsort(stable=True)]
    group = groups.index[order]
    first = groups.sizes.cumsum(0) - groups.sizes
    rank = torch.arange(len(order), device=device) - first[group]
    # Whole sets only, so that reading k at a time never crosses from one group to the next.
    return order[rank < (groups.sizes // k * k)[group]].view(-1, k)


def cut_sets(
    groups: Groups, k: int, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sets to train a probe on, about as many as observations, and which of them to hold out.

    A tenth of the sets of one cut are held out, at least one of each group that has two. What is
    left is cut k times anew into :func:`disjoint_sets`: these may overlap each other, but none has
    an observation of a set that is held out. Of k = 1 none is: any tenth of them would do.

    Returns:
        Indices of observations, (M, k), and whether a set is held out, (M,); those come first.
    """
    sets = disjoint_sets(groups, k, generator=generator)
    if k == 1:
        return sets, torch.zeros(len(sets), dtype=torch.bool, device=sets.device)
    group = groups.index[sets[:, 0]]
    whole = torch.bincount(group, minlength=groups.num_groups)
    rank = torch.arange(len(sets), device=sets.device) - (whole.cumsum(0) - whole)[group]
    number = torch.where(whole > 1, (whole // 10).clamp_min(1), 0)
    held = sets[rank < number[group]]
    free = torch.ones_like(groups.index, dtype=torch.bool)
    free[held.flatten()] = False
    rest = free.nonzero()[:, 0]
    left = Groups.unchecked(groups.index[rest], groups.sizes - k * number)
    cuts = [rest[disjoint_sets(left, k, generator=generator)] for _ in range(k)]
    sets = torch.cat((held, *cuts))
    return sets, torch.arange(len(sets), device=sets.device) < len(held)


def common_labels(train: GroupedData, test: GroupedData) -> tuple[Tensor, Tensor]:
    """Number of each observation's group, the same in both parts for groups of the same name.

    Raises:
        InputError: if a group of ``test`` is not in ``train``.
    """
    known = {name: number for number, name in enumerate(train.group_names)}
    if missing := [name for name in test.group_names if name not in known]:
        raise InputError(f"a probe must have seen every group it is tested on, but not {missing}")
    numbers = torch.tensor([known[name] for name in test.group_names], device=test.device)
    return train.groups.index, numbers[test.groups.index]


def accumulate_sets(
    posterior: DiagonalGaussian, sets: Tensor, *, accumulation: str | None = None
) -> Posterior:
    """One code for each set: the accumulated posteriors of its members.

    Args:
        posterior: of single observations, (N, D).
        sets: indices of observations, (M, k).
        accumulation: name of the rule; None is the product of normals.

    Returns:
        Codes of shape (M, D). Under the rule "mixture" their mean and variance are the moments of
        the mixture, and a draw is one of the mixture itself.
    """
    rule = product if accumulation is None else ACCUMULATIONS[accumulation]
    index = torch.arange(len(sets), device=sets.device).repeat_interleave(sets.shape[1])
    members = Groups.unchecked(index, torch.full_like(sets[:, 0], sets.shape[1]))
    return rule(posterior[sets.flatten()], members)
