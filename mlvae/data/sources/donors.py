r"""Rows of donors with missing cells, of which the best values are known.

.. math:: x_i = u \odot (A c_{g(i)} + B s_i + \sigma e_i) + o, \qquad c, s, e \sim N(0, I)

with a content c of each donor, a style s of each row, and the units u and offsets o of the
columns. All is linear and normal, so the expected value of a missing cell given all observed cells
of the donor has a closed form (:func:`exact_values`). No imputer has a smaller mean squared error.

Shapes: N rows, D columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.splits import Splits
from mlvae.data.tables.columns import Column, Columns
from mlvae.errors import check_integer, check_number

__all__ = ["donors", "exact_values"]

#: Numbers of columns, and of dimensions of the content and of the style.
COLUMNS, CONTENT, STYLE = 10, 3, 2

#: Standard deviation of the noise of a cell.
NOISE = 0.3


class _Law(NamedTuple):
    """The parameters of the formula."""

    content: np.ndarray
    style: np.ndarray
    unit: np.ndarray
    offset: np.ndarray


def donors(
    *,
    number: int = 400,
    rows: int = 6,
    missing: float = 0.5,
    validation: int = 50,
    test: int = 100,
    seed: int = 0,
) -> Splits:
    """Rows of donors; those of training and validation miss cells, those of the test do not.

    Args:
        number: number of donors in training.
        rows: number of rows of each donor.
        missing: probability that a cell of training or validation is missing.
        validation: number of further donors for validation.
        test: number of further donors for the test. Its rows are complete, so that a measurement
            can hide cells.
        seed: seed of all draws.

    Example:
        >>> splits = donors(number=20, validation=5, test=5)
        >>> splits.train.shape, splits.train.groups.num_groups
        ((10,), 20)
        >>> bool(splits.train.given["observed"].all()), bool(splits.test.given["observed"].all())
        (False, True)
    """
    counts = {"number": number, "rows": rows, "validation": validation, "test": test}
    for name, value in counts.items():
        check_integer(f"dataset.{name}", value, minimum=1)
    check_number("dataset.missing", missing, minimum=0, maximum=0.95)
    check_integer("dataset.seed", seed, minimum=0)
    random, law = np.random.default_rng(seed), _law(seed)
    total = number + validation + test
    donor = np.repeat(np.arange(total), rows)
    content = random.normal(size=(total, CONTENT))[donor]
    style, noise = (random.normal(size=(len(donor), each)) for each in (STYLE, COLUMNS))
    clean = content @ law.content.T + style @ law.style.T + NOISE * noise
    x = law.unit * clean + law.offset
    observed = random.random(x.shape) >= missing
    ends = np.array([number, number + validation]) * rows
    parts = []
    for places in np.split(np.arange(len(donor)), ends):
        seen = np.ones_like(observed[places]) if len(parts) == 2 else observed[places]
        parts.append(_data(np.where(seen, x[places], 0.0), seen, donor[places]))
    return Splits(parts[0], validation=parts[1], test=parts[2])


def exact_values(x: np.ndarray, observed: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    r"""Rows (N, D) with the expected value of each missing cell given all cells of its donor.

    .. math:: E[x_M \mid x_O] = \mu_M + \Sigma_{MO} \Sigma_{OO}^{-1} (x_O - \mu_O)

    with the covariance of the cells of a donor, which has :math:`A A^T` between all rows and
    :math:`B B^T + \sigma^2 I` within a row.

    Args:
        x: rows of :func:`donors`; numbers in missing cells have no effect.
        observed: whether each cell is there, booleans (N, D).
        group: donor of each row, (N,).
        seed: seed of the table.
    """
    law = _law(seed)
    z = ((x - law.offset) / law.unit).astype(np.float64)
    shared = law.content @ law.content.T
    own = law.style @ law.style.T + NOISE**2 * np.eye(COLUMNS)
    found = z.copy()
    for donor in np.unique(group):
        at = np.flatnonzero(group == donor)
        covariance = np.kron(np.ones((len(at), len(at))), shared) + np.kron(np.eye(len(at)), own)
        seen, cells = observed[at].ravel(), z[at].ravel()
        known = np.linalg.solve(covariance[np.ix_(seen, seen)], cells[seen])
        cells[~seen] = covariance[np.ix_(~seen, seen)] @ known
        found[at] = cells.reshape(len(at), COLUMNS)
    return np.where(observed, x, found * law.unit + law.offset)


def _law(seed: int) -> _Law:
    random = np.random.default_rng((seed, 1))
    content, style = (random.normal(size=(COLUMNS, each)) for each in (CONTENT, STYLE))
    unit = 10 ** random.uniform(-1, 2, COLUMNS)
    return _Law(
        content / np.sqrt(CONTENT),
        style / np.sqrt(STYLE),
        unit,
        unit * random.uniform(0, 10, COLUMNS),
    )


def _data(x: np.ndarray, observed: np.ndarray, donor: np.ndarray) -> GroupedData:
    columns = Columns(tuple(Column(f"m{place}") for place in range(COLUMNS)), group="donor")
    data = GroupedData(
        x.astype(np.float32),
        [f"donor{number}" for number in donor],
        given={"observed": observed},
        feature_names=columns.feature_names,
        kind="array",
    )
    data.columns = columns
    return data
