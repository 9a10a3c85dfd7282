"""WAV files of all kinds of samples have the same sound; damaged ones are errors."""

import io
import struct
import wave

import numpy as np
import pytest
from scipy.io import wavfile

from mlvae.data.signals.wave import read_wave, resampled

SOUND = np.sin(2 * np.pi * 50 * np.arange(400) / 4000) * 0.8


def written(samples, rate=4000):
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def of_24_bits(samples):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(3)
        writer.setframerate(4000)
        numbers = np.round(samples * 2**23).astype(np.int32)
        writer.writeframes(b"".join(struct.pack("<i", n)[:3] for n in numbers.tolist()))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (written((SOUND * 128 + 128).round().astype(np.uint8)), 2 / 128),
        (written((SOUND * 2**15).round().astype(np.int16)), 2**-15),
        (of_24_bits(SOUND), 2**-23),
        (written((SOUND * 2**31).round().astype(np.int32)), 2**-30),
        (written(SOUND.astype(np.float32)), 1e-7),
        (written(SOUND), 1e-15),
    ],
    ids=["8", "16", "24", "32", "float32", "float64"],
)
def test_samples_of_every_width_are_the_same_sound(content, error):
    sound = read_wave(content)
    assert sound.rate == 4000 and sound.channels == 1
    np.testing.assert_allclose(sound.samples, SOUND, atol=error)


def test_channels_are_averaged_and_counted():
    sound = read_wave(written(np.stack((SOUND, 0.5 * SOUND), 1)))
    assert sound.channels == 2
    np.testing.assert_allclose(sound.samples, 0.75 * SOUND)


def test_chunks_of_other_programs_are_left_out():
    content = bytearray(written(SOUND.astype(np.float32)))
    content += b"blah" + struct.pack("<I", 4) + b"abcd"
    content[4:8] = struct.pack("<I", len(content) - 8)
    assert len(read_wave(bytes(content)).samples) == 400


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"not a sound", written(SOUND)[:-400], written(SOUND)[:30]],
    ids=["empty", "start", "text", "cut", "header"],
)
def test_damaged_files_are_errors(content):
    with pytest.raises(ValueError, match="no whole WAV file"):
        read_wave(content)


def test_samples_that_are_not_finite_are_errors():
    with pytest.raises(ValueError, match="NaN"):
        read_wave(written(np.array([0.0, np.nan])))


@pytest.mark.parametrize(("rate", "new"), [(4000, 8000), (8000, 4000), (44100, 8000)])
def test_a_resampled_tone_is_the_tone_at_the_other_rate(rate, new):
    def tone(r):
        return np.sin(2 * np.pi * 300 * np.arange(r // 4) / r)

    found = resampled(tone(rate), rate, new)
    assert abs(len(found) - new // 4) <= 1
    middle = slice(new // 16, new // 8)
    np.testing.assert_allclose(found[middle], tone(new)[middle], atol=0.01)
    assert resampled(SOUND, rate, rate) is SOUND
