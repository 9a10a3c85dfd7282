"""Fonts: the characters that each has, and how they are drawn."""

import string

import numpy as np
import pytest

from mlvae.data.sources.fonts import FONTS, draw_glyph, fonts_with
from mlvae.data.sources.glyphs import CHARACTERS
from mlvae.errors import InputError

# Properties


@pytest.mark.parametrize("character", string.ascii_letters + string.digits)
def test_every_font_has_every_letter_and_digit(character):
    assert fonts_with(character) == list(range(len(FONTS)))


@pytest.mark.parametrize("font", FONTS)
def test_no_two_characters_of_a_font_look_the_same(font):
    # A font that draws a box for every missing character would give equal images.
    seen = {draw_glyph(character, font).tobytes() for character in CHARACTERS}
    assert len(seen) == len(CHARACTERS)


@pytest.mark.parametrize("stroke", [1, 3])
def test_a_stroke_widens_a_glyph_on_every_side(stroke):
    thin, thick = draw_glyph("H", "DejaVuSans"), draw_glyph("H", "DejaVuSans", stroke)
    assert (thick.width - thin.width, thick.height - thin.height) == (2 * stroke, 2 * stroke)
    assert np.asarray(thick).sum() > np.asarray(thin).sum()


def test_a_glyph_has_a_margin_of_exactly_one_pixel():
    image = np.asarray(draw_glyph("Q", "cmr10"))
    edges = [image[0], image[-1], image[:, 0], image[:, -1]]
    inner = [image[1], image[-2], image[:, 1], image[:, -2]]
    assert not any(edge.any() for edge in edges)
    assert all(edge.any() for edge in inner)


# Behaviour


@pytest.mark.parametrize(
    ("character", "has", "lacks"),
    [("{", "cmtt10", "cmr10"), ("é", "STIXGeneral", "cmss10"), ("<", "DejaVuSerif", "cmb10")],
)
def test_a_font_with_another_glyph_in_its_place_lacks_a_character(character, has, lacks):
    names = [FONTS[number] for number in fonts_with(character)]
    assert has in names and lacks not in names


def test_a_choice_of_fonts_keeps_their_numbers():
    assert fonts_with("A", ["cmtt10", "DejaVuSans-Bold"]) == [1, len(FONTS) - 1]


# Bad input


@pytest.mark.parametrize(
    ("character", "fonts", "match"),
    [
        ("\N{HANGUL SYLLABLE GA}", None, r"dataset\.characters .*'가'"),
        ("é", ["cmr10"], r"dataset\.characters .*'é'"),
        ("A", [], r"dataset\.characters .*'A'"),
        ("A", ["DejaVu"], r"dataset\.fonts .*DejaVuSans, .* not 'DejaVu'"),
        ("A", "DejaVuSans", r"dataset\.fonts .* not 'DejaVuSans'"),
    ],
)
def test_missing_fonts_and_characters_are_refused(character, fonts, match):
    with pytest.raises(InputError, match=match):
        fonts_with(character, fonts)


def test_a_character_without_ink_is_refused():
    with pytest.raises(InputError, match=r"dataset\.characters .*' '"):
        draw_glyph(" ", "DejaVuSans")


def test_an_incomplete_matplotlib_is_named(monkeypatch, tmp_path):
    import matplotlib

    from mlvae.data.sources import fonts

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"cmr10\.ttf .*cmr10 out of dataset\.fonts"):
        fonts._path("cmr10")
