"""Noise and music made without recordings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.noise import VERSION, Noise, crop_starts, digest, pick, stretch
from voxanchor.audio.pcm import Pcm, encode
from voxanchor.audio.snr import active_frames, active_level_db, level_db
from voxanchor.audio.speed import play as played
from voxanchor.audio.speed import source_samples
from voxanchor.errors import CorpusError
from voxanchor.rng import generator as named_generator
from voxanchor.types import SAMPLE_RATE, BoolArray, FloatArray, Waveform

COLOURS: tuple[str, ...] = ("white", "pink", "brown", "speech_shaped")
"""Power density: flat; falling 3 dB an octave; falling 6 dB an octave; long-term average of speech."""

NOISE_RMS = 0.1
"""RMS of generated noise: -20 dBFS."""

_LOWEST_HZ = 20.0

# Byrne et al., "An international comparison of long-term average speech spectra", J. Acoust. Soc. Am. 96(4), 1994,
# table II: levels in third octaves, men and women of twelve languages combined, for speech of 70 dB SPL overall.
_LTASS_HZ = (
    63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300,
    8000,
)  # fmt: skip
_LTASS_DB = (
    38.6, 43.5, 54.4, 57.7, 56.8, 60.2, 60.3, 59.0, 62.1, 62.1, 60.5, 56.8, 53.7, 53.0, 52.0, 48.7, 48.1, 46.8, 45.6,
    44.5, 44.3, 43.7,
)  # fmt: skip


def colour_gain(colour: str, frequency_hz: FloatArray) -> FloatArray:
    """Return (F,) amplitude gain of a colour at each frequency; 0 below 20 Hz.

    Raises:
        CorpusError: an unknown colour.
    """
    f = np.maximum(frequency_hz, _LOWEST_HZ)
    if colour == "white":
        gain = np.ones_like(f)
    elif colour == "pink":
        gain = f**-0.5
    elif colour == "brown":
        gain = f**-1.0
    elif colour == "speech_shaped":
        # The bands widen with frequency: the level of a density is 10 log10(f) lower than that of a third octave.
        density_db = np.array(_LTASS_DB) - 10.0 * np.log10(_LTASS_HZ)
        gain = 10.0 ** (np.interp(np.log(f), np.log(_LTASS_HZ), density_db) / 20.0)
    else:
        raise CorpusError(f"no noise of colour '{colour}': there is {', '.join(COLOURS)}")
    return np.where(frequency_hz < _LOWEST_HZ, 0.0, gain)


def spectrum_length(length: int) -> int:
    """Return a length of at least `length` samples whose Fourier transform is fast."""
    return -(-length // 1024) * 1024


def frequencies_hz(length: int) -> FloatArray:
    """Return the frequencies at which `shaped_noise` of this length wants its gain."""
    frequencies: FloatArray = np.fft.rfftfreq(spectrum_length(length), 1.0 / SAMPLE_RATE).astype(np.float64)
    return frequencies


def shaped_noise(gain: FloatArray, length: int, generator: np.random.Generator) -> Waveform:
    """Return (length,) float32 stationary Gaussian noise of exactly this expected spectrum, at an expected -20 dBFS.

    Args:
        gain: (F,) amplitude gain at `frequencies_hz`.
        length: number of samples.
        generator: draws the noise.
    """
    # Independent Gaussian Fourier coefficients are Gaussian noise already: one transform, no filter ringing.
    n = spectrum_length(length)
    parts = generator.standard_normal(2 * len(gain), dtype=np.float32)
    spectrum = parts.view(np.complex64) * (gain * (NOISE_RMS * n / 2.0 / np.sqrt((gain**2).sum()))).astype(np.float32)
    waveform: Waveform = np.fft.irfft(spectrum, n)[:length].astype(np.float32)
    return waveform


@lru_cache(maxsize=64)
def _cached_gain(colour: str, length: int) -> FloatArray:
    return colour_gain(colour, frequencies_hz(length))


def coloured(colour: str, length: int, generator: np.random.Generator) -> Waveform:
    """Return (length,) float32 stationary Gaussian noise of a colour, at an expected -20 dBFS.

    Raises:
        CorpusError: an unknown colour.
    """
    return shaped_noise(_cached_gain(colour, length), length, generator)


# Synthetic environmental sounds, each a function of a length and a generator.
#
# Every draw picks its own parameters (pitch, rate, spectrum, movement), so that no two are alike. Levels are arbitrary.

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


# Noise made without recordings, as varied as a few pages of code can make it.

_NOISE_VERSION = 1
_LAYERED_SHARE = 0.4


class SyntheticNoise:
    """Environmental-like noise: stationary colours and time-varying textures, alone or one over another.

    Stands in where no recordings are at hand; recorded noise is better.

    Args:
        kinds: names of colours and textures to draw from; None for all. Leaving some out keeps them for evaluation.

    Raises:
        CorpusError: an unknown kind, or none.
    """

    KINDS: tuple[str, ...] = (*COLOURS, *TEXTURES)

    def __init__(self, kinds: tuple[str, ...] | None = None) -> None:
        self.kinds = self.KINDS if kinds is None else tuple(kinds)
        unknown = [kind for kind in self.kinds if kind not in self.KINDS]
        if unknown or not self.kinds:
            raise CorpusError(f"no synthetic noise {unknown or 'without a kind'}: choose among {', '.join(self.KINDS)}")

    def draw(
        self,
        length: int,
        generator: np.random.Generator,
        exclude: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> Noise:
        """Return noise at an active level of -20 dBFS described by its kinds; nobody is heard in it (see `exclude`)."""
        kind = self._kind(generator)
        waveform, description = self._one(kind, length, generator), kind
        if generator.random() < _LAYERED_SHARE:
            other = self._kind(generator)
            balance = np.float32(10.0 ** (generator.uniform(-12.0, 0.0) / 20.0))
            waveform = waveform + balance * self._one(other, length, generator)
            description = f"{kind} over {other}"
        return Noise(_levelled(waveform), f"synthetic {description}")

    def _kind(self, generator: np.random.Generator) -> str:
        return self.kinds[int(generator.integers(len(self.kinds)))]

    def _one(self, kind: str, length: int, generator: np.random.Generator) -> Waveform:
        if kind in TEXTURES:
            return _levelled(TEXTURES[kind](length, generator))
        return coloured(kind, length, generator)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the kinds and the version of their recipes."""
        return digest("synthetic noise", _NOISE_VERSION, self.kinds)

    @property
    def summary(self) -> str:
        """The kinds."""
        return f"synthetic, {', '.join(self.kinds)}"


