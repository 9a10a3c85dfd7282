"""Draws from a finite table of observations that share the value of one factor.

The scores of Higgins et al. and of Kim and Mnih generate observations with one factor held fixed.
Here there is no generator: rows with the same value of the factor are drawn with replacement. If
two factors of the table depend on each other, rows that share one tend to share the other, and the
scores cannot separate the two.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlvae.errors import check_integer
from mlvae.evaluation.measures.metrics.table import categories

__all__ = ["fixed_pairs", "fixed_rows", "vote_tables"]


def _sort(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows sorted by value; first position and length of the run of each position: (N,) each."""
    sizes, order = np.bincount(factor), np.argsort(factor, kind="stable")
    return order, np.repeat(np.cumsum(sizes) - sizes, sizes), np.repeat(sizes, sizes)


def fixed_pairs(
    factor: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of two different rows of the same value.

    The first row is uniform over all rows whose value occurs at least twice, so values occur by
    their frequencies. The second row is uniform over the other rows of that value.

    Args:
        factor: values numbered from 0, (N,); at least one value occurs twice.
        shape: shape of the array of pairs.
        rng: generator of the draws.

    Returns:
        The first and the second rows, both of ``shape``.

    Example:
        >>> factor = np.array([0, 1, 1, 2, 0])
        >>> first, second = fixed_pairs(factor, (100,), np.random.default_rng(0))
        >>> bool((factor[first] == factor[second]).all() and (first != second).all())
        True
    """
    order, start, size = _sort(factor)
    position = rng.choice(np.flatnonzero(size > 1), shape)
    first, length = start[position], size[position]
    other = first + (position - first + 1 + rng.integers(length - 1)) % length
    return order[position], order[other]


def fixed_rows(factor: np.ndarray, votes: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Sets of rows that share one value, (votes, draws).

    Args:
        factor: values numbered from 0, (N,); at least one value occurs twice.
        votes: number of sets. The value of each set is drawn by its frequency.
        draws: number of rows of each set, drawn with replacement.
        rng: generator of the draws.

    Example:
        >>> factor = np.array([0, 1, 1, 2, 0])
        >>> rows = fixed_rows(factor, 50, 4, np.random.default_rng(0))
        >>> rows.shape, bool((np.ptp(factor[rows], axis=1) == 0).all()), 3 in rows
        ((50, 4), True, False)
    """
    order, start, size = _sort(factor)
    position = rng.choice(np.flatnonzero(size > 1), (votes, 1))
    return order[start[position] + rng.integers(size[position], size=(votes, draws))]


def vote_tables(
    factors: np.ndarray,
    vote: Callable[[np.ndarray, int, np.random.Generator], np.ndarray],
    *,
    numbers: dict[str, int],
    factor_bins: int | None,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tables of votes; each vote is drawn with one factor held fixed, every factor in turn.

    ``vote(factor, count, rng)`` draws ``count`` votes with ``factor`` (N,) held fixed and returns
    an array (count, ...). ``numbers`` has the number of votes of each table, by option name.
    Returns for each table the votes (number, ...) and the index of the fixed factor (number,).
    """
    count = factors.shape[1]
    check_integer("seed", seed, minimum=0)
    for name, number in numbers.items():
        check_integer(name, number, minimum=count)
    columns, rng = categories(factors, factor_bins).T, np.random.default_rng(seed)
    tables = []
    for number in numbers.values():
        fixed = np.arange(number) % count
        votes = [vote(column, int((fixed == k).sum()), rng) for k, column in enumerate(columns)]
        table = np.empty((number, *votes[0].shape[1:]), votes[0].dtype)
        for k, rows in enumerate(votes):
            table[fixed == k] = rows
        tables.append((table, fixed))
    return tables
