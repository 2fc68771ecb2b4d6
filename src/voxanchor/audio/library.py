"""The noise of a bank laid out for training: batches of it are drawn and summed without a loop over their rows.

A bank makes one stretch of noise at a time, from whatever it is asked for. A library holds every clip decoded, and
built-in noise and music composed beforehand. What they draw is alike, by the same rules, but not the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxanchor.audio.babble import Babble
from voxanchor.audio.bank import NoiseBank
from voxanchor.audio.crowd import Crowd
from voxanchor.audio.pool import CPU, Indices, Pool, Shelf, sent
from voxanchor.audio.sources import Choice, NoiseSource, RecordedNoise
from voxanchor.audio.stock import Stock, composed, recorded

Uniform = NDArray[np.float64]


@dataclass(frozen=True)
class Layers:
    """What noise was made of: M crops, each times its gain added to its row.

    Attributes:
        rows: (M,) row of the batch.
        items: (M,) recording of the pool.
        starts: (M,) first sample of the crop.
        gains: (M,) float64.
    """

    rows: Indices
    items: Indices
    starts: Indices
    gains: Uniform


class Library:
    """The kinds of noise of a bank, for crops of one length.

    Args:
        bank: what is laid out.
        shelf: gets the clips; noise can be drawn once a pool is made of it.
        crop_samples: T, the length of the noise that is drawn.
    """

    DRAWS = 1 + max(Stock.DRAWS, Crowd.DRAWS)
    """Numbers from 0 to 1 that decide one row."""

    def __init__(self, bank: NoiseBank, shelf: Shelf, crop_samples: int) -> None:
        self.kinds = bank.kinds
        self.crop_samples = crop_samples
        self._parts: list[Stock | Crowd] = []
        # per kind: cumulative shares of its parts, and their numbers
        self._shares: list[Uniform] = []
        self._members: list[Indices] = []
        for kind in self.kinds:
            weighted = list(_leaves(bank.source(kind), 1.0))
            first = len(self._parts)
            self._parts += [_part(source, shelf, crop_samples, bank) for _, source in weighted]
            self._shares.append(np.cumsum([weight for weight, _ in weighted]))
            self._members.append(np.arange(first, len(self._parts)))

    def voice(self, speaker: str, paths: tuple[str, ...]) -> int:
        """Return the number under which a speaker, or whose files these are, talks in babble; -1 for nobody."""
        crowds = [part for part in self._parts if isinstance(part, Crowd)]
        return max((crowd.voice(speaker, paths) for crowd in crowds), default=-1)

    def draw(
        self, pool: Pool, kinds: Indices, voices: Indices, draws: Uniform, device: torch.device = CPU
    ) -> tuple[Tensor, Layers]:
        """Return noise, (n, T) float32 at its sources' own levels, and what it is made of.

        A row may come out silent where clips are; it is all zeros then.

        Args:
            pool: filled from the library's shelf.
            kinds: (n,) positions among `kinds`.
            voices: (n,) who must not be heard in the babble of each row; -1 for nobody.
            draws: (n, `DRAWS`) uniform numbers from 0 to 1.
            device: where the noise is wanted.
        """
        noise = torch.zeros(len(kinds), self.crop_samples, device=device)
        parts = np.zeros(len(kinds), dtype=np.int64)
        for kind, (shares, members) in enumerate(zip(self._shares, self._members, strict=True)):
            rows = np.flatnonzero(kinds == kind)
            chosen = np.searchsorted(shares, draws[rows, 0] * shares[-1], side="right")
            parts[rows] = members[np.minimum(chosen, len(members) - 1)]
        found = []
        for part in np.unique(parts):
            rows = np.flatnonzero(parts == part)
            waves, layers = self._parts[part].draw(pool, self.crop_samples, voices[rows], draws[rows, 1:], device)
            noise[sent(rows, device)] = waves
            found.append((rows[layers[0]], *layers[1:]))
        return noise, Layers(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _leaves(source: NoiseSource, weight: float) -> Iterator[tuple[float, NoiseSource]]:
    if isinstance(source, Choice):
        for share, member in zip(source.weights, source.sources, strict=True):
            yield from _leaves(member, weight * share)
    elif weight > 0:
        yield weight, source


def _part(source: NoiseSource, shelf: Shelf, crop_samples: int, bank: NoiseBank) -> Stock | Crowd:
    if isinstance(source, Babble):
        return Crowd(source, shelf)
    if isinstance(source, RecordedNoise):
        return Stock(recorded(source, shelf, crop_samples))
    return Stock(composed(source, shelf, bank.composed))
