"""The open fonts of matplotlib, and the characters that each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlvae.errors import InputError, check_choice, shown

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

__all__ = ["EM", "FONTS", "draw_glyph", "fonts_with"]

#: DejaVu, STIX and Computer Modern, without their symbol fonts.
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmti10",
    "cmtt10",
)

#: Size of an em, in pixels, at which glyphs are drawn.
EM = 128


def fonts_with(character: str, fonts: Sequence[str] | None = None) -> list[int]:
    """Positions in :data:`FONTS` of the fonts that have a character.

    A font may have another glyph at a character's place: Computer Modern has a dash for the
    brace. So a font has a character if its glyph has the same name as that of DejaVu Sans.

    Args:
        character: one character.
        fonts: names of the fonts to search; None for all.

    Raises:
        InputError: if no font has the character, or a name is unknown.

    Example:
        >>> [FONTS[number] for number in fonts_with("{", ["DejaVuSerif", "cmr10", "cmtt10"])]
        ['DejaVuSerif', 'cmtt10']
    """
    if fonts is not None and (isinstance(fonts, str) or not isinstance(fonts, Sequence)):
        raise InputError(f"dataset.fonts must be a list of names, not {shown(fonts)}")
    for name in fonts or ():
        check_choice("dataset.fonts", name, FONTS)
    glyph = _glyph_name(character, FONTS[0])
    found = [
        number
        for number, name in enumerate(FONTS)
        if (fonts is None or name in fonts) and glyph == _glyph_name(character, name)
    ]
    if glyph is None or not found:
        raise InputError(
            f"dataset.characters must be in one of the fonts, but {character!r} is in none; "
            "leave it out"
        )
    return found


@lru_cache(maxsize=1)
def draw_glyph(character: str, font: str, stroke: int = 0) -> Image:
    """Draw a character, white on black, with a margin of one pixel on every side.

    The last result is cached: draw equal ones after each other.

    Args:
        character: one character.
        font: name of the font, drawn at :data:`EM` pixels per em.
        stroke: number of pixels that are added all around the outline.

    Returns:
        A grey image.

    Raises:
        InputError: if the character has no ink.

    Example:
        >>> thick, thin = draw_glyph("l", "DejaVuSans", 2), draw_glyph("l", "DejaVuSans")
        >>> thick.width - thin.width
        4
    """
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (4 * EM, 4 * EM))
    ImageDraw.Draw(canvas).text(
        (2 * EM, 2 * EM), character, 255, _font(font), anchor="mm", stroke_width=stroke
    )
    if (box := canvas.getbbox()) is None:
        raise InputError(
            f"dataset.characters must have ink, but {character!r} has none; leave it out"
        )
    left, top, right, bottom = box
    return canvas.crop((left - 1, top - 1, right + 1, bottom + 1))


def _glyph_name(character: str, font: str) -> str | None:
    """The font's name for its glyph of a character; None if it has none."""
    number = _face(font).get_char_index(ord(character))
    return _face(font).get_glyph_name(number) if number else None


@lru_cache(maxsize=len(FONTS))
def _face(name: str) -> FT2Font:
    from matplotlib.ft2font import FT2Font

    return FT2Font(_path(name))


@lru_cache(maxsize=len(FONTS))
def _font(name: str) -> FreeTypeFont:
    from PIL import ImageFont

    # The other layout engine is not installed on every machine.
    return ImageFont.truetype(_path(name), EM, layout_engine=ImageFont.Layout.BASIC)


def _path(name: str) -> str:
    import matplotlib  # takes time, which `import mlvae` saves

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    if not path.is_file():
        raise InputError(
            f"{path} must exist, as in matplotlib's package from PyPI; install that package, or "
            f"leave {name} out of dataset.fonts"
        )
    return str(path)
