"""A likelihood of rows of a table whose columns are of different kinds.

Shapes: N rows, C columns, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from mlvae.errors import InputError, shown
from mlvae.likelihoods.columns import formulas
from mlvae.likelihoods.columns.layout import ColumnScale, Levels, Numbers, layout
from mlvae.likelihoods.parameters import check_pair, check_parameters, full_precision
from mlvae.parts import take_lists

__all__ = ["MixedColumns"]


@dataclass(frozen=True)
class MixedColumns:
    r"""Independent columns, each of its own kind, of which some cells may be missing.

    .. math:: \log p(x \mid a, r) = \sum_{j \text{ observed}} \log p_{\kappa_j}(x_j \mid a, r)

    with the kind :math:`\kappa_j` of column j:

    - real: normal; a is the mean of the standardised value, r gives its variance,
    - positive: log-normal; the logarithm is real,
    - count: Poisson, with the rate :math:`e^{m + d a}`,
    - binary: Bernoulli, with the logit a,
    - categorical: softmax of a over the levels,
    - ordinal: cumulative logits, with the location a and thresholds from r.

    (A. Nazábal, P. M. Olmos, Z. Ghahramani, I. Valera: Handling Incomplete Heterogeneous Data
    using VAEs. Pattern Recognition 107, 2020, arXiv:1807.03653.) Real and positive columns have
    log-densities in their raw units, other columns log-probabilities. A missing cell has no term,
    whatever number stands in its place.

    The likelihood is made of data, with scales of the training rows: ``MixedColumns.of(data)``.
    The record has plain values, so a run saves it, and new tables have the same scales.

    Args:
        columns: kind, number of levels and scale of each column, in the order of the features.

    Example:
        >>> age = ColumnScale("age", mean=40.0, deviation=10.0)
        >>> likelihood = MixedColumns((age, ColumnScale("smokes", "binary")))
        >>> x = torch.tensor([[50.0, 1.0], [0.0, 1.0]])
        >>> observed = torch.tensor([[True, True], [False, True]])
        >>> parameters = torch.zeros(2, 2, 2)
        >>> likelihood.log_prob(parameters, x, observed)
        tensor([-4.4147, -0.6931])
    """

    columns: tuple[ColumnScale, ...] = ()
    outputs: ClassVar[int] = 2
    scope: ClassVar[str] = "element"
    given: ClassVar[tuple[str, ...]] = ("observed",)
    _layouts: ClassVar[dict[torch.device, dict[str, Numbers | Levels]]]
    _columns_of_features: ClassVar[dict[torch.device, Tensor]]

    def __post_init__(self) -> None:
        take_lists(self, "likelihood", "columns")
        if not all(isinstance(column, ColumnScale) for column in self.columns):
            raise InputError(
                f"likelihood.columns must be a list of ColumnScale(...), not {shown(self.columns)}"
            )
        # Plain attributes, made here: a compiler cannot follow a cached property.
        widths = enumerate(column.levels for column in self.columns)
        with torch.device("cpu"):
            place = torch.tensor(
                [number for number, width in widths for _ in range(width)], dtype=torch.int64
            )
            object.__setattr__(self, "_layouts", {torch.device("cpu"): layout(self.columns)})
        object.__setattr__(self, "_columns_of_features", {torch.device("cpu"): place})

    @property
    def num_features(self) -> int:
        """Number D of features."""
        return sum(column.levels for column in self.columns)

    def _layout(self, like: Tensor) -> dict[str, Numbers | Levels]:
        """The columns of each kind, on the device of ``like``."""
        if not self.columns:
            raise InputError(
                "likelihood=MixedColumns must know its columns: MixedColumns.of(data), with data "
                "of GroupedData.from_frame"
            )
        if like.device not in self._layouts:
            self._layouts[like.device] = {
                kind: type(place)(*(part.to(like.device) for part in place))  # type: ignore[arg-type]
                for kind, place in self._layouts[torch.device("cpu")].items()
            }
        return self._layouts[like.device]

    def cell_log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Log-probability of each cell in nats, (N, C), of x (N, D)."""
        check_pair(parameters, self.outputs, x)
        parameters = full_precision(parameters)
        found = x.new_zeros(len(x), len(self.columns), dtype=parameters.dtype)
        for kind, place in self._layout(x).items():
            a, r = parameters[:, :, place.features].unbind(1)
            cells = formulas.cell_log_prob(kind, a, r, x[:, place.features], place)
            found = found.index_copy(1, place.columns, cells.to(found.dtype))
        return found

    def log_prob(self, parameters: Tensor, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Log-probabilities of the observed cells of x (N, D) in nats: (N,).

        Args:
            parameters: of the decoder, (N, 2, D).
            x: features; any finite number in the place of a missing cell.
            observed: whether each cell is observed, (N, C); None: all are.
        """
        cells = self.cell_log_prob(parameters, x)
        if observed is None:
            return cells.sum(1)
        self.check_observed(observed, len(x))
        return torch.where(observed, cells, torch.zeros_like(cells)).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        """Expected features (N, D); of a column with levels, the probability of each level."""
        check_parameters(parameters, self.outputs)
        parameters = full_precision(parameters)
        found = torch.empty_like(parameters[:, 0])
        for kind, place in self._layout(parameters).items():
            a, r = parameters[:, :, place.features].unbind(1)
            found = _placed(found, place, formulas.expected(kind, a, r, place))
        return found

    def sample(self, parameters: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """One draw of each row, as features (N, D), without a gradient."""
        check_parameters(parameters, self.outputs)
        parameters = full_precision(parameters)
        found = torch.empty_like(parameters[:, 0])
        for kind, place in self._layout(parameters).items():
            a, r = parameters[:, :, place.features].unbind(1)
            found = _placed(found, place, formulas.draws(kind, a, r, place, generator))
        return found

    def inputs(self, x: Tensor) -> Tensor:
        """What an encoder receives of features x (N, D): numbers are standardised."""
        found = x
        for kind, place in self._layout(x).items():
            if isinstance(place, Numbers):
                values = formulas.standardised(kind, x[:, place.features], place)
                found = found.index_copy(1, place.features, values.to(found.dtype))
        return found

    def carried(self, x: Tensor, parameters: Tensor, other: Tensor) -> Tensor:
        """Features (N, D) of ``other`` parameters with the noise of x under ``parameters``.

        The noise of a normal or log-normal cell is its distance from the mean in standard
        deviations. Other kinds have their expected features.
        """
        parameters, other = full_precision(parameters), full_precision(other)
        found = self.mean(other)
        for kind, place in self._layout(x).items():
            if kind in ("real", "positive") and isinstance(place, Numbers):
                cells = x[:, place.features]
                factual = parameters[:, :, place.features].unbind(1)
                changed = other[:, :, place.features].unbind(1)
                values = formulas.carried(kind, cells, factual, changed, place)
                found = found.index_copy(1, place.features, values.to(found.dtype))
        return found

    def restored(self, inputs: Tensor) -> Tensor:
        """Features (N, D) whose :meth:`inputs` are ``inputs``."""
        found = inputs
        for kind, place in self._layout(inputs).items():
            if isinstance(place, Numbers):
                values = formulas.raw(kind, inputs[:, place.features], place)
                found = found.index_copy(1, place.features, values.to(found.dtype))
        return found

    def spread(self, cells: Tensor) -> Tensor:
        """Values of cells (N, C) repeated for each feature, (N, D)."""
        if cells.device not in self._columns_of_features:  # copied once, not in every step
            place = self._columns_of_features[torch.device("cpu")]
            self._columns_of_features[cells.device] = place.to(cells.device)
        return cells.index_select(1, self._columns_of_features[cells.device])

    def check(self, x: Tensor, observed: Tensor | None = None) -> None:
        """Raise :class:`InputError` unless every observed cell is possible under its kind."""
        if x.shape[1:] != (self.num_features,):
            raise InputError(
                f"x must have the {self.num_features} features of the likelihood's columns, not "
                f"the shape {tuple(x.shape)}"
            )
        for (number, column), cells in zip(enumerate(self.columns), self._cells(x), strict=True):
            seen = cells if observed is None else cells[observed[:, number]]
            if not bool((right := _possible(column, seen)).all()):
                value = seen[~right][0].tolist()
                raise InputError(
                    f"column {column.column} is of the kind {column.kind}: "
                    f"{_EXPECTED[column.kind]}, not {value[0] if len(value) == 1 else value}"
                )

    def _cells(self, x: Tensor) -> Sequence[Tensor]:
        return x.split([column.levels for column in self.columns], 1)

    def check_observed(self, observed: object, length: int) -> None:
        """Raise :class:`InputError` unless ``observed`` is booleans (``length``, C).

        It reads no element, so it waits for no device.
        """
        shape = (length, len(self.columns))
        if torch.compiler.is_compiling():
            return
        if (
            not isinstance(observed, Tensor)
            or observed.dtype != torch.bool
            or observed.shape != shape
        ):
            raise InputError(f"observed must be booleans of shape {shape}, not {shown(observed)}")

    @classmethod
    def of(cls, data: Any) -> MixedColumns:
        """The likelihood of a table, with scales of its observed cells.

        Args:
            data: training rows, of :meth:`mlvae.GroupedData.from_frame`.

        Raises:
            InputError: if the data are no table, or a column has no observed cell.
        """
        columns = getattr(data, "columns", None)
        if columns is None:
            raise InputError(
                "MixedColumns.of takes data of a table, GroupedData.from_frame(...), not "
                f"{shown(data)}"
            )
        observed = data.given.get("observed")
        widths = [len(column.features) for column in columns.features]
        scales = []
        for number, (column, cells) in enumerate(
            zip(columns.features, data.x.split(widths, 1), strict=True)
        ):
            seen = cells if observed is None else cells[observed[:, number]]
            scales.append(_scale(column.name, column.kind, seen))
        return cls(tuple(scales))


#: What a cell of each kind must be, for messages.
_EXPECTED = {
    "real": "finite numbers",
    "positive": "finite numbers above 0",
    "count": "whole numbers from 0 to 16,777,216",
    "binary": "0 or 1",
    "ordinal": "1 in the feature of one level, 0 in the others",
    "categorical": "1 in the feature of one level, 0 in the others",
}


def _possible(column: ColumnScale, cells: Tensor) -> Tensor:
    """Whether each cell (n, levels) is possible, (n,)."""
    finite = cells.isfinite().all(1)
    if column.kind in ("ordinal", "categorical"):
        return finite & ((cells == 0) | (cells == 1)).all(1) & (cells.sum(1) == 1)
    value = cells[:, 0]
    if column.kind == "positive":
        return finite & (value > 0)
    if column.kind == "count":
        return finite & (value >= 0) & (value <= 2**24) & (value == value.round())
    return finite & ((value == 0) | (value == 1)) if column.kind == "binary" else finite


def _scale(name: str, kind: str, cells: Tensor) -> ColumnScale:
    """The record of a column with observed cells (n, levels)."""
    if len(cells) == 0:
        raise InputError(
            f"column {name} has no value in the training rows; leave it out of the features"
        )
    if kind in ("ordinal", "categorical"):
        levels = cells.shape[1]  # an order needs two
        return ColumnScale(name, kind if levels > 1 else "categorical", levels=levels)
    if kind == "binary":
        return ColumnScale(name, kind)
    unscaled = ColumnScale(name, kind)
    if not bool((right := _possible(unscaled, cells)).all()):
        raise InputError(
            f"column {name} is of the kind {kind}: {_EXPECTED[kind]}, not "
            f"{float(cells[~right][0, 0]):g}"
        )
    values = cells[:, 0].double()
    values = values.log() if kind == "positive" else values
    values = values.log1p() if kind == "count" else values
    deviation = float(values.std(correction=0))
    constant = float(values.max()) == float(values.min())
    return ColumnScale(
        name, kind, mean=float(values.mean()), deviation=1.0 if constant else deviation
    )


def _placed(found: Tensor, place: Numbers | Levels, values: Tensor) -> Tensor:
    """``found`` (N, D) with the features of one kind."""
    if isinstance(place, Numbers):
        return found.index_copy(1, place.features, values)
    return found.index_copy(1, place.own, values.flatten(1).index_select(1, place.slot))
