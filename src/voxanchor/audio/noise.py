"""Noise: recorded clips, what they are drawn from, and batches of them for training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.downmix import Channel
from voxanchor.audio.pcm import Indices, LruCache, Pcm, Pool, PoolBuilder, Stored, encode, known_usable, load, sent
from voxanchor.audio.resampling import rerated
from voxanchor.audio.snr import ACTIVITY_MARGIN_DB, FRAME_SAMPLES, active_frames, active_level_db, frame_energy
from voxanchor.errors import AudioError, CorpusError
from voxanchor.extras import lazily
from voxanchor.rng import generator
from voxanchor.types import SAMPLE_RATE, BoolArray, Waveform

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazily("torch", globals(), "torch")

PIECE_S = 30.0
"""Longer clips are drawn from in pieces of this length, so that an hour of music costs no more than a minute."""


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


def random_chunk(clip: Clip, generator: np.random.Generator) -> Clip:
    """Return the clip, or a random piece of 30 s of one whose stated duration is longer."""
    if clip.duration_s is None or clip.duration_s < 2 * PIECE_S:
        return clip
    index = int(generator.integers(int(clip.duration_s // PIECE_S)))
    return replace(clip, start_s=clip.start_s + index * PIECE_S, duration_s=PIECE_S)


def crop_or_loop(
    sound: Waveform | Pcm,
    length: int,
    generator: np.random.Generator,
    *,
    crossfade_s: float = 0.05,
    active: BoolArray | None = None,
) -> Waveform:
    """Return (length,) float32: a random crop of a longer sound, or a shorter one looped from a random point.

    Crops are drawn among those that hold at least a quarter of the active sound that the fullest crop of that length
    holds, so a clip with long silent stretches never gives silence. Loops are joined by an equal-power cross-fade: no
    click, and no dip in level.

    Args:
        sound: (T,) float32, or as 16-bit samples, of which no more than is wanted is converted.
        length: number of samples wanted.
        generator: decides where the crop or loop starts.
        crossfade_s: length of the overlap where a loop is joined (at most half the sound).
        active: (ceil(T / 320),) the sound's active frames, where they are known already.

    Raises:
        AudioError: the sound is empty, or no sample is wanted.
    """
    if len(sound) == 0 or length < 1:
        raise AudioError(f"{len(sound)} samples cannot be fitted to a length of {length}")
    if len(sound) == length:
        return _whole(sound)
    if len(sound) < length:
        return _loop(_whole(sound), length, generator, crossfade_s)
    start = _start(sound, length, generator, active_frames(_whole(sound)) if active is None else active)
    return sound.waveform(start, length) if isinstance(sound, Pcm) else sound[start : start + length]


def at_speed(waveform: Waveform, speed: float, length: int) -> Waveform:
    """Return (length,) float32: the waveform played `speed` times as fast, pitch and tempo together.

    Args:
        waveform: (T,) float32 with ``T = source_length(length, speed)``.
        speed: playback speed; above 1 is faster and higher.
        length: number of samples wanted.
    """
    if speed == 1.0:
        return waveform
    played = rerated(waveform, speed, 1.0)
    return np.resize(played, length) if len(played) < length else played[:length]


def source_length(length: int, speed: float) -> int:
    """Return how many samples `at_speed` needs to give `length` of them."""
    return length if speed == 1.0 else int(np.ceil(length * speed)) + 1


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


def seamless(waveform: Waveform, crossfade_s: float = 0.05) -> Waveform:
    """Return (T',) float32, a little shorter: played again and again it has no click and no dip in level.

    Its end is laid over its beginning by an equal-power cross-fade, of at most half the waveform.
    """
    overlap = min(round(crossfade_s * SAMPLE_RATE), len(waveform) // 2)
    looped = waveform[: len(waveform) - overlap].copy()
    if overlap:
        angle = (np.arange(overlap, dtype=np.float32) + 0.5) * np.float32(np.pi / 2 / overlap)
        looped[:overlap] = waveform[:overlap] * np.sin(angle) + waveform[-overlap:] * np.cos(angle)
    return looped


def _loop(waveform: Waveform, length: int, generator: np.random.Generator, crossfade_s: float) -> Waveform:
    looped = seamless(waveform, crossfade_s)
    phase = int(generator.integers(len(looped)))
    return np.resize(np.roll(looped, -phase), length)


def _whole(sound: Waveform | Pcm) -> Waveform:
    return sound.waveform() if isinstance(sound, Pcm) else sound


def _start(sound: Waveform | Pcm, length: int, generator: np.random.Generator, active: BoolArray) -> int:
    last = len(sound) - length
    starts = np.append(np.arange(0, last, FRAME_SAMPLES), last)
    before = np.concatenate(([0], np.cumsum(active)))
    # Only frames that lie wholly inside the crop are sure to be heard in it.
    first_frame = -(-starts // FRAME_SAMPLES)
    end_frame = np.where(starts == last, len(active), (starts + length) // FRAME_SAMPLES)
    heard = before[np.maximum(end_frame, first_frame)] - before[first_frame]
    fullest = int(heard.max())
    if fullest == 0:  # silence, or a crop too short to hold a frame: around the loudest sample
        return int(np.clip(int(np.abs(_whole(sound)).argmax()) - length // 2, 0, last))
    return int(generator.choice(starts[heard >= max(1.0, fullest / 4)]))


# What can be drawn as noise: the interface of every source, recorded clips, and a choice among sources.

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
            clip = random_chunk(clips[int(generator.integers(len(clips)))], generator)
            sound, active = self.cache.pcm(clip), self.cache.active(clip)
            if active.any():
                return Noise(crop_or_loop(sound, length, generator, active=active), clip.name)
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


# Clips of noise in a pool, drawn in batches so that enough of their sound is heard.

PIECES = 128
"""Stretches that are composed of a source without recordings."""

COMPOSED_S = 6.0

TRIES = 4
"""Crops of a clip that are tried before the best of them is taken."""

ENOUGH = 0.25
"""A crop is good enough when its share of active sound reaches this part of the whole clip's share."""


class NoiseSampler:
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


def recorded(source: RecordedNoise, builder: PoolBuilder, crop_samples: int) -> Indices:
    """Put the clips of a source on the shelf, short ones without a seam where they repeat; return their places."""
    loads = [(("noise", clip, crop_samples), partial(_load_noise, clip, crop_samples)) for clip in source.clips]
    return np.array([builder.add(key, load) for key, load in loads])


def composed(source: NoiseSource, builder: PoolBuilder, kept: dict[tuple[str, int], Pcm]) -> Indices:
    """Put stretches of what a source composes on the shelf; return their places. They depend on the source alone.

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


def _load_noise(clip: Clip, crop_samples: int) -> Pcm:
    pcm = clip.pcm()
    return pcm if len(pcm) >= crop_samples else encode(seamless(pcm.waveform()))
