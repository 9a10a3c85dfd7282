import math

import pytest

from mlvae.evaluation.answer import Estimate, estimate


def test_the_standard_error_is_that_of_the_mean():
    mean, error, _ = estimate([1.0, 2.0, 3.0, 6.0])
    assert mean == 3
    assert error == pytest.approx(math.sqrt(14 / 3) / 2)  # sample standard deviation / sqrt(n)


def test_one_repetition_has_no_standard_error():
    single = estimate([0.25])
    assert single.mean == 0.25 and math.isnan(single.standard_error)
    assert single.text(1, scale=100) == "25.0"


def test_the_text_has_mean_and_standard_error():
    assert Estimate(0.9312, 0.0021).text(1, scale=100) == "93.1 ± 0.2"
    assert Estimate(-1.5, 0.25).text(2) == "-1.50 ± 0.25"


def test_the_text_has_the_sampling_error_first():
    both = estimate([0.5, 0.7], 0.034)
    assert both.text(1, scale=100) == "60.0 ± 3.4 ± 10.0"
    assert both.error == pytest.approx(math.hypot(0.034, 0.1))
    assert estimate([0.5], 0.034).text(1, scale=100) == "50.0 ± 3.4"
    assert estimate([0.5]).error == 0


def test_errors_are_positive_under_a_negative_scale():
    assert Estimate(2.0, 0.25).text(2, scale=-1) == "-2.00 ± 0.25"
