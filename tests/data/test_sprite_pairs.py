"""Pairs of sprites: the number of changed factors and their distribution."""

import inspect
import math
from pathlib import Path

import pytest
import torch
import yaml

from mlvae.data import Grouped, open_dataset, sprite_pairs
from mlvae.data.sources.sprites import FACTORS, SHAPES, render
from mlvae.errors import InputError

CONFIG = Path(__file__).parents[2] / "configs" / "dataset" / "sprite_pairs.yaml"
SMALL = {"pairs": 2000, "validation": 100, "test": 300, "size": 8}


def differing(data):
    """A mask (P, 5) of the factors that differ in each pair."""
    values = torch.stack(list(data.factors.values()), 1)
    order = data.groups.index.argsort(stable=True)
    one, other = values[order].view(-1, 2, 5).unbind(1)
    return one != other


# Properties


@pytest.mark.parametrize("changed", [1, 2, 3, 4, 5])
def test_pairs_differ_in_exactly_as_many_factors_as_configured(changed):
    parts = sprite_pairs(**SMALL, changed=changed)
    for part in (parts.train, parts.validation):
        assert part.groups.sizes.unique().tolist() == [2]
        assert differing(part).sum(1).unique().tolist() == [changed]


def test_the_changed_factors_are_uniform():
    # Each of five factors changes in 2/5 of the pairs; bound: five standard deviations.
    share = differing(sprite_pairs(**SMALL, changed=2).train).double().mean(0)
    assert (share - 0.4).abs().max() < 5 * math.sqrt(0.4 * 0.6 / 2000)


def test_the_default_number_of_changes_is_uniform_from_one_to_four():
    counts = torch.bincount(differing(sprite_pairs(**SMALL).train).sum(1), minlength=6)
    assert counts[0] == counts[5] == 0
    assert (counts[1:5] / 2000 - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 2000)


def test_a_changed_factor_is_uniform_over_its_other_values():
    data = sprite_pairs(**SMALL, changed=5).train
    one, other = data.factors["scale"].view(-1, 2).unbind(1)
    steps = ((other - one) * 10).round().long() % 6
    counts = torch.bincount(steps, minlength=6)
    assert counts[0] == 0
    assert (counts[1:] / 2000 - 0.2).abs().max() < 5 * math.sqrt(0.2 * 0.8 / 2000)


# Behaviour


def test_rendering_the_factors_gives_the_observations():
    for name, part in sprite_pairs(pairs=50, validation=20, test=30, size=16):
        assert list(part.factors) == list(FACTORS)
        assert torch.equal(part.x, render(part.factors, size=16)), name


def test_pair_numbers_continue_in_validation_and_the_test_is_grouped_by_shape():
    parts = sprite_pairs(**SMALL)
    assert parts.train.group_names == list(range(2000))
    assert parts.validation.group_names == list(range(2000, 2100))
    assert parts.test.group_names == sorted(SHAPES) and len(parts.test) == 300
    labels = [parts.test.group_names[group] for group in parts.test.groups.index.tolist()]
    assert labels == [SHAPES[int(shape)] for shape in parts.test.factors["shape"]]
    assert len(torch.stack(list(parts.test.factors.values()), 1).unique(dim=0)) == 300


def test_batches_of_groups_of_two_keep_pairs_together():
    data = sprite_pairs(pairs=20, changed=1, validation=0, test=0, size=8).train
    plan = Grouped(groups=4, members=2).plan(data, torch.Generator().manual_seed(0))
    for first, second in plan.order.view(-1, 2).tolist():
        assert data.groups.index[first] == data.groups.index[second]
    assert [batch.groups.sizes.tolist() for batch in plan] == [[2] * 4] * 5


def test_the_seed_alone_decides_each_split():
    first = sprite_pairs(**SMALL)
    again, other = sprite_pairs(**SMALL | {"pairs": 7}), sprite_pairs(**SMALL, seed=1)
    assert torch.equal(first.test.x, again.test.x)
    assert torch.equal(first.validation.x, again.validation.x)
    assert torch.equal(first.train.x, sprite_pairs(**SMALL).train.x)
    for (_, part), (_, different) in zip(first, other, strict=True):
        assert not torch.equal(part.x, different.x)


def test_the_config_has_the_defaults_and_the_name_opens_the_dataset():
    config = yaml.safe_load(CONFIG.read_text())
    assert config.pop("name") == "sprite_pairs"
    parameters = inspect.signature(sprite_pairs).parameters
    assert config == {name: option.default for name, option in parameters.items()}
    by_name = open_dataset("sprite_pairs", pairs=5, validation=0, test=0, size=8)
    assert [name for name, _ in by_name] == ["train"]


# Bad input


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pairs": 0}, r"dataset\.pairs .* 1, not 0"),
        ({"changed": 0}, r"dataset\.changed .* 1, not 0"),
        ({"changed": 6}, r"dataset\.changed .* 5, .* not 6"),
        ({"validation": -1}, r"dataset\.validation .* 0, not -1"),
        ({"test": 737_281}, r"dataset\.test .* 737280, .* not 737281"),
        ({"seed": 0.5}, r"dataset\.seed .* 0, not 0\.5"),
        ({"size": 7}, r"dataset\.size .* 8, not 7"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        sprite_pairs(**{"pairs": 10, "validation": 0, "test": 0, "size": 8} | options)
