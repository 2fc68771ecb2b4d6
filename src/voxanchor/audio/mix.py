"""Adding noise to speech at an exact signal-to-noise ratio."""

import math
from dataclasses import dataclass

import numpy as np

from voxanchor.audio.level import active_level_db, high_pass
from voxanchor.errors import AudioError
from voxanchor.types import Waveform

VERSION = 2
"""Raised when the same speech and noise give another mixture."""


@dataclass(frozen=True)
class Mixture:
    """Noisy speech, and what was done to make it.

    Attributes:
        waveform: (T,) float32, speech plus scaled noise; may exceed full scale, nothing is clipped or normalised.
        snr_db: ratio of the active levels, measured on the speech and on the noise as it was added.
        noise_gain_db: gain that was applied to the noise; the speech is never scaled.
        speech_level_db: active level of the speech in dBFS.
        noise_level_db: active level of the noise as it was added, in dBFS.
        peak: largest absolute sample of `waveform`, 1.0 being full scale.
    """

    waveform: Waveform
    snr_db: float
    noise_gain_db: float
    speech_level_db: float
    noise_level_db: float
    peak: float


def mix(speech: Waveform, noise: Waveform, snr_db: float) -> Mixture:
    """Return speech with the noise added at a signal-to-noise ratio, both measured over their active frames.

    Args:
        speech: (T,) float32, left at its own level.
        noise: (T,) float32 of any level, scaled to fit; its DC and drift are taken out, since nobody hears them.
        snr_db: active level of the speech less active level of the noise.

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
    speech_level_db = _audible_level_db(speech, "speech")
    noise_gain_db = speech_level_db - snr_db - _audible_level_db(noise, "noise")
    # Without float64 here the gain of very quiet noise would already be off by its rounding.
    added = high_pass(noise) * 10.0 ** (noise_gain_db / 20.0)
    noise_level_db = active_level_db(added, filtered=True)
    waveform = (speech + added).astype(np.float32)
    return Mixture(
        waveform=waveform,
        snr_db=speech_level_db - noise_level_db,
        noise_gain_db=noise_gain_db,
        speech_level_db=speech_level_db,
        noise_level_db=noise_level_db,
        peak=float(np.abs(waveform).max()),
    )


def _audible_level_db(waveform: Waveform, role: str) -> float:
    level = active_level_db(waveform)
    if math.isnan(level):
        raise AudioError(f"the {role} holds samples that are not finite (NaN or infinity)")
    if math.isinf(level):
        raise AudioError(f"the {role} is digital silence, so no signal-to-noise ratio can be set")
    return level
