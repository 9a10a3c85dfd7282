"""Bits of information about a label, from classifiers that are calibrated."""

import math

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

from mlvae import InputError
from mlvae.evaluation.measures.metrics import calibrated_bits

FOREST = ExtraTreesClassifier(100, random_state=0)


def noisy(n, spread, seed):
    """Codes of four labels: the first bit of the label plus noise, and a dimension of noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=n)
    codes = rng.standard_normal((n, 2)) * [spread, 1.0]
    codes[:, 0] += 2.0 * (labels // 2) - 1
    return codes, labels


def exact(spread, points=200_001):
    """I(label; code) of :func:`noisy` in bits, by quadrature for a bit b and b + noise."""
    x = np.linspace(-1 - 12 * spread, 1 + 12 * spread, points)
    density = [np.exp(-0.5 * ((x - b) / spread) ** 2) for b in (-1, 1)]
    density = [d / (spread * math.sqrt(2 * math.pi)) for d in density]
    joint = sum(density) / 2
    parts = [d * np.log2(d / joint, where=d > 0, out=np.zeros_like(d)) for d in density]
    return float(np.trapezoid(sum(parts) / 2, x))


# Properties


@pytest.mark.parametrize(("classifier", "slack"), [(FOREST, 0.2), (LogisticRegression(), 0.03)])
@pytest.mark.parametrize("spread", [0.2, 1.0])
def test_calibrated_bits_are_a_tight_lower_bound(classifier, slack, spread):
    bits, entropy = calibrated_bits(classifier, noisy(4000, spread, 0), noisy(4000, spread, 1))[:2]
    assert entropy == pytest.approx(2, abs=0.01)
    assert exact(spread) - slack < bits < exact(spread) + 0.03


@pytest.mark.parametrize("classifier", [FOREST, LogisticRegression()])
def test_a_code_without_information_has_no_bits(classifier):
    rng = np.random.default_rng(0)
    parts = [(rng.standard_normal((2000, 5)), rng.integers(4, size=2000)) for _ in range(2)]
    assert 0 <= calibrated_bits(classifier, *parts)[0] < 0.01


# Behaviour


def test_labels_without_training_rows_are_left_out():
    codes, labels = noisy(500, 0.2, 0)
    strange = np.where(np.arange(500) % 2, labels, 99)
    bits, entropy = calibrated_bits(LogisticRegression(), (codes, labels), (codes, strange))[:2]
    assert bits > 0.8 and entropy < 2.01
    nothing = (codes, np.full(500, 99))
    assert calibrated_bits(LogisticRegression(), (codes, labels), nothing)[:2] == (0, 0)
    one = (codes, np.zeros(500, int))
    assert calibrated_bits(LogisticRegression(), one, (codes, labels))[:2] == (0, 0)


def test_a_label_may_occur_once():
    codes, labels = noisy(301, 0.2, 0)
    labels[labels == 3] = 2
    labels[7] = 3
    for seed in range(4):
        train, test = (codes[:200], labels[:200]), (codes[200:], labels[200:])
        assert 0.5 < calibrated_bits(LogisticRegression(), train, test, seed=seed)[0] < 1.1


# Bad input


def test_a_single_training_row_is_refused():
    one = np.zeros((1, 1)), np.zeros(1)
    with pytest.raises(InputError, match=r"train.* 1"):
        calibrated_bits(FOREST, one, one)


def test_the_error_is_that_of_the_difference_of_both_entropies():
    labels = (np.arange(1000) % 20 == 0).astype(int)
    codes = np.random.default_rng(0).standard_normal((1000, 2))
    no_information = (codes, labels), (codes, labels)
    assert calibrated_bits(LogisticRegression(), *no_information).error < 0.006
    known = labels[:, None] + 0.01 * codes
    found = calibrated_bits(LogisticRegression(C=1e4), (known, labels), (known, labels))
    expected = math.log2(19) * math.sqrt(0.05 * 0.95 / 1000)  # that of the entropy of the labels
    assert found.error == pytest.approx(expected, rel=0.2)
