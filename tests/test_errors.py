import pytest

from mlvae import InputError
from mlvae.errors import check_choice, check_integer, check_number


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_a_choice_names_the_choices_and_the_nearest():
    check_choice("rule", "product", ["product", "mean"])
    with pytest.raises(InputError, match=r"^rule must be one of product, mean, not 'sum'$"):
        check_choice("rule", "sum", ["product", "mean"])


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None])
def test_an_integer_is_an_integer(value):
    check_integer("k", 1, minimum=1)
    with pytest.raises(InputError, match="k must be an integer of at least 1, not"):
        check_integer("k", value, minimum=1)


@pytest.mark.parametrize(
    ("value", "limits", "wanted"),
    [
        ("1", {}, "that is finite"),
        (True, {}, "that is finite"),
        (float("nan"), {"minimum": 0}, "of at least 0"),
        (float("inf"), {"minimum": 0}, "of at least 0"),
        (0, {"minimum": 0, "exclusive": True}, "above 0"),
        (2, {"minimum": 0, "maximum": 1}, r"in \[0, 1\]"),
        (0, {"minimum": 0, "maximum": 1, "exclusive": True}, r"in \(0, 1\]"),
    ],
)
def test_a_number_lies_in_its_interval(value, limits, wanted):
    with pytest.raises(InputError, match=f"w must be a number {wanted}, not"):
        check_number("w", value, **limits)


def test_ends_of_a_closed_interval_are_in_it():
    for value in (0, 1, 0.5):
        check_number("w", value, minimum=0, maximum=1)
