"""Log-mel spectrograms equal their formula; options out of range are refused."""

import cmath
import math

import numpy as np
import pytest

from mlvae.data.signals.spectrogram import FLOOR, LogMel
from mlvae.errors import InputError


def of_the_formula(sound, transform):
    """The same by sums over samples, frequencies and triangles, without NumPy's transforms."""
    length, step, size, rate = transform.length, transform.step, transform.size, transform.rate
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / length) for n in range(length)]
    energy = sum(value**2 for value in hann)
    mel = [2595 * math.log10(1 + f / 700) for f in (transform.low, transform.top)]
    edges = [
        700 * (10 ** ((mel[0] + (mel[1] - mel[0]) * i / (transform.bands + 1)) / 2595) - 1)
        for i in range(transform.bands + 2)
    ]
    columns = []
    for start in range(0, len(sound) - length + 1, step):
        power = []
        for k in range(size // 2 + 1):
            total = sum(
                sound[start + n] * hann[n] * cmath.exp(-2j * math.pi * k * n / size)
                for n in range(length)
            )
            power.append(abs(total) ** 2 / energy)
        column = []
        for below, centre, above in zip(edges, edges[1:], edges[2:], strict=False):
            sums = 0.0
            for k, value in enumerate(power):
                f = k * rate / size
                if below < f <= centre:
                    sums += value * (f - below) / (centre - below)
                elif centre < f < above:
                    sums += value * (above - f) / (above - centre)
            column.append(math.log(FLOOR + sums))
        columns.append(column)
    return np.array(columns).T


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 1000, "bands": 4, "window": 0.032, "hop": 0.01},
        {"rate": 800, "bands": 3, "window": 0.05, "hop": 0.05, "low": 50, "high": 300},
    ],
)
def test_it_equals_its_formula(options):
    transform = LogMel(**options)
    sound = np.random.default_rng(0).normal(size=150) / 10
    found = transform(sound)
    assert found.dtype == np.float32 and found.shape[1] == transform.frames(150)
    np.testing.assert_allclose(found, of_the_formula(sound, transform), atol=1e-5)


@pytest.mark.parametrize("frequency", [200, 500, 1000, 3000])
def test_the_loudest_band_of_a_tone_is_the_nearest(frequency):
    transform = LogMel(8000)
    tone = np.sin(2 * np.pi * frequency * np.arange(4000) / 8000)
    mel = np.linspace(0, 2595 * math.log10(1 + 4000 / 700), 42)[1:-1]
    nearest = np.abs(700 * (10 ** (mel / 2595) - 1) - frequency).argmin()
    assert abs(int(transform(tone).mean(1).argmax()) - nearest) <= 1


def test_twice_the_amplitude_adds_the_log_of_four():
    transform, noise = LogMel(8000), np.random.default_rng(0).normal(size=800) / 10
    np.testing.assert_allclose(transform(2 * noise) - transform(noise), math.log(4), atol=1e-4)


def test_silence_is_finite():
    assert np.allclose(LogMel(8000)(np.zeros(400)), math.log(FLOOR))


def test_a_sound_has_the_stated_number_of_frames():
    transform = LogMel(8000)  # windows of 200 samples every 80
    assert [transform.frames(n) for n in (199, 200, 279, 280)] == [0, 1, 1, 2]
    assert transform(np.ones(280)).shape == (40, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": 0}, r"bands .*0"),
        ({"bands": 500}, r"bands=500 .*none"),
        ({"window": 0}, r"window .*0"),
        ({"hop": 1e-5}, r"hop=1e-05"),
        ({"low": 5000}, r"low .*5000"),
        ({"high": 5000}, r"high .*5000"),
        ({"low": 300, "high": 300}, r"high .*300"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=rf"dataset\.{message}"):
        LogMel(8000, **options)
