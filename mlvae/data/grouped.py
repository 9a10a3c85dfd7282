"""Grouped observations, whole and on one device, or on the disk.

Shapes: N observations, G groups, ... one observation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_device, check_type
from mlvae.batch import Batch
from mlvae.data.fingerprint import fingerprint
from mlvae.data.rows.source import Source, SourceRows, is_source
from mlvae.data.rows.sparse import SparseRows, is_sparse
from mlvae.data.tables.annotated import is_anndata, read_cells
from mlvae.data.tables.columns import Columns, column_names
from mlvae.data.tables.hidden import HiddenCells
from mlvae.data.trajectories.episodes import Episodes
from mlvae.data.values import as_factor, as_features, as_given, as_names, by_name
from mlvae.errors import InputError, check_choice, check_integer, shown
from mlvae.groups import Grouping, Groups, Origin, label_index
from mlvae.groups.grouping import UNNAMED, groupings_of
from mlvae.observations import as_floats, as_tensor, check_image_bytes

__all__ = ["GroupedData", "origin_of"]

KINDS = ("auto", "image", "array")

#: Indices of observations, or a mask of N booleans.
Indices = Tensor | np.ndarray | Sequence[int] | slice


class GroupedData:
    """Observations, the group of each, and known values of each.

    uint8 images stay uint8 on the training device. Each batch is converted to floats in [0, 1]. So
    the data need a quarter of the memory, and no data cross to the device during training. A
    source's observations stay where they are unless the device has room for them.

    Args:
        x: observations (N, ...), an array or a tensor of uint8, integers or floats; or a
            :class:`~mlvae.data.Source`, which is read batch by batch, such as
            :class:`~mlvae.data.ArrayFile`. Integers other than uint8 become float32. A sparse
            matrix stays sparse (:class:`~mlvae.data.SparseRows`).
        group: label of each observation's group, length N, all of one type: integers, strings.
        groups: labels of several groupings by name, instead of ``group``; or a DataFrame. The
            first grouping is the primary one. An observation without a label (None, NaN,
            pandas.NA) is a group of its own in that grouping.
        factors: known factors of variation by name, such as the direction of the light: N numbers
            each; NaN, None or pandas.NA where the value is unknown. A DataFrame has its columns.
            Training does not use them.
        given: known values that a model uses, by name: arrays (N, ...), such as a mask or an
            action; or a DataFrame.
        names: name of each observation, such as its file or its row in a table, length N; None:
            unknown. Training does not use them.
        feature_names: text for each feature of observations of shape (D,), for messages, pictures
            and reports; None: the names of the columns of a DataFrame, else unknown.
        kind: "image": x is (N, height, width) or (N, channels, height, width); floats are in
            [0, 1]. "array": x has any shape and any finite values, which stay as they are; uint8
            become float32. "auto": uint8 of these shapes are images, as are trajectories of images
            (N, frames, channels, height, width); uint8 of other shapes are refused;
            floats of shape (N, channels, height, width) with 1 or 3 channels are images and must
            be in [0, 1]; other floats are arrays.

    Attributes:
        x: the observations, uint8 or float32; or rows of a source. Grey images have a channel.
        groups: the partition into G groups, numbered in sorted order of their labels. Of several
            groupings, it is the first one.
        group_names: label of each group, length G; None of a group without a label.
        grouping: name of the grouping ``groups``: "group", unless ``groups`` named it.
        further_groupings: the other groupings by name.
        factors: float32 of shape (N,) by name.
        given: tensors (N, ...) by name.
        names: name of each observation, a NumPy array (N,), or None. Prepared images have the
            paths of their files.
        feature_names: text for each of D features, if observations have the shape (D,), or None.
        columns: the record of a table's columns, if the data are from :meth:`from_frame`, or None.
        episodes: trajectories that are longer than the observations, for the test of rollouts, or
            None.
        hidden: cells of a table that were hidden on purpose, with their true values, for the
            measurement of imputed values, or None. No batch has these values.

    Raises:
        InputError: if shapes, types or values are not as above, or if two integers of a factor are
            equal in float32.

    Example:
        >>> data = GroupedData(np.zeros((4, 28, 28), np.uint8), ["ann", "bob", "ann", "bob"])
        >>> data
        GroupedData(4 observations of shape (1, 28, 28) in 2 groups)
        >>> GroupedData(np.zeros((4, 100, 3)), [0, 0, 1, 1]).shape  # 100 times of 3 sensors
        (100, 3)
        >>> labels = {"speaker": ["ann", "bob", "ann", None], "digit": [7, 7, 8, 8]}
        >>> GroupedData(np.zeros((4, 12)), groups=labels)
        GroupedData(4 observations of shape (12,) in 3 speaker groups and 2 digit groups)
    """

    x: Tensor | SourceRows
    groups: Groups
    group_names: list
    grouping: str
    further_groupings: dict[str, Grouping]
    factors: dict[str, Tensor]
    given: dict[str, Tensor]
    names: np.ndarray | None
    feature_names: list[str] | None
    columns: Columns | None
    episodes: Episodes | None
    hidden: HiddenCells | None

    def __init__(
        self,
        x: Tensor | np.ndarray | Source | Sequence,
        group: object = None,
        factors: Any = None,
        *,
        groups: Any = None,
        given: Any = None,
        names: Any = None,
        feature_names: Sequence[str] | None = None,
        kind: str = "auto",
    ) -> None:
        check_choice("kind", kind, KINDS)
        if is_anndata(x):
            raise InputError(
                "x must be observations (N, ...), not an AnnData; use "
                "GroupedData.from_anndata(adata, group='donor') with a column of adata.obs"
            )
        if feature_names is None:
            feature_names = column_names(x)
        x = SparseRows(x) if is_sparse(x) else x
        found = x if is_source(x) else as_tensor(x).detach()
        named = feature_names is not None
        self.feature_names = as_features(feature_names, found.shape) if named else None
        self.columns = self.episodes = self.hidden = None
        if isinstance(found, Tensor):
            self.x = _checked(found, kind, self.feature_names)
        else:
            self.x = _source_rows(found, kind)
        self.grouping, self.further_groupings = UNNAMED, {}
        if groups is None:
            index, self.group_names = _label_index(group, len(self.x))
            self.groups = Groups(index).to(self.x.device)
        elif group is not None:
            raise InputError("group must be None where groups has the labels of all groupings")
        else:
            self._set(groupings_of(groups, len(self.x)), self.x.device)
        self.factors = {
            name: as_factor(name, values, len(self)).to(self.device)
            for name, values in by_name("factors", factors).items()
        }
        self.given = {
            name: as_given(name, values, len(self)).to(self.device)
            for name, values in by_name("given", given).items()
        }
        self.names = None if names is None else as_names(names, len(self))

    def _set(self, groupings: Mapping[str, Grouping], device: torch.device) -> None:
        """Set all groupings."""
        (self.grouping, first), *rest = groupings.items()
        self.groups, self.group_names = first.groups.to(device), first.names
        self.further_groupings = {name: each.to(device) for name, each in rest}

    @classmethod
    def from_anndata(
        cls,
        adata: Any,
        group: str | Sequence[str],
        *,
        layer: str | None = None,
        obsm: str | None = None,
        factors: Sequence[str] = (),
        size: str | None = None,
    ) -> GroupedData:
        """The cells of an AnnData, grouped by a column of ``adata.obs``.

        Sparse matrices stay sparse, and an AnnData in backed mode stays in its file: each batch
        makes its own rows dense. ``mlvae.data.split(data, by=adata.obs["split"])`` splits by a
        column of words.

        Args:
            adata: the AnnData.
            group: name of the column of ``adata.obs`` with the group of each cell, such as its
                donor; or a list of names, of several groupings.
            layer: name of the layer with the observations, such as "counts"; None: ``adata.X``.
            obsm: name of the entry of ``adata.obsm`` with the observations, such as "X_pca".
            factors: names of columns of ``adata.obs`` that are known factors. Words become their
                numbers in sorted order.
            size: name of the column of ``adata.obs`` with the size of each cell, for a likelihood
                of counts with ``link="exp"``; None: the total of the observation.

        Raises:
            InputError: if a name is unknown, or the matrix does not have integers or floats.

        Example::

            adata = anndata.read_h5ad("cells.h5ad")
            data = mlvae.GroupedData.from_anndata(adata, group="donor", layer="counts")
        """
        cells = read_cells(adata, group, layer=layer, obsm=obsm, factors=factors, size=size)
        several = isinstance(cells.group, dict)
        return cls(
            cells.x,
            None if several else cells.group,
            cells.factors,
            groups=cells.group if several else None,
            given=cells.given,
            names=cells.names,
            feature_names=cells.feature_names,
            kind="array",
        )

    def __repr__(self) -> str:
        groups = f"{len(self.group_names)} groups"
        if self.grouping != UNNAMED or self.further_groupings:
            counts = [f"{len(each.names)} {name} groups" for name, each in self.groupings.items()]
            *some, last = counts
            groups = f"{', '.join(some)} and {last}" if some else last
        return f"GroupedData({len(self)} observations of shape {self.shape} in {groups})"

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return tuple(self.x.shape[1:])

    @property
    def device(self) -> torch.device:
        """The device of the batches; the observations are there too, or on the disk."""
        return self.groups.index.device

    @property
    def groupings(self) -> dict[str, Grouping]:
        """All groupings by name, in order. The first one is ``groups`` with ``group_names``.

        Example:
            >>> list(GroupedData(np.zeros((3, 5)), ["bob", "ann", "bob"]).groupings)
            ['group']
        """
        return {self.grouping: Grouping(self.groups, self.group_names), **self.further_groupings}

    @property
    def labels(self) -> np.ndarray:
        """Label of the group of each observation, length N.

        Example:
            >>> GroupedData(np.zeros((3, 5)), ["bob", "ann", "bob"]).labels.tolist()
            ['bob', 'ann', 'bob']
        """
        return np.array(self.group_names)[self.groups.index.cpu().numpy()]

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        group: Any = None,
        *,
        features: Sequence[str] | None = None,
        categories: Sequence[str] = (),
        factors: Sequence[str] = (),
        split: str | None = None,
        kinds: Mapping[str, Any] | str | Path | None = None,
        missing: str = "refuse",
        like: GroupedData | Columns | str | Path | None = None,
    ) -> Any:
        """Observations from the rows of a table: pandas, polars or pyarrow.

        - Integers, floats, decimals and nullable types are one feature, the number in float32.
        - Booleans are one feature, 1 or 0.
        - Categories are one feature for each value that occurs, 1 or 0, such as ``colour=red``.
        - Text, dates and other types are refused, with the name of the column.

        A line lists the columns that do not stay as they are. Missing cells are refused, with the
        name of the column and their number, or kept: their features are 0, and
        ``given["observed"]``, booleans (N, C) for C columns, states which cells are there.
        ``data.columns`` is the record of the columns, and
        ``like`` encodes a new table in the same way.

        Args:
            frame: a DataFrame of pandas or polars, or a Table of pyarrow.
            group: name of the column with the labels of the groups; a list of such names, for
                several groupings; or a label for each row. With ``like``, None is the columns of
                the record; each row is a group of its own if the frame has no such column.
            features: names of the columns that become features; None: all columns that are no
                group, factor or split.
            categories: names of columns of text or integers whose values are categories.
            factors: names of the columns of known factors. Words are numbered in sorted order.
            split: name of a column with the words train, validation and test (or 0, 1, 2).
            kinds: kind of each column by its name, for models and likelihoods of tables: "real",
                "positive", "count", "binary", "ordinal" or "categorical", or the values of an
                ordinal column in order. "inferred" for one or for all columns: booleans and
                numbers of 0 and 1 alone are binary, whole numbers of at least 0 are counts, other
                numbers are real, text is categorical. The path of a file in the form of HI-VAE's
                ``data_types.csv``: a line ``type,dim,nclass`` for each feature column, in order.
                None, and columns that are not named: by type, as above.
            missing: "refuse" or "keep" missing cells: NaN, None, pandas.NA.
            like: data of another table, their ``columns``, or the folder of a run that was trained
                on them. The features are then those of that table.

        Returns:
            The data, with the index of a DataFrame of pandas, or the number of each row, as
            ``names``. With ``split``, :class:`~mlvae.data.Splits`.

        Raises:
            InputError: if a column is missing or cannot be converted, or a category is unknown.

        Example:
            >>> import pandas
            >>> frame = pandas.DataFrame({"donor": ["ann", "ann", "bob"], "age": [4, 5, 7]})
            >>> data = GroupedData.from_frame(frame, group="donor")
            >>> data, data.feature_names
            (GroupedData(3 observations of shape (1,) in 2 groups), ['age'])
        """
        from mlvae.data.tables.frames import read_data  # which makes these records

        return read_data(
            frame,
            group,
            features=features,
            categories=categories,
            factors=factors,
            split=split,
            kinds=kinds,
            missing=missing,
            like=like,
        )

    def to(self, device: torch.device | str) -> GroupedData:
        """The same data on another device."""
        device = as_device(device)
        return self._with(
            x=self.x.to(device),
            groups=self.groups.to(device),
            further_groupings={n: each.to(device) for n, each in self.further_groupings.items()},
            factors={name: values.to(device) for name, values in self.factors.items()},
            given={name: values.to(device) for name, values in self.given.items()},
            episodes=None if self.episodes is None else self.episodes.to(device),
        )

    def with_episodes(self, episodes: Episodes) -> GroupedData:
        """The same data with long trajectories for the test of rollouts.

        Raises:
            InputError: if their frames have another shape than those of the observations.
        """
        check_type("episodes", episodes, Episodes, "Episodes(x, action)")
        if tuple(episodes.x.shape[2:]) != self.shape[1:]:
            raise InputError(
                f"episodes must have frames of shape {self.shape[1:]}, not "
                f"{tuple(episodes.x.shape[2:])}"
            )
        return self._with(episodes=episodes)

    def labelled(self, names: Iterable[object] | Mapping[str, Any]) -> GroupedData:
        """The same data with ``given["label"]``: the position of each label in ``names``.

        Models that need labels number them in the order of the training data's
        ``group_names``. Data with fewer groups get the same numbers by this method.

        Args:
            names: the labels that a model knows, in its order; with several groupings, those of
                each by its name. ``given["label"]`` then has a column for each, (N, K).

        Raises:
            InputError: if the data have a group that is not in ``names``.

        Example:
            >>> data = GroupedData(np.zeros((2, 5)), groups={"speaker": [1, 2], "digit": [7, 7]})
            >>> data.labelled({"digit": [6, 7], "speaker": [1, 2]}).given["label"].tolist()
            [[1, 0], [1, 1]]
        """
        if isinstance(names, Mapping):
            if not names:
                raise InputError("names must have the labels of a grouping, not be empty")
            columns = []
            for grouping, labels in names.items():
                check_choice("a grouping of names", grouping, list(self.groupings))
                columns.append(self.regrouped(grouping).labelled(labels).given["label"])
            return self._with(given={**self.given, "label": torch.stack(columns, 1)})
        if isinstance(names, np.ndarray | Tensor):
            names = names.tolist()
        listed = isinstance(names, Sequence) and not isinstance(names, str | bytes)
        if not listed or not all(isinstance(name, str | Number) for name in names):
            raise InputError(f"names must be a list of group labels, not {shown(names)}")
        number = {name: i for i, name in enumerate(names)}
        if unknown := [name for name in self.group_names if name not in number]:
            raise InputError(
                f"the model knows the {len(number)} groups of its training data, but these data "
                f"have the group {shown(unknown[0])}; leave out observations of other groups, or "
                "use MLVAE"
            )
        table = torch.tensor([number[name] for name in self.group_names], device=self.device)
        given = {**self.given, "label": table[self.groups.index]}
        return self._with(given=given)

    def regrouped(self, group: object) -> GroupedData:
        """The same observations in other groups.

        Args:
            group: label of each observation's group, length N, in the first grouping; the others
                stay. Or the name of a grouping, which becomes the first one. Or labels of all
                groupings by name.

        Example:
            >>> data = GroupedData(np.zeros((3, 5)), ["ann", "bob", "ann"])
            >>> data.regrouped(["left", "left", "right"]).group_names
            ['left', 'right']
            >>> data = GroupedData(np.zeros((2, 5)), groups={"speaker": [1, 2], "digit": [7, 7]})
            >>> list(data.regrouped("digit").groupings)
            ['digit', 'speaker']
        """
        if isinstance(group, str):
            groupings = self.groupings
            check_choice("the name of a grouping", group, groupings)
            data = copy.copy(self)
            data._set({group: groupings.pop(group), **groupings}, self.device)
            return data
        if isinstance(group, Mapping):
            data = copy.copy(self)
            data._set(groupings_of(group, len(self)), self.device)
            return data
        index, group_names = _label_index(group, len(self))
        return self._with(groups=Groups(index).to(self.device), group_names=group_names)

    def subset(self, indices: Indices) -> GroupedData:
        """The observations at ``indices``; groups without observations are dropped.

        Raises:
            InputError: if no observation remains, or ``indices`` are not a vector of integers or
                a mask of N booleans.
        """
        rows = self._rows(indices)
        first = Grouping(self.groups, self.group_names).subset(rows)
        further = {name: each.subset(rows) for name, each in self.further_groupings.items()}
        return self._with(
            x=self.x[rows],
            groups=first.groups,
            group_names=first.names,
            further_groupings=further,
            factors={name: values[rows] for name, values in self.factors.items()},
            given={name: values[rows] for name, values in self.given.items()},
            names=None if self.names is None else self.names[rows.cpu().numpy()],
            hidden=None if self.hidden is None else self.hidden.subset(rows.cpu().numpy()),
        )

    def _rows(self, indices: Indices) -> Tensor:
        """``indices`` or the true places of a mask, int64 (n,) on the device, or InputError."""
        if isinstance(indices, slice):
            indices = torch.arange(len(self))[indices]
        if not isinstance(indices, Tensor):
            array = np.array(indices)
            if array.dtype.kind not in "biuf":
                raise InputError(f"indices of {self} must be integers, not {shown(indices)}")
            indices = torch.from_numpy(array)
        indices = indices.to(self.device)
        if indices.dtype == torch.bool and indices.shape == (len(self),):
            indices = indices.nonzero()[:, 0]
        if indices.numel() == 0:
            raise InputError(f"a subset of {self} must keep at least one observation, not none")
        if indices.ndim != 1 or indices.is_floating_point() or indices.dtype == torch.bool:
            raise InputError(
                f"a subset of {self} takes indices (n,) or a mask of {len(self)} booleans, "
                f"not {indices.dtype} of shape {tuple(indices.shape)}"
            )
        low, high = (int(end) for end in indices.aminmax())
        if low < 0 or high >= len(self):
            raise InputError(
                f"indices of {self} must lie in [0, {len(self)}), not in [{low}, {high}]"
            )
        return indices.long()  # torch reads bytes as a mask

    def _with(self, **changed: Any) -> GroupedData:
        """The same data with other values of some attributes."""
        data = copy.copy(self)
        data.__dict__ |= changed
        return data

    def observations(self, indices: Tensor) -> Tensor:
        """The observations at ``indices`` (n,) as float32 (n, ...), images in [0, 1]."""
        return as_floats(self.kept(indices))

    def kept(self, indices: Tensor) -> Tensor:
        """The observations at ``indices`` (n,) in their own type, (n, ...): uint8 or floats."""
        if isinstance(self.x, Tensor):
            return self.x.index_select(0, indices)
        pin = self.device.type == "cuda"
        return self.x.index_select(0, indices, pin=pin).to(self.device, non_blocking=True)

    def sample(self, limit: int) -> Tensor:
        """At most ``limit`` observations at even distances, in their own type: (n, ...)."""
        rows = torch.linspace(0, len(self) - 1, min(len(self), limit), dtype=torch.float64).long()
        return self.kept(rows.to(self.x.device))

    def gathered(
        self, indices: Tensor, groups: Groups, further_groups: Mapping[str, Groups] | None = None
    ) -> Batch:
        """The observations at ``indices`` (n,) in their own type, and their given values.

        Args:
            indices: on the device of ``x``, which may be the CPU while batches are on another.
            groups: the groups of the batch.
            further_groups: those of the further groupings, by name.
        """
        given = {}
        if self.given:
            rows = indices.to(self.device)
            given = {name: values.index_select(0, rows) for name, values in self.given.items()}
        return Batch(self.kept(indices), groups, given, further_groups or {}, self.grouping)

    def fingerprint(self) -> dict[str, object]:
        """Checksums of the groups, the labels and all values that are in memory.

        A source is not read: decoding its images anew may change a grey level.
        """
        values = self.x if isinstance(self.x, Tensor) else None
        further = {name: (e.groups, e.names) for name, e in self.further_groupings.items()}
        return fingerprint(values, self.groups, self.group_names, self.given, further)

    def expect(self, indices: Tensor) -> None:
        """Announce the observations (n,) of the next batch, so that a source can read them."""
        if not isinstance(self.x, Tensor):
            self.x.expect(indices)

    def batch(self, indices: Indices | None = None) -> Batch:
        """The observations at ``indices``, None for all, as one batch for a model.

        The groups of the batch have an ``origin``: the groups of these data that they are parts
        of.
        """
        rows = None if indices is None else self._rows(indices)
        groups, *further = (_part(each, rows) for each in self.groupings.values())
        if rows is None:
            rows = torch.arange(len(self), device=self.device)
        return self._floats(rows, groups, dict(zip(self.further_groupings, further, strict=True)))

    def singles(self, indices: Indices) -> Batch:
        """The observations at ``indices`` (n,), each as a group of one, in their order."""
        rows = self._rows(indices)
        groups, *further = (
            Groups.singletons(
                len(rows), self.device, origin=origin_of(each, each.groups.index[rows])
            )
            for each in self.groupings.values()
        )
        return self._floats(rows, groups, dict(zip(self.further_groupings, further, strict=True)))

    def _floats(self, rows: Tensor, groups: Groups, further: Mapping[str, Groups]) -> Batch:
        batch = self.gathered(rows, groups, further)
        return replace(batch, x=as_floats(batch.x))

    def origin(self, number: Tensor) -> Origin:
        """The origin of parts (G,) of groups of these data, by the groups' ``number`` (G,)."""
        return origin_of(Grouping(self.groups, self.group_names), number)

    def one_of_each(self, limit: int = 10) -> Tensor:
        """Indices of the first member of each of the first ``limit`` groups, in group order."""
        check_integer("limit", limit, minimum=1)
        order = self.groups.index.argsort(stable=True)
        first = self.groups.sizes.cumsum(0) - self.groups.sizes
        return order[first[:limit]]


