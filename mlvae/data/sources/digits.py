"""The 1,797 handwritten digits of scikit-learn: real data without a download."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.splits import Splits, split
from mlvae.errors import check_integer

__all__ = ["digits", "pixels_and_labels"]


def digits(
    *,
    validation: int = 180,
    test: int = 180,
    unseen_groups: Sequence[int] = (),
    seed: int = 0,
) -> Splits:
    """8x8 grey images of handwritten digits, grouped by digit.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning
    Repository, 1998 (the test part, 17 grey levels).

    Args:
        validation: number of images drawn for validation.
        test: number of images drawn for the test.
        unseen_groups: digits to keep out of training, validation and test.
        seed: seed of the split.

    Example:
        >>> digits().train
        GroupedData(1437 observations of shape (1, 8, 8) in 10 groups)
    """
    for name, value in (("validation", validation), ("test", test), ("seed", seed)):
        check_integer(name, value, minimum=0)
    pixels, labels = pixels_and_labels()
    images = (pixels.reshape(-1, 8, 8) / 16).astype(np.float32)
    data = GroupedData(images, labels, kind="image")
    return split(data, validation=validation, test=test, unseen_groups=unseen_groups, seed=seed)


def pixels_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """The pixels (N, 64), 0 to 16, and the digits (N,), as ``load_digits(return_X_y=True)``.

    The file of scikit-learn is read without it, because its import takes a second. A version
    without this file reads it itself.
    """
    spec = find_spec("sklearn")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :-1], table[:, -1].astype(int)
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels), np.asarray(labels)
