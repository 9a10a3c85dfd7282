"""The digits of scikit-learn, and opening a dataset by its name."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mlvae.data import digit_parts, digits, open_dataset
from mlvae.errors import InputError


def pairs(*parts):
    """Label and image of each observation, sorted."""
    return sorted(
        (part.group_names[group], tuple(image))
        for part in parts
        for group, image in zip(
            part.groups.index.tolist(), part.x.flatten(1).tolist(), strict=True
        )
    )


# Properties


def test_the_splits_together_are_the_1797_images_with_their_labels():
    bunch = load_digits()
    images = (bunch.data / 16).tolist()
    expected = sorted(zip(bunch.target.tolist(), map(tuple, images), strict=True))
    parts = digits(unseen_groups=[7])
    assert pairs(*(part for _, part in parts)) == expected


def test_the_17_grey_levels_fill_the_unit_interval():
    levels = digits(validation=0, test=0).train.x.unique()
    assert torch.equal(levels, torch.arange(17) / 16)


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = digits(), digits(seed=0), digits(seed=1)
    for (_, part), (_, same), (_, different) in zip(first, again, other, strict=True):
        assert torch.equal(part.x, same.x)
        assert not torch.equal(part.x, different.x)


def test_unseen_digits_are_complete_and_in_no_other_split():
    parts = digits(unseen_groups=[7, 8, 9])
    assert parts.unseen.group_names == [7, 8, 9]
    assert parts.unseen.groups.sizes.tolist() == np.bincount(load_digits().target)[7:].tolist()
    for part in (parts.train, parts.validation, parts.test):
        assert part.group_names == list(range(7))


# Behaviour


def test_the_default_split():
    sizes = {name: len(part) for name, part in digits()}
    assert sizes == {"train": 1437, "validation": 180, "test": 180}
    for _, part in digits():
        assert part.shape == (1, 8, 8)
        assert part.x.dtype == torch.float32
        assert part.group_names == list(range(10))


def test_a_dataset_opens_by_its_name_with_its_own_options():
    by_name = open_dataset("digits", validation=5, test=6, unseen_groups=[3], seed=2)
    by_hand = digits(validation=5, test=6, unseen_groups=[3], seed=2)
    for (name, part), (_, same) in zip(by_name, by_hand, strict=True):
        assert torch.equal(part.x, same.x), name


# Bad input


def test_more_images_than_there_are_cannot_be_drawn():
    with pytest.raises(InputError, match=r"validation=1700 and test=97 .* 1797 "):
        digits(validation=1700, test=97)


def test_an_unknown_digit_is_refused():
    with pytest.raises(InputError, match=r"unseen_groups .*\(0, 1, .*, 9\), not '10'"):
        digits(unseen_groups=[10])


def test_an_unknown_dataset_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"dataset\.name .*arrays, .* 'minst' .*'mnist'"):
        open_dataset("minst")


def test_attributes_of_digits_are_missing_as_a_whole_and_one_is_always_there():
    splits = digit_parts(missing=0.6, seed=1)
    for _, data in splits:
        observed, x = data.given["observed"], data.x
        parts = [observed[:, :32], observed[:, 32:64], observed[:, 64:]]
        there = torch.stack([part[:, 0] for part in parts], 1)
        assert all(bool((part == part[:, :1]).all()) for part in parts)
        assert bool(there.any(1).all()) and 0.4 < 1 - float(there.float().mean()) < 0.6
        spread = torch.cat((observed[:, :64], observed[:, 64:].expand(-1, 10)), 1)
        assert not bool(x[~spread].any())
        label = x[:, 64:][observed[:, 64]]
        assert label.argmax(1).tolist() == data.factors["digit"][observed[:, 64]].tolist()
    whole = digit_parts(missing=0, seed=1)
    assert bool(whole.test.given["observed"].all())
    assert whole.test.factors["digit"].equal(splits.test.factors["digit"])  # the same rows
