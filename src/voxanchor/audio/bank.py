"""The kinds of noise an experiment has at hand, by name, and the rooms."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property

import numpy as np

from voxanchor.audio.clips import digest
from voxanchor.audio.pcm import Pcm
from voxanchor.audio.rooms import Rooms
from voxanchor.audio.sources import Noise, NoiseSource
from voxanchor.errors import CorpusError


class NoiseBank:
    """Named noise sources, such as ``noise``, ``music`` and ``babble``, and rooms. May be pickled.

    Attributes:
        rooms: what reverberant speech is heard in.
        composed: stretches that libraries had its sources compose, kept for the next library.

    Raises:
        CorpusError: no source is given.
    """

    def __init__(self, sources: Mapping[str, NoiseSource], rooms: Rooms | None = None) -> None:
        self.rooms = Rooms() if rooms is None else rooms
        self._sources = dict(sorted(sources.items()))
        self.composed: dict[tuple[str, int], Pcm] = {}
        if not self._sources:
            raise CorpusError("a noise bank needs at least one kind of noise")

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds, sorted."""
        return tuple(self._sources)

    def source(self, kind: str) -> NoiseSource:
        """Return where one of `kinds` is drawn from.

        Raises:
            CorpusError: the kind is unknown.
        """
        if kind not in self._sources:
            near = get_close_matches(kind, self.kinds, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise CorpusError(f"no noise of kind '{kind}': there is {', '.join(self.kinds)}{hint}")
        return self._sources[kind]

    def draw(
        self, kind: str, length: int, generator: np.random.Generator, exclude: frozenset[str] = frozenset()
    ) -> Noise:
        """Return a stretch of one kind of noise.

        Args:
            kind: one of `kinds`.
            length: number of samples at 16 kHz.
            generator: decides what is drawn, and nothing else does.
            exclude: speakers, or paths of files, that must not be heard in it.

        Raises:
            CorpusError: the kind is unknown, or `exclude` leaves nothing to draw from.
            AudioError: a recorded clip cannot be read.
        """
        return self.source(kind).draw(length, generator, exclude)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when the noise drawn for the same generator would: the same on every machine.

        The rooms have one of their own.
        """
        return digest("bank", *((kind, source.fingerprint) for kind, source in self._sources.items()))

    def describe(self) -> list[str]:
        """Return one line per kind: what it is made of, and how much of it there is."""
        return [f"{kind}: {source.summary}" for kind, source in self._sources.items()]
