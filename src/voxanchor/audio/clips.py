"""Clips of recorded sound: what they are, kept in memory, and cut or looped to a length."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from voxanchor.audio.downmix import Channel
from voxanchor.audio.level import FRAME_SAMPLES, active_frames
from voxanchor.audio.memory import Memory
from voxanchor.audio.pcm import Pcm, Stored, known_usable, load
from voxanchor.audio.resampling import rerated
from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, BoolArray, Waveform

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
        self._memory: Memory[tuple[Pcm, BoolArray]] = Memory(max_bytes, _entry_bytes)

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


def piece(clip: Clip, generator: np.random.Generator) -> Clip:
    """Return the clip, or a random piece of 30 s of one whose stated duration is longer."""
    if clip.duration_s is None or clip.duration_s < 2 * PIECE_S:
        return clip
    index = int(generator.integers(int(clip.duration_s // PIECE_S)))
    return replace(clip, start_s=clip.start_s + index * PIECE_S, duration_s=PIECE_S)


def fit(
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
