"""PLDA is Bayes' rule for normal groups, and other groups tell it the covariances."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from mlvae import DiagonalGaussian
from mlvae.evaluation.measures.leakage.drawn import Drawn, Scale
from mlvae.evaluation.measures.leakage.kinds import applies, fit_probes
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.plda import _Moments, _moments, _of_labels, fit_plda

DIM, LABELS = 6, 40


def covariances():
    """B and W, (DIM, DIM)."""
    noise = torch.Generator().manual_seed(0)
    root = torch.eye(DIM) + 0.4 * torch.randn(DIM, DIM, generator=noise)
    return torch.diag(torch.tensor([0.8, 0.4, 0.2, 0.1, 0.05, 0.0])), root @ root.T


def labelled(groups, members, seed):
    """Codes of ``members`` observations of each of ``groups`` groups, and their groups."""
    between, within = covariances()
    noise = torch.Generator().manual_seed(seed)
    y = torch.arange(groups * members) % groups
    centres = torch.randn(groups, DIM, generator=noise) @ between.sqrt()
    root = torch.linalg.cholesky(within)
    return centres[y] + torch.randn(len(y), DIM, generator=noise) @ root.T, y


def few_codes(others=None):
    """Four codes of each label to train on, four held out, fifty to test on."""
    x, y = labelled(LABELS, 58, 1)
    member = torch.arange(len(y)) // LABELS
    parts = [Drawn(x[rows], y[rows]) for rows in (member < 4, (member > 3) & (member < 8))]
    return Fit(*parts, LABELS, 0, others), x[member > 7], y[member > 7]


def bits(probe, x, y):
    """Information that a probe finds about labels of equal frequency."""
    logs = probe.log_probabilities(x)
    return math.log2(LABELS) + float(logs.gather(1, y[:, None]).mean()) / math.log(2)


def bayes_bits(fit, x, y):
    """The same by Bayes' rule with the true covariances, by conditioning a normal."""
    between, within = (each.double() for each in covariances())
    codes, labels = fit.train.codes.double(), fit.train.y
    logs = []
    for label in range(LABELS):
        own = codes[labels == label]
        gain = between @ torch.linalg.inv(between + within / len(own))
        mean, rest = gain @ own.mean(0), between - gain @ between
        logs.append(MultivariateNormal(mean, within + rest).log_prob(x.double()))
    logs = torch.stack(logs, 1).log_softmax(1)
    return math.log2(LABELS) + float(logs.gather(1, y[:, None]).mean()) / math.log(2)


def test_a_label_has_the_distribution_of_a_conditioned_normal():
    v, r = torch.tensor([2.0, 0.3]).double(), torch.tensor([1.0, 0.4]).double()
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]])
    fit = Fit(Drawn(x, torch.tensor([0, 0, 1])), Drawn(x, torch.tensor([0, 0, 1])), 3, 0)
    scale = Scale(torch.zeros(2), torch.ones(2))
    found = _of_labels(fit, _Moments(scale, torch.zeros(2), torch.eye(2).double(), v, r))
    for label, rows in enumerate(([0, 1], [2], [])):
        n = len(rows)
        # The centre and the n codes are jointly normal: condition on the codes.
        for d in range(2):
            seen = torch.full((n, n), float(v[d])).double() + r[d] * torch.eye(n).double()
            gain = torch.linalg.solve(seen, torch.full((n,), float(v[d])).double())
            mean = gain @ x[rows, d].double()
            rest = v[d] - v[d] * gain.sum()
            torch.testing.assert_close(found.mean[label, d], mean)
            torch.testing.assert_close(found.variance[label, d], 1 + rest)


def test_the_covariances_of_pairs_are_those_of_many_groups():
    """With two codes a group, W is half and B too large unless the estimated means count."""
    between, within = covariances()
    generator = torch.Generator().manual_seed(0)
    codes = Drawn(*labelled(20_000, 2, 5))
    scale, _, axes, v, r = _moments(codes, 0, generator)
    spread = scale.deviation.double()
    expected = axes.T @ (within.double() / spread / spread[:, None]) @ axes
    torch.testing.assert_close(expected, torch.eye(DIM).double(), atol=0.05, rtol=0)
    ratios = torch.linalg.eigvals(torch.linalg.solve(within, between)).real.sort(descending=True)
    torch.testing.assert_close(v.float(), ratios.values, atol=0.05, rtol=0.1)
    torch.testing.assert_close(r, torch.ones(DIM).double(), atol=0.02, rtol=0)


