"""Glyphs: the images agree with their factors."""

import inspect
import itertools
import math
from pathlib import Path

import pytest
import torch
import yaml

from mlvae.data import glyphs, open_dataset
from mlvae.data.sources.fonts import EM, FONTS, draw_glyph
from mlvae.data.sources.glyphs import CHARACTERS, Style, render
from mlvae.errors import InputError

CONFIG = Path(__file__).parents[2] / "configs" / "dataset" / "glyphs.yaml"
SMALL = {"characters": "ABg7", "images": 60, "validation": 30, "test": 30}
STYLE = Style(font=0, scale=0.6, rotation=0, shear=0, weight=0, x=0.5, y=0.5)


def drawn(character, size=64, **factors):
    """One image (size, size) in [0, 1]."""
    style = STYLE._replace(**factors)._asdict()
    values = {name: torch.tensor([value]) for name, value in style.items()}
    return render([character], values, size=size)[0, 0].double() / 255


def moments(image):
    """Centroid (x, y) in pixels, and covariance (2, 2)."""
    middle = torch.arange(len(image), dtype=torch.float64) + 0.5
    points = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), 2).view(-1, 2)
    weights = image.flatten() / image.sum()
    mean = weights @ points
    return mean, (points - mean).T @ ((points - mean) * weights[:, None])


def rows(data):
    """The label and the factors of each observation, as tuples."""
    labels = [data.group_names[group] for group in data.groups.index.tolist()]
    values = torch.stack(list(data.factors.values()), 1).tolist()
    return [(label, *row) for label, row in zip(labels, values, strict=True)]


# Properties


@pytest.mark.parametrize("character", ["A", "g", "5"])
@pytest.mark.parametrize(("x", "y"), [(0.4, 0.5), (0.5, 0.63), (0.47, 0.38)])
def test_a_shift_moves_the_centroid_equally(character, x, y):
    centred, moved = drawn(character), drawn(character, x=x, y=y)
    shift = moments(moved)[0] - moments(centred)[0]
    assert (shift - 64 * (torch.tensor([x, y]) - 0.5)).abs().max() < 0.05


@pytest.mark.parametrize("character", ["A", "g", "5"])
def test_the_ink_grows_with_the_square_of_the_scale(character):
    ink = [float(drawn(character, scale=scale).sum()) / scale**2 for scale in (0.4, 0.55, 0.8)]
    assert max(ink) < 1.02 * min(ink)


@pytest.mark.parametrize("font", [0, 9, 17])
def test_rotation_and_shear_transform_the_covariance(font):
    # A point (right, down) is mapped to rotation @ (right - shear * down, down).
    rotation, shear = 0.3, -0.2
    cos, sin = math.cos(rotation), math.sin(rotation)
    turn = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
    matrix = turn @ torch.tensor([[1, -shear], [0, 1]], dtype=torch.float64)
    plain = moments(drawn("R", font=font))[1]
    changed = moments(drawn("R", font=font, rotation=rotation, shear=shear))[1]
    assert (changed - matrix @ plain @ matrix.T).abs().max() < 0.02 * plain.max()


def test_an_anticlockwise_rotation_is_positive():
    upright, turned = drawn("I"), drawn("I", rotation=0.5)
    covariance = moments(turned)[1][0, 1]  # of x and y, y down: the top leans left
    assert abs(moments(upright)[1][0, 1]) < 0.01 < covariance


def test_a_weight_adds_its_value_in_ems_to_a_stroke():
    # The width of an upright bar at mid-height, in pixels.
    width = [
        float(drawn("l", size=128, weight=weight)[64].sum()) for weight in (0, 2 / 64, 5 / 64)
    ]
    em = 0.6 * 128
    assert width[1] - width[0] == pytest.approx(2 / 64 * em, abs=0.1)
    assert width[2] - width[0] == pytest.approx(5 / 64 * em, abs=0.1)


