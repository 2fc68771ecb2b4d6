"""Noise: clips, the one rule by which stretches of them are drawn, and what noise can be drawn from.

A stretch is decided by numbers from 0 to 1, so the same rule serves a recording in evaluation and a batch in training.
They differ in where samples come from: clips read as they are needed, or a pool that holds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.arrays import Array, beside, sent
from voxanchor.audio.downmix import Channel
from voxanchor.audio.pcm import Indices, LruCache, Pcm, Pool, Stored, known_usable, load
from voxanchor.audio.snr import FRAME_SAMPLES, active_frames
from voxanchor.audio.speed import gather_played
from voxanchor.errors import AudioError, CorpusError
from voxanchor.types import SAMPLE_RATE, BoolArray, FloatArray, Waveform

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 2
"""Raised when the same numbers draw another stretch; part of the fingerprint of every source that has clips."""

PIECE_S = 30.0
"""Longer clips are drawn from in pieces of this length, so that an hour of music costs no more than a minute."""

PIECE_SAMPLES = round(PIECE_S * SAMPLE_RATE)

CROSSFADE_S = 0.05
"""Overlap where a loop is joined, at most half the sound."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a recording.

    Attributes:
        path: the file; of a recording in a pack the name it is known by, below the pack's folder.
        speaker: who talks in it; empty when nobody does, or when it is not known.
        start_s: where the stretch begins.
        duration_s: its length; to the end of the recording when None.
        stored: where a pack keeps the recording, the whole of it; None for a file.
        channel: which channel of a file is heard.
    """

    path: str
    speaker: str = ""
    start_s: float = 0.0
    duration_s: float | None = None
    stored: Stored | None = None
    channel: Channel = "mix"

    @property
    def name(self) -> str:
        """File name without its folder: what the clip is called on every machine."""
        return Path(self.path).name

    def pcm(self) -> Pcm:
        """Return the clip in 16 bits, as `voxanchor.audio.pcm.load`."""
        with known_usable():
            return load(self.path, self.start_s, self.duration_s, self.stored, self.channel)


class ClipCache:
    """Decoded clips with their active frames, kept in memory up to a number of bytes. Threads may share one."""

    def __init__(self, max_bytes: int = 512 * 2**20) -> None:
        self._memory: LruCache[tuple[Pcm, BoolArray]] = LruCache(max_bytes, _entry_bytes)

    def read(self, clip: Clip) -> Waveform:
        """Return (T,) float32 at 16 kHz: all of the clip.

        Raises:
            AudioError: as `voxanchor.audio.io.read`.
        """
        return self.pcm(clip).waveform()

    def pcm(self, clip: Clip) -> Pcm:
        """Return all of the clip as it is kept, in 16 bits.

        Raises:
            AudioError: as `voxanchor.audio.io.read`.
        """
        return self._entry(clip)[0]

    def active(self, clip: Clip) -> BoolArray:
        """Return (ceil(T / 320),) bool: which 20 ms frames of the clip are active.

        Raises:
            AudioError: as `voxanchor.audio.io.read`.
        """
        return self._entry(clip)[1]

    def _entry(self, clip: Clip) -> tuple[Pcm, BoolArray]:
        def listen() -> tuple[Pcm, BoolArray]:
            pcm = clip.pcm()
            return pcm, active_frames(pcm.waveform())

        return self._memory.get((clip.path, clip.start_s, clip.duration_s, clip.channel), listen)


def _entry_bytes(entry: tuple[Pcm, BoolArray]) -> int:
    pcm, active = entry
    return pcm.memory_bytes + active.nbytes


def digest(*parts: object) -> str:
    """Return 16 hex digits that stand for the parts: the same on every machine."""
    return hashlib.sha256("\n".join(repr(part) for part in parts).encode()).hexdigest()[:16]


def clips_digest(clips: Iterable[Clip]) -> str:
    """Return 16 hex digits for the clips by file name, size, speaker and stretch, wherever the folder lies.

    Raises:
        AudioError: a file is missing.
    """
    try:
        facts = [(c.name, _file_bytes(c), c.speaker, c.start_s, c.duration_s) for c in clips]
    except OSError as error:
        raise AudioError(
            f"{error.filename}: {error.strerror}; the clip was there when the folder was listed"
        ) from error
    return digest(*sorted(facts, key=repr))


def _file_bytes(clip: Clip) -> int:
    return Path(clip.path).stat().st_size if clip.stored is None else clip.stored.source_bytes


def stable_order(clips: Iterable[Clip]) -> tuple[Clip, ...]:
    """Return the clips in an order that does not depend on where their folder lies or how it was listed."""
    return tuple(sorted(clips, key=lambda clip: (clip.speaker, clip.name, clip.start_s, clip.path)))


# The rule: which clip, which part of it, and how a short one repeats.


def pick(draws: FloatArray, count: int | Indices) -> Indices:
    """Return which of `count` things numbers from 0 to 1 choose, all equally likely."""
    chosen: Indices = np.minimum((draws * count).astype(np.int64), np.asarray(count) - 1)
    return chosen


def weighted(draws: FloatArray, weights: Sequence[float] | FloatArray) -> Indices:
    """Return which of several things numbers from 0 to 1 choose, by their weights."""
    shares = np.cumsum(np.asarray(weights, dtype=np.float64))
    chosen = np.searchsorted(shares, draws * shares[-1], side="right")
    found: Indices = np.minimum(chosen, len(shares) - 1)
    return found


def pieces_of(clip: Clip) -> int:
    """Return in how many pieces of 30 s a clip is drawn from: 1, the whole, unless its stated duration is longer."""
    if clip.duration_s is None or clip.duration_s < 2 * PIECE_S:
        return 1
    return int(clip.duration_s // PIECE_S)


def piece_of(clip: Clip, piece: int) -> Clip:
    """Return one of the `pieces_of` a clip."""
    if pieces_of(clip) == 1:
        return clip
    return replace(clip, start_s=clip.start_s + piece * PIECE_S, duration_s=PIECE_S)


def crop_starts(active: BoolArray, samples: int, length: int) -> Sequence[int] | Indices:
    """Return the samples at which a stretch of a sound may start; none of silence.

    Crops of a longer sound hold at least a quarter of the active sound that the fullest crop of that length holds, so
    a clip with long silent stretches never gives silence. They start where a level frame does, or as late as they can.
    A shorter sound is looped, from anywhere in its loop.

    Args:
        active: (ceil(samples / 320),) the sound's active frames.
        samples: length of the sound.
        length: of the stretch.
    """
    if not active.any():
        return ()
    if samples < length:
        return range(samples - _overlap(samples))
    last = samples - length
    starts = np.append(np.arange(0, last, FRAME_SAMPLES), last)
    before = np.concatenate(([0], np.cumsum(active)))
    # Only frames that lie wholly inside the crop are sure to be heard in it.
    first_frame = -(-starts // FRAME_SAMPLES)
    end_frame = np.where(starts == last, len(active), (starts + length) // FRAME_SAMPLES)
    heard = before[np.maximum(end_frame, first_frame)] - before[first_frame]
    fullest = int(heard.max())
    if fullest == 0:  # a crop too short to hold a frame: in the middle of an active one
        middles = np.flatnonzero(active) * FRAME_SAMPLES + FRAME_SAMPLES // 2
        starts = np.unique(np.clip(middles - length // 2, 0, last))
        heard = np.ones(len(starts))
    found: Indices = starts[heard >= max(1.0, fullest / 4)]
    return found


def stretch(sound: Pcm, start: int, length: int) -> Waveform:
    """Return (length,) float32 of a sound from one of its `crop_starts` on: a crop, or a loop of a shorter one."""
    if len(sound) >= length:
        return sound.waveform(start, length)
    return np.resize(np.roll(seamless(sound.waveform()), -start), length)


def seamless(waveform: Waveform) -> Waveform:
    """Return (T',) float32, a little shorter: played again and again it has no click and no dip in level.

    Its end is laid over its beginning by an equal-power cross-fade.
    """
    overlap = _overlap(len(waveform))
    looped = waveform[: len(waveform) - overlap].copy()
    if overlap:
        angle = (np.arange(overlap, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / overlap)
        looped[:overlap] = waveform[:overlap] * np.sin(angle) + waveform[-overlap:] * np.cos(angle)
    return looped


def _overlap(samples: int) -> int:
    return min(round(CROSSFADE_S * SAMPLE_RATE), samples // 2)


_Taken = TypeVar("_Taken", NDArray[Any], "Tensor", covariant=True)


class Sounds(Protocol[_Taken]):
    """C clips by number, of which stretches are taken."""

    def starts(self, clip: int, piece: int, length: int) -> Sequence[int] | Indices:
        """Return where stretches of one piece of a clip may start, as `crop_starts`."""
        ...

    def gather(self, clips: Indices, pieces: Indices, starts: Indices, length: int) -> _Taken:
        """Return (n, length) float32: a stretch of each, from its start on."""
        ...


class ReadClips:
    """Clips that are read as they are needed, and kept as far as a cache has room."""

    def __init__(self, clips: Sequence[Clip], cache: ClipCache) -> None:
        self.clips, self.cache = clips, cache

    def starts(self, clip: int, piece: int, length: int) -> Sequence[int] | Indices:
        """Return where stretches of one piece of a clip may start.

        Raises:
            AudioError: the clip cannot be read.
        """
        part = piece_of(self.clips[clip], piece)
        return crop_starts(self.cache.active(part), len(self.cache.pcm(part)), length)

    def gather(self, clips: Indices, pieces: Indices, starts: Indices, length: int) -> NDArray[Any]:
        """Return (n, length) float32: a stretch of each, from its start on."""
        parts = [piece_of(self.clips[clip], piece) for clip, piece in zip(clips.tolist(), pieces.tolist(), strict=True)]
        waves = [
            stretch(self.cache.pcm(part), start, length) for part, start in zip(parts, starts.tolist(), strict=True)
        ]
        return np.stack(waves)


_KNOWN_BYTES = 256 * 2**20


class PooledClips:
    """Clips in a pool, whose active frames are looked for when a clip is first drawn.

    Args:
        items: (C,) their places in the pool.
        pieces: (C,) in how many pieces each is drawn from.
    """

    def __init__(self, items: Indices, pieces: Indices) -> None:
        self.items, self.pieces = items, pieces
        self._known: LruCache[Sequence[int] | Indices] = LruCache(_KNOWN_BYTES, _starts_bytes)

    def of(self, pool: Pool, device: torch.device | None) -> _Pooled:
        """Return the clips as they lie in a pool; stretches of them come to lie on the device."""
        return _Pooled(self.items, self.pieces, pool, device, self._known)


class _Pooled(NamedTuple):
    items: Indices
    pieces: Indices
    pool: Pool
    device: torch.device | None
    known: LruCache[Sequence[int] | Indices]

    def starts(self, clip: int, piece: int, length: int) -> Sequence[int] | Indices:
        def find() -> Sequence[int] | Indices:
            part = self._part(clip, piece)
            if len(part) == 0:  # shorter than its stated duration
                return ()
            found = crop_starts(active_frames(part.waveform()), len(part), length)
            return found if isinstance(found, range) else np.asarray(found, dtype=np.int32)

        return self.known.get((clip, piece, length), find)

    def _part(self, clip: int, piece: int) -> Pcm:
        whole = self.pool.recording(int(self.items[clip]))
        return whole if self.pieces[clip] == 1 else whole.crop(piece * PIECE_SAMPLES, PIECE_SAMPLES)

    def gather(self, clips: Indices, pieces: Indices, starts: Indices, length: int) -> Tensor:
        items, first = self.items[clips], pieces * PIECE_SAMPLES
        whole = self.pool.lengths[items]
        short = np.where(self.pieces[clips] == 1, whole, np.minimum(whole - first, PIECE_SAMPLES)) < length
        waves = self.pool.gather(items, np.where(short, 0, first + starts), length, self.device)
        if short.any():
            rows = np.flatnonzero(short)
            loops = [stretch(self._part(int(clips[row]), int(pieces[row])), int(starts[row]), length) for row in rows]
            waves[sent(rows, self.device)] = sent(np.stack(loops), self.device)
        return waves


def _starts_bytes(starts: Sequence[int] | Indices) -> int:
    return starts.nbytes if isinstance(starts, np.ndarray) else 100


class Layers(NamedTuple, Generic[Array]):
    """M stretches of clips that n rows of noise are made of.

    Attributes:
        rows: (M,) row that each is added to.
        clips: (M,) number of the clip.
        pieces: (M,) which of its pieces.
        starts: (M,) first sample, counted from the beginning of the piece.
        gains: (M,) float64 factor on it.
        speeds: (M,) at which it is played.
        silent: (M,) bool: nothing could be found in it, nor in the clips that may stand in for it.
    """

    rows: Indices
    clips: Indices
    pieces: Indices
    starts: Indices
    gains: Array
    speeds: FloatArray
    silent: BoolArray


def place(
    sounds: Sounds[Array],
    pieces: Indices,
    among: range,
    draws: tuple[float, float, float],
    length: int,
    barred: Set[int] = frozenset(),
) -> tuple[int, int, int, bool]:
    """Return the clip, the piece of it and the first sample of a stretch, and whether all of it is silence.

    Each clip is equally likely, each piece of it, and each of its `crop_starts`. For silence, and for a clip that is
    barred, the piece that follows in order stands in, and then the clip that does.

    Args:
        sounds: gives the clips.
        pieces: (C,) in how many pieces each is drawn from.
        among: numbers of the clips to choose from.
        draws: numbers from 0 to 1 that decide clip, piece and start.
        length: samples of the stretch.
        barred: numbers of clips not to choose; not all of them.
    """
    first = min(int(draws[0] * len(among)), len(among) - 1)
    usable = 0
    for turn in range(len(among)):
        clip = among[(first + turn) % len(among)]
        if clip in barred:
            continue
        usable, count = clip, int(pieces[clip])
        for further in range(count):
            piece = (int(draws[1] * count) + further) % count
            starts = sounds.starts(clip, piece, length)
            if len(starts):
                return clip, piece, int(starts[int(draws[2] * len(starts))]), False
    return usable, 0, 0, True


def layered(
    sounds: Sounds[Array],
    placed: Sequence[tuple[int, int, int, bool]],
    rows: Indices,
    speeds: FloatArray,
    length: int,
) -> tuple[Array, Layers[Array]]:
    """Return (M, length) float32, the stretches that `place` gave, at their own level and speed; and what they are."""
    clips, pieces, starts, silent = (np.array(column) for column in zip(*placed, strict=True))

    def gather(some: Indices, samples: int) -> Array:
        return sounds.gather(clips[some], pieces[some], starts[some], samples)

    waves = gather_played(gather, speeds, length)
    gains = beside(np.ones(len(rows)), waves)
    return waves, Layers(rows, clips, pieces, starts, gains, speeds, silent)


CLIP_DRAWS = 3


def draw_clips(
    pieces: Indices, sounds: Sounds[Array], length: int, barred: Sequence[Set[int]], draws: FloatArray
) -> tuple[Array, Layers[Array]]:
    """Return (n, length) float32 noise at the clips' own level, a stretch of one clip in every row.

    Args:
        pieces: (C,) in how many pieces each clip is drawn from.
        sounds: gives the clips.
        length: samples wanted.
        barred: n sets of numbers of clips not to be heard in a row.
        draws: (n, 3) numbers from 0 to 1.

    Raises:
        CorpusError: no clip is left for a row.
    """
    among = range(len(pieces))
    if any(len(own) >= len(among) for own in barred):
        raise CorpusError(f"all {len(among)} noise clips are excluded from this draw: add other clips")
    placed = [
        place(sounds, pieces, among, (clip, piece, start), length, own)
        for (clip, piece, start), own in zip(draws[:, :3].tolist(), barred, strict=True)
    ]
    return layered(sounds, placed, np.arange(len(draws)), np.ones(len(draws)), length)


# What can be drawn as noise: the interface of every source, recorded clips, and a choice among sources.


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
    """Stretches of recorded clips, each clip equally likely, short ones looped.

    Raises:
        CorpusError: there is no clip.
    """

    def __init__(self, clips: Iterable[Clip], cache: ClipCache) -> None:
        self.clips = self.drawn = stable_order(clips)
        self.cache = cache
        if not self.clips:
            raise CorpusError("recorded noise needs at least one clip")
        self._sounds = ReadClips(self.clips, cache)
        self.pieces = np.array([pieces_of(clip) for clip in self.clips])
        self.compose = partial(draw_clips, self.pieces)

    def draw(self, length: int, generator: np.random.Generator, exclude: frozenset[str] = frozenset()) -> Noise:
        """Return a stretch of one clip, described by its file name.

        Args:
            length: number of samples.
            generator: decides which clip and which stretch.
            exclude: paths of files (and speakers, where clips have them) not to draw from.

        Raises:
            AudioError: the clip drawn cannot be read.
            CorpusError: every clip is excluded, or silent.
        """
        barred = self.barred(exclude) if exclude else frozenset()
        draws = generator.random((1, CLIP_DRAWS))
        waves, layers = self.compose(self._sounds, length, [barred], draws)
        clip = self.clips[int(layers.clips[0])]
        if layers.silent.any():
            raise CorpusError(f"all noise clips are silent (for example {clip.path}): remove silent files")
        return Noise(waves[0], clip.name)

    def barred(self, exclude: Set[str]) -> frozenset[int]:
        """Return the numbers of the clips that come from files, or of speakers, of these names."""
        return frozenset().union(*(self._numbers.get(name, ()) for name in exclude))

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for number, clip in enumerate(self.clips):
            for name in {clip.path, clip.speaker} - {""}:
                numbers.setdefault(name, []).append(number)
        return numbers

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the names, sizes and stretches of the clips."""
        return digest("recorded", VERSION, clips_digest(self.clips))

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
        index = int(weighted(generator.random(1), self.weights)[0])
        return self.sources[index].draw(length, generator, exclude)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over the sources and their weights."""
        return digest("choice", VERSION, *(source.fingerprint for source in self.sources), *self.weights)

    @property
    def summary(self) -> str:
        """The sources with their shares."""
        parts = zip(self.weights, self.sources, strict=True)
        return "; ".join(f"{100 * weight:.0f} % {source.summary}" for weight, source in parts)
