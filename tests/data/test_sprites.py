"""Sprites: the images agree with their factors."""

import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mlvae.data import open_dataset, sprites
from mlvae.data.sources.sprites import FACTORS, SHAPES, combinations, render
from mlvae.errors import InputError

CONFIG = Path(__file__).parents[2] / "configs" / "dataset" / "sprites.yaml"

# Areas in units of the squared distance from the centroid to the farthest point.
SHIFT = (math.pi / 2 + 2 / 3) / (4 + math.pi)
AREAS = {"square": 2, "ellipse": math.pi / 2, "heart": (4 + math.pi) / (2 * (1 + SHIFT) ** 2)}


def drawn(size=64, **factors):
    """Images (N, size, size) in [0, 1]; a factor is a number or a list."""
    one = {"shape": 0, "scale": 1, "orientation": 0, "x": 0.5, "y": 0.5} | factors
    values = torch.broadcast_tensors(
        *(torch.as_tensor(value, dtype=torch.float64) for value in one.values())
    )
    values = [value.reshape(-1) for value in values]
    return render(dict(zip(one, values, strict=True)), size=size)[:, 0].double() / 255


def centroid(images):
    """Centroid of each image, from the left and from the top, in pixels: (N, 2)."""
    middle = torch.arange(images.shape[-1], dtype=torch.float64) + 0.5
    mass = images.sum((1, 2))
    return torch.stack((images.sum(1) @ middle / mass, images.sum(2) @ middle / mass), 1)


def rows(data):
    """The factors of each observation, as tuples."""
    return [tuple(row) for row in torch.stack(list(data.factors.values()), 1).tolist()]


# Properties


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [32, 64])
def test_the_area_is_the_closed_form_at_every_scale(shape, size):
    scale = torch.tensor([0.5, 0.6, 0.77, 1.0])
    area = drawn(size, shape=SHAPES.index(shape), scale=scale, orientation=0.3).sum((1, 2))
    expected = AREAS[shape] * (scale * size / 4).double() ** 2
    assert torch.allclose(area, expected, rtol=4e-3)


@pytest.mark.parametrize("shape", range(3))
@pytest.mark.parametrize("orientation", [0.0, 0.7, 2.5])
def test_the_centroid_is_at_x_and_y(shape, orientation):
    x, y = torch.tensor([0, 0.11, 0.5, 0.83, 1]), torch.tensor([1, 0.37, 0.5, 0.07, 0])
    images = drawn(shape=shape, orientation=orientation, scale=0.8, x=x, y=y)
    expected = (0.25 + torch.stack((x, y), 1).double() / 2) * 64
    assert (centroid(images) - expected).abs().max() < 0.03


@pytest.mark.parametrize("shape", range(3))
def test_a_move_by_whole_pixels_moves_the_image(shape):
    images = drawn(shape=shape, orientation=0.4, scale=0.9, x=[0.25, 0.5], y=[0.5, 0.75])
    assert (images[1] - images[0].roll((8, 8), (0, 1))).abs().max() <= 1 / 255 + 1e-9


