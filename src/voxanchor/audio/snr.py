"""Levels, signal-to-noise ratios and mixing: one definition, for batches and for one waveform.

Functions of ``Array`` take N waveforms at once, in numpy or in torch, wherever they lie and in their own precision.
Functions of one waveform take it as a batch of one, in numpy and float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic, Literal

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.arrays import Array, along, cast, namespace
from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, BoolArray, FloatArray, Waveform

VERSION = 3
"""Raised when the same speech and noise give another mixture."""

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
"""Length of each of the two moving averages behind the high-pass: 50 ms at 16 kHz, odd so that neither delays."""


@dataclass(frozen=True)
class Activity(Generic[Array]):
    """Where N waveforms are active, and how loud they are there.

    Attributes:
        power: (N,) mean power of the active frames; 0 for digital silence.
        samples: (N,) int64 samples in active frames.
        frames: (N, F) bool, which frames are active.
    """

    power: Array
    samples: Array
    frames: Array


def high_pass_batch(waves: Array, lengths: Array | None = None) -> Array:
    """Return waves (N, T) without DC, drift and rumble: what is slower than any voice.

    A microphone's DC offset and the drift of its amplifier carry energy that nobody hears, so they must count neither
    as speech nor as noise. Two moving averages of 50 ms, one after the other, follow what is slow, and are subtracted:
    a filter without delay that takes DC away entirely and 14 dB at 5 Hz, and from 45 Hz on changes nothing by more
    than 0.2 dB. Towards either end the averages run over the samples that there are.

    Args:
        waves: (N, T) floating point; the result has the same dtype.
        lengths: (N,) int64 samples of each; what lies behind them has no part in anything and comes out as 0. All of T
            when absent.
    """
    xp, device = namespace(waves), waves.device
    half, total = AVERAGED_SAMPLES // 2, waves.shape[1]
    at = xp.arange(total, device=device)
    ends = xp.full((1, 1), total, device=device) if lengths is None else lengths[:, None]
    width = cast((xp.minimum(at + half + 1, ends) - (at - half).clip(min=0)).clip(min=1), waves.dtype)
    own = None if lengths is None else at < ends
    before = xp.zeros((waves.shape[0], half + 1), dtype=waves.dtype, device=device)

    def average(x: Array) -> Array:
        sums = xp.cumsum(x, axis=1)
        beyond = xp.broadcast_to(sums[:, -1:], (x.shape[0], half))
        last = xp.concatenate([sums[:, half:], beyond], axis=1)[:, :total]
        mean: Array = last - xp.concatenate([before, sums], axis=1)[:, :total]
        mean /= width  # in place: fresh memory costs more than the arithmetic
        return mean if own is None else mean * own

    x: Array = waves if own is None else xp.where(own, waves, 0.0)
    if x.dtype != xp.float64:  # the sums of a wave with DC would outgrow the precision: the mean goes first
        x = x - xp.sum(x, axis=1, keepdims=True) / cast(ends.clip(min=1), x.dtype)
        x = x if own is None else x * own
    heard: Array = x - average(average(x))
    return heard


def frame_energy(
    waves: Array, lengths: Array | None = None, heard: Array | None = None, dtype: Any = None
) -> tuple[Array, Array]:
    """Return the energy (N, F) and the number of samples, (F,) or (N, F), of the 20 ms frames of `waves` (N, T).

    The last frame may be shorter. Digital silence, all of whose samples are the same, has no energy.

    Args:
        waves: (N, T) floating point.
        lengths: (N,) int64 samples of each; all of T when absent.
        heard: what the high-pass makes of the waves, where it is known.
        dtype: of both results; float64 when absent.
    """
    xp, device = namespace(waves), waves.device
    dtype = xp.float64 if dtype is None else dtype
    rows, total = waves.shape
    frames = (total + FRAME_SAMPLES - 1) // FRAME_SAMPLES
    starts = xp.arange(frames, device=device) * FRAME_SAMPLES
    heard = high_pass_batch(waves, lengths) if heard is None else heard
    if lengths is None:
        counts, last = (total - starts).clip(max=FRAME_SAMPLES), waves[:, -1:]
    else:
        ends = lengths[:, None]
        own = xp.arange(total, device=device) < ends
        counts, last = (ends - starts).clip(min=0, max=FRAME_SAMPLES), along(waves, (ends - 1).clip(min=0))
        waves, heard = xp.where(own, waves, last), xp.where(own, heard, 0.0)

    def framed(x: Array, end: Array) -> Array:
        beyond = xp.broadcast_to(end, (rows, frames * FRAME_SAMPLES - total))
        filled: Array = xp.concatenate([x, beyond], axis=1).reshape(rows, frames, FRAME_SAMPLES)
        return filled

    energy = cast(xp.linalg.vector_norm(framed(heard, xp.zeros_like(last)), axis=2), dtype) ** 2
    # The filter smears sound by up to 50 ms into the silence beside it, which stays silence.
    raw = framed(waves, last)
    silent = xp.amax(raw, axis=2) == xp.amin(raw, axis=2)
    return xp.where(silent, 0.0, energy), cast(counts, dtype)


def activity(energy: Array, samples: Array) -> Activity[Array]:
    """Return which frames of N waveforms are active, and how loud they are together.

    A frame is active when its power exceeds the active level less 15.9 dB, and the active level is the mean power of
    the active frames: the fixed point reached from above, starting with all frames that are not digital silence. The
    margin is that of ITU-T P.56; its absolute thresholds are left out, so that scaling a waveform moves its level by
    exactly the gain. Pauses, noise gates and padding do not count; a stationary signal has exactly its RMS level.

    Iterating, the definition takes the mean power of all frames, leaves out those too far below it, and begins anew
    with the rest until nothing more is left out. Frames are left out from the quietest on, so what stays are always
    the k loudest, and the fixed point that is reached from all of them is the largest k whose quietest frame may stay
    beside the mean of the k. Found this way it takes the same steps for every sound, which an exported graph needs.

    Args:
        energy: (N, F) energy of every frame.
        samples: (F,) or (N, F) samples of every frame.
    """
    xp = namespace(energy)
    samples = xp.broadcast_to(samples, energy.shape)
    power = energy / samples.clip(min=1.0)
    order = xp.argsort(-power, axis=1)
    means = xp.cumsum(along(energy, order), axis=1) / xp.cumsum(along(samples, order), axis=1).clip(min=1.0)
    stays = along(power, order) > means * _ACTIVITY_RATIO
    ranks = xp.arange(1, energy.shape[1] + 1, device=energy.device)
    count = xp.amax(stays * ranks, axis=1)[:, None]
    least = along(means, (count - 1).clip(min=0)) * _ACTIVITY_RATIO
    active = power > least
    heard = (active * samples).sum(axis=1)
    return Activity((energy * active).sum(axis=1) / heard.clip(min=1.0), cast(heard, xp.int64), active)


def measure(waves: Array, *, heard: Array | None = None, snr: SnrLevels = "active") -> Activity[Array]:
    """Return how loud the waveforms (N, T) are, in float64.

    Args:
        waves: (N, T) floating point.
        heard: what the high-pass makes of them, where it is this that will be heard.
        snr: ``active`` frames alone count; or ``whole``, all samples, pauses as well.
    """
    energy, samples = frame_energy(waves, heard=heard)
    if snr == "active":
        return activity(energy, samples)
    xp = namespace(waves)
    if heard is not None:  # what the filter smears into silence is heard, too, and counts
        energy = xp.where(xp.amax(energy, axis=1)[:, None] > 0.0, frame_energy(heard, heard=heard)[0], 0.0)
    counted = xp.broadcast_to(xp.sum(samples, axis=-1), (waves.shape[0],))
    return Activity(xp.sum(energy, axis=1) / counted, cast(counted, xp.int64), xp.ones_like(energy, dtype=xp.bool))


def noise_gains(speech: Activity[Array], noise: Activity[Array], snr_db: Array) -> Array:
    """Return the (N,) float64 factors that bring noise to a signal-to-noise ratio below speech, level to level.

    0 where either is silent: nothing is added, and the caller says so.

    Args:
        speech: of N waveforms.
        noise: of N waveforms.
        snr_db: (N,) float64 ratio of the levels as `measure` took them.
    """
    xp = namespace(snr_db)
    wanted = speech.power * 10.0 ** (-snr_db / 10.0)
    audible = (speech.power > 0.0) & (noise.power > 0.0)
    gains: Array = xp.where(audible, xp.sqrt(wanted / noise.power.clip(min=float(np.finfo(np.float64).tiny))), 0.0)
    return gains


@dataclass(frozen=True)
class Added(Generic[Array]):
    """What was added to N waveforms.

    Attributes:
        gains: (N,) float64 factors on the noise; 0 where speech or noise is silent, and nothing was added.
        speech: (N,) float64 power of the speech, and
        noise: (N,) that of the noise as it was added, both over what the ratio lies between.
    """

    gains: Array
    speech: Array
    noise: Array

    def snr_db(self) -> float:
        """Return the ratio of the levels of one waveform and of what was added to it.

        Raises:
            AudioError: one of them is silent.
        """
        if float(self.gains[0]) == 0.0:
            silent = "speech" if float(self.speech[0]) == 0.0 else "noise"
            raise AudioError(f"the {silent} is digital silence, so no signal-to-noise ratio can be set")
        return _decibels(float(self.speech[0])) - _decibels(float(self.noise[0]))


def add_noise(waves: Array, noise: Array, snr_db: Array, snr: SnrLevels = "active") -> Added[Array]:
    """Add noise to speech at a signal-to-noise ratio, in place; the speech is never scaled.

    Levels are measured, and sums formed, in the precision of the noise: float64 makes the ratio exact whatever the
    levels, float32 exact to 0.01 dB from -60 dBFS on.

    Args:
        waves: (N, T) floating point, the speech; gets the noise added.
        noise: (N, T) of any level; its DC and drift are taken out, since nobody hears them, and its level is that of
            what is left.
        snr_db: (N,) float64 level of the speech less level of the noise.
        snr: which levels: ``active`` ones, or ``whole``, the RMS of either signal with its pauses, as many mixers of
            the field take them.
    """
    heard = high_pass_batch(noise)
    speech_level = measure(cast(waves, noise.dtype), snr=snr)
    noise_level = measure(noise, heard=heard, snr=snr)
    gains = noise_gains(speech_level, noise_level, snr_db)
    heard *= cast(gains, heard.dtype)[:, None]
    waves += heard
    return Added(gains, speech_level.power, noise_level.power * gains**2)


# One waveform: a batch of one, in float64.


def high_pass(waveform: NDArray[np.floating]) -> FloatArray:
    """Return (T,) float64: the (T,) waveform without DC, drift and rumble, as `high_pass_batch` has it."""
    heard: FloatArray = high_pass_batch(_one(waveform))[0]
    return heard


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
    """Return the RMS level of the active frames in dB relative to full scale, as `activity` defines them.

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
    """Return (ceil(T / 320),) bool: which 20 ms frames are active, as `activity` defines it.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    return active_power(*frames_of(waveform))[0]


def active_s(waveform: NDArray[np.floating]) -> float:
    """Return how many seconds of the waveform are active, as `activity` defines it.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    energy, samples = frames_of(waveform)
    return float(samples[active_power(energy, samples)[0]].sum()) / SAMPLE_RATE


