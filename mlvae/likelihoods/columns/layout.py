"""Columns of a table within an observation, and the features of each kind.

Shapes: N rows, C columns, D features, K columns of one kind, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mlvae.errors import InputError, check_choice, check_integer, check_number, check_text

__all__ = ["KINDS", "ColumnScale", "Levels", "Numbers", "layout"]

#: Kinds of columns. Those of the second line have one feature for each level, of 1 and 0.
NUMBERS = ("real", "positive", "count", "binary")
LEVELS = ("ordinal", "categorical")
KINDS = (*NUMBERS, *LEVELS)


@dataclass(frozen=True)
class ColumnScale:
    """What a likelihood knows of a column: its kind, its levels, and its scale in training.

    Args:
        column: name of the column, for messages.
        kind: one of "real", "positive", "count", "binary", "ordinal", "categorical".
        levels: number L of levels of an ordinal or categorical column, which has L features. Other
            columns have one feature.
        mean: mean of the training rows: of a real column, of the logarithm of a positive one, of
            log(1 + x) of a count. Other kinds do not use it.
        deviation: standard deviation, likewise; above zero.
    """

    column: str
    kind: str = "real"
    levels: int = 1
    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        check_text("name of a column", self.column)
        check_choice(f"kind of column {self.column}", self.kind, KINDS)
        check_integer(f"levels of column {self.column}", self.levels, minimum=1)
        least = {"ordinal": 2, "categorical": 1}.get(self.kind)
        if self.levels < (least or 1) or (least is None and self.levels > 1):
            raise InputError(
                f"levels of column {self.column} must be 2 or more for an ordinal column, and 1 "
                f"for a column of numbers, not {self.levels}"
            )
        check_number(f"mean of column {self.column}", self.mean)
        name = f"deviation of column {self.column}"
        check_number(name, self.deviation, minimum=0, exclusive=True)
        if not (math.isfinite(self.mean) and math.isfinite(self.deviation)):
            raise InputError(f"mean and deviation of column {self.column} must be finite")


class Numbers(NamedTuple):
    """The columns of a kind with one feature each.

    Attributes:
        columns: their numbers among all columns, int64 (K,).
        features: their features, int64 (K,).
        mean: mean of each, (K,).
        deviation: standard deviation of each, (K,).
    """

    columns: Tensor
    features: Tensor
    mean: Tensor
    deviation: Tensor


class Levels(NamedTuple):
    """The columns of a kind with a feature for each level, padded to the most levels.

    Attributes:
        columns: their numbers among all columns, int64 (K,).
        features: their features, int64 (K, L); a place without a level repeats the first.
        real: whether a place is a level, (K, L).
        number: number of levels of each, int64 (K,).
        own: the features of all levels, each once, int64 (F,).
        slot: the place of each of these in the padded values, flattened to (K * L,): int64 (F,).
    """

    columns: Tensor
    features: Tensor
    real: Tensor
    number: Tensor
    own: Tensor
    slot: Tensor


def layout(columns: Sequence[ColumnScale]) -> dict[str, Numbers | Levels]:
    """The columns of each kind that occurs."""
    placed = list(_placed(columns))
    found: dict[str, Numbers | Levels] = {}
    for kind in KINDS:
        some = [(number, place, c) for number, place, c in placed if c.kind == kind]
        if not some:
            continue
        numbers = torch.tensor([number for number, _, _ in some])
        places = torch.tensor([place for _, place, _ in some])
        if kind in NUMBERS:
            mean = torch.tensor([column.mean for _, _, column in some])
            deviation = torch.tensor([column.deviation for _, _, column in some])
            found[kind] = Numbers(numbers, places, mean, deviation)
        else:
            number = torch.tensor([column.levels for _, _, column in some])
            level = torch.arange(int(number.max()))
            real = level < number[:, None]
            features = places[:, None] + torch.where(real, level, 0)
            slot = real.flatten().nonzero()[:, 0]
            found[kind] = Levels(numbers, features, real, number, features[real], slot)
    return found


def _placed(columns: Sequence[ColumnScale]) -> Iterator[tuple[int, int, ColumnScale]]:
    """Each column with its number and its first feature."""
    place = 0
    for number, column in enumerate(columns):
        yield number, place, column
        place += column.levels
