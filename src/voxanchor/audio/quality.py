"""What can be told of a recording without a reference: its speech, noise, level, band, offset and clipping."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.snr import AVERAGED_SAMPLES, FRAME_SAMPLES, active_power, frames_of
from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, BoolArray, FloatArray, Waveform

VERSION = 2
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

SHORT_SPEECH_S = 1.5
"""With less active speech errors rise steeply."""

NOISY_DB = 10.0
"""With a lower estimated ratio a recording counts as noisy."""

QUIET_DB = -60.0
"""Active level in dBFS below which the rounding of 16-bit samples becomes a part of the sound."""

OFFSET = 0.01
"""Share of full scale from which on a DC offset is worth a word: the microphone or its amplifier has a fault."""

NARROW_HZ = 4_250.0
"""A recording without sound above this came over a telephone, or at 8 kHz."""

LARGEST_PEAK = 8.0
"""No recording with full scale at 1 goes so far beyond it (18 dB): its samples have another full scale."""

ACTIVE_RATIO = 10.0**-1.59
"""A frame is speech above the mean less 15.9 dB, the margin of `voxanchor.audio.snr`."""

_AT_PEAK = 0.9999  # a cut top is flat to the last bit; closer than this a sine above 40 Hz turns round

_SPECTRUM_SAMPLES = 512
_BAND_BINS = 8  # 250 Hz
_EMPTY_DB = 62.0  # below the loudest band: under any noise of a room, above what a resampler or codec leaves

_CONTEXT_SAMPLES = -(-AVERAGED_SAMPLES // FRAME_SAMPLES) * FRAME_SAMPLES
"""Whole frames on either side within which the high-pass of a sample ends."""


@dataclass(frozen=True)
class Quality:
    """What a recording is worth for comparing voices. None stands for what is not known, as of a stored voiceprint.

    Attributes:
        duration_s: its length.
        speech_s: seconds of active speech (`voxanchor.audio.snr`).
        snr_db: estimate of the ratio of speech to noise, see `estimate_snr_db`.
        clipped: share of the samples that lie in cut-off tops, 0 to 1.
        level_db: active level in dB relative to full scale; None for silence as well.
        dc: DC offset, the mean of all samples, in full scales.
        bandwidth_hz: highest frequency with sound, in steps of 250 Hz; None for silence as well.
        peak: largest absolute sample, full scale being 1.
    """

    duration_s: float
    speech_s: float
    snr_db: float
    clipped: float
    level_db: float | None = None
    dc: float | None = None
    bandwidth_hz: float | None = None
    peak: float | None = None

    @classmethod
    def of(cls, waveform: Waveform, original: Waveform | None = None) -> "Quality":
        """Return the quality of a (T,) waveform at 16 kHz; silence has no speech, and the lowest ratio.

        Args:
            waveform: the recording at 16 kHz.
            original: the recording at its own rate, where that is another: resampling rounds off what was clipped.

        Raises:
            AudioError: the waveform is empty, not one-dimensional, or not finite.
        """
        meter = QualityMeter()
        meter.add(waveform, original)
        return meter.result()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before trusting a decision on it; empty when nothing is wrong."""
        if self.speech_s == 0.0:
            return ("silent",)
        found = []
        if self.speech_s < SHORT_SPEECH_S:
            found.append(f"only {self.speech_s:.1f} s of speech")
        if self.snr_db < NOISY_DB:
            where = "below" if round(self.snr_db) < 0 else "above"
            found.append(f"noisy: speech about {abs(self.snr_db):.0f} dB {where} the noise")
        if self.clipped >= CLIPPED_SHARE:
            found.append(f"clipped: {100 * self.clipped:.1f} % of the samples are cut off")
        if self.peak is not None and self.peak >= LARGEST_PEAK:
            found.append(f"its samples reach {self.peak:,.0f} times full scale: integers kept as floating point?")
        elif self.level_db is not None and self.level_db < QUIET_DB:
            found.append(f"very quiet: speech at {self.level_db:.0f} dB of full scale")
        # of samples with another full scale the offset says nothing
        if self.dc is not None and abs(self.dc) >= OFFSET and not (self.peak is not None and self.peak >= LARGEST_PEAK):
            found.append(f"a DC offset of {abs(self.dc):.2f} of full scale, which is taken out")
        return tuple(found)

    @property
    def is_narrow(self) -> bool:
        """Whether nothing is heard above a telephone's band: no fault where telephones are what is meant."""
        return self.bandwidth_hz is not None and self.bandwidth_hz <= NARROW_HZ


