"""Linear discriminants have their closed forms, and few or wide codes are no obstacle."""

import numpy as np
import pytest

from mlvae.evaluation.measures.leakage.discriminants import COMPONENTS, MOST, discriminants


def labelled(number, labels, dim, *, distance=3.0, seed=0):
    """Codes N(centre of the label, W), their labels, the centres and W."""
    rng = np.random.default_rng(seed)
    root = np.eye(dim) + 0.3 * rng.normal(size=(dim, dim))
    centres = distance * rng.normal(size=(labels, dim))
    y = np.arange(number) % labels
    x = centres[y] + rng.normal(size=(number, dim)) @ root
    return x.astype(np.float32), y, centres, root.T @ root


def test_the_discriminant_of_two_labels_is_the_whitened_difference_of_their_means():
    x, y, centres, within = labelled(40_000, 2, 4)
    expected = np.linalg.solve(within, centres[1] - centres[0])
    for axes in discriminants(x, y, 0):
        assert axes.shape == (4, 1) and axes.dtype == np.float32
        cosine = expected @ axes[:, 0] / np.linalg.norm(expected) / np.linalg.norm(axes)
        assert abs(cosine) > 0.9999


def test_the_noise_within_labels_is_white():
    x, y, _, within = labelled(40_000, 5, 6)
    for axes in discriminants(x, y, 0):
        np.testing.assert_allclose(axes.T @ within @ axes, np.eye(4), atol=0.05)


def test_one_estimate_for_all_labels_is_better_if_each_has_few_codes():
    x, y, _, within = labelled(120, 40, 20)
    excess = []
    for axes in discriminants(x, y, 0):
        noise = np.linalg.eigvalsh(axes.T @ within @ axes)
        excess.append(noise.max() / noise.min())
    by_label, pooled = excess
    assert pooled < 0.6 * by_label


def test_codes_of_many_dimensions_are_projected_first():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    x = rng.normal(size=(600, MOST + 1)).astype(np.float32)
    x[:, :2] *= 30  # a label in the directions of the largest variance
    x[:, 0] += 100 * y
    for axes in discriminants(x, y, 0):
        assert axes.shape == (MOST + 1, 2) and axes.dtype == np.float32
        means = [np.mean(x[y == label] @ axes[:, 0]) for label in range(3)]
        assert min(abs(means[1] - means[0]), abs(means[2] - means[1])) > 2
    again = list(discriminants(x, y, 0))
    np.testing.assert_array_equal(axes, again[-1])
    assert np.linalg.matrix_rank(again[0]) == 2 < COMPONENTS


def test_a_label_with_one_code_has_no_warning():
    x, y, _, _ = labelled(60, 3, 4)
    y[0] = 3
    assert [axes.shape for axes in discriminants(x, y, 0)] == [(4, 3), (4, 3)]


@pytest.mark.parametrize("dim", [2, MOST + 1])
def test_labels_without_variance_have_no_discriminants(dim):
    y = np.arange(30) % 3
    x = np.repeat(y[:, None], dim, axis=1).astype(np.float32)
    assert list(discriminants(x, y, 0)) == []
