"""Waveforms played faster or slower: pitch and tempo together, by band-limited interpolation."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxanchor.audio.pcm import Indices, sent
from voxanchor.types import FloatArray

_ZERO_CROSSINGS = 24
_KAISER_BETA = 9.0
_ROLLOFF = 0.95


def source_samples(length: int, speed: float) -> int:
    """Return how many samples `play` needs to give `length` of them; at a speed of 1 just as many."""
    if speed == 1.0:
        return length
    ratio = _ratio(speed)
    blocks = -(-length // ratio.denominator)
    return (blocks - 1) * ratio.numerator + _kernel(ratio).shape[2]


def play(waves: Tensor, speed: float, length: int) -> Tensor:
    """Return (N, length) float32: each waveform `speed` times as fast.

    Output sample n is the band-limited value at n * speed: with speed = p / q, q filters (a windowed sinc at q phases)
    step through the input p samples at a time, which is one convolution. Frequencies that would fold back are removed.

    Args:
        waves: (N, `source_samples`) float32; the filter's half length at either end is context that is not heard.
        speed: taken to the nearest fraction with a denominator of at most 100; at 1 the waves come back as they are.
        length: samples wanted.
    """
    if speed == 1.0:
        return waves[:, :length]
    kernel = _kernel_on(_ratio(speed), waves.device)
    phases = F.conv1d(waves.unsqueeze(1), kernel, stride=_ratio(speed).numerator)
    return phases.transpose(1, 2).flatten(1)[:, :length]


def gather_played(
    gather: Callable[[Indices, int], Tensor], speeds: FloatArray, length: int, device: torch.device
) -> Tensor:
    """Return (N, length) float32: crops of recordings, each played at its own speed.

    Args:
        gather: returns the (n, length) crops of some of the rows, at their natural speed, for (n,) rows and a length.
        speeds: (N,) of each row.
        length: samples wanted.
        device: where the crops lie.
    """
    values = np.unique(speeds).tolist()
    if len(values) == 1:
        return play(gather(np.arange(len(speeds)), source_samples(length, values[0])), values[0], length)
    waves = torch.empty(len(speeds), length, device=device)
    for value in values:
        rows = np.flatnonzero(speeds == value)
        waves[sent(rows, device)] = play(gather(rows, source_samples(length, value)), value, length)
    return waves


def _ratio(speed: float) -> Fraction:
    return Fraction(speed).limit_denominator(100)


@cache
def _kernel_on(ratio: Fraction, device: torch.device) -> Tensor:
    """Return the filter of each phase where it is wanted: to send it anew for every batch would make a device wait."""
    return _kernel(ratio).to(device)


@lru_cache(maxsize=64)
def _kernel(ratio: Fraction) -> Tensor:
    """Return (q, 1, K) float32: the filter of each phase."""
    cutoff = _ROLLOFF * min(1.0, 1.0 / float(ratio))
    half = int(np.ceil(_ZERO_CROSSINGS / cutoff))
    positions = [Fraction(phase) * ratio for phase in range(ratio.denominator)]
    longest = int(positions[-1]) + 2 * half
    kernel = np.zeros((ratio.denominator, 1, longest))
    for phase, position in enumerate(positions):
        taps = np.arange(int(position), int(position) + 2 * half)
        distance = taps - half + 1 - float(position)
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1.0 - (distance / half) ** 2, 0.0, None))) / np.i0(_KAISER_BETA)
        kernel[phase, 0, taps] = cutoff * np.sinc(cutoff * distance) * window
    return torch.from_numpy(kernel).float()
