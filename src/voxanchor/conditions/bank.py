"""The noise and rooms of an experiment: where they come from, by name, singly and in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from voxanchor.audio.arrays import beside, namespace
from voxanchor.audio.babble import TALKER_DRAWS, Babble
from voxanchor.audio.downmix import Channel
from voxanchor.audio.noise import (
    CLIP_DRAWS,
    PIECE_SAMPLES,
    Choice,
    Clip,
    ClipCache,
    Layers,
    Noise,
    NoiseSource,
    PooledClips,
    RecordedNoise,
    Sounds,
    digest,
    draw_clips,
    weighted,
)
from voxanchor.audio.pcm import Indices, Pcm, Pool, PoolBuilder, encode
from voxanchor.audio.rooms import Rooms
from voxanchor.audio.speed import source_samples
from voxanchor.audio.synthetic import SyntheticMusic, SyntheticNoise
from voxanchor.conditions.suites import class_kind
from voxanchor.corpus.layouts import NoiseFolder, noise_folder
from voxanchor.corpus.manifest import Manifest, Utterance, log_left_out
from voxanchor.corpus.noise_folders import noise_class, room_clips
from voxanchor.errors import CorpusError
from voxanchor.rng import generator
from voxanchor.runtime import log_line
from voxanchor.types import SAMPLE_RATE, FloatArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor


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


# The noise of a bank laid out for training: batches of it are drawn and summed without a loop over their samples.
#
# A source says what is drawn, in evaluation as here. Here every clip lies decoded in a pool, and noise and music
# without recordings are composed beforehand.

PIECES = 128
"""Stretches that are composed of a source without recordings."""

COMPOSED_S = 6.0


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
    gains: Tensor


@dataclass(frozen=True)
class _Part:
    """A source laid out.

    Attributes:
        compose: draws of it, as `Babble.compose`.
        clips: its own, in the pool.
        barred: per utterance what must not be heard behind it, as the source numbers it.
    """

    compose: Callable[[Sounds[Tensor], int, Sequence[Set[int]], FloatArray], tuple[Tensor, Layers[Tensor]]]
    clips: PooledClips
    barred: Sequence[Set[int]]


class NoiseAugmenter:
    """The kinds of noise of a bank, for crops of one length.

    Args:
        bank: what is laid out.
        builder: gets the clips; noise can be drawn once a pool is made of it.
        crop_samples: T, the length of the noise that is drawn.
        exclude: for each of U utterances what must not be heard behind it: its speaker, and paths of files.

    Attributes:
        source_samples: longest stretch of a clip that is gathered.

    Raises:
        CorpusError: babble of more talkers at once than `MOST_TALKERS`.
    """

    MOST_TALKERS = 12
    DRAWS = 1 + max(CLIP_DRAWS, 1 + TALKER_DRAWS * MOST_TALKERS)
    """Numbers from 0 to 1 that decide one row."""

    def __init__(
        self, bank: NoiseBank, builder: PoolBuilder, crop_samples: int, exclude: Sequence[Set[str]] = ()
    ) -> None:
        self.kinds = bank.kinds
        self.crop_samples = self.source_samples = crop_samples
        # per kind: its parts, with their weights
        self._parts: list[list[tuple[float, _Part]]] = []
        for kind in self.kinds:
            leaves = list(_leaves(bank.source(kind), 1.0))
            self._parts.append([(weight, self._part(source, builder, bank, exclude)) for weight, source in leaves])

    def _part(self, source: NoiseSource, builder: PoolBuilder, bank: NoiseBank, exclude: Sequence[Set[str]]) -> _Part:
        if isinstance(source, Babble):
            if source.talkers[1] > self.MOST_TALKERS:
                raise CorpusError(
                    f"babble of {source.talkers[1]} talkers: at most {self.MOST_TALKERS} can talk in training"
                )
            longest = max(source_samples(self.crop_samples, speed) for speed in source.speeds)
            self.source_samples = max(self.source_samples, longest)
        if isinstance(source, Babble | RecordedNoise):
            items = np.array([builder.add(clip_key(clip), clip.pcm) for clip in source.drawn])
            return _Part(source.compose, PooledClips(items, source.pieces), [source.barred(names) for names in exclude])
        pieces = np.ones(PIECES, dtype=np.int64)
        clips = PooledClips(_composed(source, builder, bank.composed), pieces)
        return _Part(partial(draw_clips, pieces), clips, [frozenset()] * len(exclude))

    def draw(
        self, pool: Pool, kinds: Indices, utterances: Indices, draws: FloatArray, device: torch.device | None = None
    ) -> tuple[Tensor, MixtureComponents]:
        """Return noise, (n, T) float32 at its sources' own levels, and what it is made of.

        A row comes out silent where all clips that could be heard in it are.

        Args:
            pool: filled from the builder.
            kinds: (n,) positions among `kinds`.
            utterances: (n,) behind which of the U utterances it will be heard; -1 for none of them.
            draws: (n, `DRAWS`) numbers from 0 to 1.
            device: where the noise is wanted.

        Raises:
            CorpusError: nothing is left to be heard behind an utterance.
        """
        made = []
        for kind in np.unique(kinds):
            parts = self._parts[kind]
            own = np.flatnonzero(kinds == kind)
            chosen = weighted(draws[own, 0], [weight for weight, _ in parts])
            for number in np.unique(chosen):
                rows, part = own[chosen == number], parts[number][1]
                barred = [part.barred[place] if place >= 0 else frozenset() for place in utterances[rows].tolist()]
                sounds = part.clips.of(pool, device)
                waves, layers = part.compose(sounds, self.crop_samples, barred, draws[rows, 1:])
                made.append((rows, waves, part.clips.items[layers.clips], layers))
        noise = made[0][1].new_empty(len(kinds), self.crop_samples)
        for rows, waves, *_ in made:
            noise[beside(rows, noise)] = waves
        return noise, MixtureComponents(
            rows=np.concatenate([rows[layers.rows] for rows, _, _, layers in made]),
            items=np.concatenate([items for _, _, items, _ in made]),
            starts=np.concatenate([layers.starts + layers.pieces * PIECE_SAMPLES for *_, layers in made]),
            gains=namespace(noise).concatenate([layers.gains for *_, layers in made]),
        )


def clip_key(clip: Clip) -> tuple[tuple[str, float, float | None, Channel], ...]:
    """Return what a clip is kept under in a pool: training speech that also serves as babble is kept once."""
    return ((clip.path, clip.start_s, clip.duration_s, clip.channel),)


def _leaves(source: NoiseSource, weight: float) -> Iterator[tuple[float, NoiseSource]]:
    if isinstance(source, Choice):
        for share, member in zip(source.weights, source.sources, strict=True):
            yield from _leaves(member, weight * share)
    elif weight > 0:
        yield weight, source


def _composed(source: NoiseSource, builder: PoolBuilder, kept: dict[tuple[str, int], Pcm]) -> Indices:
    """Add stretches of what a source composes to the pool; return their places. They depend on the source alone.

    Args:
        source: composes noise of any length.
        builder: gets the stretches.
        kept: those composed before; gets the new ones.
    """

    def load(name: tuple[str, int]) -> Pcm:
        if name not in kept:
            draw = generator(0, 0, name[1], f"library/{name[0]}")
            kept[name] = encode(source.draw(round(COMPOSED_S * SAMPLE_RATE), draw).waveform)
        return kept[name]

    names = [(source.fingerprint, piece) for piece in range(PIECES)]
    return np.array([builder.add(name, partial(load, name)) for name in names])


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
