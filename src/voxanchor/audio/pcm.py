"""Recordings as 16-bit samples: half the memory, and mapped from disk where they lie there already.

Whatever is kept, packed or trained on goes through here, so it sounds the same from a file and from a pack.
"""

import contextlib
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.downmix import Channel, channel_of
from voxanchor.audio.headers import sound_chunk
from voxanchor.audio.io import crop_bounds, probe, read
from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, Waveform

FULL_SCALE = 32768.0

MAPPED_BYTES = 64 * 2**20
"""Files from this size on are mapped; smaller ones are read, because every map keeps a file open."""

WHOLE_S = 60.0
"""A stretch of a recording up to this long is cut out of the whole, decoded, so that it does not depend on the cut."""

_OPEN_MAPS = 512
_OBJECT_BYTES = 1024
_SMALLEST_EXPONENT = -100


@dataclass(frozen=True)
class Pcm:
    """A waveform in 16 bits.

    Attributes:
        samples: (T,) int16, in memory or mapped from a file.
        gain: what the samples times 1 / 32768 are multiplied by to give the waveform.
    """

    samples: NDArray[np.int16]
    gain: float = 1.0

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def memory_bytes(self) -> int:
        """Memory it takes: only that of the Python objects where the samples lie in a mapped file."""
        return _OBJECT_BYTES if isinstance(self.samples, np.memmap) else self.samples.nbytes

    def crop(self, start: int, length: int) -> "Pcm":
        """Return `length` samples from sample `start` on, not copied."""
        return Pcm(self.samples[start : start + length], self.gain)

    def waveform(self, start: int = 0, length: int | None = None) -> Waveform:
        """Return (T,) float32, full scale 1.0: all of it or a crop, given in samples."""
        end = len(self.samples) if length is None else start + length
        return self.samples[start:end].astype(np.float32) * np.float32(self.gain / FULL_SCALE)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where in a shard of a pack a recording lies.

    Attributes:
        path: the shard, a 16-bit mono WAV file at 16 kHz.
        first: the recording's first sample, counted from the shard's.
        samples: how many it has.
        gain: as of `Pcm`.
        source_bytes: size of the file it was packed from; 0 when it was made of several.
    """

    path: str
    first: int
    samples: int
    gain: float = 1.0
    source_bytes: int = 0

    def pcm(self) -> Pcm:
        """Return the recording, mapped: nothing is read before it is used.

        Raises:
            AudioError: the shard is missing, or not what it was.
        """
        try:
            pcm = Pcm(_map(self.path), self.gain).crop(self.first, self.samples)
        except ValueError:
            raise AudioError(f"{self.path}: no such shard of a pack; 'voxanchor data check' says more") from None
        if len(pcm) < self.samples:
            raise AudioError(f"{self.path}: this shard of a pack is cut short; 'voxanchor data check' says more")
        return pcm


def load(
    path: str,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stored: Stored | None = None,
    channel: Channel = "mix",
) -> Pcm:
    """Return a recording or a stretch of it in 16 bits, at 16 kHz.

    16-bit recordings at 16 kHz come bit for bit, any other as `encode` gives it; mapped where they lie in a pack or in
    a large WAV file. A stretch is the same samples of the whole, but for recordings longer than 60 s that are not
    16-bit at 16 kHz: of those only the stretch is decoded, which then equals the whole to within 1e-4.

    Args:
        path: the recording.
        start_s: where the stretch begins.
        duration_s: its length; to the end of the recording when None.
        stored: where a pack keeps the recording, one channel of it; its file is then not looked for.
        channel: which channel of a file is heard.

    Raises:
        AudioError: as `voxanchor.audio.io.read`.
        RecipeError: nothing names a channel so.
    """
    channel = channel_of(channel)
    try:
        return _load(path, start_s, duration_s, stored, channel)
    except Exception as error:  # decoders raise nearly anything, and one file must not end a corpus
        raise AudioError.of(path, error) from error


@contextlib.contextmanager
def known_usable() -> Iterator[None]:
    """Say of a recording that cannot be read what to do, where its folder was read through before and it could.

    Raises:
        AudioError: the one raised inside, with that advice.
    """
    try:
        yield
    except AudioError as error:
        raise AudioError(
            f"{error}\nIt could be read when its folder was looked through. Mend it and start the same command again; "
            "or, if it is gone for good, begin anew without it"
        ) from error


def _load(path: str, start_s: float, duration_s: float | None, stored: Stored | None, channel: Channel) -> Pcm:
    if stored is not None:
        whole: Pcm | None = stored.pcm()
    else:
        whole = _plain(path) if channel in ("mix", "loudest", "left", 1) else None  # what is mapped has one channel
        if whole is None and (start_s > 0.0 or duration_s is not None):
            whole = _decoded_whole(path, channel)
    if whole is None:
        return encode(read(path, start_s=start_s, duration_s=duration_s, channel=channel))
    first, count = crop_bounds(path, start_s, duration_s, len(whole))
    found = whole.crop(first, count)
    if stored is None and whole.samples.nbytes < MAPPED_BYTES:
        return Pcm(np.array(found.samples), whole.gain)
    return found


def encode(waveform: Waveform) -> Pcm:
    """Return a waveform in 16 bits.

    One whose samples are exact in 16 bits, as those of a 16-bit file at 16 kHz are, comes back bit for bit. Any other
    is rounded after scaling by the power of two that brings its peak nearest below full scale, whatever its level: no
    error exceeds 1 / 32,767 of the peak (-90 dB). Encoding the result again changes nothing.

    Args:
        waveform: (T,) finite float32.
    """
    scaled = waveform * np.float32(FULL_SCALE)
    small = np.clip(np.rint(scaled), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    if np.array_equal(scaled, small):
        return Pcm(small)
    peak = float(np.abs(waveform).max())
    exponent = math.frexp(peak * FULL_SCALE / (FULL_SCALE - 0.5))[1]  # the peak must not round up to full scale
    gain = 2.0 ** max(exponent, _SMALLEST_EXPONENT)
    rounded = np.rint(waveform * np.float32(FULL_SCALE / gain))
    return Pcm(np.clip(rounded, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), gain)


def mapped(path: str | Path) -> NDArray[np.int16] | None:
    """Return (T,) int16, the samples of a file mapped into memory; None unless it is 16-bit mono WAV at 16 kHz.

    Nothing is read before it is used, so a file may be larger than the memory. One whose header promises more than
    there is, or less, gives None: reading it says what is wrong.
    """
    try:
        if not Path(path).is_file():  # to open a pipe is to wait for what comes out of it, and to take it away
            return None
        with Path(path).open("rb") as file:
            chunk = sound_chunk(file) if file.seekable() else None
            if chunk is None or not _is_plain(chunk.described):
                return None
            frames = chunk.size // 2
            if frames == 0 or chunk.present < chunk.size or chunk.left_open(file):
                return None
        return np.memmap(os.fsencode(path), dtype="<i2", mode="r", offset=chunk.start, shape=(frames,))
    except (OSError, ValueError, OverflowError):
        return None


def _is_plain(described: bytes) -> bool:
    """Return whether the chunk ``fmt `` of a WAV file says 16 bits, one channel, 16 kHz."""
    if len(described) < 16:
        return False
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", described[:16])
    tag = int.from_bytes(described[24:26], "little") if tag == 0xFFFE else tag  # extensible: the tag stands further on
    return (tag, channels, rate, bits) == (1, 1, SAMPLE_RATE, 16)


def _plain(path: str) -> Pcm | None:
    with contextlib.suppress(OSError, ValueError):
        if Path(path).stat().st_size >= MAPPED_BYTES:
            return Pcm(_map(path))
    samples = mapped(path)
    return None if samples is None else Pcm(samples)


@lru_cache(maxsize=_OPEN_MAPS)
def _map(path: str) -> NDArray[np.int16]:
    _allow_many_files()
    samples = mapped(path)
    if samples is None:
        raise ValueError(f"{path} cannot be mapped")  # and is not remembered: it may be mended
    return samples


@cache
def _allow_many_files() -> None:
    """Lift the limit of open files as far as the system allows: Python keeps one open for every map."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _decoded_whole(path: str, channel: Channel) -> Pcm | None:
    """Return a whole recording of which stretches, decoded alone, would differ; None if they do not, or it is long."""
    info = probe(path)
    exact = (info.sample_rate, info.channels, info.encoding) == (SAMPLE_RATE, 1, "PCM_16")
    if exact or info.duration_s > WHOLE_S:
        return None
    whole = read(path, channel=channel)
    # stretches may reach to the end that the header states, which an encoder may have missed by a little
    stated = max(1, round(info.frames * SAMPLE_RATE / info.sample_rate)) if info.encoding else len(whole)
    return encode(np.pad(whole, (0, max(0, stated - len(whole)))))