def _levelled(waveform: Waveform) -> Waveform:
    return waveform * np.float32(NOISE_RMS / 10.0 ** (active_level_db(waveform) / 20.0))


# Notes and drum hits for synthetic music.

_TONE_CYCLE = 2048
_HIGHEST_TONE_HZ = 7600.0
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
    order = np.arange(1, int(np.clip(_HIGHEST_TONE_HZ / pitch_hz, 1, 32)) + 1)
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
    spectrum = np.zeros(_TONE_CYCLE // 2 + 1, dtype=np.complex64)
    spectrum[1 : len(harmonics) + 1] = harmonics * (_TONE_CYCLE / 2.0)
    cycle = np.fft.irfft(spectrum, _TONE_CYCLE).astype(np.float32)
    wave: Waveform = cycle[(cycles * _TONE_CYCLE).astype(np.int64) % _TONE_CYCLE]
    return wave


def _decay(t: Waveform, time_constant_s: float) -> Waveform:
    fading: Waveform = np.exp(-t / np.float32(time_constant_s))
    return fading


# Synthetic music: short pieces composed from a seed.

_MUSIC_VERSION = 1
_LEVEL_DB = -20.0
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))
_PROGRESSIONS = (
    (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 3), (5, 3, 0, 4), (0, 3, 0, 4), (1, 4, 0, 5), (0, 6, 5, 4), (0, 2, 3, 4),
)  # fmt: skip
_STYLES = ("held", "broken", "struck")