def origin_of(grouping: Grouping, number: Tensor) -> Origin:
    """The origin of parts (G,) of groups of a grouping, by the groups' ``number`` (G,)."""
    return Origin(number, grouping.groups.sizes[number], grouping.names)


def _part(grouping: Grouping, rows: Tensor | None) -> Groups:
    """The groups of the observations at ``rows`` (n,), None for all, with their origin."""
    groups = grouping.groups
    index, sizes = groups.index, groups.sizes
    number = torch.arange(groups.num_groups, device=index.device)
    if rows is not None:
        number, index, sizes = index[rows].unique(return_inverse=True, return_counts=True)
    return Groups.unchecked(index, sizes, origin_of(grouping, number))


def _label_index(group: object, length: int) -> tuple[Tensor, list]:
    """The number of each of N labels, and the labels in order of their numbers."""
    if group is None:
        raise InputError(
            "group must be the label of each observation's group, or groups the labels of several "
            "groupings by name, not None"
        )
    index, names = label_index(group)
    if len(index) != length:
        raise InputError(
            f"group must have one label for each of the {length} observations, not {len(index)}"
        )
    return index, names


def _source_rows(x: Source, kind: str) -> SourceRows:
    """The rows of a source that meets the protocol, or :class:`InputError`."""
    rows = x if isinstance(x, SourceRows) else SourceRows(x)
    if kind == "image" and len(rows.shape) != 4:
        raise InputError(
            f"images of a source must be (N, channels, height, width), not {rows.shape}"
        )
    return rows


