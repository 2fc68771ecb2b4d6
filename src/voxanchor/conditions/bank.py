"""The noise and rooms of an experiment: where they come from, by name, singly and in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.babble import Babble, BabbleSampler
from voxanchor.audio.noise import (
    Choice,
    Clip,
    ClipCache,
    Noise,
    NoiseSampler,
    NoiseSource,
    RecordedNoise,
    composed,
    digest,
    recorded,
)
from voxanchor.audio.pcm import Indices, Pcm, Pool, PoolBuilder, sent
from voxanchor.audio.rooms import Rooms
from voxanchor.audio.synthetic import SyntheticMusic, SyntheticNoise
from voxanchor.conditions.suites import class_kind
from voxanchor.corpus.layouts import NoiseFolder, noise_folder
from voxanchor.corpus.manifest import Manifest, Utterance, log_left_out
from voxanchor.corpus.noise_folders import noise_class, room_clips
from voxanchor.errors import CorpusError
from voxanchor.extras import lazily
from voxanchor.runtime import log_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazily("torch", globals(), "torch")


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


# The noise of a bank laid out for training: batches of it are drawn and summed without a loop over their rows.
#
# A bank makes one stretch of noise at a time, from whatever it is asked for. A library holds every clip decoded, and
# built-in noise and music composed beforehand. What they draw is alike, by the same rules, but not the same.

Uniform = NDArray[np.float64]


@dataclass(frozen=True)
class MixtureComponents:
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


class NoiseAugmenter:
    """The kinds of noise of a bank, for crops of one length.

    Args:
        bank: what is laid out.
        builder: gets the clips; noise can be drawn once a pool is made of it.
        crop_samples: T, the length of the noise that is drawn.
    """

    DRAWS = 1 + max(NoiseSampler.DRAWS, BabbleSampler.DRAWS)
    """Numbers from 0 to 1 that decide one row."""

    def __init__(self, bank: NoiseBank, builder: PoolBuilder, crop_samples: int) -> None:
        self.kinds = bank.kinds
        self.crop_samples = crop_samples
        self._parts: list[NoiseSampler | BabbleSampler] = []
        # per kind: cumulative shares of its parts, and their numbers
        self._shares: list[Uniform] = []
        self._members: list[Indices] = []
        for kind in self.kinds:
            weighted = list(_leaves(bank.source(kind), 1.0))
            first = len(self._parts)
            self._parts += [_part(source, builder, crop_samples, bank) for _, source in weighted]
            self._shares.append(np.cumsum([weight for weight, _ in weighted]))
            self._members.append(np.arange(first, len(self._parts)))

    def voice(self, speaker: str, paths: tuple[str, ...]) -> int:
        """Return the number under which a speaker, or whose files these are, talks in babble; -1 for nobody."""
        samplers = [part for part in self._parts if isinstance(part, BabbleSampler)]
        return max((sampler.voice(speaker, paths) for sampler in samplers), default=-1)

    def draw(
        self, pool: Pool, kinds: Indices, voices: Indices, draws: Uniform, device: torch.device | None = None
    ) -> tuple[Tensor, MixtureComponents]:
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
        return noise, MixtureComponents(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _leaves(source: NoiseSource, weight: float) -> Iterator[tuple[float, NoiseSource]]:
    if isinstance(source, Choice):
        for share, member in zip(source.weights, source.sources, strict=True):
            yield from _leaves(member, weight * share)
    elif weight > 0:
        yield weight, source


def _part(
    source: NoiseSource, builder: PoolBuilder, crop_samples: int, bank: NoiseBank
) -> NoiseSampler | BabbleSampler:
    if isinstance(source, Babble):
        return BabbleSampler(source, builder)
    if isinstance(source, RecordedNoise):
        return NoiseSampler(recorded(source, builder, crop_samples))
    return NoiseSampler(composed(source, builder, bank.composed))


# Where noise and rooms come from in a run: recorded folders, built-in generators, talkers for babble, as one bank.

OTHER_VOICE_SPEEDS = (0.80, 0.86, 1.16, 1.24)
"""Playback speeds that turn a talker into somebody else, as speed perturbation does in training."""


def voices(utterance: Utterance) -> frozenset[str]:
    """Return what must not be heard in the background of an utterance: its speaker, and the files it is made of."""
    files = {part.path for part in utterance.parts}
    return frozenset(files | {utterance.speaker} if utterance.speaker else files)


def noise_bank(
    folders: Sequence[str],
    talkers: Manifest,
    *,
    built_in_share: float,
    for_evaluation: bool,
    rooms: Sequence[str] = (),
    by_class: bool = False,
) -> NoiseBank:
    """Return the kinds ``noise``, ``music`` and ``babble``, and the rooms.

    Args:
        folders: in MUSAN layout. A kind that none of them holds comes from the built-in generators alone.
        talkers: recordings for babble where no folder holds ``speech``.
        built_in_share: share of noise, music and rooms from the built-in generators where there are recordings too.
        for_evaluation: compose other music than for training, and play `talkers` faster or slower, so that nobody
            who takes part in a trial is heard in the background of it as themselves.
        rooms: folders of room impulse responses.
        by_class: offer each class of the recorded noise as a kind of its own, too (`classes.class_kind`).
    """
    cache = ClipCache()
    found = [noise_folder(folder) for folder in folders]
    for folder, clips in zip(folders, found, strict=True):
        log_left_out(folder, clips.unusable)
    noise = [clip for folder in found for clip in folder.noise]
    music = [clip for folder in found for clip in folder.music]
    speech = [clip for folder in found for clip in folder.speech]
    if speech:
        babble = Babble(speech, cache)
    else:
        own = [
            Clip(part.path, utterance.speaker, part.start_s, part.duration_s, part.stored, part.channel)
            for utterance in talkers.utterances
            if utterance.speed == 1.0
            for part in utterance.parts
        ]
        babble = Babble(own, cache, speeds=OTHER_VOICE_SPEEDS if for_evaluation else (1.0,))
    return NoiseBank(
        {
            "noise": _mixed(noise, SyntheticNoise(), built_in_share, cache),
            "music": _mixed(music, SyntheticMusic(seed=int(for_evaluation)), built_in_share, cache),
            "babble": babble,
            **(_classes(found, cache) if by_class else {}),
        },
        Rooms([clip for folder in rooms for clip in _responses(folder)], built_in_share),
    )


def _classes(folders: Sequence[NoiseFolder], cache: ClipCache) -> dict[str, NoiseSource]:
    clips: dict[str, list[Clip]] = {}
    for folder in folders:
        for clip, name in zip(folder.noise, folder.names, strict=True):
            clips.setdefault(class_kind(noise_class(name)), []).append(clip)
    return {kind: RecordedNoise(members, cache) for kind, members in clips.items()}


def _responses(folder: str) -> tuple[Clip, ...]:
    clips, unusable = room_clips(folder)
    log_line(f"{folder}: {len(clips)} room responses")
    log_left_out(folder, unusable)
    return clips


def _mixed(clips: Sequence[Clip], built_in: NoiseSource, share: float, cache: ClipCache) -> NoiseSource:
    if not clips:
        return built_in
    recorded = RecordedNoise(clips, cache)
    if share <= 0:
        return recorded
    return Choice((recorded, built_in), (1 - share, share)) if share < 1 else built_in
