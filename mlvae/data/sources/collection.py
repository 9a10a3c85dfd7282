"""A prepared collection in parts, as data for training, and its parts held out whole.

Shapes: N images, P parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mlvae.arguments import as_path
from mlvae.data.grouped import GroupedData
from mlvae.data.parted import Part, PartedData, joined
from mlvae.data.splitting.group_splits import large_groups
from mlvae.data.splitting.shares import check_share, count_of, is_share
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError, check_choice, check_integer, check_texts, shown

if TYPE_CHECKING:
    from mlvae.data.collections.cache import Cache
    from mlvae.data.collections.parts import Collection

__all__ = ["Selection", "check_options", "check_parts", "collection", "one_part", "splits_of"]

#: Largest number of parts: their numbers have five digits.
MOST = 99_999


@dataclass(frozen=True)
class Selection:
    """The images that are used of a prepared collection, and what is known of them.

    Attributes:
        factors: columns of numbers that become known factors.
        minimum: groups with fewer images are left out.
        maximum: number of images that are drawn from a group with more; None for all.
        validation: number of parts (an integer), or fraction of them (a float).
        test: likewise.
        hands: as of :class:`~mlvae.data.PartedData`.
        seed: seed of all draws.
    """

    factors: Sequence[str] = ()
    minimum: int = 1
    maximum: int | None = None
    validation: object = 1
    test: object = 1
    hands: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_texts("dataset.factors", self.factors)
        check_integer("dataset.minimum", self.minimum, minimum=1)
        check_integer("dataset.seed", self.seed, minimum=0)
        for name in ("maximum", "hands"):
            if (value := getattr(self, name)) is not None:
                check_integer(f"dataset.{name}", value, minimum=1)
        for name in ("validation", "test"):
            value = getattr(self, name)
            if not is_share(value):
                raise InputError(
                    f"dataset.{name} must be a number of parts as 1, or a fraction of them as "
                    "0.1, where dataset.parts is set"
                )
            check_share(f"dataset.{name}", value, "parts")


def collection(
    root: str | Path,
    *,
    factors: Sequence[str] = (),
    minimum: int = 1,
    maximum: int | None = None,
    validation: float = 1,
    test: float = 1,
    hands: int | None = None,
    seed: int = 0,
) -> Splits:
    """A collection that ``mlvae prepare dataset.parts=...`` has made, without its sources.

    The training data are :class:`~mlvae.data.PartedData`: each rank opens its parts only. Whole
    parts are held out. A group lies whole in one part, so their groups are not in training.

    Args:
        root: the collection's folder, with its ``collection.json``.
        factors: columns of numbers that become known factors.
        minimum: groups with fewer images are left out.
        maximum: number of images that are drawn from a group with more; None for all.
        validation: number of parts (an integer), or fraction of them (a float).
        test: likewise; these parts are ``Splits.unseen``.
        hands: shares into which the parts are dealt in each epoch, as many as the largest number
            of processes that may train; None: the number that start the training.
        seed: seed of the draws.

    Raises:
        InputError: if the folder has no merged collection, or too few parts without a cut group
            are there to hold out.
    """
    from mlvae.data.collections.parts import open_collection  # needs Pillow

    found = open_collection(as_path("dataset.root", root).absolute())
    selection = Selection(factors, minimum, maximum, validation, test, hands, seed)
    return splits_of(found, selection)


def splits_of(found: Collection, selection: Selection) -> Splits:
    """The parts of a collection for training, and those held out."""
    records = found.record["parts"]
    free = [number for number, record in enumerate(records) if record["whole"]]
    draw = torch.randperm(len(free), generator=torch.Generator().manual_seed(selection.seed))
    free = [free[place] for place in draw.tolist()]
    held: dict[str, list[int]] = {}
    for name, share in (("validation", selection.validation), ("test", selection.test)):
        count = count_of(share, len(records))  # type: ignore[arg-type] # a number, checked
        if count > len(free):
            raise InputError(
                f"dataset.{name} holds out {count} parts, but {len(free)} parts are left whose "
                "groups lie whole in them; hold out fewer, or prepare with another dataset.parts"
            )
        held[name], free = free[:count], free[count:]
    taken = {*held["validation"], *held["test"]}
    used = {number: _part(found, number, selection) for number in range(len(records))}
    train = [part for number, part in used.items() if number not in taken and len(part)]
    if not train:
        raise InputError(
            f"dataset.validation and dataset.test must leave a part to train on of {len(records)}"
        )
    validation, unseen = (
        joined(
            [_data(found, number, selection, named=True) for number in held[name]],
            same_labels=True,
        )
        if held[name]
        else None
        for name in ("validation", "test")
    )
    return Splits(PartedData(train, hands=selection.hands), validation, None, unseen)


def one_part(cache: Cache, group: str, selection: Selection) -> GroupedData:
    """The images of one part that is not merged yet."""
    return _selected(cache, group, (), selection, named=True)


def _part(found: Collection, number: int, selection: Selection) -> Part:
    """A part, with the sizes of its groups as the merge counted them; not opened."""
    sizes = torch.tensor(found.record["parts"][number]["sizes"], dtype=torch.int64).view(-1, 2)
    return Part(partial(_data, found, number, selection), *_kept_sizes(sizes, selection))


def _kept_sizes(sizes: Tensor, selection: Selection) -> tuple[Tensor, Tensor]:
    """Sizes of groups, and their numbers, without small groups and with large ones reduced."""
    kept = sizes[sizes[:, 0] >= selection.minimum]
    limited = kept[:, 0] if selection.maximum is None else kept[:, 0].clamp(max=selection.maximum)
    distinct, place = limited.unique(return_inverse=True)
    return distinct, distinct.new_zeros(len(distinct)).index_add_(0, place, kept[:, 1])


def _data(
    found: Collection, number: int, selection: Selection, *, named: bool = False
) -> GroupedData:
    """The images of a part."""
    dropped = found.record["parts"][number]["dropped"]
    cache = found.cache(number)
    return _selected(cache, found.settings["group"], dropped, selection, named=named)


def _selected(
    cache: Cache, group: str, dropped: Sequence[int], selection: Selection, *, named: bool
) -> GroupedData:
    """The images of a cache, without those that are dropped or whose group is not known."""
    values, codes = cache.codes(group, "dataset.group")
    kept = (values != "")[codes]
    kept[list(dropped)] = False
    if not kept.any():
        raise InputError(
            f"{cache.folder} must have an image with a value of dataset.group={group}"
        )
    data = GroupedData(
        cache.images,
        torch.from_numpy(codes.astype(np.int64, copy=False)),
        {factor: cache.factor(factor) for factor in selection.factors},
        names=cache.names() if named else None,
    )
    if not kept.all():
        data = data.subset(torch.from_numpy(kept))
    data = data._with(group_names=[str(values[code]) for code in data.group_names])
    if selection.minimum > 1 or selection.maximum is not None:
        data = data.subset(
            large_groups(
                data, minimum=selection.minimum, maximum=selection.maximum, seed=selection.seed
            )
        )
    return data


def check_options(*, split: str, within: float, limit: int | None) -> None:
    """Raise :class:`InputError` for options that a collection in parts does not have."""
    check_choice("dataset.split, with dataset.parts,", split, ("groups",))
    if within or limit is not None:
        name, value = ("within", within) if within else ("limit", limit)
        unset = 0.0 if name == "within" else "null"
        raise InputError(
            f"dataset.{name} must be {unset} with dataset.parts, not {value}: whole parts are "
            "held out, and all images are prepared"
        )


def check_parts(parts: int | None, part: int | None, hands: int | None) -> None:
    """Raise :class:`InputError` unless the number of parts, and of one part, are in range."""
    if parts is not None:
        check_integer("dataset.parts", parts, minimum=1)
        if parts > MOST:
            raise InputError(f"dataset.parts must be at most {MOST:,}, not {parts:,}")
    for name, value in (("part", part), ("hands", hands)):
        if value is not None and parts is None:
            raise InputError(
                f"dataset.{name}={shown(value)} needs dataset.parts, the number of parts"
            )
    if part is not None and parts is not None:
        check_integer("dataset.part", part, minimum=0)
        if part >= parts:
            raise InputError(f"dataset.part={part} must be below dataset.parts={parts}")
