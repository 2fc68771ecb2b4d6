"""Waveforms played faster or slower: pitch and tempo together, by band-limited interpolation."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.arrays import Array, beside, namespace, sent, windows
from voxanchor.audio.pcm import Indices
from voxanchor.types import FloatArray

if TYPE_CHECKING:
    import torch

_ZERO_CROSSINGS = 24
_KAISER_BETA = 9.0
_ROLLOFF = 0.95


def source_samples(length: int, speed: float) -> int:
    """Return how many samples `play` needs to give `length` of them; at a speed of 1 just as many."""
    if speed == 1.0:
        return length
    ratio = _ratio(speed)
    blocks = -(-length // ratio.denominator)
    return (blocks - 1) * ratio.numerator + len(_kernel(ratio))


def play(waves: Array, speed: float, length: int) -> Array:
    """Return (N, length) float32: each waveform `speed` times as fast.

    Output sample n is the band-limited value at n * speed: with speed = p / q, q filters (a windowed sinc at q phases)
    step through the input p samples at a time, which is one product of matrices.
    Frequencies that would fold back are removed.

    Args:
        waves: (N, `source_samples`) float32; the filter's half length at either end is context that is not heard.
        speed: taken to the nearest fraction with a denominator of at most 100; at 1 the waves come back as they are.
        length: samples wanted.
    """
    if speed == 1.0:
        return waves[:, :length]
    ratio = _ratio(speed)
    kernel = _kernel_beside(ratio, waves.device)
    phases: Array = windows(waves, kernel.shape[0], ratio.numerator) @ kernel
    return phases.reshape(len(phases), -1)[:, :length]


def gather_played(gather: Callable[[Indices, int], Array], speeds: FloatArray, length: int) -> Array:
    """Return (N, length) float32: crops of recordings, each played at its own speed.

    Args:
        gather: returns the (n, length) crops of some of the rows, at their natural speed, for (n,) rows and a length.
        speeds: (N,) of each row.
        length: samples wanted.
    """
    parts = []
    values = np.unique(speeds).tolist()
    for value in values:
        rows = np.flatnonzero(speeds == value)
        parts.append((rows, play(gather(rows, source_samples(length, value)), value, length)))
    if len(values) == 1:
        return parts[0][1]
    first = parts[0][1]
    waves: Array = namespace(first).empty((len(speeds), length), dtype=first.dtype, device=first.device)
    for rows, played in parts:
        waves[beside(rows, waves)] = played
    return waves


def _ratio(speed: float) -> Fraction:
    return Fraction(speed).limit_denominator(100)


@cache
def _kernel_beside(ratio: Fraction, device: torch.device | str) -> Any:
    """Return the filters where they are wanted: to send them anew for every batch would make a device wait."""
    return _kernel(ratio) if isinstance(device, str) else sent(_kernel(ratio), device)


@lru_cache(maxsize=64)
def _kernel(ratio: Fraction) -> NDArray[np.float32]:
    """Return (K, q) float32: the filter of each phase."""
    cutoff = _ROLLOFF * min(1.0, 1.0 / float(ratio))
    half = int(np.ceil(_ZERO_CROSSINGS / cutoff))
    positions = [Fraction(phase) * ratio for phase in range(ratio.denominator)]
    longest = int(positions[-1]) + 2 * half
    kernel = np.zeros((longest, ratio.denominator), dtype=np.float32)
    for phase, position in enumerate(positions):
        taps = np.arange(int(position), int(position) + 2 * half)
        distance = taps - half + 1 - float(position)
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1.0 - (distance / half) ** 2, 0.0, None))) / np.i0(_KAISER_BETA)
        kernel[taps, phase] = cutoff * np.sinc(cutoff * distance) * window
    return kernel