def test_the_default_ranges_keep_every_character_inside():
    # render() raises if a box leaves the image. Try the widest ones at the ends of all ranges.
    ends = {name: option.default for name, option in inspect.signature(glyphs).parameters.items()}
    thick = round(ends["weight"][1] * EM / 2)
    sizes = {
        (character, number): sum(draw_glyph(character, font, thick).size)
        for number, font in enumerate(FONTS)
        for character in CHARACTERS
    }
    corner = {name: ends[name][1] for name in ("scale", "x", "y")} | {"weight": thick * 2 / EM}
    for character, font in sorted(sizes, key=sizes.get)[-10:]:
        for rotation, shear in itertools.product(ends["rotation"], ends["shear"]):
            image = drawn(character, 32, font=font, rotation=rotation, shear=shear, **corner)
            assert image.sum() > 8


# Behaviour


def test_rendering_the_factors_gives_the_observations():
    for name, part in glyphs(**SMALL, unseen_groups=["g"]):
        assert part.x.dtype == torch.uint8 and part.shape == (1, 32, 32)
        text = [part.group_names[group] for group in part.groups.index.tolist()]
        assert list(part.factors) == list(Style._fields)
        assert torch.equal(part.x, render(text, part.factors, size=32)), name


def test_every_image_has_ink_but_not_on_its_border():
    images = glyphs(images=20, validation=0, test=0).train.x[:, 0].double() / 255
    assert images.sum((1, 2)).min() > 8 and images.amax((1, 2)).min() > 0.4
    images[:, 1:-1, 1:-1] = 0
    assert images.max() < 0.05


def test_factors_fill_their_ranges_and_weights_are_multiples_of_a_step():
    data = glyphs(characters="ab", images=500, validation=0, test=0).train
    ends = {name: option.default for name, option in inspect.signature(glyphs).parameters.items()}
    for name in ("scale", "rotation", "shear", "x", "y"):
        (low, high), values = ends[name], data.factors[name]
        assert low - 1e-6 <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high + 1e-6
    assert (data.factors["weight"] * 64).unique().tolist() == [0, 1, 2, 3]
    assert data.factors["font"].unique().tolist() == list(range(len(FONTS)))


def test_characters_are_equally_frequent_and_a_range_of_one_value_is_constant():
    data = glyphs(**SMALL | {"validation": 0, "test": 0}, scale=[0.5, 0.5], fonts=["cmr10"]).train
    assert data.group_names == ["7", "A", "B", "g"] and data.groups.sizes.tolist() == [60] * 4
    assert data.factors["scale"].unique().tolist() == [0.5]
    assert data.factors["font"].unique().tolist() == [FONTS.index("cmr10")]


def test_unseen_characters_are_complete_and_in_no_other_split():
    parts = glyphs(**SMALL, unseen_groups=["g", 7])
    assert (
        parts.unseen.group_names == ["7", "g"] and parts.unseen.groups.sizes.tolist() == [60] * 2
    )
    for part in (parts.train, parts.validation, parts.test):
        assert part.group_names == ["A", "B"]


def test_the_same_seed_gives_the_same_glyphs_and_another_seed_others():
    first, again, other = (glyphs(**SMALL, seed=seed) for seed in (0, 0, 1))
    for (_, part), (_, same), (_, different) in zip(first, again, other, strict=True):
        assert torch.equal(part.x, same.x) and rows(part) == rows(same)
        assert not set(rows(part)) & set(rows(different))


def test_the_config_has_the_defaults_and_the_name_opens_the_dataset():
    config = yaml.safe_load(CONFIG.read_text())
    assert config.pop("name") == "glyphs"
    defaults = {
        name: option.default for name, option in inspect.signature(glyphs).parameters.items()
    }
    assert config == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in defaults.items()
    }
    assert torch.equal(open_dataset("glyphs", **SMALL).test.x, glyphs(**SMALL).test.x)


