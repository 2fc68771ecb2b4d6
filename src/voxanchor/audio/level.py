"""How loud a waveform is, over all of it and over the parts where something is heard. DC and drift are no sound."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, BoolArray, FloatArray

FRAME_SAMPLES = 320
"""Length of a level frame: 20 ms at 16 kHz."""

ACTIVITY_MARGIN_DB = 15.9
"""A frame this far below the active level, or further, is a pause (the margin of ITU-T P.56)."""

_ACTIVITY_RATIO = 10.0 ** (-ACTIVITY_MARGIN_DB / 10.0)

SnrLevels = Literal["active", "whole"]
"""What a signal-to-noise ratio lies between: the levels of active frames, or of the whole signals, pauses included."""

USUAL_LEVEL_DB = -26.0
"""Active level that speech usually has on a line and in a corpus, in dB relative to full scale (ITU-T P.56, P.830)."""

AVERAGED_SAMPLES = 801
"""Length of each of the two moving averages behind `high_pass`: 50 ms at 16 kHz, odd so that neither delays."""


def high_pass(waveform: NDArray[np.floating]) -> FloatArray:
    """Return the waveform without DC, drift and rumble: what is slower than any voice.

    A microphone's DC offset and the drift of its amplifier carry energy that nobody hears, so they must count neither
    as speech nor as noise. Two moving averages of 50 ms, one after the other, follow what is slow, and are subtracted:
    a filter without delay that takes DC away entirely and 14 dB at 5 Hz, and from 45 Hz on changes nothing by more
    than 0.2 dB. Towards either end the averages run over the samples that there are.

    Args:
        waveform: (T,) samples.

    Returns:
        (T,) float64.
    """
    x = waveform.astype(np.float64)
    return x - _moving_average(_moving_average(x))


def _moving_average(x: FloatArray) -> FloatArray:
    half = AVERAGED_SAMPLES // 2
    sums = np.concatenate(([0.0], np.cumsum(x)))
    at = np.arange(len(x))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(x))
    average: FloatArray = (sums[last] - sums[first]) / (last - first)
    return average


def level_db(waveform: NDArray[np.floating], *, filtered: bool = False) -> float:
    """Return the RMS level over the whole waveform, without DC and drift, in dB relative to full scale.

    Args:
        waveform: (T,) samples, full scale at 1.0.
        filtered: it went through `high_pass` already, and does not go again.

    Returns:
        ``20 log10(rms)``; ``-inf`` for digital silence, ``nan`` where a sample is not finite.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    energy, _ = frames_of(waveform, filtered=filtered)
    return _decibels(float(energy.sum()) / len(waveform))


def active_level_db(waveform: NDArray[np.floating], *, filtered: bool = False) -> float:
    """Return the RMS level of the active frames in dB relative to full scale.

    The waveform goes through `high_pass` and is cut into frames of 20 ms (the last may be shorter and weighs by its
    length). A frame is active when its power exceeds the active level less 15.9 dB, and the active level is the mean
    power of the active frames: the fixed point reached from above, starting with all frames that are not digital
    silence, whose samples are all the same. The margin is that of ITU-T P.56; its absolute thresholds are left out, so
    that scaling a waveform moves its level by exactly the gain. Pauses, noise gates and padding do not count; a
    stationary signal has exactly its RMS level.

    Args:
        waveform: (T,) samples, full scale at 1.0.
        filtered: it went through `high_pass` already, and does not go again.

    Returns:
        The level; ``-inf`` for digital silence, ``nan`` where a sample is not finite.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    return _decibels(active_power(*frames_of(waveform, filtered=filtered))[1])


def active_frames(waveform: NDArray[np.floating]) -> BoolArray:
    """Return (ceil(T / 320),) bool: which 20 ms frames are active, as `active_level_db` defines it.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    return active_power(*frames_of(waveform))[0]


def active_s(waveform: NDArray[np.floating]) -> float:
    """Return how many seconds of the waveform are active, as `active_level_db` defines it.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    mask = active_power(*frames_of(waveform))[0]
    missing = len(mask) * FRAME_SAMPLES - len(waveform)
    samples = int(mask.sum()) * FRAME_SAMPLES - (missing if mask[-1] else 0)
    return samples / SAMPLE_RATE


def frames_of(waveform: NDArray[np.floating], *, filtered: bool = False) -> tuple[FloatArray, FloatArray]:
    """Return the energy and the number of samples of every 20 ms frame, both (ceil(T / 320),) float64.

    Digital silence, all of whose samples are the same, has no energy.

    Args:
        waveform: (T,) samples.
        filtered: it went through `high_pass` already, and does not go again.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    if waveform.ndim != 1 or len(waveform) == 0:
        raise AudioError(
            f"a level needs a one-dimensional waveform with samples, not an array of shape {waveform.shape}"
        )
    starts = np.arange(0, len(waveform), FRAME_SAMPLES)
    samples = np.diff(np.append(starts, len(waveform))).astype(np.float64)
    if not np.isfinite(waveform).all():
        return np.full(len(starts), np.nan), samples
    x = waveform.astype(np.float64) if filtered else high_pass(waveform)
    energy: FloatArray = np.add.reduceat(x * x, starts)
    # The filter smears sound by up to 50 ms into the silence beside it, which stays silence.
    energy[np.maximum.reduceat(waveform, starts) == np.minimum.reduceat(waveform, starts)] = 0.0
    return energy, samples


def active_power(energy: FloatArray, samples: FloatArray) -> tuple[BoolArray, float]:
    """Return which frames are active, (F,) bool, and their mean power: the fixed point of `active_level_db`.

    Args:
        energy: (F,) of each frame.
        samples: (F,) of each frame.
    """
    power = energy / samples
    if not np.isfinite(power).all():
        return np.zeros(len(power), dtype=np.bool_), float("nan")
    active: BoolArray = power > 0.0
    count = int(active.sum())
    if count == 0:
        return active, 0.0
    while True:
        level = float(energy[active].sum() / samples[active].sum())
        # Removing quiet frames can only raise the level: the set shrinks until it stays.
        louder = active & (power > level * _ACTIVITY_RATIO)
        remaining = int(louder.sum())
        if remaining == count:
            return active, level
        active, count = louder, remaining


def _decibels(power: float) -> float:
    return float("-inf") if power == 0.0 else float(10.0 * np.log10(power))
