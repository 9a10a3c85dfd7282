"""Decoding a file's bytes: conversions of pixels, and the reasons for refusals."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mlvae.data.collections import images
from mlvae.data.collections.images import MAX_PIXELS, MAX_REASON, attempt, decode


def file_of(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def decoded(image, format="PNG", *, size=8, channels=1, crop=1.0, **options):
    return decode(file_of(image, format, **options), size=size, channels=channels, crop=crop)


def reason(content):
    result = attempt(content, size=8, channels=1, crop=1.0)
    assert result.pixels is None
    return result.reason


LEVELS = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


# Properties


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "TIFF", "GIF"])
def test_an_image_of_the_target_size_is_unchanged(format):
    pixels = decoded(Image.fromarray(LEVELS), format)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, LEVELS[None])


def test_channels_come_first_in_the_order_red_green_blue():
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    pixels = decoded(image, channels=3)
    assert pixels.shape == (3, 8, 8)
    assert pixels[:, 0, 0].tolist() == [10, 20, 30]


def test_sixteen_bits_are_rounded_to_eight_and_not_clipped():
    levels = (LEVELS.astype(np.uint16) * 257)[::-1].copy()
    for format in ("PNG", "TIFF", "PPM"):
        pixels = decoded(Image.fromarray(levels), format)
        assert np.array_equal(pixels[0], LEVELS[::-1])
    # 128/257 of a step is the largest value that rounds down.
    near = np.array([[0, 128, 129, 65535]], np.uint16)
    assert decoded(Image.fromarray(near.repeat(4, 0)), size=4)[0, 0].tolist() == [0, 0, 1, 255]


def test_cmyk_becomes_the_printed_colour():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow: red
    for format, options in (("TIFF", {}), ("JPEG", {"quality": 100})):
        red, green, blue = decoded(image, format, channels=3, **options)[:, 0, 0].tolist()
        assert red > 240 and green < 15 and blue < 15


def test_transparent_pixels_become_white():
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    assert (decoded(image, channels=3) == 255).all()
    palette = Image.new("P", (8, 8), 3)
    palette.putpalette([7] * 768)
    assert (decoded(palette, transparency=3) == 255).all()
    assert (decoded(palette) == 7).all()


def test_one_bit_is_black_and_white():
    image = Image.fromarray(LEVELS > 100)
    assert set(np.unique(decoded(image))) == {0, 255}


def test_a_photograph_is_rotated_by_its_exif_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    pixels = decoded(Image.fromarray(LEVELS), "PNG", exif=exif)
    assert np.array_equal(pixels[0], np.rot90(LEVELS, -1))


def test_a_photograph_with_damaged_exif_is_used_as_it_is_stored():
    sound = Image.Exif()
    sound[0x0112] = 6
    damaged = b"Exif\x00\x00XX*\x00" + sound.tobytes()[10:]  # neither little nor big endian
    pixels = decoded(Image.fromarray(LEVELS), "PNG", exif=damaged)
    assert np.array_equal(pixels[0], LEVELS)


def test_the_central_square_is_kept():
    # A white square of 40 in the centre of a black 80 x 60.
    image = Image.new("L", (80, 60))
    image.paste(255, (20, 10, 60, 50))
    assert (decoded(image, crop=40 / 60) == 255).all()
    assert decoded(image, crop=1.0)[0, 0].max() < 10  # the upper row is black


def test_resizing_averages_over_all_pixels():
    # Stripes of one pixel become grey, neither black nor white.
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    inner = decoded(Image.fromarray(stripes), size=8)[0, 1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 128).max() <= 3


def test_a_jpeg_decoded_at_a_fraction_of_its_size_is_close():
    ramp = np.linspace(0, 255, 1200).astype(np.uint8)[None].repeat(900, 0)
    small = decoded(Image.fromarray(ramp), "JPEG", size=16, quality=95)[0].astype(int)
    whole = decoded(Image.fromarray(ramp), "PNG", size=16)[0].astype(int)
    assert np.abs(small - whole).max() <= 3


# Bad input


def test_every_kind_of_bad_file_has_a_reason():
    image = file_of(Image.effect_noise((64, 64), 50))
    frames = [Image.new("L", (8, 8), level) for level in (0, 255)]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    assert "empty" in reason(b"")
    assert "not an image" in reason(b"hello")
    assert "decoded (" in reason(image[: len(image) // 2])
    assert "2 frames" in reason(animated.getvalue())
    assert "32 bits" in reason(file_of(Image.fromarray(LEVELS.astype(np.int32)), "TIFF"))
    assert "EPS" in reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def test_a_reason_is_one_line_of_bounded_length(monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("\N{SNOWMAN}\udc80" * 10_000 + "\nsecond line")

    monkeypatch.setattr(images, "decode", fail)
    assert len(reason(b"x").encode()) <= MAX_REASON
    assert len(reason(b"x").splitlines()) == 1


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8_001, 10_000, 100_000])
def test_a_decompression_bomb_is_refused_by_its_header(side):
    assert side**2 > MAX_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    assert "pixels" in reason(content) and "64,000,000" in reason(content)
