"""Synthetic environmental sounds, each a function of a length and a generator.

Every draw picks its own parameters (pitch, rate, spectrum, movement), so that no two are alike. Levels are arbitrary.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from voxanchor.audio.noise import coloured, frequencies_hz, shaped_noise, spectrum_length
from voxanchor.types import SAMPLE_RATE, FloatArray, Waveform

Texture = Callable[[int, np.random.Generator], Waveform]

_CYCLE = 4096
_HIGHEST_HZ = 7600.0
_GRID_OCTAVES: FloatArray = np.linspace(-6.0, 3.0, 181)


def broadband(length: int, generator: np.random.Generator) -> Waveform:
    """Return stationary noise of a random tilt with random peaks: fans, traffic afar, air."""
    return shaped_noise(_random_gain(length, generator, -9.0, 2.0), length, generator)


def gusts(length: int, generator: np.random.Generator) -> Waveform:
    """Return noise whose level wanders: wind, waves, passing cars."""
    rate_hz = float(generator.uniform(0.5, 8.0))
    return broadband(length, generator) * _wander(length, rate_hz, float(generator.uniform(3.0, 10.0)), generator)


def murmur(length: int, generator: np.random.Generator) -> Waveform:
    """Return speech-shaped noise with the rhythm of syllables but no words: a crowd behind a wall."""
    rate_hz = float(generator.uniform(3.0, 8.0))
    return coloured("speech_shaped", length, generator) * _wander(length, rate_hz, 8.0, generator)


def hum(length: int, generator: np.random.Generator) -> Waveform:
    """Return a wavering harmonic drone over a bed of noise: mains, motors, compressors."""
    mains = generator.random() < 0.4
    pitch_hz = float(generator.choice([50.0, 60.0, 100.0, 120.0]) if mains else generator.uniform(30.0, 300.0))
    waver = 0.0 if mains else float(generator.uniform(0.0, 0.06))
    pitch = pitch_hz * (1.0 + waver * _control(length, float(generator.uniform(0.3, 6.0)), generator))
    drone = _periodic(np.cumsum(pitch) / SAMPLE_RATE, pitch_hz * (1.0 + 3.0 * waver), generator)
    bed = broadband(length, generator) * np.float32(10.0 ** (generator.uniform(-30.0, 0.0) / 20.0))
    return drone + bed


def sweep(length: int, generator: np.random.Generator) -> Waveform:
    """Return tones that glide up and down, held or gated: sirens, alarms, squeaks."""
    depth_octaves = float(generator.uniform(0.0, 1.2))
    movement = _control(length, float(generator.uniform(0.5, 10.0)), generator)
    centre_hz = float(np.exp(generator.uniform(np.log(250.0), np.log(3000.0))))
    pitch = np.clip(centre_hz * 2.0 ** (depth_octaves * movement / 2.0), 50.0, _HIGHEST_HZ)
    tone = _periodic(np.cumsum(pitch) / SAMPLE_RATE, float(pitch.max()), generator)
    if generator.random() < 0.5:
        period = int(generator.uniform(0.08, 0.8) * SAMPLE_RATE)
        on = float(generator.uniform(0.3, 0.8))
        offset = int(generator.integers(period))
        gate = ((np.arange(length) + offset) % period < on * period).astype(np.float32)
        tone *= np.convolve(gate, np.full(80, 1 / 80, dtype=np.float32), mode="same")  # 5 ms edges, no click
    bed = broadband(length, generator) * np.float32(10.0 ** (generator.uniform(-35.0, -10.0) / 20.0))
    return tone + bed


def impacts(length: int, generator: np.random.Generator) -> Waveform:
    """Return decaying knocks over a quiet bed: dishes, steps, doors, keyboards."""
    decay_s = float(np.exp(generator.uniform(np.log(0.008), np.log(0.15))))
    size = min(length, int(7.0 * decay_s * SAMPLE_RATE) + 1)
    t = np.arange(size, dtype=np.float32) / SAMPLE_RATE
    knock = broadband(size, generator) * np.exp(-t / np.float32(decay_s))
    for _ in range(int(generator.integers(0, 4))):  # what is hit rings at its own frequencies
        ring_hz = np.exp(generator.uniform(np.log(150.0), np.log(6000.0)))
        ring_s = decay_s * generator.uniform(0.3, 1.5)
        ring = np.sin(np.float32(2.0 * np.pi * ring_hz) * t) * np.exp(-t / np.float32(ring_s))
        knock += np.float32(generator.uniform(0.05, 0.3)) * ring
    knock /= np.float32(np.abs(knock).max())
    out = broadband(length, generator) * np.float32(10.0 ** (generator.uniform(-40.0, -15.0) / 20.0))
    count = 1 + int(generator.poisson(length / SAMPLE_RATE * generator.uniform(0.7, 12.0)))
    for start in generator.integers(0, length, count):
        end = min(length, int(start) + size)
        out[start:end] += np.float32(10.0 ** (generator.uniform(-12.0, 0.0) / 20.0)) * knock[: end - start]
    return out


def crackle(length: int, generator: np.random.Generator) -> Waveform:
    """Return a random patter of clicks of many sizes: fire, rain on glass, paper."""
    n = spectrum_length(length)
    count = 1 + int(n / SAMPLE_RATE * np.exp(generator.uniform(np.log(15.0), np.log(2000.0))))
    clicks = np.zeros(n, dtype=np.float32)
    sizes = np.exp(generator.normal(0.0, 1.0, count)) * generator.choice((-1.0, 1.0), count)
    clicks[generator.integers(0, n, count)] = sizes
    clicks[int(generator.integers(length))] = 3.0  # at least one lies inside the stretch
    gain = _random_gain(length, generator, -6.0, 3.0).astype(np.float32)
    coloured_clicks: Waveform = np.fft.irfft(np.fft.rfft(clicks) * gain, n)[:length].astype(np.float32)
    coloured_clicks *= np.float32(0.1 / np.sqrt(np.mean(coloured_clicks**2)))
    bed = broadband(length, generator) * np.float32(10.0 ** (generator.uniform(-40.0, -10.0) / 20.0))
    return coloured_clicks + bed


TEXTURES: Mapping[str, Texture] = {
    "broadband": broadband,
    "gusts": gusts,
    "murmur": murmur,
    "hum": hum,
    "sweep": sweep,
    "impacts": impacts,
    "crackle": crackle,
}


def _random_gain(length: int, generator: np.random.Generator, steepest_db: float, flattest_db: float) -> FloatArray:
    """Return a gain with a random tilt in dB an octave and up to three broad peaks or dips."""
    curve_db = generator.uniform(steepest_db, flattest_db) * _GRID_OCTAVES
    for _ in range(int(generator.integers(0, 4))):
        centre, width = generator.uniform(-4.0, 3.0), generator.uniform(0.15, 1.0)
        curve_db += generator.uniform(-8.0, 15.0) * np.exp(-0.5 * ((_GRID_OCTAVES - centre) / width) ** 2)
    gain: FloatArray = np.interp(_octaves(length), _GRID_OCTAVES, 10.0 ** (curve_db / 20.0))
    gain[0] = 0.0
    return gain


@lru_cache(maxsize=64)
def _octaves(length: int) -> FloatArray:
    """Return where the frequencies of `shaped_noise` lie, in octaves above 1 kHz."""
    octaves: FloatArray = np.log2(np.maximum(frequencies_hz(length), 20.0) / 1000.0)
    return octaves


def _control(length: int, rate_hz: float, generator: np.random.Generator) -> Waveform:
    """Return a slow movement: independent normal values `rate_hz` times a second, joined by lines."""
    period = SAMPLE_RATE / rate_hz
    points = generator.standard_normal(int(length / period) + 3)
    offset = generator.random()
    return np.interp(np.arange(length) / period + offset, np.arange(len(points)), points).astype(np.float32)


def _wander(length: int, rate_hz: float, spread_db: float, generator: np.random.Generator) -> Waveform:
    control = _control(length, rate_hz, generator)
    gain: Waveform = np.exp(control * np.float32(spread_db * np.log(10.0) / 20.0))
    return gain


def _periodic(cycles: FloatArray, highest_pitch_hz: float, generator: np.random.Generator) -> Waveform:
    """Return a harmonic sound of random timbre whose phase, in cycles, is given for every sample."""
    harmonics = int(np.clip(_HIGHEST_HZ / highest_pitch_hz, 1, 40))
    order = np.arange(1, harmonics + 1)
    spectrum = np.zeros(_CYCLE // 2 + 1, dtype=np.complex64)
    sizes = order ** -generator.uniform(0.3, 2.0) * generator.uniform(0.2, 1.0, harmonics)
    spectrum[1 : harmonics + 1] = sizes * np.exp(2j * np.pi * generator.random(harmonics))
    cycle = np.fft.irfft(spectrum, _CYCLE)
    cycle *= 0.1 / np.sqrt(np.mean(cycle**2))
    wave: Waveform = cycle.astype(np.float32)[(cycles * _CYCLE).astype(np.int64) % _CYCLE]
    return wave
