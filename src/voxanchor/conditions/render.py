"""Putting speech into conditions: rows of a batch, and one recording, which is a batch of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.arrays import Array, beside
from voxanchor.audio.pcm import Indices
from voxanchor.audio.rooms import convolve
from voxanchor.audio.snr import Added, SnrLevels, add_noise
from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.spec import Channel, Condition
from voxanchor.errors import AudioError
from voxanchor.types import Waveform


def render_rows(
    waves: Array,
    *,
    responses: Array | None = None,
    noise: Array | None = None,
    snr_db: Array | None = None,
    snr: SnrLevels = "active",
    channels: Sequence[Channel] = (),
    through: Indices | None = None,
) -> tuple[Array, Added[Array] | None]:
    """Put rows of speech into rooms, then into noise, then through channels.

    Args:
        waves: (N, T) float32 speech; may be changed.
        responses: (R, K) float32 of the rooms that the last R rows are heard in.
        noise: (M, T) noise that is added to the last M rows: float32, or float64 where ratios are to be exact at any
            level (`voxanchor.audio.snr.add_noise`).
        snr_db: (M,) signal-to-noise ratios, against the speech as it is heard in its room.
        snr: what the ratios lie between.
        channels: those that rows go through.
        through: (N,) which of `channels` each row goes through; -1 for none.

    Returns:
        (N, T) float32 what became of them, and what was added of the noise, None without any.
    """
    added = None
    if responses is not None:
        first = len(waves) - len(responses)
        heard = convolve(waves[first:], responses)
        if first:
            waves[first:] = heard
        else:
            waves = heard
    if noise is not None and snr_db is not None:
        added = add_noise(waves[len(waves) - len(noise) :], noise, snr_db, snr)
    if through is not None:
        for number in np.unique(through[through >= 0]):
            rows = beside(np.flatnonzero(through == number), waves)
            waves[rows] = channels[number].apply_rows(waves[rows])
    return waves, added


@dataclass(frozen=True)
class Rendered:
    """A recording in a condition, and what was done to it.

    Attributes:
        waveform: (T,) float32, never clipped or normalised; as long as the recording, and not late against it.
        condition: what was asked for.
        snr_db: ratio of the levels that the condition names, measured on what was mixed: against the speech as heard
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
    if condition.is_clean:
        return Rendered(waveform, condition, None, float(np.abs(waveform).max()), "clean")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{condition.name} needs a recording whose samples are all finite (no NaN or infinity)")
    descriptions = []
    responses: NDArray[Any] | None = None
    noise: NDArray[Any] | None = None
    snr_db: NDArray[Any] | None = None
    if condition.room is not None:
        room = bank.rooms.draw(condition.room.rt60_s, generator)
        responses = room.taps[None]
        descriptions.append(room.description)
    if condition.noise is not None and condition.snr_db is not None:
        drawn = bank.draw(condition.noise, len(waveform), generator, exclude)
        noise = drawn.waveform[None].astype(np.float64)
        snr_db = np.array([condition.snr_db])
        descriptions.append(drawn.description)
    channels, through = [], None
    if condition.channel is not None:
        channels, through = [condition.channel], np.zeros(1, dtype=np.int64)
        descriptions.append(condition.channel.description)
    # noise is added in place; a room makes another waveform
    own: NDArray[Any] = waveform if responses is not None else np.array(waveform, dtype=np.float32)
    waves, added = render_rows(
        own[None],
        responses=responses,
        noise=noise,
        snr_db=snr_db,
        snr=condition.snr,
        channels=channels,
        through=through,
    )
    applied = None if added is None else added.snr_db()
    peak = max(-float(waves.min()), float(waves.max()))
    return Rendered(waves[0], condition, applied, peak, "; ".join(descriptions))
