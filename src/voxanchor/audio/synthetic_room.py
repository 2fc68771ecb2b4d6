"""Rooms made without recordings: the image sources of a room as a random process, with a stated reverberation time."""

import numpy as np

from voxanchor.audio.room import MAX_S, Room, room
from voxanchor.errors import RecipeError
from voxanchor.types import SAMPLE_RATE, FloatArray

SHORTEST_RT60_S, LONGEST_RT60_S = 0.1, MAX_S

VERSION = 1
"""Of what is drawn: part of every fingerprint."""

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
    """Do nothing for a reverberation time that `synthetic_room` can make.

    Raises:
        RecipeError: it is another.
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