def frames_of(waveform: NDArray[np.floating], *, filtered: bool = False) -> tuple[FloatArray, FloatArray]:
    """Return the energy and the number of samples of every 20 ms frame, both (ceil(T / 320),) float64.

    Args:
        waveform: (T,) samples; where one is not finite every energy is nan.
        filtered: it went through `high_pass` already, and does not go again.

    Raises:
        AudioError: the waveform is empty or not one-dimensional.
    """
    if waveform.ndim != 1 or len(waveform) == 0:
        raise AudioError(
            f"a level needs a one-dimensional waveform with samples, not an array of shape {waveform.shape}"
        )
    finite = bool(np.isfinite(waveform).all())
    wave = _one(waveform if finite else np.zeros_like(waveform))
    energy, samples = frame_energy(wave, heard=wave if filtered else None)
    return energy[0] if finite else np.full(len(samples), np.nan), samples


def active_power(energy: FloatArray, samples: FloatArray) -> tuple[BoolArray, float]:
    """Return which frames are active, (F,) bool, and their mean power, as `activity` defines them.

    Args:
        energy: (F,) of each frame.
        samples: (F,) of each frame.
    """
    if not np.isfinite(energy).all():
        return np.zeros(len(energy), dtype=np.bool_), float("nan")
    found = activity(energy[None], samples)
    return found.frames[0], float(found.power[0])


