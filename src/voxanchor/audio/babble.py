"""Babble: several people talking at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import cached_property

import numpy as np

from voxanchor.audio.arrays import Array, beside, cast, namespace
from voxanchor.audio.noise import (
    VERSION,
    Clip,
    ClipCache,
    Layers,
    Noise,
    ReadClips,
    Sounds,
    clips_digest,
    digest,
    layered,
    pick,
    pieces_of,
    place,
    stable_order,
)
from voxanchor.audio.pcm import Indices
from voxanchor.audio.snr import measure
from voxanchor.audio.speed import source_samples
from voxanchor.errors import CorpusError
from voxanchor.runtime import counted
from voxanchor.types import FloatArray

TALKER_LEVEL_DB = -26.0
"""Active level of every talker in babble."""

TALKER_DRAWS = 5
"""Numbers from 0 to 1 that decide a talker: who, which clip, which piece of it, from where on, and how fast."""

_TALKER_POWER = 10.0 ** (TALKER_LEVEL_DB / 10.0)


class Babble:
    """Sums of talkers at equal active level: the babble of the MUSAN recipes, 3 to 6 segments of speech.

    Each talker is another speaker as far as there are enough of them. A clip without a speaker counts as a speaker of
    its own.

    Args:
        clips: speech.
        cache: where decoded clips are kept.
        talkers: smallest and largest number of talkers, drawn uniformly.
        speeds: playback speeds, one drawn per talker. Speeds other than 1 change pitch and formants with tempo, so that
            nobody whose speech serves as babble is heard with their own voice.

    Attributes:
        speakers: everybody who may talk.
        drawn: the clips, those of one speaker after those of the other.
        pieces: (C,) in how many pieces each of `drawn` is drawn from.
        draws: numbers from 0 to 1 that decide a row of babble.

    Raises:
        CorpusError: no clip, or talkers or speeds out of range.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        cache: ClipCache,
        talkers: tuple[int, int] = (3, 6),
        speeds: tuple[float, ...] = (1.0,),
    ) -> None:
        self.clips = stable_order(clips)
        self.cache = cache
        self.talkers = (int(talkers[0]), int(talkers[1]))
        self.speeds = tuple(float(speed) for speed in speeds)
        if not self.clips:
            raise CorpusError("babble needs at least one clip of speech")
        if not 1 <= talkers[0] <= talkers[1]:
            raise CorpusError(f"babble of {talkers[0]} to {talkers[1]} talkers: needs at least 1, smallest first")
        if not self.speeds or not all(0.5 <= speed <= 2.0 for speed in self.speeds):
            raise CorpusError(f"playback speeds of babble must lie between 0.5 and 2, got {speeds}")
        by_speaker: dict[str, list[Clip]] = {}
        for clip in self.clips:
            by_speaker.setdefault(clip.speaker or clip.path, []).append(clip)
        self.speakers = tuple(by_speaker)
        self.drawn = tuple(clip for own in by_speaker.values() for clip in own)
        self.pieces = np.array([pieces_of(clip) for clip in self.drawn])
        self.draws = 1 + TALKER_DRAWS * self.talkers[1]
        self._count = np.array([len(own) for own in by_speaker.values()])
        self._first = np.cumsum(self._count) - self._count
        self._sounds = ReadClips(self.drawn, cache)

    def draw(self, length: int, generator: np.random.Generator, exclude: frozenset[str] = frozenset()) -> Noise:
        """Return babble, described by its number of talkers.

        Args:
            length: number of samples.
            generator: decides how many talk, who, what and how fast.
            exclude: speakers, and paths of files, whose talkers must not be heard.

        Raises:
            AudioError: a clip drawn cannot be read.
            CorpusError: nobody is left to talk, or all that somebody says is silence.
        """
        draws = generator.random((1, self.draws))
        waves, layers = self.compose(self._sounds, length, [self.barred(exclude)], draws)
        for clip in layers.clips[layers.silent].tolist():
            said = self.drawn[clip]
            raise CorpusError(
                f"the speech of '{said.speaker or said.path}' is silent (for example {said.path}): remove silent files"
            )
        return Noise(waves[0], f"babble of {len(layers.rows)} talkers")

    def barred(self, exclude: Set[str]) -> frozenset[int]:
        """Return the numbers of the talkers who have one of these names, or files of these paths."""
        return frozenset(self._numbers[name] for name in exclude if name in self._numbers)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        owners = np.repeat(np.arange(len(self.speakers)), self._count).tolist()
        files = {clip.path: owner for clip, owner in zip(self.drawn, owners, strict=True)}
        return files | {name: number for number, name in enumerate(self.speakers)}

    def compose(
        self, sounds: Sounds[Array], length: int, barred: Sequence[Set[int]], draws: FloatArray
    ) -> tuple[Array, Layers[Array]]:
        """Return (n, length) float32 babble, and what it is made of.

        Args:
            sounds: gives the clips of `drawn`.
            length: samples wanted.
            barred: n sets of talkers who must not be heard in a row.
            draws: (n, `draws`) numbers from 0 to 1; may have more columns.

        Raises:
            CorpusError: nobody is left to talk in a row.
        """
        fewest, most = self.talkers
        counts = fewest + pick(draws[:, 0], most - fewest + 1)
        own = draws[:, 1 : self.draws].reshape(len(draws), most, TALKER_DRAWS)
        speaking = np.arange(most) < counts[:, None]
        rows = np.nonzero(speaking)[0]
        talkers = self._choose(barred, own[:, :, 0])[speaking]
        speeds = np.array(self.speeds)[pick(own[speaking][:, 4], len(self.speeds))]
        placed = [
            place(
                sounds,
                self.pieces,
                range(self._first[talker], self._first[talker] + self._count[talker]),
                (clip, piece, start),
                source_samples(length, speed),
            )
            for talker, (_, clip, piece, start, _), speed in zip(
                talkers.tolist(), own[speaking].tolist(), speeds.tolist(), strict=True
            )
        ]
        waves, layers = layered(sounds, placed, rows, speeds, length)
        power = measure(waves).power
        xp = namespace(waves)
        heard = power > 0.0
        gains = xp.where(heard, xp.sqrt(_TALKER_POWER / xp.where(heard, power, 1.0)), 0.0)
        mixing = xp.zeros((len(draws), len(rows)), dtype=xp.float32, device=waves.device)
        mixing[beside(rows, waves), beside(np.arange(len(rows)), waves)] = cast(gains, xp.float32)
        return mixing @ waves, layers._replace(gains=gains)

    def _choose(self, barred: Sequence[Set[int]], draws: FloatArray) -> Indices:
        """Return (n, K) talkers: none of those barred in a row, each at most once as far as there are enough."""
        nobody, widest = len(self.speakers), max(map(len, barred))
        left = nobody - np.array([len(own) for own in barred])
        if left.min() < 1:
            raise CorpusError(
                f"nobody is left to talk in the babble: all {nobody} speakers are excluded from this draw. Give speech "
                "of other speakers for the babble, or leave babble out"
            )
        taken = np.full((len(draws), widest + draws.shape[1]), nobody)
        for row, own in enumerate(barred):
            taken[row, : len(own)] = list(own)
        free, chosen = left.copy(), np.empty(draws.shape, dtype=np.int64)
        for k in range(draws.shape[1]):
            again = free < 1  # everybody talks already: they talk twice
            taken[again, widest:], free[again] = nobody, left[again]
            number = pick(draws[:, k], free)
            for other in np.sort(taken, axis=1).T:
                number += number >= other
            chosen[:, k] = taken[:, widest + k] = number
            free = free - 1
        return chosen

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the clips, the numbers of talkers and the speeds."""
        return digest("babble", VERSION, clips_digest(self.clips), self.talkers, self.speeds)

    @property
    def summary(self) -> str:
        """How many talk at once, out of how many."""
        low, high = self.talkers
        speeds = "" if self.speeds == (1.0,) else f", at {', '.join(f'{s:g}' for s in self.speeds)} times their speed"
        sampler = f"{counted(len(self.speakers), 'speaker')} ({counted(len(self.clips), 'clip')})"
        return f"{low} to {high} talkers out of {sampler}{speeds}"
