"""Images of digits and their labels as rows of three attributes, of which some are missing.

The images are those of scikit-learn, 8 x 8 pixels (E. Alpaydin, C. Kaynak: Optical Recognition of
Handwritten Digits. UCI Machine Learning Repository, 1998).

Shapes: N rows, 64 pixels.
"""

from __future__ import annotations

import numpy as np

from mlvae.data.grouped import GroupedData
from mlvae.data.sources.digits import pixels_and_labels
from mlvae.data.splitting.splits import Splits, split
from mlvae.data.tables.columns import Column, Columns
from mlvae.errors import check_integer, check_number

__all__ = ["ATTRIBUTES", "digit_parts"]

#: Columns of each attribute: pixels of the upper half, pixels of the lower half, the label.
ATTRIBUTES = {"upper": 32, "lower": 32, "label": 1}


def digit_parts(
    *, missing: float = 0.4, validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> Splits:
    """Rows with the upper half of a digit, its lower half, and its label; each may be missing.

    A pixel is 1 if it has at least half of the largest grey level, 16. Every row has at least one
    attribute. Each row is a group of its own. For a :class:`~mlvae.models.VSAE` with
    ``attributes=(32, 32, 1)``.

    Args:
        missing: probability that an attribute of a row is missing; of rows that would have none,
            one random attribute stays.
        validation: size of the validation, a fraction or a number of rows.
        test: size of the test, likewise.
        seed: seed of the missing attributes and of the split.

    Example:
        >>> data = digit_parts().train
        >>> data.shape, data.given["observed"].shape[1]
        ((74,), 65)
    """
    check_number("dataset.missing", missing, minimum=0, maximum=1)
    check_integer("dataset.seed", seed, minimum=0)
    images, labels = pixels_and_labels()
    random = np.random.default_rng(seed)
    there = random.random((len(images), 3)) >= missing
    there[np.arange(len(images)), random.integers(0, 3, len(images))] |= ~there.any(1)
    observed = np.repeat(there, list(ATTRIBUTES.values()), 1)
    x = np.hstack((images >= 8, np.eye(10)[labels])).astype(np.float32)
    x *= np.hstack((observed[:, :64], np.repeat(observed[:, 64:], 10, 1)))
    names = [f"row{row}_{place}" for row in range(8) for place in range(8)]
    label = Column("label", "categorical", tuple(range(10)))
    columns = Columns((*(Column(name, "binary") for name in names), label))
    data = GroupedData(
        x,
        np.arange(len(x)),
        {"digit": labels.astype(np.float64)},
        given={"observed": observed},
        feature_names=columns.feature_names,
        kind="array",
    )
    data.columns = columns
    return split(data, validation=validation, test=test, seed=seed)
