"""Images of more than 8 bits: scaled by the depth that the file declares, otherwise reported."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mlvae.data import faces
from mlvae.data.collections import decoders, images

OPTIONS = {"size": 8, "channels": 1, "crop": 1.0}
STEPS = np.arange(64, dtype=np.uint16).reshape(8, 8)
SMALL = {"size": 8, "colour": False, "validation": 0, "test": 0}


def pgm(levels, largest):
    return b"P5 8 8 %d\n" % largest + levels.astype(">u2").tobytes()


def saved(levels, format, **options):
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format, **options)
    return file.getvalue()


def tiff(levels, bits, largest=None):
    """A TIFF of one strip; 12 bits are packed, two levels in three bytes."""
    data = levels.astype("<u2").tobytes()
    if bits == 12:
        pairs = levels.reshape(-1, 2).astype(int)
        data = b"".join((a << 12 | b).to_bytes(3, "big") for a, b in pairs.tolist())
    tags = [(256, 8), (257, 8), (258, bits), (259, 1), (262, 1), (273, 0), (277, 1), (278, 8)]
    tags += [(279, len(data))] + ([] if largest is None else [(281, largest)])
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHLHH", tag, 3, 1, start if tag == 273 else value, 0) for tag, value in tags
    )
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + data


def colour_png(levels):
    """A PNG of 16 bits in three equal colours, which Pillow cannot write."""
    rows = b"".join(b"\0" + row.astype(">u2").repeat(3).tobytes() for row in levels)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def near(result, levels, largest):
    expected = levels.astype(float) * 255 / largest
    return np.abs(result.pixels[0] - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("build", "largest"),
    [
        (lambda: pgm(STEPS * 16, 1023), 1023),
        (lambda: pgm(STEPS * 64, 4095), 4095),
        (lambda: tiff(STEPS * 64, 12), 4095),
        (lambda: tiff(STEPS * 16, 16, 1023), 1023),
        (lambda: tiff(STEPS * 64, 16, 4095), 4095),
    ],
    ids=["PGM of 10 bits", "PGM of 12 bits", "TIFF of 12 bits", "TIFF to 1023", "TIFF to 4095"],
)
def test_a_declared_depth_is_used(build, largest):
    levels = STEPS * (16 if largest == 1023 else 64)
    result = images.attempt(build(), **OPTIONS)
    assert near(result, levels, largest) and result.pixels.max() > 240
    assert result.reason == ""


@pytest.mark.parametrize("largest", [1023, 4095])
@pytest.mark.parametrize(
    "build",
    [lambda x: saved(x, "PNG"), lambda x: saved(x, "TIFF"), colour_png],
    ids=["PNG", "TIFF", "colours"],
)
def test_without_a_declared_depth_the_range_of_16_bits_is_used_and_reported(build, largest):
    levels = STEPS * (largest // 63)
    result = images.attempt(build(levels), **OPTIONS)
    assert np.abs(result.pixels[0] - levels * (255 / 65535)).max() <= 1.01
    assert "dark" in result.reason and "65,535" in result.reason
    with decoders.Decoders(1, OPTIONS) as processes:
        ((remote,),) = processes.attempts([[build(levels)]])
    assert remote.reason == result.reason and np.array_equal(remote.pixels, result.pixels)


@pytest.mark.parametrize(
    "build", [lambda x: saved(x, "PNG"), lambda x: saved(x, "TIFF"), colour_png]
)
def test_an_image_of_the_whole_range_or_black_has_no_remark(build):
    for levels in (STEPS * 1040, STEPS * 0):
        assert images.attempt(build(levels), **OPTIONS).reason == ""


@pytest.mark.parametrize("largest", [0, 255])
def test_a_damaged_tag_of_the_depth_is_ignored(largest):
    file = io.BytesIO()
    Image.fromarray(STEPS * 1040).save(file, "TIFF", tiffinfo={281: largest})
    assert near(images.attempt(file.getvalue(), **OPTIONS), STEPS * 1040, 65535)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_report_names_dark_images(write, tmp_path, monkeypatch, capsys, png, workers):
    monkeypatch.chdir(tmp_path)
    files = {
        "a/dark.png": saved(STEPS * 16, "PNG"),
        "a/light.png": saved(STEPS * 1040, "PNG"),
        "b/declared.pgm": pgm(STEPS * 16, 1023),
        "b/eight.png": png(1),
    }
    splits = faces(write("people", files), workers=workers, **SMALL)
    assert len(splits.train) == 4
    folder = splits.train.x.source.path.parent
    report = (folder / "skipped.txt").read_text().splitlines()
    assert report[1:] == ["used: a/dark.png is dark: its largest level is 1,008 of 65,535"]
    assert json.loads((folder / "manifest.json").read_text())["remark"] == 1
    out = capsys.readouterr().out
    assert "1 images are dark" in out and "skipped.txt" in out
