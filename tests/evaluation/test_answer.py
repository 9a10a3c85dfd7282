import math

import pytest

from mlvae.evaluation.answer import Estimate, estimate


def test_the_standard_error_is_of_the_mean():
    mean, error = estimate([1.0, 2.0, 3.0, 6.0])
    assert mean == 3
    assert error == pytest.approx(math.sqrt(14 / 3) / 2)  # sample deviation over root n


def test_one_repetition_has_no_standard_error():
    one = estimate([0.25])
    assert one.mean == 0.25 and math.isnan(one.standard_error)
    assert one.text(1, scale=100) == "25.0"


def test_an_estimate_is_written_with_its_error():
    assert Estimate(0.9312, 0.0021).text(1, scale=100) == "93.1 ± 0.2"
    assert Estimate(-1.5, 0.25).text(2) == "-1.50 ± 0.25"
