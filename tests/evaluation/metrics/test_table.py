import numpy as np
import pytest
import torch

from mlvae import InputError
from mlvae.evaluation.measures.metrics import mutual_information
from mlvae.evaluation.measures.metrics.table import (
    categories,
    checked,
    entropies,
    intervals,
    per_factor,
    split_rows,
)

# Properties


def test_information_of_independent_codes_has_the_bias_of_the_theory():
    # Miller 1955: (intervals - 1) (values - 1) / (2 N ln 2) bits.
    rng = np.random.default_rng(0)
    codes, factors = rng.random((1000, 40)), rng.integers(6, size=(1000, 40))
    found = mutual_information(codes, factors, bins=10).mean()
    assert found == pytest.approx(9 * 5 / (2 * 1000 * np.log(2)), rel=0.05)


def test_information_of_a_rotated_code_is_half_of_each_factor(rotated):
    # H(code) = 3/2 bits for frequencies 1/4, 1/2, 1/4; H(code | factor) = 1 bit.
    np.testing.assert_allclose(mutual_information(*rotated), np.full((2, 2), 0.5), atol=1e-12)


def test_information_is_symmetric_and_at_most_the_entropy(table):
    numbers = categories(table[1])
    found = mutual_information(numbers, numbers)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(found), entropies(numbers), atol=1e-12)
    assert (mutual_information(*table) <= entropies(numbers)).all()


def test_information_agrees_with_another_implementation(table):
    # The reference also uses 20 intervals; its nats are converted to bits.
    expected = [
        [0.98259137, 0.34001423, 0.01747163],
        [0.00692808, 1.04765958, 0.18786919],
        [0.00981252, 0.00859303, 1.61449282],
        [0.10324025, 0.01138071, 1.01842269],
        [0.00460807, 0.00908844, 0.02227215],
    ]
    np.testing.assert_allclose(mutual_information(*table), expected, atol=1e-8)


# Behaviour


def test_intervals_have_equal_width_and_a_constant_column_has_one_interval():
    values = np.column_stack([np.linspace(-3, 5, 801), np.full(801, 0.1)])
    found = intervals(values, 8)
    assert np.bincount(found[:, 0]).tolist() == [100] * 7 + [101]
    assert not found[:, 1].any()


def test_a_factor_is_cut_only_if_it_has_more_values_than_intervals():
    factors = np.column_stack([np.arange(100) % 7, np.arange(100) / 3])
    found = categories(factors, 10)
    assert found.max(0).tolist() == [6, 9]


def test_tensors_and_arrays_give_equal_results(table):
    codes, factors = table
    tensors = torch.from_numpy(codes).requires_grad_(), torch.from_numpy(factors)
    np.testing.assert_array_equal(mutual_information(*tensors), mutual_information(*table))


def test_a_split_has_every_row_once():
    train, test = split_rows(30, 1 / 3, 0)
    assert len(test) == 10 and sorted([*train, *test]) == list(range(30))
    assert (split_rows(30, 1 / 3, 0)[1] == test).all()
    assert (split_rows(30, 1 / 3, 1)[1] != test).any()


# Bad input


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (np.zeros(4), np.eye(4), r"codes.* \(4,\)"),
        (np.eye(4), np.array([["a"]] * 4), r"factors.* <U1 \(4, 1\)"),
        (np.eye(4), np.eye(3), "codes.*factors.* 4 and 3"),
        (np.full((4, 2), np.nan), np.eye(4), "codes.* finite"),
        (np.eye(4), np.eye(4)[:, :1], "factors.* 2 columns, not 1"),
        (np.eye(4)[:, :1], np.eye(4), "codes.* 2 columns, not 1"),
        (np.eye(4), np.eye(4)[:, :2] * [1, 0], "factor.* column 1 "),
    ],
)
def test_invalid_tables_are_refused(codes, factors, message):
    with pytest.raises(InputError, match=message):
        checked(codes, factors, dimensions=2, count=2)


def test_invalid_factors_and_options_are_refused():
    with pytest.raises(InputError, match="factor 1 has 6 values in 10 rows"):
        categories(np.column_stack([np.arange(10) % 2, np.arange(10) % 6]))
    with pytest.raises(InputError, match=r"bins.* 2, not 1"):
        intervals(np.eye(3), 1)
    with pytest.raises(InputError, match=r"continuous.* 3 .* 2"):
        per_factor([True, False], 3)
    for fraction in (0, 2.0):
        with pytest.raises(InputError, match="test_fraction"):
            split_rows(10, fraction, 0)
    with pytest.raises(InputError, match=r"2 rows .*test_fraction=0.1"):
        split_rows(2, 0.1, 0)
