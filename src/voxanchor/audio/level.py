"""How loud a waveform is, over all of it and over the parts where something is heard."""

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, BoolArray, FloatArray

FRAME_SAMPLES = 320
"""Length of a level frame: 20 ms at 16 kHz."""

ACTIVITY_MARGIN_DB = 15.9
"""A frame this far below the active level, or further, is a pause (the margin of ITU-T P.56)."""

_ACTIVITY_RATIO = 10.0 ** (-ACTIVITY_MARGIN_DB / 10.0)


def level_db(waveform: NDArray[np.floating]) -> float:
    """Return the RMS level over the whole waveform in dB relative to full scale.

    Args:
        waveform: (T,) samples, full scale at 1.0.

    Returns:
        ``20 log10(rms)``; ``-inf`` for digital silence, ``nan`` where a sample is not finite.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    energy, _ = _frames(waveform)
    return _decibels(float(energy.sum()) / len(waveform))


def active_level_db(waveform: NDArray[np.floating]) -> float:
    """Return the RMS level of the active frames in dB relative to full scale.

    The waveform is cut into frames of 20 ms (the last may be shorter and weighs by its length). A frame is active when
    its power exceeds the active level less 15.9 dB, and the active level is the mean power of the active frames: the
    fixed point reached from above, starting with all frames that are not digital silence. The margin is that of ITU-T
    P.56; its absolute thresholds are left out, so that scaling a waveform moves its level by exactly the gain. Pauses,
    noise gates and padding do not count; a stationary signal has exactly its RMS level.

    Args:
        waveform: (T,) samples, full scale at 1.0.

    Returns:
        The level; ``-inf`` for digital silence, ``nan`` where a sample is not finite.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    return _decibels(_activity(waveform)[1])


def active_frames(waveform: NDArray[np.floating]) -> BoolArray:
    """Return (ceil(T / 320),) bool: which 20 ms frames are active, as `active_level_db` defines it.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    return _activity(waveform)[0]


def active_s(waveform: NDArray[np.floating]) -> float:
    """Return how many seconds of the waveform are active, as `active_level_db` defines it.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    mask = _activity(waveform)[0]
    missing = len(mask) * FRAME_SAMPLES - len(waveform)
    samples = int(mask.sum()) * FRAME_SAMPLES - (missing if mask[-1] else 0)
    return samples / SAMPLE_RATE


def frame_powers(waveform: NDArray[np.floating]) -> FloatArray:
    """Return the mean power of every 20 ms frame, (ceil(T / 320),) float64; the last frame may be shorter.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    energy, samples = _frames(waveform)
    return energy / samples


def _activity(waveform: NDArray[np.floating]) -> tuple[BoolArray, float]:
    """Return which frames are active and their mean power."""
    energy, samples = _frames(waveform)
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


def _frames(waveform: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """Return the energy and the number of samples of every frame."""
    if waveform.ndim != 1 or len(waveform) == 0:
        raise AudioError(
            f"a level needs a one-dimensional waveform with samples, not an array of shape {waveform.shape}"
        )
    x = waveform.astype(np.float64)
    whole = len(x) // FRAME_SAMPLES
    body = x[: whole * FRAME_SAMPLES].reshape(whole, FRAME_SAMPLES)
    energy = np.einsum("ij,ij->i", body, body)
    samples = np.full(whole, float(FRAME_SAMPLES))
    tail = x[whole * FRAME_SAMPLES :]
    if len(tail):
        energy = np.append(energy, tail @ tail)
        samples = np.append(samples, float(len(tail)))
    return energy, samples


def _decibels(power: float) -> float:
    return float("-inf") if power == 0.0 else float(10.0 * np.log10(power))
