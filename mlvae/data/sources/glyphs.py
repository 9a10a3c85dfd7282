"""Characters of the open fonts of matplotlib, drawn with known styles.

Shapes: N observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlvae.data.grouped import GroupedData
from mlvae.data.sources.fonts import EM, FONTS, draw_glyph, fonts_with
from mlvae.data.splitting.held_pairs import held_pairs as draw_pairs
from mlvae.data.splitting.shares import check_share, count_of
from mlvae.data.splitting.splits import Splits, split_by
from mlvae.errors import (
    InputError,
    check_choice,
    check_integer,
    check_number,
    check_texts,
    shown,
)

__all__ = ["CHARACTERS", "Style", "glyphs", "render"]

#: Capitals, small letters that are not smaller capitals, and digits other than 0 and 1.
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt23456789"

#: Least height and width, in pixels, of a drawing before it is averaged to an image.
FINE = 128

#: Groupings of the images.
GROUPINGS = ("character", "font")

Range = Sequence[float]

#: Bounds for the ends of a range, as keyword arguments of ``check_number``.
LIMITS: dict[str, dict[str, Any]] = {
    "scale": {"minimum": 0, "exclusive": True},
    "weight": {"minimum": 0, "maximum": 0.25},
    "x": {"minimum": 0, "maximum": 1},
    "y": {"minimum": 0, "maximum": 1},
}


class Style(NamedTuple):
    """The known factors of one image, as :func:`glyphs` describes them."""

    font: int
    scale: float
    rotation: float
    shear: float
    weight: float
    x: float
    y: float


def glyphs(
    *,
    characters: str = CHARACTERS,
    fonts: Sequence[str] | None = None,
    group: str | Sequence[str] = "character",
    held_pairs: float = 0.0,
    images: int = 500,
    scale: Range = (0.5, 0.6),
    rotation: Range = (-0.2, 0.2),
    shear: Range = (-0.2, 0.2),
    weight: Range = (0.0, 0.05),
    x: Range = (0.46, 0.54),
    y: Range = (0.46, 0.54),
    validation: float = 2000,
    test: float = 2000,
    unseen_groups: Sequence[str] = (),
    size: int = 32,
    seed: int = 0,
) -> Splits:
    """White characters on black, grouped by character, by font or by both. The style is known.

    The fonts are DejaVu, STIX and Computer Modern, the same on every machine. Every factor is
    drawn independently and uniformly; a range [a, a] fixes it. The default characters are the 45
    that differ in more than size. Small letters that look like their capitals are left out, as in
    the classes that EMNIST merges (G. Cohen, S. Afshar, J. Tapson, A. van Schaik: EMNIST: an
    extension of MNIST to handwritten letters. arXiv:1702.05373, 2017), and so are 0 and 1, which
    look like O and I.

    Args:
        characters: the characters, as one string.
        fonts: names of fonts; None for all :data:`~mlvae.data.sources.fonts.FONTS`. A character
            is drawn in the fonts that have it.
        group: "character" or "font"; or a list of both, the first grouping first. A grouping by
            font is no known factor as well.
        held_pairs: with both groupings, fraction of the combinations of a character and a font
            that are kept out of training and validation; every character and every font stays in
            training. The test has all their images, and a twin of each: an image with the same
            style, of a combination that is in training, with another character and another font.
            The twin's style with the contents of the held-out combination predicts an image whose
            truth is known.
        images: number of images per character.
        scale: size of the font's em, in sides of the image.
        rotation: angle anticlockwise, in radians.
        shear: shift to the right per unit of height, before the rotation.
        weight: increase of the thickness of strokes, in ems, in steps of 1/64 em.
        x: centre of the character's box, from the left, in sides of the image.
        y: centre of the character's box, from the top, in sides of the image.
        validation: number of images drawn for validation (an integer), or fraction (a float).
        test: number or fraction of the images drawn for the test.
        unseen_groups: characters to keep out of training, validation and test.
        size: height and width of an image, in pixels.
        seed: seed of the styles and of the split.

    Returns:
        uint8 images (N, 1, size, size). The known factors are ``font``, a position in
        :data:`~mlvae.data.sources.fonts.FONTS`, unless images are grouped by it, and the six
        ranges above.

    Raises:
        InputError: if an option is out of range, no font has a character, or the box around a
            character would leave the image.

    Example:
        >>> glyphs(characters="abc", images=10, validation=0, test=0, unseen_groups=["c"])
        train: GroupedData(20 observations of shape (1, 32, 32) in 2 groups)
        unseen: GroupedData(10 observations of shape (1, 32, 32) in 1 groups)
    """
    check_integer("dataset.images", images, minimum=1)
    check_integer("dataset.size", size, minimum=8)
    check_integer("dataset.seed", seed, minimum=0)
    ranges = {"scale": scale, "rotation": rotation, "shear": shear, "weight": weight}
    ranges |= {"x": x, "y": y}
    for name, ends in ranges.items():
        _check_range(name, ends)
    choices = [fonts_with(character, fonts) for character in _checked(characters)]
    names = _groupings(group, held_pairs)
    text = [character for character in characters for _ in range(images)]
    factors = _styles(choices, images, ranges, np.random.default_rng(seed))
    held = {"validation": validation, "test": test, "unseen_groups": unseen_groups}
    if not held_pairs:
        data = _data(text, factors, names, size)
        return split_by(data, "observations", **held, seed=seed)
    return _with_held_pairs(text, factors, names, size, held_pairs, held, seed)


def _groupings(group: str | Sequence[str], held_pairs: float) -> list[str]:
    """The checked names of the groupings."""
    names = [group] if isinstance(group, str) else group
    check_texts("dataset.group", names)
    for name in names:
        check_choice("dataset.group", name, GROUPINGS)
    if not names or len(set(names)) < len(names):
        raise InputError(f"dataset.group must have different names, not {shown(group)}")
    check_number("dataset.held_pairs", held_pairs, minimum=0, maximum=1)
    if held_pairs and len(names) < 2:
        raise InputError(
            f"dataset.held_pairs={held_pairs:g} needs dataset.group=[character,font], not "
            f"{shown(group)}"
        )
    return list(names)


def _data(
    text: Sequence[str], factors: Mapping[str, Tensor], names: Sequence[str], size: int
) -> GroupedData:
    """The images, grouped by ``names``. A font is a factor unless it is a grouping."""
    fonts = [FONTS[number] for number in factors["font"].long().tolist()]
    labels = {"character": list(text), "font": fonts}
    known = {name: values for name, values in factors.items() if name not in names}
    x = render(text, factors, size=size)
    if len(names) == 1:
        return GroupedData(x, labels[names[0]], known)
    return GroupedData(x, factors=known, groups={name: labels[name] for name in names})


def _with_held_pairs(
    text: list[str],
    factors: Mapping[str, Tensor],
    names: Sequence[str],
    size: int,
    share: float,
    held: dict[str, Any],
    seed: int,
) -> Splits:
    """The splits with combinations of character and font that only the test has."""
    if len(held["unseen_groups"]):
        raise InputError(
            f"dataset.held_pairs={share:g} needs dataset.unseen_groups=[], not "
            f"{shown(held['unseen_groups'])}"
        )
    check_share("dataset.validation", held["validation"], "observations")
    check_share("dataset.test", held["test"], "observations")
    pairs = torch.stack((torch.tensor([ord(one) for one in text]), factors["font"].long()), 1)
    out = draw_pairs(pairs[:, 0], pairs[:, 1], share, seed=seed, option="dataset.held_pairs")
    generator = np.random.default_rng([int(seed), 2])
    twins = _twins(pairs, out, generator)
    styles = {name: torch.cat((values, values[out])) for name, values in factors.items()}
    styles["font"][len(text) :] = twins[:, 1]
    data = _data([*text, *map(chr, twins[:, 0].tolist())], styles, names, size)
    words = np.full(len(data), "test", dtype="<U10")
    rest = generator.permutation((~out).nonzero()[:, 0].numpy())
    words[rest] = "train"
    validated, tested = (count_of(held[name], len(rest)) for name in ("validation", "test"))
    if validated + tested >= len(rest):
        raise InputError(
            f"dataset.validation={held['validation']} and dataset.test={held['test']} must leave "
            f"at least one of the {len(rest)} images of the other combinations to train on"
        )
    words[rest[:validated]] = "validation"
    words[rest[validated : validated + tested]] = "test"
    return split_by(data, words, words="the split by combinations")


def _twins(pairs: Tensor, out: Tensor, generator: np.random.Generator) -> Tensor:
    """For each held-out image a combination (2,) of the others, with no label in common."""
    free = pairs[~out].unique(dim=0)
    found, wrong = pairs[out].clone(), torch.ones(int(out.sum()), dtype=torch.bool)
    held = found.unique(dim=0)
    if not (free[:, None] != held).all(2).any(0).all():
        raise InputError(
            "dataset.held_pairs needs a combination in training that has neither the character "
            "nor the font of a held-out one; lower it, or take more characters and fonts"
        )
    while wrong.any():
        drawn = generator.integers(len(free), size=int(wrong.sum()))
        found[wrong] = free[torch.from_numpy(drawn)]
        wrong = (found == pairs[out]).any(1)
    return found


def render(text: Sequence[str], factors: Mapping[str, Tensor], *, size: int) -> Tensor:
    """Draw one character per observation.

    Args:
        text: the characters, N of them.
        factors: the seven factors of :class:`Style`, numbers (N,) each.
        size: height and width of an image, in pixels.

    Returns:
        uint8 (N, 1, size, size), black 0 and white 255.

    Raises:
        InputError: if a character has no ink, or the box around it would leave the image.

    Example:
        >>> style = Style(font=0, scale=1.0, rotation=0, shear=0, weight=0, x=0.5, y=0.5)
        >>> factors = {name: torch.tensor([value]) for name, value in style._asdict().items()}
        >>> (render("L", factors, size=8)[0, 0] > 64).int()
        tensor([[0, 0, 0, 0, 0, 0, 0, 0],
                [0, 0, 1, 0, 0, 0, 0, 0],
                [0, 0, 1, 0, 0, 0, 0, 0],
                [0, 0, 1, 0, 0, 0, 0, 0],
                [0, 0, 1, 0, 0, 0, 0, 0],
                [0, 0, 1, 0, 0, 0, 0, 0],
                [0, 0, 1, 1, 1, 1, 0, 0],
                [0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """
    columns = [torch.as_tensor(factors[name]).tolist() for name in Style._fields]
    styles = [Style(*values) for values in zip(*columns, strict=True)]
    keys = [
        (character, style.font, style.weight)
        for character, style in zip(text, styles, strict=True)
    ]
    images = np.empty((len(styles), 1, size, size), np.uint8)
    # Sorted, so that equal glyphs follow each other and each is drawn once.
    for row in sorted(range(len(keys)), key=keys.__getitem__):
        images[row, 0] = _image(str(text[row]), styles[row], size)
    return torch.from_numpy(images)


def _image(character: str, style: Style, size: int) -> np.ndarray:
    """An image (size, size) of one character."""
    from PIL import Image

    font = FONTS[int(style.font)]
    glyph = draw_glyph(character, font, round(style.weight * EM / 2))
    factor = max(2, FINE // size)
    side = factor * size
    x, y = style.x * side, style.y * side
    u, v = glyph.width / 2, glyph.height / 2
    a, b, c, d = _matrix(style, style.scale * side / EM)
    across, down = abs(a) * u + abs(b) * v, abs(c) * u + abs(d) * v
    if not (across <= x <= side - across and down <= y <= side - down):
        raise InputError(
            f"characters must lie within the image, but the box around {character!r} of {font} "
            "does not; lower dataset.scale, or keep dataset.x and dataset.y nearer to 0.5"
        )
    area = a * d - b * c
    a, b, c, d = d / area, -b / area, -c / area, a / area
    inverse = (a, b, u - a * x - b * y, c, d, v - c * x - d * y)
    method, resampling = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return np.asarray(glyph.transform((side, side), method, inverse, resampling).reduce(factor))


def _matrix(style: Style, em: float) -> tuple[float, float, float, float]:
    """The map from the glyph to the image, both with y down: shear, then rotation."""
    cos, sin = em * math.cos(style.rotation), em * math.sin(style.rotation)
    return cos, sin - style.shear * cos, -sin, cos + style.shear * sin


def _styles(
    choices: list[list[int]],
    images: int,
    ranges: Mapping[str, Range],
    generator: np.random.Generator,
) -> dict[str, Tensor]:
    """The factors of ``images`` styles per character; ``choices`` are the fonts of each."""
    factors = {"font": np.concatenate([generator.choice(fonts, images) for fonts in choices])}
    number = len(factors["font"])
    for name, (low, high) in ranges.items():
        if name == "weight":  # a pixel all around the outline adds two to a stroke
            steps = round(low * EM / 2), round(high * EM / 2)
            factors[name] = generator.integers(*steps, number, endpoint=True) * 2 / EM
        else:
            factors[name] = generator.uniform(low, high, number)
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in factors.items()}


def _checked(characters: str) -> str:
    """The characters. Raise :class:`InputError` unless they are different and some."""
    if not isinstance(characters, str) or not characters:
        raise InputError(
            f"dataset.characters must be a string of characters, not {shown(characters)}; quote "
            "digits"
        )
    if twice := [one for one in characters if characters.count(one) > 1]:
        raise InputError(f"dataset.characters must differ, but {twice[0]!r} occurs twice")
    return characters


def _check_range(name: str, ends: Range) -> None:
    """Raise :class:`InputError` unless ``ends`` are two numbers in ascending order."""
    wrong = f"dataset.{name} must be a range [low, high], not {shown(ends)}"
    if isinstance(ends, str) or not isinstance(ends, Sequence) or len(ends) != 2:
        raise InputError(wrong)
    for end in ends:
        check_number(f"dataset.{name}", end, **LIMITS.get(name, {}))
    if ends[0] > ends[1]:
        raise InputError(wrong)
