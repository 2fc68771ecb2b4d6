"""Crops of the training speech, gathered in batches, with enough speech in each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxanchor.audio import speed
from voxanchor.audio.batched import measure
from voxanchor.audio.downmix import Channel
from voxanchor.audio.level import FRAME_SAMPLES, active_frames
from voxanchor.audio.pcm import Pcm, known_usable
from voxanchor.audio.pool import Indices, Pool, Shelf, sent
from voxanchor.corpus.utterance import Utterance

TRIES = 6
MIN_ACTIVE_SHARE = 0.4
"""A crop with less speech than this is drawn again, up to `TRIES` times; the best of them is taken."""


class Crops:
    """Equally long crops of utterances, at each utterance's own speed.

    Args:
        utterances: U of them.
        shelf: gets their recordings; voices that differ in speed alone share one.
        crop_samples: T, the length of a crop.

    Attributes:
        source_samples: longest stretch of a recording that is gathered for a crop.
    """

    DRAWS = TRIES

    def __init__(self, utterances: Sequence[Utterance], shelf: Shelf, crop_samples: int) -> None:
        self.crop_samples = crop_samples
        self._items = np.array([shelf.add(_key(utterance), partial(_load, utterance)) for utterance in utterances])
        self._speeds = np.array([utterance.speed for utterance in utterances])
        self.source_samples = max(map(self._source, np.unique(self._speeds).tolist()))

    def recording(self, utterance: int) -> tuple[int, float]:
        """Return the place in the pool of an utterance's recording, and the speed at which it is played."""
        return int(self._items[utterance]), float(self._speeds[utterance])

    def gather(
        self, pool: Pool, chosen: Indices, draws: NDArray[np.float64], device: torch.device
    ) -> tuple[Tensor, Indices]:
        """Return (n, T) float32 crops, and (n,) where they start in their recordings.

        Args:
            pool: filled from the shelf.
            chosen: (n,) utterances.
            draws: (n, `DRAWS`) uniform numbers from 0 to 1.
            device: where the crops are wanted.
        """
        waves, starts = self._cut(pool, chosen, draws[:, 0], device)
        enough = MIN_ACTIVE_SHARE * self.crop_samples
        speech = measure(waves).samples.cpu().numpy().copy()
        for attempt in range(1, TRIES):
            rows = np.flatnonzero(speech < enough)
            if len(rows) == 0:
                return waves, starts
            others, places = self._cut(pool, chosen[rows], draws[rows, attempt], device)
            found = measure(others).samples.cpu().numpy()
            better = found > speech[rows]
            starts[rows[better]], speech[rows[better]] = places[better], found[better]
            # by places, not by a mask: how many rows a mask chooses the processor would have to wait for
            waves[sent(rows[better], device)] = others[sent(np.flatnonzero(better), device)]
        for row in np.flatnonzero(speech == 0):  # little speech in a long silence: aim at it
            starts[row] = self._aim(pool, int(chosen[row]), float(draws[row, 0]))
            waves[row] = self._at(pool, chosen[[row]], starts[[row]], device)[0]
        return waves, starts

    def _cut(
        self, pool: Pool, chosen: Indices, draws: NDArray[np.float64], device: torch.device
    ) -> tuple[Tensor, Indices]:
        starts = np.empty(len(chosen), dtype=np.int64)
        for value in np.unique(self._speeds[chosen]).tolist():
            rows = np.flatnonzero(self._speeds[chosen] == value)
            starts[rows] = pool.start(self._items[chosen[rows]], self._source(value), draws[rows])
        return self._at(pool, chosen, starts, device), starts

    def _at(self, pool: Pool, chosen: Indices, starts: Indices, device: torch.device) -> Tensor:
        speeds = self._speeds[chosen]
        values = np.unique(speeds).tolist()
        if values == [1.0]:
            return pool.gather(self._items[chosen], starts, self.crop_samples, device)
        waves = torch.empty(len(chosen), self.crop_samples, device=device)
        for value in values:
            rows = np.flatnonzero(speeds == value)
            crops = pool.gather(self._items[chosen[rows]], starts[rows], self._source(value), device)
            played = crops if value == 1.0 else speed.play(crops, value, self.crop_samples)
            waves[sent(rows, device)] = played
        return waves

    def _source(self, value: float) -> int:
        return self.crop_samples if value == 1.0 else speed.source_samples(self.crop_samples, value)

    def _aim(self, pool: Pool, utterance: int, draw: float) -> int:
        """Return where a crop starts that has some active frame of the recording in its middle."""
        item, length = int(self._items[utterance]), self._source(float(self._speeds[utterance]))
        active = np.flatnonzero(active_frames(pool.recording(item).waveform()))
        if len(active) == 0:
            return 0
        middle = int(active[int(draw * len(active))]) * FRAME_SAMPLES
        return min(max(middle - length // 2, 0), max(int(pool.lengths[item]) - length, 0))


def _key(utterance: Utterance) -> tuple[tuple[str, float, float | None, Channel], ...]:
    return tuple((part.path, part.start_s, part.duration_s, part.channel) for part in utterance.parts)


def _load(utterance: Utterance) -> Pcm:
    with known_usable():
        return replace(utterance, speed=1.0).pcm()