def test_densities_are_those_of_normals_up_to_a_constant():
    v, r = torch.tensor([2.0, 0.3]).double(), torch.ones(2).double()
    x, y = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]), torch.tensor([0, 0, 1])
    scale = Scale(torch.zeros(2), torch.ones(2))
    moments = _Moments(scale, torch.zeros(2), torch.eye(2).double(), v, r)
    found = _of_labels(Fit(Drawn(x, y), Drawn(x, y), 3, 0), moments)
    logs = Normal(found.mean, found.variance.sqrt()).log_prob(x.double()[:, None]).sum(2)
    apart = found.log_densities(x) - logs
    torch.testing.assert_close(apart, apart[:1, :1].expand(3, 3))


def test_with_many_other_groups_it_finds_nearly_what_bayes_rule_finds():
    fit, x, y = few_codes(Drawn(*labelled(2000, 5, 2)))
    best = bayes_bits(fit, x, y)
    assert 1 < best < 3
    found = bits(fit_plda(fit), x, y)
    assert 0.95 * best < found < 1.01 * best
    # No other kind comes near from four codes of each label.
    for kind in ("logistic", "mlp", "knn"):
        (other,) = fit_probes(kind, [fit])
        assert bits(other, x, y) < 0.9 * found


def test_without_other_groups_the_codes_themselves_determine_the_covariances():
    fit, x, y = few_codes()
    alone, told = fit_plda(fit), fit_plda(few_codes(Drawn(*labelled(2000, 5, 2)))[0])
    assert 0.7 * bits(told, x, y) < bits(alone, x, y) < bits(told, x, y)


def test_other_groups_of_another_kind_are_not_used():
    x, y = labelled(500, 5, 3)
    mixed = x @ torch.randn(DIM, DIM).sign()
    fit, tested, labels = few_codes(Drawn(mixed, y[torch.randperm(len(y))]))
    alone = fit_plda(fit._replace(others=None))
    torch.testing.assert_close(
        fit_plda(fit).log_probabilities(tested), alone.log_probabilities(tested)
    )
    assert bits(alone, tested, labels) > 0.3


def test_the_noise_of_posteriors_is_within_a_label_and_not_in_its_mean():
    """A label with one posterior mean is known better than by one draw of it."""
    between, _ = covariances()
    noise = torch.Generator().manual_seed(4)
    y = torch.arange(4000) % 1000
    mean = torch.randn(1000, DIM, generator=noise)[y] @ between.sqrt()
    mean += 0.1 * torch.randn(mean.shape, generator=noise)
    codes = DiagonalGaussian(mean, torch.zeros_like(mean))
    found = fit_plda(Fit(Drawn(codes, y), Drawn(codes, y), 1000, 0))
    # The variance of a code is 1 within its label, and the centre of a label is nearly known.
    assert found.variance.max() < 1.05


def test_it_needs_a_group_with_two_codes():
    x, y = labelled(LABELS, 1, 0)
    fit = Fit(Drawn(x, y), Drawn(x, y), LABELS, 0)
    assert not applies("plda", fit)
    assert applies("plda", fit._replace(others=Drawn(*labelled(5, 2, 1))))


@pytest.mark.parametrize("dim", [1, 2000])
def test_codes_without_variance_within_labels_are_told_apart(dim):
    y = torch.arange(60) % 3
    x = y[:, None].float().expand(60, dim).contiguous()
    logs = fit_plda(Fit(Drawn(x, y), Drawn(x, y), 3, 0)).log_probabilities(x)
    assert logs.isfinite().all() and (logs.argmax(1) == y).all()
    assert np.allclose(logs.exp().sum(1), 1)