def _checked(x: Tensor, kind: str, names: list[str] | None = None) -> Tensor:
    """The observations as uint8 or float32, images with a channel, or :class:`InputError`."""
    if x.ndim < 2 or x.numel() == 0:
        raise InputError(f"x must have shape (N, ...) with N at least 1, not {tuple(x.shape)}")
    if kind == "image" and x.ndim not in (3, 4):
        raise InputError(
            "images must be (N, height, width) or (N, channels, height, width), not "
            f"{tuple(x.shape)}"
        )
    if kind != "array" and x.ndim == 4 and x.shape[1] > 4 and x.shape[3] in (1, 3, 4):
        raise InputError(
            f"x has shape {tuple(x.shape)}: images must be (N, channels, height, width); "
            "use numpy.moveaxis(x, -1, 1), or kind='array' if these are no images"
        )
    if x.dtype == torch.uint8 and kind != "array":
        check_image_bytes(x)
        return x.unsqueeze(1) if x.ndim == 3 else x
    x = x.float()
    if (wrong := ~x.isfinite()).any():
        row = int(wrong.flatten(1).any(1).nonzero()[0])
        where = "" if names is None else f" in {names[int(wrong[row].nonzero()[0])]}"
        raise InputError(
            f"x must be finite in float32, but observation {row} has NaN, an infinity or a number "
            f"beyond 3.4e38{where}"
        )
    if kind == "array" or (kind == "auto" and not (x.ndim == 4 and x.shape[1] in (1, 3))):
        return x
    low, high = (float(end) for end in x.aminmax())
    if low < 0 or high > 1:
        raise InputError(
            f"float images must lie in [0, 1], not in [{low:g}, {high:g}]; give 0 to 255 as "
            "uint8, rescale, or set kind='array' if these are no images"
        )
    return x.unsqueeze(1) if x.ndim == 3 else x
