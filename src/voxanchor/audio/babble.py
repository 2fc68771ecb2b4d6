"""Babble: several people talking at once, in one stretch and in batches."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.noise import (
    Clip,
    ClipCache,
    Noise,
    at_speed,
    clips_digest,
    crop_or_loop,
    digest,
    random_chunk,
    source_length,
    stable_order,
)
from voxanchor.audio.pcm import Indices, Pcm, Pool, PoolBuilder, encode, sent
from voxanchor.audio.snr import active_level_db, measure
from voxanchor.errors import CorpusError
from voxanchor.extras import lazily
from voxanchor.runtime import counted
from voxanchor.types import Waveform

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazily("torch", globals(), "torch")

TALKER_LEVEL_DB = -26.0
"""Active level of every talker in babble."""

_ATTEMPTS = 20


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
        self._by_speaker: dict[str, list[Clip]] = {}
        for clip in self.clips:
            self._by_speaker.setdefault(clip.speaker or clip.path, []).append(clip)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Everybody who may talk."""
        return tuple(self._by_speaker)

    def draw(self, length: int, generator: np.random.Generator, exclude: frozenset[str] = frozenset()) -> Noise:
        """Return babble, described by its number of talkers.

        Args:
            length: number of samples.
            generator: decides how many talk, who, what and how fast.
            exclude: speakers who must not talk, and paths of files not to be heard.

        Raises:
            AudioError: a clip drawn cannot be read.
            CorpusError: nobody is left to talk, or the clips drawn were silent.
        """
        count = int(generator.integers(self.talkers[0], self.talkers[1] + 1))
        order = [name for name in self._shuffled(generator) if self._allowed(name, exclude)]
        if not order:
            raise CorpusError(
                f"nobody is left to talk in the babble: all {len(self._by_speaker)} speakers are excluded from this "
                "draw. Give speech of other speakers for the babble"
            )
        total = np.zeros(length, dtype=np.float32)
        for index in range(count):
            total += self._talker(order[index % len(order)], length, generator, exclude)
        return Noise(total, f"babble of {count} talkers")

    def _shuffled(self, generator: np.random.Generator) -> list[str]:
        names = self.speakers
        return [names[i] for i in generator.permutation(len(names))]

    def _allowed(self, speaker: str, exclude: frozenset[str]) -> bool:
        return speaker not in exclude and any(clip.path not in exclude for clip in self._by_speaker[speaker])

    def _talker(self, speaker: str, length: int, generator: np.random.Generator, exclude: frozenset[str]) -> Waveform:
        clips = [clip for clip in self._by_speaker[speaker] if clip.path not in exclude]
        for _ in range(_ATTEMPTS):
            clip = random_chunk(clips[int(generator.integers(len(clips)))], generator)
            active = self.cache.active(clip)
            if not active.any():
                continue
            speed = self.speeds[int(generator.integers(len(self.speeds)))]
            crop = crop_or_loop(self.cache.pcm(clip), source_length(length, speed), generator, active=active)
            talk = at_speed(crop, speed, length)
            return talk * np.float32(10.0 ** ((TALKER_LEVEL_DB - active_level_db(talk)) / 20.0))
        raise CorpusError(f"the speech of '{speaker}' is silent (for example {clips[0].path}): remove silent files")

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the clips, the numbers of talkers and the speeds."""
        return digest("babble", clips_digest(self.clips), self.talkers, self.speeds)

    @property
    def summary(self) -> str:
        """How many talk at once, out of how many."""
        low, high = self.talkers
        speeds = "" if self.speeds == (1.0,) else f", at {', '.join(f'{s:g}' for s in self.speeds)} times their speed"
        sampler = f"{counted(len(self._by_speaker), 'speaker')} ({counted(len(self.clips), 'clip')})"
        return f"{low} to {high} talkers out of {sampler}{speeds}"


# Babble in batches: several talkers at equal level in every row, nobody twice, and never the speaker of the row.

MOST_TALKERS = 12

QUIET_POWER = 10.0 ** (-50.0 / 10.0)
"""A crop below -50 dBFS may be a pause of its talker: another is tried, and the louder taken."""

_TALKER_POWER = 10.0 ** (TALKER_LEVEL_DB / 10.0)


class BabbleSampler:
    """The talkers of a source of babble.

    Args:
        source: who may talk, and how many at once.
        builder: gets their clips.

    Raises:
        CorpusError: more talkers at once than `MOST_TALKERS`.
    """

    DRAWS = 1 + 4 * MOST_TALKERS

    def __init__(self, source: Babble, builder: PoolBuilder) -> None:
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
                items[number].append(builder.add(key, partial(_load, clip, speed)))
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
