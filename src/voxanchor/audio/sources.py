"""What can be drawn as noise: the interface of every source, recorded clips, and a choice among sources."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from voxanchor.audio.clips import Clip, ClipCache, clips_digest, digest, fit, piece, stable_order
from voxanchor.errors import CorpusError
from voxanchor.types import Waveform

_ATTEMPTS = 20
"""Clips tried in a row before a set of clips counts as silent."""


@dataclass(frozen=True)
class Noise:
    """A stretch of noise and where it came from.

    Attributes:
        waveform: (T,) float32 at 16 kHz, at the source's own level; never digital silence.
        description: for a listener, such as a file name or ``"babble of 4 talkers"``.
    """

    waveform: Waveform
    description: str


class NoiseSource(Protocol):
    """Something noise is drawn from. What is drawn depends on the generator only; sources may be pickled."""

    def draw(self, length: int, generator: np.random.Generator, exclude: frozenset[str] = frozenset()) -> Noise:
        """Return `length` samples of noise in which the speakers (or files) of `exclude` are not heard."""
        ...

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when the noise drawn would: the same on every machine."""
        ...

    @property
    def summary(self) -> str:
        """One line for people: what the noise is made of, and how much of it there is."""
        ...


class RecordedNoise:
    """Crops of recorded clips, each clip equally likely, short ones looped.

    Raises:
        CorpusError: there is no clip.
    """

    def __init__(self, clips: Iterable[Clip], cache: ClipCache) -> None:
        self.clips = stable_order(clips)
        self.cache = cache
        if not self.clips:
            raise CorpusError("recorded noise needs at least one clip")

    def draw(self, length: int, generator: np.random.Generator, exclude: frozenset[str] = frozenset()) -> Noise:
        """Return a stretch of one clip, described by its file name.

        Args:
            length: number of samples.
            generator: decides which clip and which stretch.
            exclude: paths of files (and speakers, where clips have them) not to draw from.

        Raises:
            AudioError: the clip drawn cannot be read.
            CorpusError: every clip is excluded, or 20 clips in a row were silent.
        """
        clips = [c for c in self.clips if not {c.path, c.speaker} & exclude] if exclude else self.clips
        if not clips:
            raise CorpusError(f"all {len(self.clips)} noise clips are excluded from this draw: add other clips")
        for _ in range(_ATTEMPTS):
            clip = piece(clips[int(generator.integers(len(clips)))], generator)
            sound, active = self.cache.pcm(clip), self.cache.active(clip)
            if active.any():
                return Noise(fit(sound, length, generator, active=active), clip.name)
        raise CorpusError(
            f"{_ATTEMPTS} noise clips in a row were silent (the last: {clips[-1].path}): remove silent files"
        )

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the names, sizes and stretches of the clips."""
        return digest("recorded", clips_digest(self.clips))

    @property
    def summary(self) -> str:
        """How many clips, of how many files."""
        files = len({clip.path for clip in self.clips})
        return f"recorded, {files} file{'s' * (files != 1)}"


class Choice:
    """One of several sources, drawn anew each time.

    Raises:
        CorpusError: no source, or weights that do not fit them.
    """

    def __init__(self, sources: Sequence[NoiseSource], weights: Sequence[float] | None = None) -> None:
        self.sources = tuple(sources)
        given = np.ones(len(self.sources)) if weights is None else np.asarray(weights, dtype=np.float64)
        valid = len(self.sources) > 0 and len(given) == len(self.sources) and np.isfinite(given).all()
        if not valid or given.min() < 0 or given.sum() <= 0:
            raise CorpusError(
                f"a choice among {len(self.sources)} sources needs one weight each, none negative and not all zero; "
                f"got {weights}"
            )
        self.weights = tuple(float(weight) for weight in given / given.sum())

    def draw(self, length: int, generator: np.random.Generator, exclude: frozenset[str] = frozenset()) -> Noise:
        """Return what the source drawn returns; raises what it raises."""
        index = int(generator.choice(len(self.sources), p=self.weights))
        return self.sources[index].draw(length, generator, exclude)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the sources and their weights."""
        return digest("choice", *(source.fingerprint for source in self.sources), *self.weights)

    @property
    def summary(self) -> str:
        """The sources with their shares."""
        parts = zip(self.weights, self.sources, strict=True)
        return "; ".join(f"{100 * weight:.0f} % {source.summary}" for weight, source in parts)
