"""Templates and expressions of paths."""

import re

import pytest

from mlvae.data.signals.path_pattern import PathPattern
from mlvae.errors import InputError


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{speaker}/{take}.wav", "ann/1.wav", {"speaker": "ann", "take": "1"}),
        ("{speaker}/{take}.wav", "ann/x/1.wav", None),
        ("{speaker}/{take}.wav", "ann/1.WAV", {"speaker": "ann", "take": "1"}),
        ("{speaker}/A*.wav", "ann/a1.wav", None),
        ("{speaker}/{take}", "ann/1.WAV", {"speaker": "ann", "take": "1.WAV"}),
        ("{a}_{b}.wav", "x_y_z.wav", {"a": "x", "b": "y_z"}),
        ("*/{speaker}-*.wav", "2020/ann-b-1.wav", {"speaker": "ann"}),
        ("{room}.1/{s}.wav", "kitchen.1/2.wav", {"room": "kitchen", "s": "2"}),
        ("{room}.1/{s}.wav", "kitchen+1/2.wav", None),
        (r"(?P<s>[a-z]+)(\d+)?\.wav", "ann12.wav", {"s": "ann"}),
        (r".*/(?P<s>[a-z]+)(?P<n>\d+)?\.wav", "a/b/ann.wav", {"s": "ann", "n": ""}),
    ],
)
def test_paths_give_their_fields(pattern, path, fields):
    assert PathPattern(pattern).match(path) == fields


def test_fields_are_in_their_order():
    assert PathPattern("{b}/{a}_*.wav").fields == ("b", "a")


@pytest.mark.parametrize(
    "pattern", ["", "*.wav", "{a b}/*.wav", "{}/*.wav", "{a}/{a}.wav", "(?P<a>[", None, 3]
)
def test_patterns_without_fields_or_of_another_form_are_refused(pattern):
    with pytest.raises(InputError, match=rf"dataset\.pattern.*{re.escape(repr(pattern)[1:-1])}"):
        PathPattern(pattern)
