r"""Log-mel spectrograms: the energy of a sound by time and by frequency, as an ear resolves it.

A Hann window of w samples moves along the sound in steps of h samples. With :math:`P_t(f)` the
power spectrum of frame t and :math:`H_m(f)` the triangular filter of mel band m,

.. math:: S_{mt} = \ln\Bigl(\epsilon + \sum_f H_m(f) P_t(f)\Bigr),
   \qquad \mathrm{mel}(f) = 2595 \log_{10}(1 + f / 700).

The formula of the mel scale is that of D. O'Shaughnessy: Speech Communication. 1987. Filters:
S. Davis, P. Mermelstein: Comparison of Parametric Representations for Monosyllabic Word
Recognition in Continuously Spoken Sentences. IEEE TASSP, 1980.

Shapes: L samples, T frames, M mel bands, F frequencies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlvae.errors import InputError, check_integer, check_number

__all__ = ["LogMel"]

#: Added to energies: the energy of 8-bit noise, -100 dB of a full-scale sine, has a finite log.
FLOOR = 1e-10


@dataclass(frozen=True)
class LogMel:
    """Log-mel spectrograms of sounds of one sample rate.

    Args:
        rate: samples per second.
        bands: mel bands, M.
        window: length of the Hann window in seconds.
        hop: step between windows in seconds.
        low: lowest frequency in Hz.
        high: highest frequency in Hz; None is half the rate.

    Raises:
        InputError: if an option is out of range, or a band is narrower than the distance of two
            frequencies.

    Example:
        >>> rate = 8000
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)
        >>> spectrogram = LogMel(rate)(tone)
        >>> spectrogram.shape, int(spectrogram[:, 50].argmax())  # band 18 is the nearest to 1 kHz
        ((40, 98), 18)
    """

    rate: int
    bands: int = 40
    window: float = 0.025
    hop: float = 0.01
    low: float = 0.0
    high: float | None = None

    def __post_init__(self) -> None:
        check_integer("dataset.bands", self.bands, minimum=1)
        for name in ("window", "hop"):
            check_number(f"dataset.{name}", vars(self)[name], minimum=0, exclusive=True)
            if vars(self)[name] * self.rate < 2:
                raise InputError(f"dataset.{name}={vars(self)[name]} must have 2 samples or more")
        nyquist = self.rate / 2
        check_number("dataset.low", self.low, minimum=0, maximum=nyquist)
        check_number("dataset.high", self.top, minimum=self.low, maximum=nyquist, exclusive=True)
        if (empty := self.filters.sum(1) == 0).any():
            raise InputError(
                f"dataset.bands={self.bands} must have frequencies in each band, but band "
                f"{int(empty.argmax())} has none; lower it, or raise dataset.window"
            )

    @property
    def top(self) -> float:
        """Highest frequency in Hz."""
        return self.rate / 2 if self.high is None else self.high

    @property
    def length(self) -> int:
        """Samples of a window."""
        return round(self.window * self.rate)

    @property
    def step(self) -> int:
        """Samples between the starts of two windows."""
        return max(1, round(self.hop * self.rate))

    @property
    def size(self) -> int:
        """Samples of the Fourier transform: the power of 2 from the window's length on."""
        return 2 ** math.ceil(math.log2(self.length))

    @cached_property
    def filters(self) -> np.ndarray:
        """The triangles (M, F): 0 at the centres of both neighbours, 1 at the band's centre."""
        mel = np.linspace(_mel(self.low), _mel(self.top), self.bands + 2)
        edges = 700 * (10 ** (mel / 2595) - 1)
        frequencies = np.arange(self.size // 2 + 1) * self.rate / self.size
        below, centre, above = (edges[i : i + self.bands, None] for i in range(3))
        rise = (frequencies - below) / (centre - below)
        fall = (above - frequencies) / (above - centre)
        return np.clip(np.minimum(rise, fall), 0, None)

    def frames(self, samples: int) -> int:
        """T, the number of whole windows in a sound of that length; 0 if it is too short."""
        return max(0, 1 + (samples - self.length) // self.step)

    def __call__(self, sound: np.ndarray) -> np.ndarray:
        """The spectrogram, float32 (M, T), of a sound (L,) in [-1, 1] of at least one window."""
        windows = np.lib.stride_tricks.sliding_window_view(sound, self.length)[:: self.step]
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.length) / self.length)
        power = np.abs(np.fft.rfft(windows * hann, self.size)) ** 2 / (hann**2).sum()
        return np.log(FLOOR + self.filters @ power.T).astype(np.float32)


def _mel(frequency: float) -> float:
    return 2595 * math.log10(1 + frequency / 700)
