"""Pairs of sprites differ in as many factors as said."""

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
    """Which factors differ in each pair, booleans (P, 5)."""
    values = torch.stack(list(data.factors.values()), 1)
    order = data.groups.index.argsort(stable=True)
    one, other = values[order].view(-1, 2, 5).unbind(1)
    return one != other


# Properties


@pytest.mark.parametrize("changed", [1, 2, 3, 4, 5])
def test_pairs_differ_in_exactly_the_factors_said(changed):
    parts = sprite_pairs(**SMALL, changed=changed)
    for part in (parts.train, parts.validation):
        assert part.groups.sizes.unique().tolist() == [2]
        assert differing(part).sum(1).unique().tolist() == [changed]


def test_which_factors_change_is_uniform():
    # Of five factors each changes in two fifths of the pairs; five standard deviations either way.
    share = differing(sprite_pairs(**SMALL, changed=2).train).double().mean(0)
    assert (share - 0.4).abs().max() < 5 * math.sqrt(0.4 * 0.6 / 2000)


def test_without_a_number_it_is_uniform_from_one_to_four():
    counts = torch.bincount(differing(sprite_pairs(**SMALL).train).sum(1), minlength=6)
    assert counts[0] == counts[5] == 0
    assert (counts[1:5] / 2000 - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 2000)


def test_a_changed_factor_takes_every_other_value_alike():
    data = sprite_pairs(**SMALL, changed=5).train
    one, other = data.factors["scale"].view(-1, 2).unbind(1)
    steps = ((other - one) * 10).round().long() % 6
    counts = torch.bincount(steps, minlength=6)
    assert counts[0] == 0
    assert (counts[1:] / 2000 - 0.2).abs().max() < 5 * math.sqrt(0.2 * 0.8 / 2000)


# Behaviour


def test_the_observations_are_the_drawing_of_their_factors():
    for name, part in sprite_pairs(pairs=50, validation=20, test=30, size=16):
        assert list(part.factors) == list(FACTORS)
        assert torch.equal(part.x, render(part.factors, size=16)), name


def test_pairs_are_numbered_through_and_the_test_is_single_sprites_by_shape():
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


def test_the_same_seed_gives_the_same_and_the_test_does_not_depend_on_the_number_of_pairs():
    first = sprite_pairs(**SMALL)
    again, other = sprite_pairs(**SMALL | {"pairs": 7}), sprite_pairs(**SMALL, seed=1)
    assert torch.equal(first.test.x, again.test.x)
    assert torch.equal(first.validation.x, again.validation.x)
    assert torch.equal(first.train.x, sprite_pairs(**SMALL).train.x)
    for (_, part), (_, different) in zip(first, other, strict=True):
        assert not torch.equal(part.x, different.x)


def test_it_opens_by_its_name_with_the_defaults_of_its_config():
    config = yaml.safe_load(CONFIG.read_text())
    assert config.pop("name") == "sprite_pairs"
    parameters = inspect.signature(sprite_pairs).parameters
    assert config == {name: each.default for name, each in parameters.items()}
    by_name = open_dataset("sprite_pairs", pairs=5, validation=0, test=0, size=8)
    assert [name for name, _ in by_name] == ["train"]


# Bad input


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pairs": 0}, "dataset.pairs must be an integer of at least 1, not 0"),
        ({"changed": 0}, "dataset.changed must be an integer of at least 1, not 0"),
        ({"changed": 6}, "dataset.changed must be at most 5, the factors of a sprite, not 6"),
        ({"validation": -1}, "dataset.validation must be an integer of at least 0, not -1"),
        ({"test": 737_281}, "dataset.test must be at most 737280, .* not 737281"),
        ({"seed": 0.5}, "dataset.seed must be an integer of at least 0, not 0.5"),
        ({"size": 7}, "dataset.size must be an integer of at least 8, not 7"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        sprite_pairs(**{"pairs": 10, "validation": 0, "test": 0, "size": 8} | options)
