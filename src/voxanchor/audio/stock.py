"""Clips of noise in a pool, drawn in batches so that enough of their sound is heard."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxanchor.audio.batched import frame_energy
from voxanchor.audio.clips import Clip, seamless
from voxanchor.audio.level import ACTIVITY_MARGIN_DB, FRAME_SAMPLES, active_frames, active_level_db
from voxanchor.audio.pcm import Pcm, encode
from voxanchor.audio.pool import Indices, Pool, Shelf, sent
from voxanchor.audio.sources import NoiseSource, RecordedNoise
from voxanchor.rng import generator
from voxanchor.types import SAMPLE_RATE

PIECES = 128
"""Stretches that are composed of a source without recordings."""

PIECE_S = 6.0

TRIES = 4
"""Crops of a clip that are tried before the best of them is taken."""

ENOUGH = 0.25
"""A crop is good enough when its share of active sound reaches this part of the whole clip's share."""


class Stock:
    """Clips of one source, each equally likely, at their own level.

    Args:
        items: (C,) their places in the pool.
    """

    DRAWS = 1 + TRIES

    def __init__(self, items: Indices) -> None:
        self.items = items
        # what is known of each clip once it was drawn: power above which a frame is heard, share of such frames, first
        self._threshold = np.full(len(items), np.nan)
        self._share = np.zeros(len(items))
        self._first = np.zeros(len(items), dtype=np.int64)

    def draw(
        self, pool: Pool, length: int, _voices: Indices, draws: NDArray[np.float64], device: torch.device
    ) -> tuple[Tensor, tuple[Indices, Indices, Indices, NDArray[np.float64]]]:
        """Return (n, length) float32 noise, and rows, items, starts and gains of what it is made of: a crop a row."""
        chosen = np.minimum((draws[:, 0] * len(self.items)).astype(np.int64), len(self.items) - 1)
        self._listen(pool, np.unique(chosen[np.isnan(self._threshold[chosen])]))
        items, wanted = self.items[chosen], ENOUGH * self._share[chosen]
        starts = pool.start(items, length, draws[:, 1])
        waves = pool.gather(items, starts, length, device)
        heard = self._heard(waves, chosen)
        for attempt in range(2, 1 + TRIES):
            rows = np.flatnonzero(heard < wanted)
            if len(rows) == 0:
                break
            others = pool.start(items[rows], length, draws[rows, attempt])
            self._take(pool, rows, others, items, starts, waves, heard, chosen)
        rows = np.flatnonzero((heard == 0.0) & (wanted > 0.0))
        if len(rows):  # nothing of a sparse clip was met: go to where its sound begins
            places = np.minimum(self._first[chosen[rows]], pool.start(items[rows], length, np.ones(len(rows))))
            self._take(pool, rows, places, items, starts, waves, heard, chosen)
        return waves, (np.arange(len(chosen)), items, starts, np.ones(len(chosen)))

    def _take(
        self,
        pool: Pool,
        rows: Indices,
        others: Indices,
        items: Indices,
        starts: Indices,
        waves: Tensor,
        heard: NDArray[np.float64],
        chosen: Indices,
    ) -> None:
        """Put other crops into `rows`, where more is heard in them."""
        crops = pool.gather(items[rows], others, waves.shape[1], waves.device)
        found = self._heard(crops, chosen[rows])
        better = found > heard[rows]
        starts[rows[better]], heard[rows[better]] = others[better], found[better]
        waves[sent(rows[better], waves.device)] = crops[sent(np.flatnonzero(better), waves.device)]

    def _heard(self, waves: Tensor, chosen: Indices) -> NDArray[np.float64]:
        """Return (n,) the share of frames that would count as active in the whole clip."""
        energy, samples = frame_energy(waves)
        threshold = sent(self._threshold[chosen], waves.device)
        share: NDArray[np.float64] = (energy / samples > threshold.unsqueeze(1)).double().mean(dim=1).cpu().numpy()
        return share

    def _listen(self, pool: Pool, chosen: Indices) -> None:
        for clip in chosen.tolist():
            waveform = pool.recording(int(self.items[clip])).waveform()
            active = active_frames(waveform)
            self._share[clip] = active.mean()
            self._first[clip] = int(active.argmax()) * FRAME_SAMPLES
            level_db = active_level_db(waveform)
            self._threshold[clip] = 10.0 ** ((level_db - ACTIVITY_MARGIN_DB) / 10.0) if active.any() else np.inf


def recorded(source: RecordedNoise, shelf: Shelf, crop_samples: int) -> Indices:
    """Put the clips of a source on the shelf, short ones without a seam where they repeat; return their places."""
    loads = [(("noise", clip, crop_samples), partial(_load, clip, crop_samples)) for clip in source.clips]
    return np.array([shelf.add(key, load) for key, load in loads])


def composed(source: NoiseSource, shelf: Shelf, kept: dict[tuple[str, int], Pcm]) -> Indices:
    """Put stretches of what a source composes on the shelf; return their places. They depend on the source alone.

    Args:
        source: composes noise of any length.
        shelf: gets the stretches.
        kept: those composed before; gets the new ones.
    """

    def load(name: tuple[str, int]) -> Pcm:
        if name not in kept:
            draw = generator(0, 0, name[1], f"library/{name[0]}")
            kept[name] = encode(source.draw(round(PIECE_S * SAMPLE_RATE), draw).waveform)
        return kept[name]

    names = [(source.fingerprint, piece) for piece in range(PIECES)]
    return np.array([shelf.add(name, partial(load, name)) for name in names])


def _load(clip: Clip, crop_samples: int) -> Pcm:
    pcm = clip.pcm()
    return pcm if len(pcm) >= crop_samples else encode(seamless(pcm.waveform()))
