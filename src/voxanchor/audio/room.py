"""What a room does to speech: its impulse response, made ready to be heard through, and measured.

A response begins with its direct sound, so that reverberant speech is not late against the clean speech it was made of
(an anchor, the other half of a trial). Its first 50 ms have unit energy: they carry what is understood as the speech
itself (Lochner and Burger 1964; ISO 3382-1, the early part of C50), which so keeps its level, and what comes later is
added to it as it is in the room. That is one factor for a response, whatever is said in it: the output stays linear in
its input, and level differences between recordings and between crops of one stay what they were.
"""

from dataclasses import dataclass

import numpy as np

from voxanchor.audio.clips import Clip
from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, FloatArray, Waveform

EARLY_S = 0.05
"""Sound that comes this soon after the direct sound is heard as part of it."""

MAX_S = 3.0
"""Longest response: what comes later is left out."""

INAUDIBLE_DB = -60.0
"""A response ends where the energy that is left is this far below all of it."""

_DIRECT_DB = -6.0
_FOOT_DB = -20.0
_FOOT_SAMPLES = 8
_LARGEST_C50_DB = 100.0


@dataclass(frozen=True)
class Room:
    """The way from one place in a room to another.

    Attributes:
        taps: (K,) float32 impulse response at 16 kHz, its direct sound at sample 0; the first 50 ms have unit energy.
        rt60_s: reverberation time T20: how long the sound takes to fall by 60 dB, from its fall from -5 to -25 dB. nan
            where it never falls that far.
        c50_db: clarity: energy of the first 50 ms over that of the rest, at most 100 dB.
        name: for a listener.
    """

    taps: Waveform
    rt60_s: float
    c50_db: float
    name: str

    @property
    def description(self) -> str:
        """Name and reverberation time."""
        return self.name if np.isnan(self.rt60_s) else f"{self.name} (RT60 {self.rt60_s:.2f} s)"


def room(response: Waveform, name: str) -> Room:
    """Return a response made ready: from its direct sound to where it is inaudible, at most 3 s, scaled.

    Reverberation time and clarity are those of the whole response.

    Args:
        response: (T,) float32 at 16 kHz, of any level and with any silence before it.
        name: what it is called.

    Raises:
        AudioError: it is silent, not finite, or ends within 50 ms of its direct sound.
    """
    if len(response) == 0 or not np.isfinite(response).all():
        raise AudioError(f"{name}: a room response needs samples, and finite ones")
    if not response.any():
        raise AudioError(f"{name}: silent: every sample is zero")
    whole = response[direct_sample(response) :].astype(np.float64)
    early = round(EARLY_S * SAMPLE_RATE)
    if len(whole) < early:
        raise AudioError(
            f"{name}: too short for a room response: {1000 * len(whole) / SAMPLE_RATE:.0f} ms after its direct sound, "
            f"{1000 * EARLY_S:.0f} ms needed"
        )
    heard = int(np.count_nonzero(decay_db(whole) > INAUDIBLE_DB))
    length = max(early, min(heard, round(MAX_S * SAMPLE_RATE)))
    taps = whole[:length] / np.sqrt(np.square(whole[:early]).sum())
    return Room(taps.astype(np.float32), rt60_s(whole), c50_db(whole), name)


def load_room(clip: Clip) -> Room:
    """Return the room of a recorded response, of any rate and channel count.

    Raises:
        AudioError: as `voxanchor.audio.io.read` and `room`.
    """
    return room(clip.pcm().waveform(), clip.name)


def direct_sample(response: Waveform) -> int:
    """Return the sample at which the direct sound begins.

    The direct sound is the first pulse within 6 dB of the loudest sample: in a few rooms a reflection is louder. It
    begins where it first comes within 20 dB of its own top, 0.5 ms before that at most.

    Args:
        response: (T,) samples, not all zero.
    """
    magnitude = np.abs(response)
    top = int(np.argmax(magnitude >= magnitude.max() * 10.0 ** (_DIRECT_DB / 20.0)))
    while top + 1 < len(magnitude) and magnitude[top + 1] > magnitude[top]:
        top += 1
    first = max(0, top - _FOOT_SAMPLES)
    return first + int(np.argmax(magnitude[first : top + 1] >= magnitude[top] * 10.0 ** (_FOOT_DB / 20.0)))


def decay_db(response: FloatArray) -> FloatArray:
    """Return (T,) energy that is still to come at each sample, in dB of all of it; -inf behind the last sound.

    Schroeder, "New method of measuring reverberation time", J. Acoust. Soc. Am. 37, 1965.

    Args:
        response: (T,) samples, not all zero.
    """
    left = np.cumsum(np.square(response[::-1]))[::-1]
    with np.errstate(divide="ignore"):
        curve: FloatArray = 10.0 * np.log10(left / left[0])
    return curve


def rt60_s(response: FloatArray, fall_db: float = 20.0) -> float:
    """Return the reverberation time: 60 dB at the slope of the decay from -5 dB on, over `fall_db`, by least squares.

    ISO 3382-1. nan where the response ends before it has fallen so far.

    Args:
        response: (T,) samples from the direct sound on.
        fall_db: 20 for T20, 30 for T30.
    """
    curve = decay_db(response)
    inside = np.flatnonzero((curve <= -5.0) & (curve >= -5.0 - fall_db))
    if len(inside) < 2 or not np.isfinite(curve[inside]).all():
        return float("nan")
    slope = np.polyfit(inside / SAMPLE_RATE, curve[inside], 1)[0]
    return float(-60.0 / slope) if slope < 0.0 else float("nan")


def c50_db(response: FloatArray) -> float:
    """Return the clarity C50 (ISO 3382-1): energy of the first 50 ms over that of the rest, in dB, at most 100.

    Args:
        response: (T,) samples from the direct sound on.
    """
    energy = np.square(response)
    early = round(EARLY_S * SAMPLE_RATE)
    before, after = float(energy[:early].sum()), float(energy[early:].sum())
    return _LARGEST_C50_DB if after == 0.0 else min(_LARGEST_C50_DB, float(10.0 * np.log10(before / after)))


def reverberate(waveform: Waveform, taps: Waveform) -> Waveform:
    """Return (T,) float32: speech as heard in a room, as long as it was; what rings on behind its end is left out.

    Args:
        waveform: (T,) float32, before which there was silence.
        taps: (K,) float32, the room's response.
    """
    taps = taps[: len(waveform)]
    size = fast_length(len(waveform) + len(taps) - 1)
    product = np.fft.rfft(waveform, size) * np.fft.rfft(taps, size)
    heard: Waveform = np.fft.irfft(product, size)[: len(waveform)].astype(np.float32)
    return heard


def fast_length(length: int) -> int:
    """Return the smallest product of powers of 2, 3 and 5 that is at least `length`: its Fourier transform is fast."""
    best = 1 << max(0, length - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            best = min(best, three << max(0, -(-length // three) - 1).bit_length())
            three *= 3
        five *= 5
    return best
