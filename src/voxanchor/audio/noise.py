"""Stationary noise of a colour: white, pink, brown, speech-shaped."""

from functools import lru_cache

import numpy as np

from voxanchor.errors import CorpusError
from voxanchor.types import SAMPLE_RATE, FloatArray, Waveform

COLOURS: tuple[str, ...] = ("white", "pink", "brown", "speech_shaped")
"""Power density: flat; falling 3 dB an octave; falling 6 dB an octave; long-term average of speech."""

NOISE_RMS = 0.1
"""RMS of generated noise: -20 dBFS."""

_LOWEST_HZ = 20.0

# Byrne et al., "An international comparison of long-term average speech spectra", J. Acoust. Soc. Am. 96(4), 1994,
# table II: levels in third octaves, men and women of twelve languages combined, for speech of 70 dB SPL overall.
_LTASS_HZ = (
    63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300,
    8000,
)  # fmt: skip
_LTASS_DB = (
    38.6, 43.5, 54.4, 57.7, 56.8, 60.2, 60.3, 59.0, 62.1, 62.1, 60.5, 56.8, 53.7, 53.0, 52.0, 48.7, 48.1, 46.8, 45.6,
    44.5, 44.3, 43.7,
)  # fmt: skip


def colour_gain(colour: str, frequency_hz: FloatArray) -> FloatArray:
    """Return (F,) amplitude gain of a colour at each frequency; 0 below 20 Hz.

    Raises:
        CorpusError: an unknown colour.
    """
    f = np.maximum(frequency_hz, _LOWEST_HZ)
    if colour == "white":
        gain = np.ones_like(f)
    elif colour == "pink":
        gain = f**-0.5
    elif colour == "brown":
        gain = f**-1.0
    elif colour == "speech_shaped":
        # The bands widen with frequency: the level of a density is 10 log10(f) lower than that of a third octave.
        density_db = np.array(_LTASS_DB) - 10.0 * np.log10(_LTASS_HZ)
        gain = 10.0 ** (np.interp(np.log(f), np.log(_LTASS_HZ), density_db) / 20.0)
    else:
        raise CorpusError(f"no noise of colour '{colour}': there is {', '.join(COLOURS)}")
    return np.where(frequency_hz < _LOWEST_HZ, 0.0, gain)


def spectrum_length(length: int) -> int:
    """Return a length of at least `length` samples whose Fourier transform is fast."""
    return -(-length // 1024) * 1024


def frequencies_hz(length: int) -> FloatArray:
    """Return the frequencies at which `shaped_noise` of this length wants its gain."""
    frequencies: FloatArray = np.fft.rfftfreq(spectrum_length(length), 1.0 / SAMPLE_RATE).astype(np.float64)
    return frequencies


def shaped_noise(gain: FloatArray, length: int, generator: np.random.Generator) -> Waveform:
    """Return (length,) float32 stationary Gaussian noise of exactly this expected spectrum, at an expected -20 dBFS.

    Args:
        gain: (F,) amplitude gain at `frequencies_hz`.
        length: number of samples.
        generator: draws the noise.
    """
    # Independent Gaussian Fourier coefficients are Gaussian noise already: one transform, no filter ringing.
    n = spectrum_length(length)
    parts = generator.standard_normal(2 * len(gain), dtype=np.float32)
    spectrum = parts.view(np.complex64) * (gain * (NOISE_RMS * n / 2.0 / np.sqrt((gain**2).sum()))).astype(np.float32)
    waveform: Waveform = np.fft.irfft(spectrum, n)[:length].astype(np.float32)
    return waveform


@lru_cache(maxsize=64)
def _cached_gain(colour: str, length: int) -> FloatArray:
    return colour_gain(colour, frequencies_hz(length))


def coloured(colour: str, length: int, generator: np.random.Generator) -> Waveform:
    """Return (length,) float32 stationary Gaussian noise of a colour, at an expected -20 dBFS.

    Raises:
        CorpusError: an unknown colour.
    """
    return shaped_noise(_cached_gain(colour, length), length, generator)
