"""Pairs of sprites that differ in few factors: weak supervision by groups of two.

Shapes: P pairs, 5 factors, in the order of :data:`~mlvae.data.sources.sprites.FACTORS`.
"""

from __future__ import annotations

import numpy as np
import torch

from mlvae.data.grouped import GroupedData
from mlvae.data.sources.sprites import COUNTS, SHAPES, combinations, render, values_of
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError, check_integer

__all__ = ["sprite_pairs"]


def sprite_pairs(
    *,
    pairs: int = 25_000,
    changed: int | None = None,
    validation: int = 2500,
    test: int = 5000,
    size: int = 64,
    seed: int = 0,
) -> Splits:
    """Sprites in groups of two that share all factors except k unknown ones.

    F. Locatello, B. Poole, G. Rätsch, B. Schölkopf, O. Bachem, M. Tschannen: Weakly-Supervised
    Disentanglement Without Compromises. ICML 2020, arXiv:2002.02886. The first sprite of a pair is
    drawn uniformly from all combinations of factors (see :func:`~mlvae.data.sprites`). Then k
    factors, drawn uniformly, change to a value drawn uniformly from their other values. (A square
    that turns by a quarter still looks the same.)

    Train with ``batching=grouped batching.members=2``, which keeps pairs together. The test has
    other groups than the training, so the evaluation has no answer to its question
    ``separation``; it answers ``factors``.

    Args:
        pairs: number of pairs to train on.
        changed: k, from 1 to 5; None to draw it for each pair, uniform from 1 to 4.
        validation: number of pairs for validation.
        test: number of single sprites for the test, all different, drawn uniformly from the
            combinations and independently of the pairs, which may contain the same sprites.
        size: height and width of an image, in pixels.
        seed: seed of all draws. The draws of one split do not depend on the size of another.

    Returns:
        Pairs for training and validation, whose labels are the numbers of the pairs, continued
        from one to the other; single sprites for the test, grouped by the name of their shape.
        The known factors of each sprite are its five values, for the metrics.

    Raises:
        InputError: if an option is out of range.

    Example:
        >>> sprite_pairs(pairs=30, validation=0, test=20, size=16)
        train: GroupedData(60 observations of shape (1, 16, 16) in 30 groups)
        test: GroupedData(20 observations of shape (1, 16, 16) in 3 groups)
    """
    check_integer("dataset.pairs", pairs, minimum=1)
    for name, number in (("validation", validation), ("test", test), ("seed", seed)):
        check_integer(f"dataset.{name}", number, minimum=0)
    if changed is not None:
        check_integer("dataset.changed", changed, minimum=1)
        if changed > len(COUNTS):
            raise InputError(
                f"dataset.changed must be at most {len(COUNTS)}, the number of factors, not "
                f"{changed}"
            )
    generators = [np.random.default_rng([seed, part]) for part in range(3)]
    held = range(pairs, pairs + validation)
    return Splits(
        train=_pairs(range(pairs), changed, size, generators[0]),
        validation=_pairs(held, changed, size, generators[1]) if validation else None,
        test=_singles(test, size, generators[2]) if test else None,
    )


def _pairs(
    numbers: range, changed: int | None, size: int, generator: np.random.Generator
) -> GroupedData:
    """Pairs with these numbers."""
    one = generator.integers(COUNTS, size=(len(numbers), len(COUNTS)))
    k = generator.integers(1, len(COUNTS), (len(numbers), 1)) if changed is None else changed
    # The ranks of independent uniform numbers are a uniform permutation. The first k change.
    rank = generator.random(one.shape).argsort(1).argsort(1)
    step = generator.integers(1, COUNTS, size=one.shape)
    other = np.where(rank < k, (one + step) % COUNTS, one)
    factors = values_of(np.stack((one, other), 1).reshape(-1, len(COUNTS)))
    label = torch.arange(numbers.start, numbers.stop).repeat_interleave(2)
    return GroupedData(render(factors, size=size), label, factors)


def _singles(number: int, size: int, generator: np.random.Generator) -> GroupedData:
    """Different sprites, grouped by shape."""
    levels = combinations(number, generator, "dataset.test")
    factors = values_of(levels)
    return GroupedData(render(factors, size=size), np.array(SHAPES)[levels[:, 0]], factors)
