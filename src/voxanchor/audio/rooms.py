"""Rooms: impulse responses, recorded or made, and speech heard through them.

A response begins with its direct sound, so that reverberant speech is not late against the clean speech it was made of
(an anchor, the other half of a trial). Its first 50 ms have unit energy: they carry what is understood as the speech
itself (Lochner and Burger 1964; ISO 3382-1, the early part of C50), which so keeps its level, and what comes later is
added to it as it is in the room. That is one factor for a response, whatever is said in it: the output stays linear in
its input, and level differences between recordings and between crops of one stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.arrays import Array, namespace
from voxanchor.audio.noise import Clip, clips_digest, digest, pick, stable_order
from voxanchor.audio.pcm import LruCache, Pcm, encode
from voxanchor.errors import AudioError, CorpusError, RecipeError
from voxanchor.rng import generator as named_generator
from voxanchor.types import SAMPLE_RATE, FloatArray, Waveform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from voxanchor.audio.pcm import Indices, Pool, PoolBuilder


EARLY_S = 0.05
"""Sound that comes this soon after the direct sound is heard as part of it."""

MAX_S = 3.0
"""Longest response: what comes later is left out."""

INAUDIBLE_DB = -60.0
"""A response ends where the energy that is left is this far below all of it."""

CONVOLUTION_VERSION = 2
"""Raised when the same speech sounds otherwise in the same room, or another is drawn; part of every fingerprint."""

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
    heard: Waveform = convolve(waveform[None], taps[None])[0]
    return heard


def convolve(waves: Array, responses: Array) -> Array:
    """Return (N, T): the first T samples of each waveform through its response; nothing is late or wraps round.

    Args:
        waves: (N, T) floating point, before which there was silence; the result has the same dtype.
        responses: (N, K) of that dtype, one a row; shorter ones end in zeros. Taps beyond T are not heard.
    """
    length = waves.shape[1]
    taps = responses[:, :length]
    size = fast_length(length + taps.shape[1] - 1)
    xp = namespace(waves)
    spectrum = xp.fft.rfft(waves, size)
    spectrum *= xp.fft.rfft(taps, size)
    heard: Array = xp.fft.irfft(spectrum, size)[:, :length]
    return heard


@lru_cache(maxsize=1024)
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


# Rooms made without recordings: the image sources of a room as a random process, with a stated reverberation time.

SHORTEST_RT60_S, LONGEST_RT60_S = 0.1, MAX_S

VERSION = 1
"""Raised when `synthetic_room` makes another room of the same numbers; part of its fingerprint."""

_SPEED_OF_SOUND = 343.0
_VOLUME_PER_S = 100.0
"""Cubic metres of a room for each second of its reverberation: 30 for an office of 0.3 s, 100 for a hall of 1 s."""

_TOLERANCE = 0.05
_ATTEMPTS = 20


def synthetic_room(rt60_s: float, generator: np.random.Generator) -> Room:
    """Return a room of a stated reverberation time (its T20 is within 5 % of it).

    The images of a source in the walls of a room of volume V arrive 4 pi c^3 t^2 / V a second, each at 1 / (c t) of
    its amplitude (Kuttruff, "Room Acoustics", ch. 4); here they come at random times instead of those of one
    rectangular room, so early reflections are sparse and grow into a diffuse tail that falls exponentially. The volume,
    the distance of the talker (direct sound from 6 dB above to 10 dB below all reverberation) and how dull the
    reflections are (a one-pole low-pass from 2 to 8 kHz) are drawn. The decay is equally fast at all frequencies, which
    no room's is: measured responses are better.

    Args:
        rt60_s: from 0.1 to 3 s.
        generator: decides everything else.

    Raises:
        RecipeError: another reverberation time.
    """
    check_rt60(rt60_s)

    def draw() -> Room:
        return room(_draw(rt60_s, generator).astype(np.float32), "synthetic room")

    def error(drawn: Room) -> float:
        return abs(drawn.rt60_s / rt60_s - 1.0)

    best = draw()
    for _ in range(_ATTEMPTS):
        if error(best) <= _TOLERANCE:
            break
        best = min(best, draw(), key=error)
    return best


def check_rt60(rt60_s: float) -> None:
    """Check that `synthetic_room` can make a room of a reverberation time.

    Raises:
        RecipeError: it cannot.
    """
    if not SHORTEST_RT60_S <= rt60_s <= LONGEST_RT60_S:
        raise RecipeError(
            f"a synthetic room has a reverberation time from {SHORTEST_RT60_S:g} to {LONGEST_RT60_S:g} s, not {rt60_s}"
        )


def _draw(rt60_s: float, generator: np.random.Generator) -> FloatArray:
    volume = _VOLUME_PER_S * rt60_s * np.exp(generator.uniform(-0.7, 0.7))
    # in multiples of the distance at which direct and reverberant sound are equally loud
    distance = generator.uniform(0.5, 3.0) * 0.057 * np.sqrt(volume / rt60_s)
    cutoff_hz = generator.uniform(2000.0, 8000.0)
    late_s = np.arange(round(1.2 * rt60_s * SAMPLE_RATE)) / SAMPLE_RATE
    time_s = distance / _SPEED_OF_SOUND + late_s
    chance = np.minimum(1.0, 4.0 * np.pi * _SPEED_OF_SOUND**3 * time_s**2 / volume / SAMPLE_RATE)
    power = 4.0 * np.pi * _SPEED_OF_SOUND / volume / SAMPLE_RATE / chance
    arrives = generator.random(len(late_s)) < chance
    envelope = np.sqrt(power) * 10.0 ** (-3.0 * late_s / rt60_s)
    response = _dulled(arrives * envelope * generator.standard_normal(len(late_s)), cutoff_hz)
    response[0] = 1.0 / distance
    return response


def _dulled(reflections: FloatArray, cutoff_hz: float) -> FloatArray:
    size = 2 * len(reflections)
    gain = 1.0 / (1.0 + 1j * np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE) / cutoff_hz)
    gain /= np.sqrt(np.mean(np.abs(gain) ** 2))
    filtered: FloatArray = np.fft.irfft(np.fft.rfft(reflections, size) * gain, size)[: len(reflections)]
    return filtered


# The rooms an experiment has at hand: recorded responses, and those that are made; singly, and for batches.

PIECES = 128
"""Rooms that are made for a stage of training, their reverberation times spread evenly over its range."""

_CACHE_BYTES = 256 * 2**20


class Rooms:
    """Recorded room responses, each equally likely. May be pickled.

    Args:
        clips: the recordings; without any, only synthetic rooms can be drawn.
        built_in_share: share of synthetic rooms that training draws where there are recordings too.
    """

    def __init__(self, clips: Iterable[Clip] = (), built_in_share: float = 0.0) -> None:
        self.clips = stable_order(clips)
        self.built_in_share = built_in_share if self.clips else 1.0
        self._memory: LruCache[Room] = LruCache(_CACHE_BYTES, _room_bytes)

    def draw(self, rt60_s: float | None, generator: np.random.Generator) -> Room:
        """Return a recorded room, or a synthetic one where a reverberation time is stated.

        Raises:
            AudioError: the recording cannot be read.
            CorpusError: there are no recordings.
            RecipeError: no synthetic room has this reverberation time.
        """
        if rt60_s is not None:
            return synthetic_room(rt60_s, generator)
        self.refuse_none()
        clip = self.clips[int(pick(generator.random(1), len(self.clips))[0])]
        return self._memory.get(clip, lambda: load_room(clip))

    def refuse_none(self) -> None:
        """Check that there are recordings.

        Raises:
            CorpusError: there are none.
        """
        if not self.clips:
            raise CorpusError(
                "the condition 'reverb' is heard in measured rooms, and there are none: give a folder of room impulse "
                "responses with --rooms (rooms: [...] in a recipe), or state a reverberation time, such as "
                "'reverb_0.6s', for a synthetic room"
            )

    def fingerprint_of(self, rt60_s: float | None) -> str:
        """Return 16 hex digits that change when the room that `draw` gives would: the same on every machine."""
        return self._fingerprint if rt60_s is None else digest("synthetic rooms", VERSION, CONVOLUTION_VERSION, rt60_s)

    @cached_property
    def _fingerprint(self) -> str:
        return digest("rooms", CONVOLUTION_VERSION, clips_digest(self.clips))

    @property
    def summary(self) -> str:
        """How many recordings."""
        files = len(self.clips)
        return f"recorded, {files} room{'s' * (files != 1)}" if files else "synthetic rooms alone"


class RirSampler:
    """Rooms in a pool, drawn in batches.

    Args:
        rooms: those recorded, and the share of synthetic ones.
        rt60_s: lowest and highest reverberation time of the synthetic ones.
        builder: gets the responses.
        length: samples of the longest speech that will be heard in them; responses are kept no longer.
    """

    DRAWS = 2

    def __init__(self, rooms: Rooms, rt60_s: tuple[float, float], builder: PoolBuilder, length: int) -> None:
        self._built_in_share = rooms.built_in_share
        recorded = rooms.clips if self._built_in_share < 1.0 else ()
        self._recorded = np.array(
            [builder.add(("room", clip, length), partial(_recorded, clip, length)) for clip in recorded], dtype=np.int64
        )
        self._built_in = np.array(
            [
                builder.add(("room", rt60_s, piece, length), partial(_built_in, rt60_s, piece, length))
                for piece in range(PIECES if self._built_in_share > 0.0 else 0)
            ],
            dtype=np.int64,
        )

    def draw(self, pool: Pool, length: int, draws: NDArray[np.float64], device: torch.device) -> tuple[Tensor, Indices]:
        """Return (n, length) float32 responses, zeros behind the end of each, and (n,) their places in the pool.

        Args:
            pool: filled from the shelf.
            length: samples of the speech that is to be heard in them.
            draws: (n, `DRAWS`) uniform numbers from 0 to 1.
            device: where the responses are wanted.
        """
        items = np.empty(len(draws), dtype=np.int64)
        built_in = draws[:, 0] < self._built_in_share
        for chosen, places in ((built_in, self._built_in), (~built_in, self._recorded)):
            if chosen.any():
                items[chosen] = places[pick(draws[chosen, 1], len(places))]
        return pool.gather(items, np.zeros(len(items), dtype=np.int64), length, device), items


def _recorded(clip: Clip, length: int) -> Pcm:
    return _kept(load_room(clip).taps, length)


def _built_in(rt60_s: tuple[float, float], piece: int, length: int) -> Pcm:
    low, high = rt60_s
    draw = named_generator(0, 0, piece, f"rooms/{low:g}-{high:g}/{VERSION}")
    return _kept(synthetic_room(low + (high - low) * (piece + 0.5) / PIECES, draw).taps, length)


def _kept(taps: Waveform, length: int) -> Pcm:
    """Return a response as long as the speech: behind it in the pool lies another."""
    return encode(np.pad(taps[:length], (0, max(0, length - len(taps)))))


def _room_bytes(room: Room) -> int:
    return room.taps.nbytes
