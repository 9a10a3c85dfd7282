"""The answer to a question: numbers for programs, and text, tables and figures for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Answer", "Estimate", "Figure", "Table", "estimate", "not_evaluated"]


class Estimate(NamedTuple):
    """A mean over random repetitions, with its errors from two sources.

    Attributes:
        mean: mean over the repetitions.
        standard_error: standard error of that mean over the repetitions; NaN for a single one.
            All repetitions use the same observations, so it measures the noise of the repetitions.
        sampling_error: standard error over test observations, or over groups, by bootstrap; see
            :mod:`mlvae.evaluation.measures.resampling`. NaN: not measured.
    """

    mean: float
    standard_error: float
    sampling_error: float = math.nan

    @property
    def error(self) -> float:
        """Both errors together, the root of the sum of their squares; 0 if there is none."""
        return math.hypot(*[error for error in self[1:] if not math.isnan(error)])

    def text(self, digits: int = 1, *, scale: float = 1.0) -> str:
        """Text such as "93.0 ± 0.3 ± 0.1": mean, sampling error, error over repetitions.

        All are multiplied by ``scale``, errors by its magnitude. An unknown error is left out.
        """
        errors = [error for error in (self.sampling_error, self.standard_error) if error == error]
        values = (scale * self.mean, *(abs(scale) * error for error in errors))
        return " ± ".join(f"{value:.{digits}f}" for value in values)


def estimate(values: Sequence[float], sampling_error: float = math.nan) -> Estimate:
    """Mean of ``values`` and its standard error, beside a given ``sampling_error``."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Estimate(mean, math.nan, sampling_error)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Estimate(mean, math.sqrt(variance / count), sampling_error)


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes:
        name: file name without extension.
        caption: description that is complete without the other text of the report.
        png: content of a PNG file.
        svg: the same picture as vectors, for charts; None for grids of observations.
        width: width in inches at which texts have their normal size; None: that of the file.
    """

    name: str
    caption: str
    png: bytes
    svg: str | None = None
    width: float | None = None


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        caption: quantity, unit and protocol.
        columns: column names.
        rows: cells by row. The first cell is the row name.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes:
        title: the question.
        summary: paragraphs of plain text.
        metrics: numbers and strings, and lists and dictionaries of them, for ``metrics.json``.
        tables: tables of the report.
        figures: figures of the report.
        embeddings: data of TensorBoard's projector by name: codes (M, D), M labels, and M images
            or None.
        reason: why the question was not evaluated; empty if it was.
    """

    title: str
    summary: Sequence[str] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    embeddings: dict[str, tuple] = field(default_factory=dict)
    reason: str = ""


def not_evaluated(title: str, reason: str) -> Answer:
    """The answer to a question that does not fit the model or the data."""
    return Answer(title, [f"Not evaluated: {reason}."], reason=reason)