# Bad input


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"characters": ""}, r"dataset\.characters .* not ''"),
        ({"characters": 123}, r"dataset\.characters .* not 123"),
        ({"characters": "abca"}, r"dataset\.characters .*'a'"),
        ({"characters": "a b"}, r"dataset\.characters .*' '"),
        ({"characters": "a\N{HANGUL SYLLABLE GA}"}, r"dataset\.characters .*'가'"),
        ({"images": 0}, r"dataset\.images .* 1, not 0"),
        ({"size": 7}, r"dataset\.size .* 8, not 7"),
        ({"seed": -1}, r"dataset\.seed .* 0, not -1"),
        ({"scale": 0.5}, r"dataset\.scale .*\[low, high\], not 0\.5"),
        ({"shear": [0.1, -0.1]}, r"dataset\.shear .*\[low, high\], not \[0\.1, -0\.1\]"),
        ({"rotation": ["a", 1]}, r"dataset\.rotation .* not 'a'"),
        ({"scale": [0, 0.5]}, r"dataset\.scale .* 0, not 0"),
        ({"x": [0.5, 1.5]}, r"dataset\.x .*\[0, 1\], not 1\.5"),
        ({"scale": [2.0, 2.0]}, r"characters .*dataset\.scale"),
        ({"x": [0.1, 0.1]}, r"characters .*dataset\.x"),
        ({"unseen_groups": ["z"]}, r"unseen_groups .*\(7, A, B, g\), not 'z'"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        glyphs(**SMALL | options)


# Two groupings

BOTH = {
    "characters": "ABCDgh",
    "fonts": ["DejaVuSans", "DejaVuSerif", "cmr10", "cmtt10"],
    "group": ["character", "font"],
    "images": 40,
    "validation": 20,
    "test": 10,
}


def combinations(data):
    """The character and the font of each image."""
    columns = [data.groupings[name].labels.tolist() for name in ("character", "font")]
    return list(zip(*columns, strict=True))


def test_images_are_grouped_by_font_as_by_character():
    by_both = glyphs(**BOTH).train
    assert list(by_both.groupings) == ["character", "font"] and "font" not in by_both.factors
    by_font = glyphs(**BOTH | {"group": "font"}).train
    assert by_font.group_names == sorted(BOTH["fonts"])
    assert by_font.labels.tolist() == by_both.groupings["font"].labels.tolist()
    assert torch.equal(by_font.x, by_both.x)


def test_held_out_combinations_are_in_the_test_alone_with_a_twin_of_each_image():
    parts = glyphs(**BOTH, held_pairs=0.25)
    seen, tested = set(combinations(parts.train)), combinations(parts.test)
    new = {pair for pair in tested if pair not in seen}
    assert len(new) == 6 and len(seen) == 18 and parts.unseen is None
    assert set(combinations(parts.validation)) <= seen and len(parts.validation) == 20
    assert {pair[0] for pair in seen} == set(BOTH["characters"])
    assert {pair[1] for pair in seen} == set(BOTH["fonts"])
    styles = torch.stack(list(parts.test.factors.values()), 1).tolist()
    images = [(pair, style) for pair, style in zip(tested, styles, strict=True) if pair in new]
    twins = [(pair, style) for pair, style in zip(tested, styles, strict=True) if pair not in new]
    assert len(twins) == len(images) + 10
    for pair, style in images:
        (twin,) = [other for other, its in twins if its == style]
        assert twin[0] != pair[0] and twin[1] != pair[1]


def test_twins_are_drawn_with_the_style_of_their_image():
    part = glyphs(**BOTH, held_pairs=0.25).test
    labels = combinations(part)
    font = torch.tensor([FONTS.index(name) for _, name in labels])
    drawn = render([name for name, _ in labels], {**part.factors, "font": font}, size=32)
    assert torch.equal(part.x, drawn)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "weight"}, r"dataset\.group .*'weight'"),
        ({"group": ["font", "font"]}, r"dataset\.group "),
        ({"group": []}, r"dataset\.group "),
        ({"group": "font", "held_pairs": 0.2}, r"dataset\.held_pairs=0\.2"),
        ({"held_pairs": 0.9}, r"dataset\.held_pairs=0\.9"),
        ({"held_pairs": -1}, r"dataset\.held_pairs"),
        ({"held_pairs": 0.2, "unseen_groups": ["A"]}, r"dataset\.unseen_groups"),
        ({"held_pairs": 0.2, "validation": 0.9, "test": 0.2}, r"dataset\.validation"),
        ({"held_pairs": 0.5, "fonts": ["cmr10", "cmtt10"], "characters": "AB"}, "held_pairs"),
    ],
)
def test_wrong_groupings_and_combinations_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        glyphs(**BOTH | options)
