from fractions import Fraction

import numpy as np
import pytest
import torch

from mlvae import InputError
from mlvae.errors import check_choice, check_flag, check_integer, check_number, check_part, shown


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_a_wrong_choice_is_refused_with_the_choices_and_the_most_similar_one():
    assert check_choice("rule", "product", ["product", "mean"]) is None
    with pytest.raises(InputError, match=r"^rule .*product, mean.*'sum'$"):
        check_choice("rule", "sum", ["product", "mean"])
    with pytest.raises(InputError, match=r"'produkt'.*'product'"):
        check_choice("rule", "produkt", ["product", "mean"])


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None])
def test_a_value_that_is_not_an_integer_of_at_least_the_minimum_is_refused(value):
    assert check_integer("k", 1, minimum=1) is None
    with pytest.raises(InputError, match=f"^k .* 1, not {value!r}$"):
        check_integer("k", value, minimum=1)


@pytest.mark.parametrize("value", ["no", 0, None])
def test_a_flag_is_true_or_false(value):
    assert check_flag("pairs", True) is None
    with pytest.raises(InputError, match=f"^pairs .*{value!r}$"):
        check_flag("pairs", value)


@pytest.mark.parametrize("value", [Fraction, "Fraction", None])
def test_a_part_is_an_object_with_the_methods(value):
    assert check_part("number", Fraction(1, 2), [Fraction], ["limit_denominator"]) is None
    with pytest.raises(InputError, match=r"^number .*Fraction\(...\)"):
        check_part("number", value, [Fraction], ["limit_denominator"])


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        ("1", {}, "finite"),
        (True, {}, "finite"),
        (float("nan"), {"minimum": 0}, "at least 0"),
        (float("inf"), {"minimum": 0}, "at least 0"),
        (0, {"minimum": 0, "exclusive": True}, "above 0"),
        (2, {"minimum": 0, "maximum": 1}, r"\[0, 1\]"),
        (0, {"minimum": 0, "maximum": 1, "exclusive": True}, r"\(0, 1\]"),
    ],
)
def test_a_number_outside_its_interval_is_refused(value, limits, expected):
    with pytest.raises(InputError, match=f"^w .*{expected}, not {value!r}$"):
        check_number("w", value, **limits)


@pytest.mark.parametrize("value", [0, 1, 0.5, Fraction(1, 3)])
def test_a_closed_interval_contains_its_ends(value):
    assert check_number("w", value, minimum=0, maximum=1) is None


def test_many_choices_stay_short_for_a_value_that_is_no_text():
    choices = [f"dataset_{number:02d}" for number in range(40)]
    with pytest.raises(
        InputError, match=r"dataset_00, dataset_01, .*\(40 names\), not 3"
    ) as short:
        check_choice("dataset.name", 3, choices)
    assert len(str(short.value)) < 400
    with pytest.raises(InputError, match=r"dataset_39, not 'x'"):
        check_choice("dataset.name", "x", choices)


def test_a_number_of_a_library_is_shown_as_a_number():
    assert shown(np.int64(3)) == "3" and shown(np.str_("a")) == "'a'"
    assert shown(torch.tensor(0.5)) == "0.5"
    assert "2020-01-01" in shown(np.datetime64("2020-01-01", "ns"))
