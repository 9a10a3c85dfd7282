"""The pictures of a model: one function for each.

Shapes: N observations (...) in G groups.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from mlvae import grids
from mlvae.batch import Batch
from mlvae.data import GroupedData
from mlvae.data.tables.columns import column_names
from mlvae.encoding import rows_of_frame
from mlvae.errors import InputError, check_integer, shown
from mlvae.grids import Grid
from mlvae.groups import Groups
from mlvae.models.protocol import has_codes, traits
from mlvae.observations import as_floats, as_observations, as_tensor
from mlvae.training.checks import with_needs
from mlvae.training.seeding import seeded

if TYPE_CHECKING:
    from mlvae.show.drawing import Picture

__all__ = [
    "evidence",
    "factorial",
    "interpolations",
    "reconstructions",
    "samples",
    "swaps",
    "traversals",
]

MEMBERS = 100  # most observations of a group
IN_CELL = 10  # most observations of a combination of two groups


def swaps(
    model: Any, x: Any, groups: Any = None, labels: Sequence[object] | None = None, most: int = 10
) -> Picture:
    """Every content with every style.

    The column gives the content, the row gives the style. With groups, the content is accumulated
    over the observations of a group, and the style is that of the first of them. In a good model
    each column keeps its character, and each row keeps its style.

    Args:
        model: a trained model with the codes "content" and "style".
        x: observations (N, ...) as the model takes them: uint8 images, floats in the scale of the
            training, a data frame, or :class:`mlvae.GroupedData`, which has groups and labels.
        groups: label of the group of each observation, length N; None: each is a group of its own.
        labels: text for each group in sorted order; None: the labels of the groups, or numbers
            from 1.
        most: largest number of groups in the figure, the first ones. Of a group at most 100
            observations are used.

    Returns:
        A :class:`matplotlib.figure.Figure`.

    Raises:
        InputError: if the model has no content and style, or the observations do not fit it.

    Example:
        >>> import mlvae
        >>> model = mlvae.models.MLVAE((2, 50), likelihood=mlvae.likelihoods.Gaussian())
        >>> figure = swaps(model, torch.randn(4, 2, 50), groups=["ann", "ann", "bob", "bob"])
        >>> figure.savefig("swaps.png")  # doctest: +SKIP
    """
    data = _data(model, x, groups, labels, most)
    with torch.no_grad():
        names = list(model.codes(data.singles([0])))
    if not {"content", "style"} <= set(names):
        raise InputError(
            f"model must have the codes content and style, not {', '.join(names)}; "
            "show.reconstructions takes any model"
        )
    return _drawn(grids.swap_grid, model, data, data.batch())


def reconstructions(
    model: Any, x: Any, groups: Any = None, labels: Sequence[object] | None = None, most: int = 10
) -> Picture:
    """Observations, and below each its reconstruction.

    With groups, a third row has the reconstructions with the content of the whole group.

    Args:
        model: a trained model.
        x: observations, as in :func:`swaps`; of :class:`mlvae.GroupedData` the figure has the
            first observation of each group.
        groups: as in :func:`swaps`.
        labels: as in :func:`swaps`.
        most: largest number of observations in the figure, the first ones.

    Example:
        >>> import mlvae
        >>> digits = mlvae.data.digits().test
        >>> model = mlvae.models.VAE(digits.shape)
        >>> figure = reconstructions(model, digits.x[:5], labels=["a", "b", "c", "d", "e"])
    """
    data = _data(model, x, groups, labels, most)
    batch = data.batch()
    if isinstance(x, GroupedData):
        batch = data.singles(data.one_of_each(most))
    elif len(data) > most:
        batch = data.batch(range(most))
    return _drawn(grids.reconstruction_grid, model, data, batch)


def samples(
    model: Any,
    x: Any,
    groups: Any = None,
    labels: Sequence[object] | None = None,
    most: int = 10,
    *,
    columns: int = 8,
    seed: int = 0,
) -> Picture:
    """New members of groups: the content of a group with styles sampled from the prior.

    A model without content and style shows samples from its prior.

    Args:
        model: a trained model whose style has a prior.
        x: observations, as in :func:`swaps`.
        groups: as in :func:`swaps`.
        labels: as in :func:`swaps`.
        most: as in :func:`swaps`.
        columns: number of samples in a row.
        seed: seed of the samples.

    Example:
        >>> import mlvae
        >>> digits = mlvae.data.digits().test
        >>> figure = samples(mlvae.models.MLVAE(digits.shape), digits, columns=4)
    """
    data = _data(model, x, groups, labels, most)
    check_integer("seed", seed, minimum=0)
    generator = seeded(torch.Generator(data.device), seed, "samples")
    options = {"columns": columns, "generator": generator}
    return _drawn(grids.generation_grid, model, data, data.batch(), **options)


def interpolations(
    model: Any, x: Any, labels: Sequence[object] | None = None, *, steps: int = 9
) -> Picture:
    """The way from one observation to another, in content and in style.

    Content changes from left to right, style from top to bottom. A model without content and style
    shows one row.

    Args:
        model: a trained model.
        x: two or more observations, as in :func:`swaps`; the first and the last are the ends. Of
            :class:`mlvae.GroupedData` the ends are of the first and the last of ten groups.
        labels: text for each observation, or for each group of :class:`mlvae.GroupedData`.
        steps: number of tiles along an axis.

    Example:
        >>> import mlvae
        >>> digits = mlvae.data.digits().test
        >>> figure = interpolations(mlvae.models.MLVAE(digits.shape), digits.x[:2], steps=5)
    """
    most = 10 if isinstance(x, GroupedData) else sys.maxsize
    data = _data(model, x, None, labels, most)
    rows = data.one_of_each(data.groups.num_groups)
    batch = data.singles(rows[[0, -1]] if len(rows) > 1 else rows)
    return _drawn(grids.interpolation_grid, model, data, batch, steps=steps)


def evidence(
    model: Any,
    x: Any,
    groups: Any = None,
    labels: Sequence[object] | None = None,
    most: int = 10,
    *,
    counts: Sequence[int] | None = None,
) -> Picture:
    """The content of a group as its evidence grows from 1 to k observations.

    A row for each group: its first observation, and reconstructions of it with the content of the
    first k observations.

    Args:
        model: a trained model.
        x: observations, as in :func:`swaps`.
        groups: as in :func:`swaps`; without groups there is k = 1 only.
        labels: as in :func:`swaps`.
        most: as in :func:`swaps`.
        counts: the numbers k; None: all of 1, 2, 3, 5, 10, 20, 50 that all groups have.

    Example:
        >>> import mlvae
        >>> digits = mlvae.data.digits().test
        >>> figure = evidence(mlvae.models.MLVAE(digits.shape), digits, counts=[1, 5, 10])
    """
    data = _data(model, x, groups, labels, most)
    return _drawn(grids.evidence_grid, model, data, data.batch(), counts=counts)


def factorial(
    model: Any,
    x: GroupedData,
    *,
    rows: str | None = None,
    columns: str | None = None,
    most: int = 12,
) -> Picture:
    """Every group of one grouping with every group of another one.

    The content of the row and the content of the column are accumulated over observations; the
    style is the mean. The first row and the first column are observations. A frame marks a
    combination that is observed; the others are predicted.

    Args:
        model: a trained model with a content for each of several groupings.
        x: observations with these groupings. Of each combination at most 10 are used.
        rows: grouping of the rows; None: the first one of the model.
        columns: grouping of the columns; None: the first other one of the model.
        most: largest number of rows and of columns, the first groups.

    Raises:
        InputError: if the model has one grouping, or the observations lack one.

    Example:
        >>> import mlvae
        >>> letters = mlvae.data.glyphs(
        ...     characters="ABCD", images=20, group=["character", "font"], validation=0, test=0
        ... ).train
        >>> dims = {"character": 4, "font": 4}
        >>> model = mlvae.models.MLVAE(letters.shape, content_dim=dims)
        >>> figure = factorial(model, letters, most=5)
    """
    if not isinstance(x, GroupedData):
        raise InputError(f"x must be GroupedData with several groupings, not {shown(x)}")
    data = _data(model, x, None, None, x.groups.num_groups)
    index = torch.stack([each.groups.index for each in data.groupings.values()], 1)
    cells = Groups(index.unique(dim=0, return_inverse=True)[1])
    order = cells.index.argsort(stable=True)
    first = cells.sizes.cumsum(0) - cells.sizes
    rank = torch.arange(len(order), device=order.device) - first[cells.index[order]]
    batch = data.batch(order[rank < IN_CELL].sort()[0])
    options = {"rows": rows, "columns": columns, "most": most}
    return _drawn(grids.factorial_grid, model, data, batch, **options)


def traversals(
    model: Any, x: Any, *, steps: int = 9, span: float = 3.0, most: int = 40
) -> Picture:
    """The effect of each latent dimension on one observation.

    Args:
        model: a trained model.
        x: one observation in an array (1, ...), or several, of which the first is used.
        steps: number of values of a dimension.
        span: largest value, in standard deviations of the prior.
        most: largest number of dimensions in the figure, the first ones.

    Example:
        >>> import mlvae
        >>> digits = mlvae.data.digits().test
        >>> figure = traversals(mlvae.models.VAE(digits.shape), digits.x[:1], steps=5)
    """
    data = _data(model, x, None, None, 1)
    options = {"steps": steps, "span": span, "most": most}
    return _drawn(grids.traversal_grid, model, data, data.singles([0]), **options)


def _data(
    model: Any, x: Any, groups: Any, labels: Sequence[object] | None, most: int
) -> GroupedData:
    """The observations of the first ``most`` groups on the device of the model, with labels.

    Raises:
        InputError: if the arguments do not fit each other.
    """
    if not has_codes(model):
        raise InputError(f"model must have codes and decode, as a MLVAE, not {shown(model)}")
    check_integer("most", most, minimum=1)
    device = next(model.parameters()).device
    if isinstance(x, GroupedData):
        if groups is not None:
            raise InputError("groups must be None: GroupedData has its groups already")
        data = x
        shape = traits(model).shape
        if shape is not None and tuple(shape) != data.shape:
            raise InputError(f"the model takes observations of shape {shape}, not {data.shape}")
    else:
        data = _grouped(model, x, groups)
    names = _labels(labels, data)
    data = with_needs(model, data, "shown")
    if len(names) > most or int(data.groups.sizes.max()) > MEMBERS:
        data, names = data.subset(_some(data, most)), names[:most]
    data = data.to(device)  # new, so that the caller's names stay
    data.group_names = names
    return data


def _grouped(model: Any, x: Any, groups: Any) -> GroupedData:
    """Arrays as data, with numbers from 1 as labels if there are no groups."""
    if column_names(x) is not None:
        return rows_of_frame(model, x, groups)
    stated = traits(model)
    if stated.shape is None or stated.likelihood is None:
        x = as_floats(as_tensor(x))
    else:
        x = as_observations(x, stated.shape, model)
    if groups is None:
        groups = range(1, len(x) + 1)
    return GroupedData(x.detach().cpu(), groups, kind="array")


def _labels(labels: Sequence[object] | None, data: GroupedData) -> list:
    if labels is None:
        return list(data.group_names)
    number = data.groups.num_groups
    if not isinstance(labels, Sequence) or isinstance(labels, str) or len(labels) != number:
        raise InputError(
            f"labels must be a list of {number} texts, one for each group, not {shown(labels)}"
        )
    return list(labels)


def _some(data: GroupedData, most: int) -> torch.Tensor:
    """Indices of the first members of the first groups, in the order of the data."""
    order = data.groups.index.argsort(stable=True)
    first = data.groups.sizes.cumsum(0) - data.groups.sizes
    group = data.groups.index[order]
    rank = torch.arange(len(order), device=order.device) - first[group]
    return order[(rank < MEMBERS) & (group < most)].sort()[0]


def _drawn(
    grid: Callable[..., Grid], model: Any, data: GroupedData, batch: Batch, **options: Any
) -> Picture:
    """The figure of a grid of the model in evaluation mode."""
    from mlvae.show.drawing import draw  # imports matplotlib, which `import mlvae` does not need

    training = model.training
    model.eval()
    try:
        names = tuple(data.feature_names or ())
        return draw(replace(grid(model, batch, **options), features=names))
    finally:
        model.train(training)
