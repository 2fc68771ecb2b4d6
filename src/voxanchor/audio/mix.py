"""Adding noise to speech at an exact signal-to-noise ratio."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voxanchor.audio.level import SnrLevels, active_level_db, high_pass, level_db
from voxanchor.errors import AudioError
from voxanchor.types import Waveform

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
