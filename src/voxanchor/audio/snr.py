"""Levels, signal-to-noise ratios and mixing: of one waveform in numpy, and of batches in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError
from voxanchor.extras import lazily
from voxanchor.types import SAMPLE_RATE, BoolArray, FloatArray, Waveform

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F
else:
    torch = lazily("torch", globals(), "torch")
    F = lazily("torch.nn.functional", globals(), "F")

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


# Levels and mixing of many waveforms at once, in torch, on whatever device they lie on.
#
# The same definitions as `voxanchor.audio.snr` and `voxanchor.audio.snr`, which work on one waveform at a time and
# are
# what these are tested against.

_RATIO = 10.0 ** (-ACTIVITY_MARGIN_DB / 10.0)


@dataclass(frozen=True)
class Activity:
    """Where sound is heard in N waveforms, and how loud it is there.

    Attributes:
        power: (N,) float64 mean power of the active frames; 0 for digital silence.
        samples: (N,) int64 samples in active frames.
    """

    power: Tensor
    samples: Tensor


def high_pass_batch(waves: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return waves (N, T) without DC and drift, of their dtype, as `voxanchor.audio.snr.high_pass` does.

    Args:
        waves: (N, T) floating point.
        lengths: (N,) int64 samples of each; what lies behind them has no part in anything and comes out as 0. All of T
            when absent.
    """
    half, total = AVERAGED_SAMPLES // 2, waves.shape[1]
    at = torch.arange(total, device=waves.device)
    ends = at.new_full((1, 1), total) if lengths is None else lengths.unsqueeze(1)
    width = (torch.minimum(at + half + 1, ends) - (at - half).clamp(min=0)).clamp(min=1).to(waves.dtype)
    own = None if lengths is None else at < ends

    def average(x: Tensor) -> Tensor:
        sums = F.pad(x.cumsum(dim=1), (1, 0))
        last = torch.cat([sums[:, half + 1 :], sums[:, -1:].expand(-1, half)], dim=1)[:, :total]
        first = F.pad(sums, (half, 0))[:, :total]
        mean = (last - first) / width
        return mean if own is None else mean * own

    x = waves if own is None else waves.masked_fill(~own, 0.0)
    # The mean goes first: the sums of a wave with DC would outgrow the precision of float32.
    x = x - x.sum(dim=1, keepdim=True) / ends.clamp(min=1).to(x.dtype)
    x = x if own is None else x * own
    return x - average(average(x))


