"""Putting a recording into a condition."""

from dataclasses import dataclass

import numpy as np

from voxanchor.audio.rooms import reverberate
from voxanchor.audio.snr import mix
from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.spec import Condition
from voxanchor.errors import AudioError
from voxanchor.types import Waveform


@dataclass(frozen=True)
class Rendered:
    """A recording in a condition, and what was done to it.

    Attributes:
        waveform: (T,) float32, never clipped or normalised; as long as the recording, and not late against it.
        condition: what was asked for.
        snr_db: what was measured after mixing, between the levels that the condition names: against the speech as heard
            in the room and before any channel; None without noise.
        peak: largest absolute sample; 1.0 is full scale.
        description: the room, what was added, and the channel, for a listener.
    """

    waveform: Waveform
    condition: Condition
    snr_db: float | None
    peak: float
    description: str


def render(
    waveform: Waveform,
    condition: Condition,
    bank: NoiseBank,
    generator: np.random.Generator,
    exclude: frozenset[str] = frozenset(),
) -> Rendered:
    """Return a recording in a condition; the result depends on the arguments only.

    Args:
        waveform: (T,) float32 clean speech at 16 kHz; passed through unchanged when the condition is clean.
        condition: what is to happen to it.
        bank: where rooms and noise are drawn from.
        generator: decides which room, then which noise; untouched when the condition is clean.
        exclude: speakers (or paths of files) that must not be heard in the noise, such as those of the trial.

    Raises:
        AudioError: the recording is empty, silent or not finite, or a noise clip or room response cannot be read.
        CorpusError: the bank lacks the kind of noise or has no measured rooms, or nothing is left after `exclude`.
    """
    if len(waveform) == 0:
        raise AudioError("an empty recording has no condition")
    descriptions, snr_db = [], None
    if condition.room is not None:
        room = bank.rooms.draw(condition.room.rt60_s, generator)
        waveform = reverberate(waveform, room.taps)
        descriptions.append(room.description)
    if condition.noise is not None and condition.snr_db is not None:
        noise = bank.draw(condition.noise, len(waveform), generator, exclude)
        mixture = mix(waveform, noise.waveform, condition.snr_db, condition.snr)
        waveform, snr_db = mixture.waveform, mixture.snr_db
        descriptions.append(noise.description)
    if condition.channel is not None:
        waveform = condition.channel.apply(waveform)
        descriptions.append(condition.channel.description)
    return Rendered(waveform, condition, snr_db, float(np.abs(waveform).max()), "; ".join(descriptions) or "clean")
