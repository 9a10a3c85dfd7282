"""Distances between groups: closed forms, properties, and their uncertainty.

Shapes: N members, G groups, D dimensions.
"""

import math

import numpy as np
import pytest
import torch
from torch import distributions

from mlvae import DiagonalGaussian, Groups, InputError
from mlvae.evaluation import group_distances
from mlvae.evaluation.measures.distances import DISTANCES, distances_between
from mlvae.evidence.rules import ACCUMULATIONS, mixture

every_kind = pytest.mark.parametrize("kind", DISTANCES)


def normals(number, dim=3, seed=0):
    noise = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, number, dim, generator=noise, dtype=torch.float64)
    return DiagonalGaussian(mean, log_variance)


def test_the_symmetric_kl_is_the_mean_of_the_divergences_of_torch():
    q = normals(6)
    normal = distributions.Normal(q.mean, (0.5 * q.log_variance).exp())
    found = group_distances(q).distance
    for i in range(6):
        for j in range(6):
            one, other = (distributions.Normal(normal.loc[k], normal.scale[k]) for k in (i, j))
            forward = distributions.kl_divergence(one, other).sum()
            backward = distributions.kl_divergence(other, one).sum()
            torch.testing.assert_close(found[i, j], 0.5 * (forward + backward))


def test_the_symmetric_kl_agrees_with_monte_carlo():
    q, number = normals(2), 400_000
    std = (0.5 * q.log_variance).exp()
    noise = torch.randn(number, 3, generator=torch.Generator().manual_seed(1)).double()
    logs = [distributions.Normal(q.mean[k], std[k]) for k in (0, 1)]
    ratios = []
    for k in (0, 1):
        x = q.mean[k] + std[k] * noise
        ratios.append((logs[k].log_prob(x) - logs[1 - k].log_prob(x)).sum(1))
    total = 0.5 * (ratios[0] + ratios[1])
    error = float(total.std()) / math.sqrt(number)
    found = float(group_distances(q).distance[0, 1])
    assert found == pytest.approx(float(total.mean()), abs=4 * error)
    assert error < 0.02 * found


def test_the_wasserstein_distance_agrees_with_the_cost_of_sorted_samples():
    # In one dimension, the best transport sends quantiles to quantiles.
    q = normals(2, dim=1)
    levels = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    quantiles = [
        distributions.Normal(q.mean[k], (0.5 * q.log_variance[k]).exp()).icdf(levels)
        for k in (0, 1)
    ]
    expected = (quantiles[0] - quantiles[1]).square().mean().sqrt()
    found = group_distances(q, "wasserstein").distance[0, 1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_the_wasserstein_distance_is_that_of_full_covariances():
    from scipy.linalg import sqrtm

    q = normals(2)
    first, second = (np.diag(variance) for variance in q.log_variance.exp().numpy())
    root = sqrtm(first)
    trace = np.trace(first + second - 2 * sqrtm(root @ second @ root))
    expected = np.sqrt(np.square(np.subtract(*q.mean.numpy())).sum() + trace.real)
    found = float(group_distances(q, "wasserstein").distance[0, 1])
    assert found == pytest.approx(expected, rel=1e-7)


@every_kind
def test_distances_are_symmetric_and_zero_for_equal_posteriors_only(kind):
    q = normals(8)
    q = DiagonalGaussian.cat([q, q[:1]])
    found = group_distances(q, kind)
    assert found.distance.shape == (9, 9) and found.standard_error.isnan().all()
    assert torch.equal(found.distance, found.distance.T)
    assert found.distance.diagonal().eq(0).all()
    assert found.distance[0, 8] < 1e-9 < found.distance[0, 1:8].min()


def test_the_wasserstein_distance_obeys_the_triangle_inequality():
    d = group_distances(normals(12), "wasserstein").distance
    assert (d[:, None, :] <= d[:, :, None] + d[None] + 1e-12).all()


@every_kind
def test_many_groups_in_pieces_have_the_same_distances(kind, monkeypatch):
    q = normals(20)
    whole = group_distances(q, kind).distance
    monkeypatch.setattr("mlvae.evaluation.measures.distances.PIECE", 200)
    torch.testing.assert_close(group_distances(q, kind).distance, whole)
    part = distances_between(q[:3], q[3:], kind)
    torch.testing.assert_close(part, whole[:3, 3:])


# Members


@every_kind
@pytest.mark.parametrize("rule", ACCUMULATIONS)
def test_distances_of_members_are_those_of_their_accumulated_posteriors(kind, rule):
    members, groups = normals(30), Groups.of([f"g{i % 4}" for i in range(30)])
    found = group_distances(members, kind, groups=groups, accumulation=rule, samples=3)
    pooled = ACCUMULATIONS[rule](members, groups).moments()
    torch.testing.assert_close(found.distance, group_distances(pooled, kind).distance)


def test_a_mixture_has_the_distances_of_its_moments():
    q = mixture(normals(6), Groups.of([0, 0, 1, 1, 2, 2]))
    found = group_distances(q, "wasserstein").distance
    torch.testing.assert_close(found, group_distances(q.moments(), "wasserstein").distance)


def test_the_standard_error_is_that_of_new_members():
    # Means of n members with unit variance: their difference has the standard deviation sqrt(2/n).
    n, repeats = 50, 200
    noise = torch.Generator().manual_seed(0)
    groups = Groups.of([0] * n + [1] * n)
    offset = torch.tensor([0.0] * n + [5.0] * n, dtype=torch.float64)[:, None]
    distances, errors = [], []
    for _ in range(repeats):
        mean = offset + torch.randn(2 * n, 1, generator=noise, dtype=torch.float64)
        q = DiagonalGaussian(mean, torch.zeros_like(mean))
        found = group_distances(q, "wasserstein", groups=groups, samples=30)
        distances.append(found.distance[0, 1])
        errors.append(found.standard_error[0, 1])
    spread = torch.stack(distances).std()
    torch.testing.assert_close(spread, torch.tensor(math.sqrt(2 / n)).double(), rtol=0.15, atol=0)
    torch.testing.assert_close(torch.stack(errors).mean(), spread, rtol=0.15, atol=0)


def test_resampled_members_stay_in_their_group():
    mean = torch.tensor([[0.0], [100.0], [0.0], [100.0], [0.0]]).double()
    q = DiagonalGaussian(mean, torch.zeros_like(mean))
    found = group_distances(q, "wasserstein", groups=["a", "b", "a", "b", "a"], samples=20)
    assert found.standard_error[0, 1] < 0.5  # of the widths alone, not of the places
    same = group_distances(q, "wasserstein", groups=["a", "b", "a", "b", "a"], samples=20)
    assert torch.equal(found.standard_error, same.standard_error)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "cosine"}, "kind .*symmetric_kl.*'cosine'"),
        ({"posteriors": torch.zeros(3, 2)}, "posteriors"),
        ({"groups": [0, 1]}, "4 posteriors, not of 2"),
        ({"accumulation": "sum"}, "accumulation .*'sum'"),
        ({"samples": 1}, "samples .*1"),
        ({"seed": -1}, "seed .*-1"),
    ],
)
def test_other_arguments_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        group_distances(**{"posteriors": normals(4), **options})


def test_the_error_of_a_group_of_one_is_unknown():
    q = normals(6)
    found = group_distances(q, groups=["a", "b", "b", "c", "c", "c"], samples=20)
    assert found.standard_error[0].isnan().all() and found.standard_error[:, 0].isnan().all()
    assert (found.standard_error[1:, 1:].diagonal() == 0).all()
    assert found.standard_error[1, 2] > 0 and found.distance.isfinite().all()
