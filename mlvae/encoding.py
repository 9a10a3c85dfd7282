"""The codes of many observations as arrays or data frames, computed in batches.

Shapes: N observations in G groups, n of them in a batch, D dimensions of a code, ... one
observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mlvae.batch import Batch
from mlvae.data import GroupedData
from mlvae.data.row_order import check_row_order, index_of
from mlvae.data.rows.source import is_source
from mlvae.data.tables.columns import column_names
from mlvae.data.tables.frames import columns_like
from mlvae.data.tables.opened import opened
from mlvae.errors import InputError, check_flag, check_integer, shown
from mlvae.evidence.rules import accumulated
from mlvae.groups import Groups
from mlvae.groups.grouping import UNNAMED
from mlvae.models.protocol import Traits, has_codes, traits
from mlvae.observations import as_tensor
from mlvae.posteriors import DiagonalGaussian, Dirichlet, Family, GroupFamily
from mlvae.training.checks import with_needs

__all__ = [
    "Encoded",
    "EncodedGroups",
    "encode",
    "groups_of",
    "rows_of_frame",
    "rows_of_table",
    "shared_codes",
    "with_groupings",
]

#: Seconds before a bar shows the progress.
PATIENCE = 3.0

#: Members of a group whose content is compared with that of the model itself.
COMPARED = 4


class EncodedGroups(NamedTuple):
    """The groups of one grouping of encoded observations.

    Attributes:
        names: label of each group, length G; None of a group without a label.
        index: number of each observation's group, (N,).
    """

    names: list
    index: np.ndarray


@dataclass(frozen=True, eq=False)
class Encoded:
    """The codes of observations: what :func:`encode` returns.

    ``encoded.content`` is ``encoded.means["content"]``, and so for every code of the model.

    Attributes:
        means: posterior means of every code by its name: (G, D) of a code that a group shares,
            with the groups in the order of ``group_names``; (N, D) of the others. NumPy arrays,
            or data frames.
        variances: posterior variances in the same form, or None.
        group_names: label of each group, length G.
        index: number of each observation's group, (N,). ``encoded.content[encoded.index]`` has a
            row for each observation.
        names: name of each observation, (N,): the index of a data frame, the names of the data, or
            numbers from 0.
        groupings: the groups of each grouping by its name; the first one has ``group_names`` and
            ``index``. ``encoded.content_digit`` has a row for each group of the grouping digit.
    """

    means: Mapping[str, Any]
    variances: Mapping[str, Any] | None
    group_names: list
    index: np.ndarray
    names: np.ndarray
    groupings: Mapping[str, EncodedGroups] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        means = self.__dict__.get("means", {})  # none yet while it is copied
        if name in means:
            return means[name]
        raise AttributeError(f"no code {name!r} among {', '.join(means)}")

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in self.means.items())
        return (
            f"Encoded({shapes}; {len(self.index)} observations in {len(self.group_names)} groups)"
        )


@torch.inference_mode()
def encode(
    model: Any,
    x: Any,
    groups: Any = None,
    *,
    batch_size: int = 4096,
    variances: bool = False,
    frame: bool | None = None,
    progress: bool = True,
) -> Encoded:
    """The codes of all observations, without gradients, in batches on the device of the model.

    The memory is that of one batch and of the codes, however large the groups are. An observation
    has the same codes whatever else is encoded with it, up to rounding: matrix products of another
    number of rows add in another order, a relative difference of about 1e-6 in float32 and of
    1e-14 after ``model.double()``. The content of a group depends on its own members alone.

    Args:
        model: a trained model with codes. Its mode and its device stay as they are.
        x: observations (N, ...) as the model takes them: an array, a tensor, a
            :class:`~mlvae.data.Source`, :class:`~mlvae.GroupedData`, or a data frame of pandas,
            polars or pyarrow. A frame needs the columns of the training table
            (``model.table_columns``); if the model was trained on arrays, all columns but the
            group are features.
        groups: label of each observation's group, length N; of a frame, also the name of a column.
            For several groupings, labels by the name of the grouping, or a list of columns. None:
            the groups of GroupedData; the columns of a frame that had the groups in training;
            otherwise each observation is a group of its own.
        batch_size: number n of observations that are encoded at once.
        variances: whether the result has posterior variances too.
        frame: whether the result has data frames: content with a row for each group, indexed by
            its label, and style with a row for each observation, indexed by its name. None: if
            ``x`` is one. Frames are of the library of ``x``, else of pandas. polars and pyarrow
            have no index: the first column has the labels.
        progress: whether a bar shows the progress of work that takes more than three seconds.

    Raises:
        InputError: if the model has no codes, the observations do not fit it, or it needs values
            that are not given.

    Example:
        >>> import mlvae
        >>> model = mlvae.models.MLVAE((12,), content_dim=3, style_dim=2)
        >>> encoded = encode(model, torch.rand(5, 12), groups=["ann", "bob", "ann", "bob", "bob"])
        >>> encoded
        Encoded(content (2, 3), style (5, 2); 5 observations in 2 groups)
        >>> encoded.content[encoded.index].shape
        (5, 3)
    """
    if not has_codes(model):
        raise InputError(f"model must have codes and decode, as a MLVAE, not {shown(model)}")
    check_integer("batch_size", batch_size, minimum=1)
    check_flag("variances", variances)
    check_flag("progress", progress)
    if frame is not None:
        check_flag("frame", frame)
    columns = column_names(x)
    data = _data(model, x, groups)
    training = model.training
    model.eval()
    try:
        codes = _codes(model, data, int(batch_size), progress)
    finally:
        model.train(training)
    names = np.arange(len(data)) if data.names is None else data.names
    index = data.groups.index.cpu().numpy()
    means = {name: q.mean.cpu().numpy() for name, q in codes.items()}
    found = (
        {n: q.moments().variance.cpu().numpy() for n, q in codes.items()} if variances else None
    )
    groupings = {
        name: EncodedGroups(each.names, each.groups.index.cpu().numpy())
        for name, each in data.groupings.items()
    }
    encoded = Encoded(means, found, data.group_names, index, names, groupings)
    if frame if frame is not None else columns is not None:
        title = None if groups is None else groups if isinstance(groups, str) else data.grouping
        return _framed(encoded, x if columns is not None else None, data, traits(model), title)
    return encoded


# Observations


def _data(model: Any, x: Any, groups: Any) -> GroupedData:
    """The observations as data that fit the model, with the values that it needs."""
    stated = traits(model)
    if isinstance(groups, Groups):
        groups = groups.index
    if isinstance(x, GroupedData):
        data = x
        if groups is not None:
            raise InputError("groups must be None: GroupedData has its groups already")
    elif column_names(x) is not None:
        data = rows_of_frame(model, x, groups)
    else:
        data = _of_array(stated, x, groups)
    if not isinstance(x, GroupedData):
        data = with_groupings(stated, data, given=groups is not None)
    if stated.shape is not None and tuple(stated.shape) != data.shape:
        raise InputError(
            f"the model takes observations of shape {tuple(stated.shape)}, not {data.shape}"
        )
    unlabelled = groups is None and (data.columns is None or data.columns.group is None)
    if "label" in stated.needs and unlabelled and not isinstance(x, GroupedData):
        raise InputError(f"a {type(model).__name__} needs groups, the label of each observation")
    return with_needs(model, data, "encoded")


def _of_array(stated: Traits, x: Any, groups: Any) -> GroupedData:
    """The observations of an array or a source; those of a grey image may have no channel."""
    shape = list(stated.shape or ())
    channels = shape[0] if len(shape) == 3 else 0
    image = channels in (1, 3)
    if not is_source(x):
        x = as_tensor(x).detach()
        if not x.ndim:
            raise InputError(f"x must be observations (N, ...), not {shown(x)}")
        if x.ndim == 3 and channels == 1:
            x = x.unsqueeze(1)
    kind = "auto" if image and x.dtype == torch.uint8 else "array"
    if isinstance(groups, Mapping):
        return GroupedData(x, groups=groups, kind=kind)
    return GroupedData(x, np.arange(len(x)) if groups is None else groups, kind=kind)


def with_groupings(stated: Traits, data: GroupedData, *, given: bool) -> GroupedData:
    """The data with all groupings of a model.

    Each observation is a group of its own in a grouping without labels. ``given`` is whether the
    groups of the data are a user's.
    """
    needed = [name for name in stated.grouping_of.values() if name != UNNAMED]
    known = data.groupings
    if all(name in known for name in needed):
        return data
    if given and list(known) == [UNNAMED]:
        if len(needed) == 1:
            return data.regrouped({needed[0]: data.labels})
        raise InputError(
            f"groups must be labels by the name of the grouping, {', '.join(needed)}, as "
            f"groups={{{needed[0]!r}: [...]}}, or a list of columns of a frame"
        )
    alone = [None] * len(data)
    return data.regrouped(
        {name: known[name].labels if name in known else alone for name in needed}
    )


def rows_of_frame(model: Any, x: Any, groups: Any) -> GroupedData:
    """The rows of a frame, with the columns of the training table if there is a record of them."""
    record = getattr(model, "table_columns", None)
    if record is not None:
        missing = "keep" if traits(model).missing_cells else "refuse"
        return GroupedData.from_frame(x, groups, like=columns_like(record), missing=missing)
    labels = np.arange(len(opened(x, "x"))) if groups is None else groups
    if isinstance(labels, Mapping):
        check_row_order("x", x, groups=labels)
        features = GroupedData.from_frame(x, np.arange(len(opened(x, "x"))))
        return features.regrouped(labels)
    return GroupedData.from_frame(x, labels)


def rows_of_table(model: Any, table: Any, groups: Any = None) -> GroupedData:
    """The rows of a table with the columns of the training table.

    Args:
        model: a model that was trained on a table.
        table: a frame of pandas, polars or pyarrow; or grouped data, which stay as they are.
        groups: label of each row's group, or the name of a column. None: for a model whose rows
            share content, the column that had the groups in training, if the frame has it;
            otherwise each row is a group of its own.

    Raises:
        InputError: if the table is of another kind, or lacks a column.
    """
    if isinstance(table, GroupedData):
        return table
    if column_names(table) is None:
        raise InputError(
            "table must be a frame of pandas, polars or pyarrow, or GroupedData, not "
            f"{shown(table)}"
        )
    if getattr(model, "table_columns", None) is None:
        raise InputError(
            "model must be trained on a table, GroupedData.from_frame(...), to take a frame"
        )
    if groups is None and not callable(getattr(model, "pooled", None)):
        groups = np.arange(len(opened(table, "table")))
    return rows_of_frame(model, table, groups)


# Codes


def shared_codes(model: Any, data: GroupedData, batch_size: int) -> dict[str, GroupFamily]:
    """The posterior (G, D) of every code that the rows of a group share, by its name.

    It is empty for a model without such codes. The model is in evaluation mode.
    """
    if not callable(getattr(model, "pooled", None)):
        return {}
    codes = _codes(model, data, batch_size, progress=False)
    return {name: q for name, q in codes.items() if name in traits(model).group_codes}


def _codes(
    model: Any, data: GroupedData, batch_size: int, progress: bool
) -> dict[str, GroupFamily]:
    """The posterior of every code: (G, D) of shared ones, (N, D) of the others."""
    stated, device = traits(model), next(model.parameters()).device
    alone = all(int(each.groups.sizes.max()) == 1 for each in data.groupings.values())
    passes = 2 if stated.style_given_content and not alone else 1
    bar = tqdm(
        total=passes * len(data),
        desc="encode",
        unit=" observations",
        delay=PATIENCE,
        disable=None if progress else True,
        leave=False,
    )
    parts = torch.arange(len(data), device=data.device).split(batch_size)
    with bar:
        found: dict[str, list[Family]] = {}
        for rows in parts:
            for name, q in model.codes(data.singles(rows).to(device)).items():
                kept = name in stated.given_codes or isinstance(q, Dirichlet)
                found.setdefault(name, []).append(q if kept else q.moments())
            bar.update(len(rows))
        single = {name: type(some[0]).cat(some) for name, some in found.items()}
        codes = {
            name: _pooled(name, q, groups_of(data, stated, name).to(device), stated)
            if name in stated.group_codes
            else q
            for name, q in single.items()
        }
        if not alone:
            _check_pooling(model, data, single, stated, device)
        shared = sorted(codes.keys() & stated.group_codes)
        if passes == 2 and shared and "style" in codes:
            contents = {name: codes[name] for name in shared}
            codes["style"] = _style_given_content(model, data, contents, parts, device, bar)
    return codes


def groups_of(data: GroupedData, stated: Traits, name: str) -> Groups:
    """The groups that share the code ``name``."""
    grouping = stated.grouping_of.get(name, UNNAMED)
    return data.groups if grouping == UNNAMED else data.groupings[grouping].groups


def _pooled(name: str, q: Family, groups: Groups, stated: Traits) -> GroupFamily:
    """The posterior of each group (G, D) from those of its members alone (N, D)."""
    if name in stated.given_codes:  # the same for all members
        order = groups.index.argsort(stable=True)
        return q[order[groups.sizes.cumsum(0) - groups.sizes]]
    return accumulated(q, groups, stated.pooling.get(name))


def _check_pooling(
    model: Any,
    data: GroupedData,
    single: Mapping[str, Family],
    stated: Traits,
    device: torch.device,
) -> None:
    """Raise :class:`InputError` unless pooled codes are those of the model for a whole group."""
    for name in stated.group_codes & single.keys() - stated.given_codes:
        groups = groups_of(data, stated, name)
        rows = (groups.index == int(groups.sizes.argmax())).nonzero()[:COMPARED, 0]
        members = Groups(torch.zeros(len(rows), dtype=torch.int64, device=device))
        whole = model.codes(data.batch(rows).to(device))
        pooled = _pooled(name, single[name][rows.to(device)], members, stated).mean
        if not torch.allclose(pooled[0], whole[name].mean[0], rtol=1e-2, atol=1e-3):
            raise InputError(
                f"the {name} of a group must be the {stated.pooling.get(name, 'product')} of the "
                f"posteriors of its members; state the rule of a {type(model).__name__} in "
                f"`pooling`, or leave {name!r} out of `group_codes`"
            )


def _style_given_content(
    model: Any,
    data: GroupedData,
    contents: Mapping[str, GroupFamily],
    parts: Any,
    device: torch.device,
    bar: Any,
) -> DiagonalGaussian:
    """The style of each observation given the contents of its groups, (N, S)."""
    stated, found = traits(model), []
    if len(contents) == 1 and not stated.importance_weighted:  # codes alone: whole groups
        index = data.groups.index
        order = index.argsort(stable=True)
        for rows in order.split(data.groups.sizes.tolist()):
            found.append(model.codes(data.batch(rows).to(device))["style"].moments())
            bar.update(len(rows))
        return DiagonalGaussian.cat(found)[order.argsort().to(device)]
    for rows in parts:
        batch: Batch = data.singles(rows).to(device)
        means = [
            q.mean[groups_of(data, stated, name).index[rows].to(device)]
            for name, q in contents.items()
        ]
        _, style_given = _posteriors(model, batch.x.to(means[0].dtype), batch)
        found.append(style_given(torch.cat(means, 1)).moments())
        bar.update(len(rows))
    return DiagonalGaussian.cat(found)


def _posteriors(model: Any, x: torch.Tensor, batch: Batch) -> Any:
    """``model.posteriors`` of x, with the given values if rows may miss cells."""
    return model.posteriors(x, batch.given) if traits(model).missing_cells else model.posteriors(x)


# Frames


def _framed(
    encoded: Encoded, native: Any, data: GroupedData, stated: Traits, title: str | None
) -> Encoded:
    """The same codes as frames of the library of ``native``, or of pandas.

    ``title`` is the name of the groups; None: that of their column.
    """
    column = None if data.columns is None else data.columns.group
    if title is None:
        title = column if isinstance(column, str) else data.grouping

    def framed(name: str, array: np.ndarray) -> Any:
        if name not in stated.group_codes:
            return _frame(name, array, encoded.names, "", native)
        grouping = stated.grouping_of.get(name, UNNAMED)
        if grouping == UNNAMED:
            return _frame(name, array, encoded.group_names, title, native)
        return _frame(name, array, encoded.groupings[grouping].names, grouping, native)

    def frames(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: framed(name, array) for name, array in values.items()}

    variances = None if encoded.variances is None else frames(encoded.variances)
    return replace(encoded, means=frames(encoded.means), variances=variances)


def _frame(name: str, values: np.ndarray, labels: Any, title: str, native: Any) -> Any:
    """Values (n, D) with columns such as content0, and labels of the rows.

    Without a ``title`` the rows are those of ``native``.
    """
    columns = {f"{name}{place}": values[:, place] for place in range(values.shape[1])}
    index = index_of(native)
    if native is not None and index is None:
        import narwhals  # the frame came through it

        backend, first = narwhals.get_native_namespace(native), title or "row"
        if first in columns:
            raise InputError(
                f"the column of the groups must not have the name {first!r}, which the code "
                "has; rename it, or set frame=False"
            )
        return narwhals.from_dict({first: list(labels), **columns}, backend=backend).to_native()
    try:
        import pandas  # optional
    except ImportError as error:
        raise InputError("frames need pandas: pip install pandas; or set frame=False") from error
    if title or index is None:
        index = pandas.Index(labels, name=title or None)
    return pandas.DataFrame(columns, index=index)
