"""Several people talking at once."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from voxanchor.audio.clips import (
    Clip,
    ClipCache,
    at_speed,
    clips_digest,
    digest,
    fit,
    piece,
    source_length,
    stable_order,
)
from voxanchor.audio.level import active_level_db
from voxanchor.audio.sources import Noise
from voxanchor.errors import CorpusError
from voxanchor.progress import counted
from voxanchor.types import Waveform

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
            clip = piece(clips[int(generator.integers(len(clips)))], generator)
            active = self.cache.active(clip)
            if not active.any():
                continue
            speed = self.speeds[int(generator.integers(len(self.speeds)))]
            crop = fit(self.cache.pcm(clip), source_length(length, speed), generator, active=active)
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
        crowd = f"{counted(len(self._by_speaker), 'speaker')} ({counted(len(self.clips), 'clip')})"
        return f"{low} to {high} talkers out of {crowd}{speeds}"
