"""Scores that draw observations with one factor held fixed: BetaVAE and FactorVAE."""

import numpy as np
import pytest

from mlvae import InputError
from mlvae.evaluation import beta_vae_score, factor_vae_score
from mlvae.evaluation.measures.metrics.sampling import fixed_pairs, fixed_rows

BOTH = pytest.mark.parametrize("score", [beta_vae_score, factor_vae_score])
FEW = {"train": 1000, "test": 1000}

# Properties


@BOTH
def test_one_dimension_per_factor_scores_one_in_any_order_and_scale(score, grid):
    factors = grid(4, 3, 5, times=1)
    for codes in (factors, factors[:, [2, 0, 1]] * [-3.0, 1e4, 0.5] + 5, np.tile(factors, 2)):
        assert score(codes, factors, **FEW) == 1


@BOTH
def test_a_rotation_by_45_degrees_scores_chance(score, rotated):
    # With either factor fixed, the differences of both dimensions have the same distribution.
    assert score(*rotated, train=4000, test=4000) == pytest.approx(1 / 2, abs=0.05)


@BOTH
def test_independent_codes_score_chance(score):
    rng = np.random.default_rng(0)
    codes, factors = rng.standard_normal((20_000, 3)), rng.integers(3, size=(20_000, 4))
    assert score(codes, factors, train=4000, test=4000) == pytest.approx(1 / 4, abs=0.05)


def test_a_missing_factor_lowers_factor_vae_but_not_beta_vae(grid):
    # The code has two of three factors. BetaVAE identifies the third by exclusion.
    factors = grid(4, 3, 5, times=1)
    codes = factors[:, :2]
    assert beta_vae_score(codes, factors, **FEW) > 0.99
    assert factor_vae_score(codes, factors, **FEW) == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize(
    ("score", "name", "expected"),
    # Reference means for draws of 8; over three seeds 0.9976 to 0.9996, and 0.9972 to 0.9978.
    [(beta_vae_score, "pairs", 0.9984), (factor_vae_score, "draws", 0.9974)],
)
def test_the_scores_agree_with_another_implementation(score, name, expected, grid):
    # google-research/disentanglement_lib at 86a644d draws from a generator of all combinations,
    # does not standardise differences, and allows pairs of one observation with itself.
    factors = grid(2, 3, 5, times=1)
    mixing = np.array([[2.0, 0.3, 0.0], [0.4, 1.0, 0.2], [0.1, 0.0, 0.7], [0.5, 0.9, 0.5]])
    found = score(factors @ mixing.T, factors, **{name: 8})
    assert found == pytest.approx(expected, abs=0.003)


def test_pairs_and_rows_have_the_frequencies_of_the_table():
    factor = np.array([0] * 3 + [1] * 6 + [2])
    rng = np.random.default_rng(0)
    first, second = fixed_pairs(factor, (30_000,), rng)
    assert (factor[first] == factor[second]).all() and (first != second).all()
    for rows in (first, second, fixed_rows(factor, 30_000, 1, rng)[:, 0]):
        np.testing.assert_allclose(np.bincount(rows, minlength=10)[:9] / 30_000, 1 / 9, atol=0.01)
        assert 9 not in rows  # the only row of its value
    rows = fixed_rows(factor, 100, 50, rng)
    assert (np.ptp(factor[rows], axis=1) == 0).all() and (np.ptp(rows, axis=1) > 0).all()


# Behaviour


@BOTH
def test_a_table_may_lack_combinations(score):
    rng = np.random.default_rng(0)
    factors = rng.integers((3, 4, 5), size=(500, 3))
    factors = factors[factors.sum(1) % 3 > 0]
    assert score(factors + 0.1 * rng.standard_normal(factors.shape), factors, **FEW) > 0.99


@BOTH
def test_the_seed_determines_the_score(score, table):
    scores = [score(table[0][:, 3:], table[1], **FEW, seed=seed) for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


@BOTH
def test_quantities_are_cut_into_intervals(score):
    quantities = np.random.default_rng(0).random((2000, 2))
    assert score(quantities, quantities, factor_bins=10, **FEW) == 1
    with pytest.raises(InputError, match=r"2000 values.*factor_bins"):
        score(quantities, quantities)


def test_collapsed_dimensions_do_not_vote(grid):
    factors = grid(4, 3, times=10)
    noise = 0.01 * np.random.default_rng(0).standard_normal((len(factors), 1))
    # A dimension of small, independent noise gets no votes.
    assert factor_vae_score(np.hstack([factors, noise]), factors, **FEW) == 1
    assert factor_vae_score(np.hstack([noise, noise]), factors, **FEW) == 0
    assert factor_vae_score(np.hstack([noise, noise]), factors, **FEW, collapsed=0) > 0.3
    assert factor_vae_score(np.ones((len(factors), 2)), factors, **FEW, collapsed=0) == 0


# Bad input


@pytest.mark.parametrize(
    ("score", "options", "minimum"),
    [
        (beta_vae_score, {"pairs": 0}, 1),
        (beta_vae_score, {"train": 1}, 2),
        (factor_vae_score, {"draws": 1}, 2),
        (factor_vae_score, {"test": 1}, 2),
        (factor_vae_score, {"collapsed": -1}, 0),
        (factor_vae_score, {"seed": -1}, 0),
    ],
)
def test_options_out_of_range_are_refused(score, options, minimum, grid):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"{name}.* {minimum}, .*{value}"):
        score(grid(2, 2), grid(2, 2), **options)


@BOTH
def test_one_factor_is_refused(score, grid):
    with pytest.raises(InputError, match=r"factors.* 2 columns, not 1"):
        score(grid(2, 2), grid(2, 2)[:, :1])
