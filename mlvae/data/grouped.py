"""Grouped observations, whole and on one device, or on the disk.

Shapes: N observations, G groups, ... one observation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_device, check_type
from mlvae.batch import Batch
from mlvae.data.chosen import Indices, chosen_rows, origin_of, part_of
from mlvae.data.fingerprint import fingerprint
from mlvae.data.kinds import KINDS, checked, source_rows
from mlvae.data.labels import numbered, positions
from mlvae.data.row_order import check_row_order
from mlvae.data.rows.source import Source, SourceRows, is_source
from mlvae.data.rows.sparse import SparseRows, is_sparse
from mlvae.data.tables.annotated import is_anndata
from mlvae.data.tables.columns import Columns, column_names
from mlvae.data.tables.constructors import from_anndata, from_frame
from mlvae.data.tables.hidden import HiddenCells
from mlvae.data.trajectories.episodes import Episodes
from mlvae.data.values import as_factor, as_features, as_given, as_names, by_name
from mlvae.errors import InputError, check_choice, check_integer
from mlvae.groups import Grouping, Groups, Origin
from mlvae.groups.grouping import UNNAMED, groupings_of
from mlvae.observations import as_floats, as_tensor

__all__ = ["GroupedData", "origin_of"]


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
        check_row_order(
            "x", x, group=group, groups=groups, factors=factors, given=given, names=names
        )
        x = SparseRows(x) if is_sparse(x) else x
        found = x if is_source(x) else as_tensor(x).detach()
        named = feature_names is not None
        self.feature_names = as_features(feature_names, found.shape) if named else None
        self.columns = self.episodes = self.hidden = None
        if isinstance(found, Tensor):
            self.x = checked(found, kind, self.feature_names)
        else:
            self.x = source_rows(found, kind)
        self.grouping, self.further_groupings = UNNAMED, {}
        if groups is None:
            index, self.group_names = numbered(group, len(self.x))
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

    from_frame = classmethod(from_frame)
    from_anndata = classmethod(from_anndata)

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
        return self._with(given={**self.given, "label": positions(self, names)})

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
        index, group_names = numbered(group, len(self))
        return self._with(groups=Groups(index).to(self.device), group_names=group_names)

    def subset(self, indices: Indices) -> GroupedData:
        """The observations at ``indices``; groups without observations are dropped.

        Raises:
            InputError: if no observation remains, or ``indices`` are not a vector of integers or
                a mask of N booleans.
        """
        rows = chosen_rows(self, indices)
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
        rows = None if indices is None else chosen_rows(self, indices)
        groups, *further = (part_of(each, rows) for each in self.groupings.values())
        if rows is None:
            rows = torch.arange(len(self), device=self.device)
        return self._floats(rows, groups, dict(zip(self.further_groupings, further, strict=True)))

    def singles(self, indices: Indices) -> Batch:
        """The observations at ``indices`` (n,), each as a group of one, in their order."""
        rows = chosen_rows(self, indices)
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