def frame_energy(
    waves: Tensor, lengths: Tensor | None = None, heard: Tensor | None = None, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Return the energy (N, F) and the number of samples, (F,) or (N, F), of the 20 ms frames of `waves` (N, T).

    Args:
        waves: (N, T) floating point.
        lengths: (N,) int64 samples of each; all of T when absent.
        heard: what `high_pass` makes of the waves, where it is known.
        dtype: of both results; float64 when absent.
    """
    dtype = torch.float64 if dtype is None else dtype
    total = waves.shape[1]
    frames = (total + FRAME_SAMPLES - 1) // FRAME_SAMPLES
    starts = torch.arange(frames, device=waves.device) * FRAME_SAMPLES
    heard = high_pass_batch(waves, lengths) if heard is None else heard
    if lengths is None:
        counts, last = (total - starts).clamp(max=FRAME_SAMPLES), waves[:, -1:]
    else:
        ends = lengths.unsqueeze(1)
        own = torch.arange(total, device=waves.device) < ends
        counts, last = (ends - starts).clamp(min=0, max=FRAME_SAMPLES), waves.gather(1, (ends - 1).clamp(min=0))
        waves, heard = torch.where(own, waves, last), heard.masked_fill(~own, 0.0)

    def framed(x: Tensor, end: Tensor) -> Tensor:
        filled = torch.cat([x, end.expand(-1, frames * FRAME_SAMPLES - total)], dim=1)
        return filled.reshape(x.shape[0], frames, FRAME_SAMPLES)

    energy = torch.linalg.vector_norm(framed(heard, torch.zeros_like(last)), dim=2).to(dtype).square()
    # The filter smears sound by up to 50 ms into the silence beside it, which stays silence.
    raw = framed(waves, last)
    return energy.masked_fill(raw.amax(dim=2) == raw.amin(dim=2), 0.0), counts.to(dtype)


def activity(energy: Tensor, samples: Tensor) -> Activity:
    """Return what of N waveforms is active, by the fixed point of `voxanchor.audio.snr.active_level_db`.

    The definition takes the mean power of all frames, leaves out those too far below it, and begins anew with the rest
    until nothing more is left out. Frames are left out from the quietest on, so what stays are always the k loudest,
    and the fixed point that is reached from all of them is the largest k whose quietest frame may stay beside the mean
    of the k. Found this way it takes the same steps for every sound, which an exported graph needs.

    Args:
        energy: (N, F) energy of every frame.
        samples: (F,) or (N, F) samples of every frame.
    """
    samples = samples.expand_as(energy)
    power = energy / samples.clamp(min=1.0)
    order = power.argsort(dim=1, descending=True)
    means = energy.gather(1, order).cumsum(dim=1) / samples.gather(1, order).cumsum(dim=1).clamp(min=1.0)
    stays = power.gather(1, order) > means * _RATIO
    count = (stays * torch.arange(1, energy.shape[1] + 1, device=energy.device)).amax(dim=1, keepdim=True)
    least = means.gather(1, (count - 1).clamp(min=0)) * _RATIO
    active = power > least
    heard = (active * samples).sum(dim=1)
    return Activity((energy * active).sum(dim=1) / heard.clamp(min=1.0), heard.long())


def measure(waves: Tensor, *, filtered: bool = False, snr: SnrLevels = "active") -> Activity:
    """Return what of the waveforms (N, T) is active; `filtered` where they went through `high_pass` already.

    With `snr` ``whole`` all of their samples count, pauses as well.
    """
    energy, samples = frame_energy(waves, heard=waves if filtered else None)
    if snr == "active":
        return activity(energy, samples)
    counted = samples.sum(dim=-1).expand(len(waves))
    return Activity(energy.sum(dim=1) / counted, counted.long())


def noise_gains(speech: Activity, noise: Activity, snr_db: Tensor) -> Tensor:
    """Return the (N,) float64 factors that bring noise to a signal-to-noise ratio below speech, level to level.

    0 where either is silent: nothing is added, and the caller says so.

    Args:
        speech: of N waveforms.
        noise: of N waveforms.
        snr_db: (N,) ratio of the levels as `measure` took them.
    """
    wanted = speech.power * 10.0 ** (-snr_db.double() / 10.0)
    audible = (speech.power > 0.0) & (noise.power > 0.0)
    return torch.where(audible, (wanted / noise.power.clamp(min=torch.finfo(torch.float64).tiny)).sqrt(), 0.0)


# Adding noise to speech at an exact signal-to-noise ratio.

VERSION = 2
"""Raised when the same speech and noise give another mixture."""

LEVELS = {"active": active_level_db, "whole": level_db}
"""How a level is measured, by what a ratio lies between."""


@dataclass(frozen=True)
class Mixture:
    """Noisy speech, and what was done to make it.

    Attributes:
        waveform: (T,) float32, speech plus scaled noise; may exceed full scale, nothing is clipped or normalised.
        snr_db: ratio of the levels asked for, measured on the speech and on the noise as it was added.
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
    """Return speech with the noise added at a signal-to-noise ratio, by default between the levels of active frames.

    Args:
        speech: (T,) float32, left at its own level.
        noise: (T,) float32 of any level, scaled to fit; its DC and drift are taken out, since nobody hears them.
        snr_db: level of the speech less level of the noise.
        snr: which levels: ``active`` ones, or ``whole``, the RMS of either signal with its pauses, as many mixers of
            the field take them.

    Raises:
        AudioError: lengths differ, a signal is silent or not finite, or the ratio is not finite.
    """
    if speech.shape != noise.shape:
        raise AudioError(
            f"speech of shape {speech.shape} cannot be mixed with noise of shape {noise.shape}: crop or loop the noise "
            "to the length of the speech first"
        )
    if not math.isfinite(snr_db):
        raise AudioError(f"the signal-to-noise ratio must be a finite number of dB, not {snr_db}")
    level = LEVELS[snr]
    speech_level_db = _audible_level_db(speech, "speech", level)
    noise_db = _audible_level_db(noise, "noise", level)
    added = high_pass(noise)
    if snr == "whole":  # what the filter smears into silence is added, too, and counts
        noise_db = level(added, filtered=True)
    noise_gain_db = speech_level_db - snr_db - noise_db
    # Without float64 here the gain of very quiet noise would already be off by its rounding.
    added *= 10.0 ** (noise_gain_db / 20.0)
    noise_level_db = level(added, filtered=True)
    waveform = (speech + added).astype(np.float32)
    return Mixture(
        waveform=waveform,
        snr_db=speech_level_db - noise_level_db,
        noise_gain_db=noise_gain_db,
        speech_level_db=speech_level_db,
        noise_level_db=noise_level_db,
        peak=float(np.abs(waveform).max()),
    )


def _audible_level_db(waveform: Waveform, role: str, measure: Callable[[Waveform], float]) -> float:
    level = measure(waveform)
    if math.isnan(level):
        raise AudioError(f"the {role} holds samples that are not finite (NaN or infinity)")
    if math.isinf(level):
        raise AudioError(f"the {role} is digital silence, so no signal-to-noise ratio can be set")
    return level
