"""The mixture of probes is the best one on held-out codes, and finds more where probes differ."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mlvae import DiagonalGaussian
from mlvae.evaluation import leakage
from mlvae.evaluation.measures.leakage.drawn import Drawn
from mlvae.evaluation.measures.leakage.mixture import fit_mixture, maximum_weights
from mlvae.evaluation.measures.leakage.networks import Fit
from mlvae.evaluation.measures.leakage.strongest import strongest


class Expert:
    """A probe that knows the label of the codes at ``known`` and nothing of the others."""

    def __init__(self, known, labels=4, held_out=0.0):
        self.known, self.labels, self.held_out = known, labels, held_out

    def log_probabilities(self, x):
        y = x[:, 0].long()
        logs = torch.full((len(x), self.labels), -math.log(self.labels))
        rows = self.known(x)
        logs[rows] = math.log(0.01 / (self.labels - 1))
        logs[rows.nonzero()[:, 0], y[rows]] = math.log(0.99)
        return logs


def fit_of(number, labels=4):
    """Codes whose first value is the label and whose second is random."""
    noise = torch.Generator().manual_seed(0)
    y = torch.randint(labels, (number,), generator=noise)
    x = torch.stack([y.float(), torch.rand(number, generator=noise)], 1)
    return Fit(Drawn(x, y), Drawn(x, y), labels, 0)


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_those_of_the_largest_likelihood(seed):
    noise = torch.Generator().manual_seed(seed)
    right = torch.rand(300, 5, generator=noise).double() ** 3
    right[:, 4] = right[:, 0] / 2  # a probe that the first one dominates
    weights = maximum_weights(right)
    assert weights.sum() == pytest.approx(1) and float(weights.min()) >= 0
    # Optimality (Karush, Kuhn and Tucker): the mean of p_i / p is 1 for each probe with a weight,
    # and at most 1 for the others.
    slopes = (right / (right @ weights)[:, None]).mean(0)
    assert slopes[weights > 0.01].numpy() == pytest.approx(1, abs=1e-3)
    assert float(slopes.max()) < 1 + 1e-3 and float(weights[4]) < 1e-6
    other = minimize(
        lambda w: -np.log(right.numpy() @ w).mean(),
        np.full(5, 0.2),
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )
    assert float((right @ weights).log().mean()) == pytest.approx(-other.fun, abs=1e-5)


def test_probabilities_are_the_weighted_mean_of_those_of_the_probes():
    fit = fit_of(2000)
    probes = {
        ("train", "knn"): Expert(lambda x: x[:, 1] < 0.7),
        ("train", "mlp"): Expert(lambda x: x[:, 1] > 0.4),
    }
    mixture = fit_mixture(probes, fit)
    x = fit.held.codes
    mean = sum(
        weight * probes[key].log_probabilities(x).double().exp()
        for key, weight in mixture.weights.items()
    )
    assert torch.allclose(mixture.log_probabilities(x).exp(), mean)
    assert mean.sum(1).numpy() == pytest.approx(1)
    assert sum(mixture.weights.values()) == pytest.approx(1)
    right = mean.gather(1, fit.held.y[:, None])
    assert mixture.held_out == pytest.approx(float(-right.log().mean()), rel=1e-6)
    assert mixture.largest == max(mixture.weights, key=mixture.weights.get) == ("train", "knn")


def test_the_mixture_knows_what_each_probe_knows():
    fit = fit_of(2000)
    probes = {
        ("train", "knn"): Expert(lambda x: x[:, 1] < 0.5),
        ("train", "mlp"): Expert(lambda x: x[:, 1] >= 0.5),
        ("train", "none"): Expert(lambda x: x[:, 1] < 0),
    }
    mixture = fit_mixture(probes, fit)
    logs = mixture.log_probabilities(fit.held.codes)
    assert bool((logs.argmax(1) == fit.held.y).all())
    # The half of one probe's weight is right for every code, the rest spread over the labels.
    each = -math.log(0.5 * 0.99 + 0.5 / 4)
    assert mixture.held_out == pytest.approx(each, abs=0.01)
    assert ("train", "none") not in mixture.weights


def test_a_probe_of_small_weight_is_left_out_and_the_others_sum_to_one():
    fit = fit_of(1000, labels=200)
    probes = {
        ("train", "knn"): Expert(lambda x: x[:, 1] < 0.99, labels=200),
        ("train", "mlp"): Expert(lambda x: x[:, 1] >= 0.99, labels=200),
    }
    right = [
        probe.log_probabilities(fit.held.codes).gather(1, fit.held.y[:, None]).exp()
        for probe in probes.values()
    ]
    assert 0.001 < float(maximum_weights(torch.cat(right, 1))[1]) < 0.02
    mixture = fit_mixture(probes, fit)
    assert list(mixture.probes) == list(mixture.weights) == [("train", "knn")]
    assert mixture.weights["train", "knn"] == 1


@pytest.mark.parametrize(
    ("number", "random", "rows"), [(100, True, 400), (1500, True, 1500), (100, False, 100)]
)
def test_few_held_out_codes_are_drawn_several_times(number, random, rows):
    mean, y = torch.randn(number, 2), torch.arange(number) % 4
    codes = DiagonalGaussian(mean, torch.zeros_like(mean)) if random else mean
    received = []

    class Spy(Expert):
        def log_probabilities(self, x):
            received.append(x)
            return torch.full((len(x), 4), -math.log(4))

    held = Drawn(codes, y)
    fit_mixture({("a", "knn"): Spy(None), ("a", "mlp"): Spy(None)}, Fit(held, held, 4, 0))
    assert [len(x) for x in received] == [rows, rows] and torch.equal(*received)
    if rows > number:
        assert not torch.equal(received[0][:number], received[0][number : 2 * number])


def test_it_finds_more_than_every_probe_where_groups_are_small():
    found_more = []
    for seed in range(3):
        noise = torch.Generator().manual_seed(seed)
        y = torch.arange(60).repeat_interleave(15)
        centre = torch.randn(60, 8, generator=noise)[y]
        spread = 1.5 * torch.randn(len(y), 1, generator=noise).abs()
        x = centre + spread * torch.randn(len(y), 8, generator=noise)
        found = leakage(x, y, probes=("logistic", "knn", "plda"), curve=False)
        others = [s.conditional_entropy for key, s in found.scores.items() if key[1] != "mixture"]
        assert found.probe == "mixture" and len(found.weights) > 1
        found_more.append(found.bits - (found.entropy - min(others)))
    assert min(found_more) > 0.25


def test_shuffled_labels_leave_chance_to_the_mixture():
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(1200, 4, generator=noise)
    y = torch.randint(10, (1200,), generator=noise)
    found = leakage(x, y, probes=("logistic", "knn", "plda", "trees"), curve=False)
    assert found.bits < 0.02 + 2 * found.bits_error
    assert found.accuracy < found.chance + 3 * found.accuracy_error


def test_the_mixture_of_one_probe_is_that_probe():
    fit = fit_of(600)
    found = strongest({"a": fit}, fit.held, ("knn", "logistic"), curve=False)
    assert found.probe != "mixture" and list(found.weights.values()) == [1.0]
    assert next(iter(found.weights))[1] == found.probe


def test_one_kind_has_no_mixture():
    fit = fit_of(600)
    found = strongest({"a": fit, "b": fit}, fit.held, ("logistic",), curve=False)
    assert found.weights == {} and {kind for _, kind in found.scores} == {"none", "logistic"}


def test_a_probability_of_zero_does_not_end_the_weights():
    right = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert maximum_weights(right).numpy() == pytest.approx([2 / 3, 1 / 3])
