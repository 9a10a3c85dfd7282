"""Datasets by name: which options each of them takes."""

import numpy as np
import pytest

from mlvae.data import DATASETS, open_dataset
from mlvae.errors import InputError


@pytest.mark.parametrize("name", DATASETS)
def test_an_unknown_option_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match=rf"option of dataset {name} .*seed.* not 'sead'.*'seed'"):
        open_dataset(name, sead=1)


@pytest.mark.parametrize("name", ["lfw", "yale_b", "omniglot"])
def test_a_dataset_with_its_own_pattern_takes_none(name):
    with pytest.raises(InputError, match=rf"dataset {name} .*not 'pattern'"):
        open_dataset(name, pattern="(?P<identity>[^/]+)")


@pytest.mark.parametrize("name", ["celeba", "lfw", "yale_b", "omniglot"])
@pytest.mark.parametrize(
    "option",
    [
        {"size": 8},
        {"workers": 0},
        {"colour": False},
        {"factors": ["x"]},
        {"crop": 1},
        {"limit": 2},
    ],
    ids=str,
)
def test_options_of_faces_are_passed_on(name, option, tmp_path):
    with pytest.raises(InputError, match=r"dataset\.root=.*none"):  # the option is accepted
        open_dataset(name, root=tmp_path / "none", **option)


@pytest.mark.parametrize("name", ["minst", 3, None])
def test_an_unknown_dataset_is_refused(name):
    with pytest.raises(InputError, match=r"dataset\.name .*mnist"):
        open_dataset(name)


def test_arrays_of_floats_may_be_images_or_not(tmp_path):
    x = np.random.default_rng(0).random((20, 5, 3))
    np.savez(tmp_path / "data.npz", x=x, group=np.arange(20) % 4)
    shapes = {
        kind: open_dataset("arrays", root=tmp_path / "data.npz", kind=kind).train.shape
        for kind in ("auto", "image", "array")
    }
    assert shapes == {"auto": (5, 3), "image": (1, 5, 3), "array": (5, 3)}
