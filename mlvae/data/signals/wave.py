"""WAV files as sounds: one channel, numbers in [-1, 1], one sample rate.

Shapes: L samples.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import NamedTuple

import numpy as np

__all__ = ["Sound", "read_wave", "resampled"]

#: Full scale of the integers of WAV files. 24 bits are the upper ones of 32.
SCALES = {"int16": 2.0**15, "int32": 2.0**31, "int64": 2.0**63}


class Sound(NamedTuple):
    """A sound.

    Attributes:
        samples: float64 (L,); integers of the file are divided by their full scale.
        rate: samples per second.
        channels: number of channels of the file; ``samples`` is their mean.
    """

    samples: np.ndarray
    rate: int
    channels: int


def read_wave(content: bytes) -> Sound:
    """The sound in a WAV file of 8, 16, 24, 32 or 64 bits, integers or floats.

    Raises:
        ValueError: if it is no whole WAV file, or has NaN or infinities.
    """
    from scipy.io import wavfile  # takes half a second, which `import mlvae` saves

    with warnings.catch_warnings():
        warnings.simplefilter("error", wavfile.WavFileWarning)
        # Chunks of other programs, such as names of authors, are no samples.
        warnings.filterwarnings("ignore", "Chunk .non-data. not understood")
        try:
            rate, array = wavfile.read(io.BytesIO(content))
        except Exception as error:  # scipy raises many types for a damaged file
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise ValueError(f"is no whole WAV file ({reason})") from error
    if rate < 1:
        raise ValueError(f"has a sample rate of {rate}")
    samples = _floats(array)
    if not np.isfinite(samples).all():
        raise ValueError("has NaN or infinities")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    mono = samples if samples.ndim == 1 else samples.mean(1)
    return Sound(mono, int(rate), channels)


def _floats(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    if array.dtype == np.uint8:  # the only type without a sign: 128 is zero
        return (array - 128.0) / 128
    return array / SCALES[array.dtype.newbyteorder("=").name]


def resampled(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Samples (L,) at another rate, by a polyphase filter without aliasing."""
    if rate == new_rate:
        return samples
    from scipy.signal import resample_poly

    common = math.gcd(rate, new_rate)
    return resample_poly(samples, new_rate // common, rate // common)
