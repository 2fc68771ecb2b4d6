"""Notes and drum hits for synthetic music."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxanchor.types import SAMPLE_RATE, FloatArray, Waveform

_CYCLE = 2048
_HIGHEST_HZ = 7600.0
_RELEASE_S = 0.03


@dataclass(frozen=True)
class Instrument:
    """How an instrument sounds.

    Attributes:
        tilt: harmonic h has amplitude ``h ** -tilt``.
        even: amplitude of the even harmonics (small for reeds and stopped pipes).
        attack_s: time to full loudness.
        decay_s: time constant of the decay of the fundamental; infinite for held notes.
        brightness_decay_s: time constant of the decay of the upper harmonics.
        vibrato_cents: depth of the vibrato.
        detune_cents: distance of a second, slightly mistuned copy; 0 for none.
    """

    tilt: float
    even: float = 1.0
    attack_s: float = 0.005
    decay_s: float = float("inf")
    brightness_decay_s: float = float("inf")
    vibrato_cents: float = 0.0
    detune_cents: float = 0.0


INSTRUMENTS: Mapping[str, Instrument] = {
    "piano": Instrument(tilt=1.1, decay_s=0.9, brightness_decay_s=0.25, detune_cents=3.0),
    "plucked": Instrument(tilt=0.8, decay_s=0.45, brightness_decay_s=0.12),
    "bell": Instrument(tilt=0.4, even=0.3, decay_s=1.2, brightness_decay_s=0.5),
    "organ": Instrument(tilt=0.9, attack_s=0.02, detune_cents=5.0),
    "strings": Instrument(tilt=1.0, attack_s=0.12, vibrato_cents=18.0, detune_cents=9.0),
    "reed": Instrument(tilt=0.9, even=0.15, attack_s=0.03, vibrato_cents=8.0),
    "flute": Instrument(tilt=2.0, attack_s=0.05, vibrato_cents=14.0),
    "synth": Instrument(tilt=0.7, attack_s=0.008, brightness_decay_s=0.2, detune_cents=14.0),
}


def play(instrument: Instrument, pitch_hz: float, length: int, generator: np.random.Generator) -> Waveform:
    """Return (length,) float32, one note at a peak of about 1, silent at its end.

    Args:
        instrument: how it sounds.
        pitch_hz: fundamental frequency.
        length: number of samples.
        generator: phases and vibrato.
    """
    t: Waveform = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)
    order = np.arange(1, int(np.clip(_HIGHEST_HZ / pitch_hz, 1, 32)) + 1)
    sizes = order**-instrument.tilt * np.where(order % 2 == 0, instrument.even, 1.0)
    phases = np.exp(2j * np.pi * generator.random(len(order)))
    cycles = pitch_hz * t.astype(np.float64)
    if instrument.vibrato_cents:
        rate_hz = generator.uniform(4.5, 6.5)
        swing = instrument.vibrato_cents / 1200.0 * np.log(2.0) * pitch_hz / (2.0 * np.pi * rate_hz)
        cycles += swing * np.sin(2.0 * np.pi * rate_hz * t)
    # Lower and upper harmonics as two tables with a decay each: struck and plucked strings darken as they fade.
    low, high = sizes * phases, sizes * phases
    low, high = np.where(order <= 2, low, 0.0), np.where(order > 2, high, 0.0)
    note = _lookup(low, cycles) + _lookup(high, cycles) * _decay(t, instrument.brightness_decay_s)
    if instrument.detune_cents:
        other = cycles * 2.0 ** (instrument.detune_cents / 1200.0) + generator.random()
        note += np.float32(0.7) * _lookup(low + high, other) * _decay(t, instrument.brightness_decay_s)
    envelope = np.minimum(t / np.float32(instrument.attack_s), 1.0) * _decay(t, instrument.decay_s)
    envelope *= np.minimum((length - np.arange(length, dtype=np.float32)) / (_RELEASE_S * SAMPLE_RATE), 1.0)
    sound: Waveform = note * envelope.astype(np.float32) / np.float32(sizes.sum())
    return sound


def kick(generator: np.random.Generator) -> Waveform:
    """Return a bass drum: a sine that falls in pitch and fades."""
    t = np.arange(int(0.25 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    low_hz, drop_hz = generator.uniform(45.0, 60.0), generator.uniform(80.0, 200.0)
    cycles = low_hz * t + drop_hz * 0.03 * (1.0 - np.exp(-t / 0.03))
    return (np.sin(2.0 * np.pi * cycles) * np.exp(-t / 0.08)).astype(np.float32)


def snare(generator: np.random.Generator) -> Waveform:
    """Return a snare drum: a short tone and a rattle of noise."""
    t = np.arange(int(0.2 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    tone = np.sin(2.0 * np.pi * generator.uniform(150.0, 240.0) * t) * np.exp(-t / 0.05)
    rattle = generator.standard_normal(len(t), dtype=np.float32) * np.exp(-t / 0.06)
    return (0.5 * tone + 0.35 * rattle).astype(np.float32)


def hat(generator: np.random.Generator) -> Waveform:
    """Return a closed cymbal: a tick of high noise."""
    t = np.arange(int(0.08 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    noise = np.diff(generator.standard_normal(len(t) + 2, dtype=np.float32), n=2)
    return (0.2 * noise * np.exp(-t / np.float32(generator.uniform(0.012, 0.04)))).astype(np.float32)


def _lookup(harmonics: NDArray[np.complex128], cycles: FloatArray) -> Waveform:
    spectrum = np.zeros(_CYCLE // 2 + 1, dtype=np.complex64)
    spectrum[1 : len(harmonics) + 1] = harmonics * (_CYCLE / 2.0)
    cycle = np.fft.irfft(spectrum, _CYCLE).astype(np.float32)
    wave: Waveform = cycle[(cycles * _CYCLE).astype(np.int64) % _CYCLE]
    return wave


def _decay(t: Waveform, time_constant_s: float) -> Waveform:
    fading: Waveform = np.exp(-t / np.float32(time_constant_s))
    return fading
