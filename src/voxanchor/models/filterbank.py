"""The fixed matrices of spectral front-ends: windows, mel filters, and DFTs with all that is linear folded in."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from voxanchor.types import FloatArray

Window: TypeAlias = Literal["povey", "hamming", "hann", "blackman", "rectangular"]


@dataclass(frozen=True)
class Analysis:
    """What becomes of a frame of L samples before its power is taken; all of it is linear.

    Attributes:
        window: (L,) weights of the samples, last in the order.
        n_fft: length of the Fourier transform, zeros behind the frame.
        preemphasis: coefficient c of ``x[i] - c x[i-1]``, with ``x[-1] = x[0]``.
        centred: whether the frame's mean is removed first.
        scale: factor on the samples.
    """

    window: FloatArray
    n_fft: int
    preemphasis: float = 0.0
    centred: bool = False
    scale: float = 1.0

    def matrix(self) -> FloatArray:
        """Return all but the removal of the mean, (2 K, L): K = n_fft // 2 + 1 real parts, then the imaginary ones."""
        matrix: FloatArray = self.scale * dft(self.window, self.n_fft) @ preemphasis(len(self.window), self.preemphasis)
        return matrix


def symmetric_window(name: Window, length: int) -> FloatArray:
    """Return a symmetric analysis window, (length,), as Kaldi defines it (``feature-window.cc``)."""
    phase = 2.0 * np.pi * np.arange(length) / (length - 1)
    hann = 0.5 - 0.5 * np.cos(phase)
    windows: dict[Window, FloatArray] = {
        "povey": hann**0.85,
        "hamming": 0.54 - 0.46 * np.cos(phase),
        "hann": hann,
        "blackman": 0.42 - 0.5 * np.cos(phase) + 0.08 * np.cos(2.0 * phase),
        "rectangular": np.ones(length),
    }
    return windows[name]


def dft(window: FloatArray, n_fft: int) -> FloatArray:
    """Return the windowed, zero-padded real DFT as a matrix, (2 * (n_fft // 2 + 1), len(window)).

    The first half of the rows gives the real parts of bins 0 .. n_fft // 2, the second half the imaginary ones.
    """
    # Reducing the product modulo n_fft keeps the angles, hence the rows, exact to the last digit.
    turns = np.outer(np.arange(n_fft // 2 + 1), np.arange(len(window))) % n_fft
    angles = 2.0 * np.pi * turns / n_fft
    return np.concatenate([np.cos(angles), -np.sin(angles)]) * window


def preemphasis(length: int, coefficient: float) -> FloatArray:
    """Return the matrix, (length, length), of ``y[i] = x[i] - c x[i-1]`` in a frame, with ``y[0] = (1 - c) x[0]``."""
    matrix = np.eye(length) - coefficient * np.eye(length, k=-1)
    matrix[0, 0] = 1.0 - coefficient
    return matrix


def kaldi_mel(n_mels: int, n_fft: int, sample_rate: int, low_hz: float, high_hz: float) -> FloatArray:
    """Return Kaldi's mel filters, (n_mels, n_fft // 2 + 1): triangles of height 1, straight on the mel scale.

    The scale is ``1127 ln(1 + f / 700)``. As in Kaldi (``mel-computations.cc``), the Nyquist bin has no weight.
    """
    mels = _kaldi_mel(np.arange(n_fft // 2 + 1) * sample_rate / n_fft)
    edges = np.linspace(_kaldi_mel(np.float64(low_hz)), _kaldi_mel(np.float64(high_hz)), n_mels + 2)
    weights = _triangles(mels, edges)
    weights[:, -1] = 0.0
    return weights


def slaney_mel(n_mels: int, n_fft: int, sample_rate: int) -> FloatArray:
    """Return the mel filters of Slaney's Auditory Toolbox, (n_mels, n_fft // 2 + 1), from 0 Hz to Nyquist.

    Triangles straight in Hz, each of area 1 (height ``2 / width``), on a scale linear below 1 kHz (3 mels per 200 Hz)
    and logarithmic above (27 mels per factor of 6.4).
    """
    nyquist_mel = 15.0 + 27.0 * np.log(sample_rate / 2000.0) / np.log(6.4)
    mels = np.linspace(0.0, nyquist_mel, n_mels + 2)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * 6.4 ** ((mels - 15.0) / 27.0))
    weights = _triangles(np.arange(n_fft // 2 + 1) * sample_rate / n_fft, edges)
    return weights * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def symmetric_mel(n_mels: int, n_fft: int, sample_rate: int) -> FloatArray:
    """Return mel filters of one half-width each, (n_mels, n_fft // 2 + 1), from 0 Hz to Nyquist.

    Triangles of height 1, straight in Hz and as wide above their centre as below it, where they begin at the centre
    before; the centres are evenly spaced on the scale ``2595 log10(1 + f / 700)``.
    """
    edges = 700.0 * np.expm1(np.linspace(0.0, np.log1p(sample_rate / 2 / 700.0), n_mels + 2))
    centres, half_widths = edges[1:-1, None], np.diff(edges)[:-1, None]
    hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    return np.maximum(0.0, 1.0 - np.abs(hz - centres) / half_widths)


def _kaldi_mel(hz: FloatArray | np.float64) -> FloatArray:
    return np.asarray(1127.0 * np.log1p(hz / 700.0), dtype=np.float64)


def _triangles(positions: FloatArray, edges: FloatArray) -> FloatArray:
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (positions - left) / (centre - left)
    falling = (right - positions) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))
