"""What a question gives back: numbers for programs, tables, figures and words for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Answer", "Estimate", "Figure", "Table", "estimate"]


class Estimate(NamedTuple):
    """An average over random repetitions.

    Attributes:
        mean: over the repetitions.
        standard_error: of that mean; NaN for a single repetition. All repetitions draw from the
            same observations, so it tells what more repetitions would change, not what other
            observations or groups would.
    """

    mean: float
    standard_error: float

    def text(self, digits: int = 1, *, scale: float = 1.0) -> str:
        """For example "93.0 ± 0.2", both multiplied by ``scale``."""
        mean = f"{scale * self.mean:.{digits}f}"
        if math.isnan(self.standard_error):
            return mean
        return f"{mean} ± {scale * self.standard_error:.{digits}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of ``values`` and its standard error."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, math.nan)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, math.sqrt(variance / count))


@dataclass(frozen=True)
class Figure:
    """A picture and what it shows.

    Attributes:
        name: stem of its file.
        caption: what is shown, for somebody who sees nothing else.
        png: content of a PNG file.
        svg: the same as vectors, where it is drawn of lines and text.
    """

    name: str
    caption: str
    png: bytes
    svg: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first column names the row."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes:
        title: the question.
        summary: paragraphs of plain text.
        metrics: numbers, strings, lists and dictionaries of them.
        tables: numbers for people.
        figures: pictures.
        embeddings: by name, codes (M, D), their labels and pictures or None, for a projector.
    """

    title: str
    summary: Sequence[str] = ()
    metrics: dict[str, object] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    embeddings: dict[str, tuple] = field(default_factory=dict)
