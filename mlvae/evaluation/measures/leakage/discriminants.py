r"""Linear discriminants: directions in which labels differ most, for their noise.

With the covariance W of codes within labels and the covariance B of the means of labels, they are
the solutions of :math:`B a = \lambda W a` (R. A. Fisher: The use of multiple measurements in
taxonomic problems. Annals of Eugenics 7, 1936). In their space the noise within labels is white.
W is estimated with shrinkage (O. Ledoit, M. Wolf: A well-conditioned estimator for
large-dimensional covariance matrices. Journal of Multivariate Analysis 88, 2004).

Shapes: M codes, D dimensions, L labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["discriminants", "fitted_lda", "of_labels", "projection"]

#: Codes of more dimensions than MOST are projected to their first COMPONENTS principal components:
#: the time grows as the cube of the number of dimensions.
MOST, COMPONENTS = 1024, 256


def discriminants(x: np.ndarray, y: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Axes (D, at most L - 1) by two estimates of the covariance within labels.

    The first one is the mean of a shrunk covariance of each label. The second one is the shrunk
    covariance of all differences from the mean of their label, which is better if a label has few
    codes. An estimate without any variance is left out.

    Args:
        x: codes, float32, (M, D).
        y: labels, integers in [0, L), (M,).
        seed: seed of the principal components.
    """
    base = projection(x, seed)
    x = x @ base
    for estimate in (_by_label, _pooled):
        try:
            axes = estimate(x, y)[:, : int(y.max())].astype(np.float32)
        except (ValueError, np.linalg.LinAlgError):  # codes without any variance within a label
            continue
        yield base @ axes


def projection(x: np.ndarray, seed: int) -> np.ndarray:
    """Orthonormal axes (D, at most :data:`MOST`): all, or the first principal ones of wide codes.

    Args:
        x: codes, float32, (M, D).
        seed: seed of the approximation of the principal axes.
    """
    if x.shape[1] <= MOST:
        return np.eye(x.shape[1], dtype=x.dtype)
    from sklearn.decomposition import PCA  # local imports: scikit-learn takes seconds

    number = min(COMPONENTS, *x.shape)
    pca = PCA(number, svd_solver="randomized", random_state=seed).fit(x)
    return np.asarray(pca.components_).T


def of_labels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of each label that occurs, the place of each code's label, and numbers of codes.

    Args:
        x: codes, (M, D).
        y: labels, (M,).
    """
    order = y.argsort(kind="stable")
    _, first, own, numbers = np.unique(
        y[order], return_index=True, return_inverse=True, return_counts=True
    )
    place = np.empty_like(own)
    place[order] = own
    return np.add.reduceat(x[order], first) / numbers[:, None], place, numbers


def fitted_lda(x: np.ndarray, y: np.ndarray, solver: str) -> Any:
    """scikit-learn's linear discriminant analysis, with a shrunk covariance of each label.

    Args:
        x: codes, (M, D).
        y: labels, (M,); a label with one code has no variance.
        solver: "eigen" for axes, "lsqr" for predictions alone.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Only one sample available")
        return LinearDiscriminantAnalysis(solver=solver, shrinkage="auto").fit(x, y)


def _by_label(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return fitted_lda(x, y, "eigen").scalings_


def _pooled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.linalg import eigh
    from sklearn.covariance import ledoit_wolf

    x = x.astype(np.float64)
    means, own, numbers = of_labels(x, y)
    within, _ = ledoit_wolf(x - means[own], assume_centered=True)
    far = np.sqrt(numbers / len(x))[:, None] * (means - x.mean(0))
    _, axes = eigh(far.T @ far, within)
    return axes[:, ::-1]