class QualityMeter:
    """Measures the quality of a recording that comes in blocks, of which none is kept.

    The figures are those of `Quality.of` for the whole, whatever the blocks; clipping alone is counted against the
    highest peak of each block where that is within 0.01 % of the recording's.
    """

    def __init__(self) -> None:
        self._samples = 0
        self._sum = 0.0
        self._held: NDArray[np.float32] = np.zeros(0, np.float32)
        self._before = 0  # samples at the start of what is held that were counted, and give the filter its context
        self._energy: list[FloatArray] = []
        self._counts: list[FloatArray] = []
        self._spectrum = np.zeros(_SPECTRUM_SAMPLES // 2 + 1)
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._clipping = _Clipping()

    def add(self, block: Waveform, original: Waveform | None = None) -> None:
        """Take the next block of the recording.

        Args:
            block: (T,) float32 at 16 kHz.
            original: (S,) the same stretch at the recording's own rate, where that is another.

        Raises:
            AudioError: the block is not one-dimensional, or not finite.
        """
        if block.ndim != 1:
            raise AudioError(f"quality needs a one-dimensional waveform, not an array of shape {block.shape}")
        if not np.isfinite(block).all():
            raise AudioError("a waveform with samples that are not finite (NaN or infinity) has no quality")
        self._samples += len(block)
        self._sum += float(block.sum(dtype=np.float64))
        self._clipping.add(block if original is None else original)
        self._add_spectrum(block)
        self._held = block if not len(self._held) else np.concatenate([self._held, block])
        ready = (len(self._held) - _CONTEXT_SAMPLES - self._before) // FRAME_SAMPLES * FRAME_SAMPLES
        if ready >= SAMPLE_RATE:
            self._count(self._before + ready)

    def result(self) -> Quality:
        """Return the quality of what was heard so far, which must be all.

        Raises:
            AudioError: nothing was.
        """
        if self._samples == 0:
            raise AudioError("quality needs a one-dimensional waveform with samples")
        energy, counts = self._frames()
        active, power = active_power(energy, counts)
        peak, clipped = self._clipping.result()
        return Quality(
            duration_s=self._samples / SAMPLE_RATE,
            speech_s=float(counts[active].sum()) / SAMPLE_RATE,
            snr_db=_ratio_db(energy / counts),
            clipped=clipped,
            level_db=float(10.0 * np.log10(power)) if power > 0.0 else None,
            dc=self._sum / self._samples,
            bandwidth_hz=_bandwidth_hz(self._spectrum) if power > 0.0 else None,
            peak=peak,
        )

    @property
    def active(self) -> BoolArray:
        """Which 20 ms frames of what was heard, which must be all, hold active speech: (ceil(T / 320),) bool."""
        return active_power(*self._frames())[0]

    def _frames(self) -> tuple[FloatArray, FloatArray]:
        if len(self._held) > self._before:
            self._count(len(self._held))
        return np.concatenate(self._energy), np.concatenate(self._counts)

    def _count(self, until: int) -> None:
        """Count the frames of what is held up to a sample, and keep what the filter needs of it."""
        energy, counts = frames_of(self._held)
        first, last = self._before // FRAME_SAMPLES, -(-until // FRAME_SAMPLES)
        self._energy.append(energy[first:last])
        self._counts.append(counts[first:last])
        start = max(0, until - _CONTEXT_SAMPLES)
        self._held, self._before = self._held[start:].copy(), until - start

    def _add_spectrum(self, block: Waveform) -> None:
        together = np.concatenate([self._rest, block])
        whole = len(together) // _SPECTRUM_SAMPLES * _SPECTRUM_SAMPLES
        self._rest = together[whole:].copy()
        window = np.hanning(_SPECTRUM_SAMPLES)
        for start in range(0, whole, 256 * _SPECTRUM_SAMPLES):
            frames = together[start : min(start + 256 * _SPECTRUM_SAMPLES, whole)].reshape(-1, _SPECTRUM_SAMPLES)
            frames = frames - frames.mean(axis=1, keepdims=True, dtype=np.float64)
            self._spectrum += (np.abs(np.fft.rfft(frames * window, axis=1)) ** 2).sum(axis=0)


def estimate_snr_db(waveform: Waveform) -> float:
    """Return an estimate of the signal-to-noise ratio in dB, within `SNR_RANGE_DB`: of speech to what is always there.

    The noise is the level that a tenth of all 20 ms frames lie below, since speech pauses that often; the speech is the
    mean power of active frames less the noise. In steady noise the estimate is within 2 dB or so from 0 to 25 dB. Where
    the noise pauses, too, as babble and music do, it is up to 6 dB too high below 10 dB (docs/verification.md). Noise
    in bursts, a door or a dog, cannot be told from speech this way, and is not seen.

    Args:
        waveform: (T,) float32 at 16 kHz; neither gain nor DC matters.
    """
    energy, counts = frames_of(waveform)
    return _ratio_db(energy / counts)


def _ratio_db(power: FloatArray) -> float:
    loudest = float(power.max())
    if loudest == 0.0:
        return SNR_RANGE_DB[0]
    heard = power[power > loudest * LEAST_POWER]
    floor = float(np.percentile(heard, QUIET_SHARE))
    speech = float(heard[heard > heard.mean() * ACTIVE_RATIO].mean()) - floor
    ratio_db = 10.0 * np.log10(max(speech, floor * 1e-3) / floor)
    return float(np.clip(ratio_db, *SNR_RANGE_DB))


def _bandwidth_hz(spectrum: FloatArray) -> float | None:
    """Return the upper end of the highest band of 250 Hz in which there is sound."""
    bands = spectrum[1:].reshape(-1, _BAND_BINS).mean(axis=1)
    loudest = bands[1:].max()  # rumble may be louder than all speech
    if loudest == 0.0:
        return None
    heard = np.flatnonzero(bands > loudest * 10.0 ** (-_EMPTY_DB / 10.0))
    return float((heard[-1] + 1) * _BAND_BINS * SAMPLE_RATE / _SPECTRUM_SAMPLES)


class _Clipping:
    """Counts samples in cut-off tops over the blocks of a recording."""

    def __init__(self) -> None:
        self._samples = 0
        self._peaks: list[tuple[float, int]] = []

    def add(self, block: Waveform) -> None:
        self._samples += len(block)
        self._peaks.append((float(np.abs(block).max(initial=0.0)), int(clipped(block).sum())))

    def result(self) -> tuple[float, float]:
        """Return the peak, and the share of samples that are clipped."""
        peak = max(peak for peak, _ in self._peaks)
        cut = sum(count for own, count in self._peaks if own >= _AT_PEAK * peak)
        return peak, cut / max(self._samples, 1)


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