class SyntheticMusic:
    """Crops of short composed pieces, each played a little faster or slower, higher or lower.

    Pieces are rendered when first drawn (about 10 ms each) and kept; what a draw returns depends on its generator only.

    Args:
        seed: which pieces: training and evaluation take different seeds, so that no piece is heard in both.
        pieces: how many there are.
        piece_s: length of each.

    Raises:
        CorpusError: no pieces, or pieces of less than a second.
    """

    def __init__(self, seed: int = 0, pieces: int = 48, piece_s: float = 12.0) -> None:
        if pieces < 1 or piece_s < 1.0:
            raise CorpusError(f"synthetic music needs at least one piece of at least 1 s, not {pieces} of {piece_s} s")
        self.seed, self.pieces, self.piece_s = seed, pieces, piece_s
        self._rendered: dict[int, tuple[Pcm, BoolArray]] = {}

    def draw(
        self,
        length: int,
        generator: np.random.Generator,
        exclude: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> Noise:
        """Return music described by its piece; nobody is heard in it, so `exclude` changes nothing."""
        index = int(generator.integers(self.pieces))
        if index not in self._rendered:
            piece = compose(self.piece_s, named_generator(self.seed, 0, index, f"music/{_MUSIC_VERSION}"))
            self._rendered[index] = (encode(piece), active_frames(piece))
        kept, active = self._rendered[index]
        speed = int(generator.integers(85, 119)) / 100  # few enough that every filter is made once
        samples = source_samples(length, speed)
        starts = crop_starts(active, len(kept), samples)
        start = int(starts[int(pick(generator.random(1), len(starts))[0])])
        wave = stretch(kept, start, samples)[None]
        return Noise(played(wave, speed, length)[0], f"synthetic music, piece {index}")

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the seed, the number and length of pieces, and the version of the composer."""
        return digest("synthetic music", _MUSIC_VERSION, VERSION, self.seed, self.pieces, self.piece_s)

    @property
    def summary(self) -> str:
        """How many pieces, from which seed."""
        return f"synthetic, {self.pieces} pieces of {self.piece_s:g} s (seed {self.seed})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rendered": {}}


def compose(duration_s: float, generator: np.random.Generator) -> Waveform:
    """Return (T,) float32 at -20 dBFS RMS: chords, bass, often a tune and drums, in a key and tempo of their own."""
    length = round(duration_s * SAMPLE_RATE)
    out = np.zeros(length + 2 * SAMPLE_RATE, dtype=np.float32)
    beat = int(60.0 / generator.uniform(70.0, 150.0) * SAMPLE_RATE)
    scale = _SCALES[int(generator.integers(len(_SCALES)))]
    root = int(generator.integers(41, 53))
    progression = _PROGRESSIONS[int(generator.integers(len(_PROGRESSIONS)))]
    names = tuple(INSTRUMENTS)
    chords, tune = (INSTRUMENTS[names[int(i)]] for i in generator.integers(0, len(names), 2))
    style = _STYLES[int(generator.integers(len(_STYLES)))]
    with_tune, with_drums, with_bass = generator.random(3) < (0.7, 0.5, 0.8)
    degree = 7
    for bar, start in enumerate(range(0, length, 4 * beat)):
        steps = [progression[bar % len(progression)] + third for third in (0, 2, 4)]
        _chord(out, start, beat, chords, [_hz(root + 12, scale, step) for step in steps], style, generator)
        if with_bass:
            for half in (0, 2):
                note = play(INSTRUMENTS["plucked"], _hz(root - 12, scale, steps[0]), 2 * beat, generator)
                _add(out, start + half * beat, note, 0.7)
        if with_tune:
            at = 0.0
            while at < 4.0:
                beats = float(generator.choice((0.5, 0.5, 1.0, 1.0, 2.0)))
                degree = int(np.clip(degree + generator.integers(-2, 3), 3, 14))
                if generator.random() < 0.85:
                    note = play(tune, _hz(root + 12, scale, degree), int(beats * beat), generator)
                    _add(out, start + int(at * beat), note, 0.6)
                at += beats
        if with_drums:
            for eighth in range(8):
                hit = hat if eighth % 2 else (kick if eighth % 4 == 0 else snare)
                _add(out, start + eighth * beat // 2, hit(generator), 0.5)
    piece = out[:length]
    return piece * np.float32(10.0 ** ((_LEVEL_DB - level_db(piece)) / 20.0))


def _chord(
    out: Waveform,
    start: int,
    beat: int,
    instrument: Instrument,
    pitches_hz: list[float],
    style: str,
    generator: np.random.Generator,
) -> None:
    """Add one bar of a chord: held, broken into single notes, or struck on every beat."""
    if style == "broken":
        for eighth in range(8):
            pitch_hz = pitches_hz[eighth % 3]
            _add(out, start + eighth * beat // 2, play(instrument, pitch_hz, beat, generator), 0.5)
        return
    beats = 4 if style == "held" else 1
    for at in range(0, 4, beats):
        for pitch_hz in pitches_hz:
            _add(out, start + at * beat, play(instrument, pitch_hz, beats * beat, generator), 0.35)


def _add(out: Waveform, start: int, sound: Waveform, gain: float) -> None:
    end = min(len(out), start + len(sound))
    if end > start:
        out[start:end] += np.float32(gain) * sound[: end - start]


def _hz(root: int, scale: tuple[int, ...], degree: int) -> float:
    """Return the frequency of a step of the scale above a MIDI note."""
    octave, step = divmod(degree, len(scale))
    return float(440.0 * 2.0 ** ((root + scale[step] + 12 * octave - 69) / 12.0))
