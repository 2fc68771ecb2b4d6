"""Babble in batches: several talkers at equal level in every row, nobody twice, and never the speaker of the row."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxanchor.audio.babble import TALKER_LEVEL_DB, Babble
from voxanchor.audio.batched import measure
from voxanchor.audio.clips import Clip, at_speed
from voxanchor.audio.pcm import Pcm, encode
from voxanchor.audio.pool import Indices, Pool, Shelf, sent
from voxanchor.errors import CorpusError

MOST_TALKERS = 12

QUIET_POWER = 10.0 ** (-50.0 / 10.0)
"""A crop below -50 dBFS may be a pause of its talker: another is tried, and the louder taken."""

_TALKER_POWER = 10.0 ** (TALKER_LEVEL_DB / 10.0)


class Crowd:
    """The talkers of a source of babble.

    Args:
        source: who may talk, and how many at once.
        shelf: gets their clips.

    Raises:
        CorpusError: more talkers at once than `MOST_TALKERS`.
    """

    DRAWS = 1 + 4 * MOST_TALKERS

    def __init__(self, source: Babble, shelf: Shelf) -> None:
        self.fewest, self.most = source.talkers
        if self.most > MOST_TALKERS:
            raise CorpusError(f"babble of {self.most} talkers: at most {MOST_TALKERS} can talk in training")
        self._numbers = {name: number for number, name in enumerate(source.speakers)}
        self._paths: dict[str, int] = {}
        items: list[list[int]] = [[] for _ in self._numbers]
        for clip in source.clips:
            number = self._numbers[clip.speaker or clip.path]
            self._paths[clip.path] = number
            for speed in source.speeds:
                # the training speech itself, as it mostly is, is not kept twice
                key = ((clip.path, clip.start_s, clip.duration_s, clip.channel), *([speed] if speed != 1.0 else []))
                items[number].append(shelf.add(key, partial(_load, clip, speed)))
        self._count = np.array([len(own) for own in items])
        self._first = np.cumsum(self._count) - self._count
        self._items = np.array([item for own in items for item in own])

    def voice(self, speaker: str, paths: tuple[str, ...]) -> int:
        """Return the number of the talker who is `speaker`, or whose files these are; -1 when nobody is."""
        own = [self._paths[path] for path in paths if path in self._paths]
        return own[0] if own else self._numbers.get(speaker, -1)

    def draw(
        self, pool: Pool, length: int, voices: Indices, draws: NDArray[np.float64], device: torch.device
    ) -> tuple[Tensor, tuple[Indices, Indices, Indices, NDArray[np.float64]]]:
        """Return (n, length) float32 babble, and rows, items, starts and gains of what it is made of."""
        counts = self.fewest + (draws[:, 0] * (self.most - self.fewest + 1)).astype(np.int64)
        who, clip, first, second = (draws[:, 1 + i * MOST_TALKERS :][:, : self.most] for i in range(4))
        talkers = self._choose(voices, who)
        speaking = np.arange(self.most) < counts[:, None]
        rows = np.nonzero(speaking)[0]
        talker = talkers[speaking]
        items = self._items[self._first[talker] + (clip[speaking] * self._count[talker]).astype(np.int64)]
        starts = pool.start(items, length, first[speaking])
        waves = pool.gather(items, starts, length, device)
        power = measure(waves).power.cpu().numpy().copy()
        quiet = np.flatnonzero(power < QUIET_POWER)
        if len(quiet):
            others = pool.start(items[quiet], length, second[speaking][quiet])
            crops = pool.gather(items[quiet], others, length, device)
            found = measure(crops).power.cpu().numpy()
            louder = found > power[quiet]
            starts[quiet[louder]], power[quiet[louder]] = others[louder], found[louder]
            waves[sent(quiet[louder], device)] = crops[sent(np.flatnonzero(louder), device)]
        gains = np.sqrt(np.divide(_TALKER_POWER, power, out=np.zeros_like(power), where=power > 0.0))
        mixing = np.zeros((len(counts), len(rows)), dtype=np.float32)
        mixing[rows, np.arange(len(rows))] = gains
        return sent(mixing, device) @ waves, (rows, items, starts, gains)

    def _choose(self, voices: Indices, draws: NDArray[np.float64]) -> Indices:
        """Return (n, K) talkers: other people than `voices`, each at most once as far as there are enough."""
        barred = np.where(voices < 0, len(self._count), voices)[
            :, None
        ]  # sorted in each row; a number past all: nobody
        left = len(self._count) - (voices >= 0)
        if left.min() < 1:
            raise CorpusError(
                "nobody is left to talk in the babble: its only speaker is the one who is heard. Give speech of other "
                "speakers for the babble, or leave babble out of the noise kinds"
            )
        chosen = np.empty(draws.shape, dtype=np.int64)
        taken = barred
        for k in range(draws.shape[1]):
            free = left - (taken.shape[1] - 1)
            if free.min() < 1:  # everybody talks already: they talk twice
                taken, free = barred, left
            number = (draws[:, k] * free).astype(np.int64)
            for column in range(taken.shape[1]):
                number += number >= taken[:, column]
            chosen[:, k] = number
            taken = np.sort(np.concatenate([taken, number[:, None]], axis=1), axis=1)
        return chosen


def _load(clip: Clip, speed: float) -> Pcm:
    if speed == 1.0:
        return clip.pcm()
    waveform = clip.pcm().waveform()
    return encode(at_speed(waveform, speed, max(1, int(len(waveform) / speed))))
