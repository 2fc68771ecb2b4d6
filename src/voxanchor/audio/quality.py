"""What can be told of a recording without a reference: how much speech it holds, how noisy and how clipped it is."""

from dataclasses import dataclass

import numpy as np

from voxanchor.audio.level import active_s, frame_powers
from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, BoolArray, Waveform

VERSION = 1
"""Raised when the same recording is found to be worth something else."""

SNR_RANGE_DB = (-10.0, 50.0)
"""Estimates end here: below, nothing is told apart from noise, and above there is no noise to speak of."""

QUIET_SHARE = 10.0
"""The floor is the level that so many percent of the frames are below."""

LEAST_POWER = 1e-9
"""Frames this far below the loudest one (-90 dB) are padding or a noise gate, and no floor."""

CLIPPED_RUN = 3
"""So many samples in a row at the same extreme are a cut top; a wave that merely turns there stays for fewer."""

CLIPPED_SHARE = 0.001
"""From this share of clipped samples on a recording counts as clipped."""

_AT_PEAK = 0.9999  # a cut top is flat to the last bit; closer than this a sine above 40 Hz turns round


@dataclass(frozen=True)
class Quality:
    """What a recording is worth for comparing voices.

    Attributes:
        duration_s: its length.
        speech_s: seconds of active speech (`voxanchor.audio.level`).
        snr_db: estimate of the ratio of speech to noise, see `estimate_snr_db`.
        clipped: share of the samples that lie in cut-off tops, 0 to 1.
    """

    duration_s: float
    speech_s: float
    snr_db: float
    clipped: float

    @classmethod
    def of(cls, waveform: Waveform) -> "Quality":
        """Return the quality of a (T,) waveform at 16 kHz; silence has no speech, and the lowest ratio.

        Raises:
            AudioError: the waveform is empty, not one-dimensional, or not finite.
        """
        if not np.isfinite(waveform).all():
            raise AudioError("a waveform with samples that are not finite (NaN or infinity) has no quality")
        return cls(
            len(waveform) / SAMPLE_RATE, active_s(waveform), estimate_snr_db(waveform), float(clipped(waveform).mean())
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before trusting a decision on it; empty when nothing is wrong."""
        found = []
        if self.speech_s < SHORT_SPEECH_S:
            found.append(f"only {self.speech_s:.1f} s of speech")
        if self.snr_db < NOISY_DB:
            found.append(f"noisy: speech about {self.snr_db:.0f} dB above the noise")
        if self.clipped >= CLIPPED_SHARE:
            found.append(f"clipped: {100 * self.clipped:.1f} % of the samples are cut off")
        return tuple(found)


SHORT_SPEECH_S = 1.5
"""With less active speech errors rise steeply."""

NOISY_DB = 10.0


def estimate_snr_db(waveform: Waveform) -> float:
    """Return an estimate of the signal-to-noise ratio in dB, within `SNR_RANGE_DB`: of speech to what is always there.

    The noise is the level that a tenth of all 20 ms frames lie below, since speech pauses that often; the speech is the
    mean power of active frames less the noise. In steady noise the estimate is within 2 dB or so from 0 to 25 dB. Where
    the noise pauses, too, as babble and music do, it is up to 6 dB too high below 10 dB (docs/verification.md). Noise
    in bursts, a door or a dog, cannot be told from speech this way, and is not seen.

    Args:
        waveform: (T,) float32 at 16 kHz; gain does not matter.
    """
    power = frame_powers(waveform)
    loudest = float(power.max())
    if loudest == 0.0:
        return SNR_RANGE_DB[0]
    heard = power[power > loudest * LEAST_POWER]
    floor = float(np.percentile(heard, QUIET_SHARE))
    speech = float(heard[heard > heard.mean() * ACTIVE_RATIO].mean()) - floor
    ratio_db = 10.0 * np.log10(max(speech, floor * 1e-3) / floor)
    return float(np.clip(ratio_db, *SNR_RANGE_DB))


ACTIVE_RATIO = 10.0**-1.59
"""A frame is speech above the mean less 15.9 dB, the margin of `voxanchor.audio.level`."""


def clipped(waveform: Waveform) -> BoolArray:
    """Return (T,) bool: which samples lie in a run of at least three that stay at the waveform's extreme."""
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak == 0.0:
        return np.zeros(len(waveform), dtype=np.bool_)
    found = np.zeros(len(waveform), dtype=np.bool_)
    for side in (waveform, -waveform):
        at = side >= _AT_PEAK * peak
        edges = np.flatnonzero(np.diff(np.concatenate(([False], at, [False])).astype(np.int8)))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start >= CLIPPED_RUN:
                found[start:end] = True
    return found