def _one(waveform: NDArray[np.floating]) -> NDArray[Any]:
    """Return (1, T) float64; the very samples where they are float64 already."""
    return waveform.astype(np.float64, copy=False)[None]


def _decibels(power: float) -> float:
    """Return a power in dB; ``-inf`` for none."""
    return float("-inf") if power == 0.0 else float(10.0 * np.log10(power))


@dataclass(frozen=True)
class Mixture:
    """Noisy speech, and what was done to make it.

    Attributes:
        waveform: (T,) float32, speech plus scaled noise; may exceed full scale, nothing is clipped or normalised.
        snr_db: ratio of the levels asked for, of the speech and of the noise as it was added.
        noise_gain_db: gain that was applied to the noise; the speech is never scaled.
        speech_level_db: level of the speech in dBFS, over its active frames or all of it, as was asked for.
        noise_level_db: that of the noise as it was added, in dBFS.
        peak: largest absolute sample of `waveform`, 1.0 being full scale.
    """

    waveform: Waveform
    snr_db: float
    noise_gain_db: float
    speech_level_db: float
    noise_level_db: float
    peak: float


def mix(speech: Waveform, noise: Waveform, snr_db: float, snr: SnrLevels = "active") -> Mixture:
    """Return speech with the noise added at a signal-to-noise ratio, as `add_noise` does it.

    Args:
        speech: (T,) float32, left at its own level.
        noise: (T,) float32 of any level, scaled to fit.
        snr_db: level of the speech less level of the noise.
        snr: which levels: those of ``active`` frames, or of the ``whole`` signals.

    Raises:
        AudioError: lengths differ, a signal is silent or not finite, or the ratio is not finite.
    """
    if speech.shape != noise.shape:
        raise AudioError(
            f"speech of shape {speech.shape} cannot be mixed with noise of shape {noise.shape}: crop or loop the noise "
            "to the length of the speech first"
        )
    if speech.ndim != 1 or len(speech) == 0:
        raise AudioError(f"mixing needs one-dimensional waveforms with samples, not arrays of shape {speech.shape}")
    if not math.isfinite(snr_db):
        raise AudioError(f"the signal-to-noise ratio must be a finite number of dB, not {snr_db}")
    for role, waveform in (("speech", speech), ("noise", noise)):
        if not np.isfinite(waveform).all():
            raise AudioError(f"the {role} holds samples that are not finite (NaN or infinity)")
    waves: NDArray[Any] = np.array(speech, dtype=np.float32)[None]
    added = add_noise(waves, _one(noise), np.array([snr_db], dtype=np.float64), snr)
    return Mixture(
        waveform=waves[0],
        snr_db=added.snr_db(),
        noise_gain_db=2.0 * _decibels(float(added.gains[0])),
        speech_level_db=_decibels(float(added.speech[0])),
        noise_level_db=_decibels(float(added.noise[0])),
        peak=float(np.abs(waves).max()),
    )