@pytest.mark.parametrize(
    ("shape", "turns"), [("square", 4), ("ellipse", 2), ("heart", 1)], ids=SHAPES
)
def test_the_period_of_the_orientation_is_that_of_the_shape(shape, turns):
    angles = torch.arange(40, dtype=torch.float64) * math.tau / 40
    images = drawn(shape=SHAPES.index(shape), orientation=angles + 0.02)
    same = [bool((image - images[0]).abs().max() < 0.05) for image in images]
    assert same == [number % (40 // turns) == 0 for number in range(40)]


def test_a_quarter_turn_is_anticlockwise():
    images = drawn(shape=2, orientation=[0.0, math.pi / 2])
    assert (images[1] - images[0].rot90()).abs().max() < 0.05


def test_the_heart_is_upright_and_the_ellipse_is_wide():
    heart, ellipse = drawn(shape=2)[0], drawn(shape=1)[0]
    assert (heart - heart.flip(1)).abs().max() < 0.05
    width = (heart > 0.5).sum(1)  # of each row: wide above, a tip below
    assert int(width.argmax()) < 32 and width[32:46].diff().max() <= 0
    assert ellipse.any(0).sum() == 2 * ellipse.any(1).sum()


def test_no_shape_is_cut_off():
    factors = torch.cartesian_prod(
        torch.arange(3.0), torch.tensor([0.0, 0.3, 0.785]), torch.tensor([0.0, 1.0]),
        torch.tensor([0.0, 1.0]),
    ).T  # fmt: skip
    names = ("shape", "orientation", "x", "y")
    images = drawn(32, **dict(zip(names, factors, strict=True)))
    middle = drawn(32, shape=factors[0], orientation=factors[1])
    assert (images.sum((1, 2)) - middle.sum((1, 2))).abs().max() < 0.1


@pytest.mark.parametrize("size", [8, 31])
def test_pixels_are_the_fraction_that_an_upright_square_covers(size):
    half = size / 4 * math.sqrt(1 / 2)
    edges = torch.arange(size + 1, dtype=torch.float64)
    inside = (edges.clamp(size / 2 - half, size / 2 + half)).diff()
    # A sample is 1/16 pixel wide. At each edge of a corner, half of it may be inside.
    assert (drawn(size)[0] - inside[:, None] * inside).abs().max() < 1 / 16


# Behaviour


def test_rendering_the_factors_gives_the_observations():
    parts = sprites(images=300, validation=50, test=50, size=16, unseen_groups=["heart"])
    for name, part in parts:
        assert list(part.factors) == list(FACTORS)
        assert torch.equal(part.x, render(part.factors, size=16)), name
        assert part.x.dtype == torch.uint8 and part.shape == (1, 16, 16)
        labels = [part.group_names[group] for group in part.groups.index.tolist()]
        assert labels == [SHAPES[int(shape)] for shape in part.factors["shape"]]


def test_combinations_are_different_and_from_the_grid():
    parts = sprites(images=2000, validation=300, test=200, size=8)
    seen = [row for _, part in parts for row in rows(part)]
    assert len(seen) == len(set(seen)) == 2000
    for name, values in FACTORS.items():
        drawn_values = np.concatenate([part.factors[name] for _, part in parts])
        assert set(drawn_values) == set(values), name


def test_the_whole_grid_has_every_combination_once():
    levels = combinations(None, np.random.default_rng(0), "")
    assert levels.shape == (737_280, 5)
    places = np.ravel_multi_index(levels.T, (3, 6, 40, 32, 32))
    assert np.array_equal(places, np.arange(737_280))


def test_combinations_are_drawn_uniformly():
    levels = combinations(60_000, np.random.default_rng(1), "")
    for column, count in enumerate((3, 6, 40, 32, 32)):
        share = np.bincount(levels[:, column], minlength=count) * count / 60_000
        assert np.abs(share - 1).max() < 5 * math.sqrt(count / 60_000)


@pytest.mark.parametrize(
    ("by", "number", "label"),
    [("shape", 3, "heart"), ("scale", 6, 5), ("x", 32, 31), (["shape", "scale"], 18, "heart-5")],
)
def test_any_factor_or_combination_groups(by, number, label):
    parts = sprites(images=600, group_by=by, validation=0, test=0, size=8, unseen_groups=[label])
    names = [by] if isinstance(by, str) else by
    assert len(parts.train.group_names) == number - 1
    assert parts.unseen.group_names == [label] and label not in parts.train.group_names
    for name in names:
        assert set(parts.unseen.factors[name].tolist()) == {float(FACTORS[name].max())}
    for _, part in parts:  # the members of a group share one value
        for group in range(len(part.group_names)):
            member = part.groups.index == group
            assert all(len(part.factors[name][member].unique()) == 1 for name in names)


def test_the_same_seed_gives_the_same_sprites_and_another_seed_others():
    options = {"images": 300, "validation": 30, "test": 30, "size": 8}
    first, again, other = (sprites(**options, seed=seed) for seed in (0, 0, 1))
    for (_, part), (_, same), (_, different) in zip(first, again, other, strict=True):
        assert torch.equal(part.x, same.x) and rows(part) == rows(same)
        assert len(set(rows(part)) & set(rows(different))) < 5


def test_the_config_has_the_defaults_and_the_name_opens_the_dataset():
    config = yaml.safe_load(CONFIG.read_text())
    assert config.pop("name") == "sprites"
    defaults = {
        name: option.default for name, option in inspect.signature(sprites).parameters.items()
    }
    assert config == defaults | {"unseen_groups": []}
    by_name = open_dataset("sprites", images=50, validation=5, test=5, size=8)
    assert torch.equal(by_name.test.x, sprites(images=50, validation=5, test=5, size=8).test.x)


# Bad input


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"images": 0}, r"dataset\.images .* 1, not 0"),
        ({"images": 737_281}, r"dataset\.images .* 737280, .* not 737281"),
        ({"images": 10}, "validation=5000 and dataset.test=5000 .* 10 "),
        ({"size": 4}, r"dataset\.size .* 8, not 4"),
        ({"seed": -1}, r"dataset\.seed .* 0, not -1"),
        ({"group_by": "colour"}, r"dataset\.group_by .*shape, .* not 'colour'"),
        ({"group_by": "scales"}, r"dataset\.group_by .*'scale'"),
        ({"group_by": []}, r"dataset\.group_by .*\(shape, .*\).* not \[\]"),
        ({"group_by": None}, r"dataset\.group_by .* not None"),
        ({"group_by": ["x", "x"]}, r"dataset\.group_by .*\['x', 'x'\]"),
        ({"unseen_groups": ["star"]}, "unseen_groups .* not 'star'"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        sprites(**{"images": 100, "size": 8} | options)
