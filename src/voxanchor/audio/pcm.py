"""Recordings as 16-bit samples: half the memory, and mapped from disk where they lie there already.

Whatever is kept, packed or trained on goes through here, so it sounds the same from a file and from a pack.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxanchor.audio.compressed import is_compressed
from voxanchor.audio.io import _crop as crop_samples
from voxanchor.audio.io import probe, read
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


def load(path: str, start_s: float = 0.0, duration_s: float | None = None, stored: Stored | None = None) -> Pcm:
    """Return a recording or a stretch of it in 16 bits, at 16 kHz.

    16-bit recordings at 16 kHz come bit for bit, any other as `encode` gives it; mapped where they lie in a pack or in
    a large WAV file. A stretch is the same samples of the whole, but for recordings longer than 60 s that are not
    16-bit at 16 kHz: of those only the stretch is decoded, which then equals the whole to within 1e-4.

    Args:
        path: the recording.
        start_s: where the stretch begins.
        duration_s: its length; to the end of the recording when None.
        stored: where a pack keeps the recording; its file is then not looked for.

    Raises:
        AudioError: as `voxanchor.audio.io.read`.
    """
    try:
        return _load(path, start_s, duration_s, stored)
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


def _load(path: str, start_s: float, duration_s: float | None, stored: Stored | None) -> Pcm:
    if stored is not None:
        whole: Pcm | None = stored.pcm()
    else:
        whole = _plain(path)
        if whole is None and (start_s > 0.0 or duration_s is not None):
            whole = _decoded_whole(path)
    if whole is None:
        return encode(read(path, start_s=start_s, duration_s=duration_s))
    first, count = crop_samples(Path(path), start_s, duration_s, len(whole))
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

    Nothing is read before it is used, so a file may be larger than the memory. Like a file that is read, one whose
    header promises more than there is gives None, and reading it says what is wrong.
    """
    path = Path(path)
    if path.suffix.lower() != ".wav":
        return None
    try:
        with soundfile.SoundFile(path) as file:
            if (file.samplerate, file.channels, file.subtype, file.endian) != (SAMPLE_RATE, 1, "PCM_16", "FILE"):
                return None
            frames = file.frames
        offset, promised = _data(path)
        if frames == 0 or not 2 * frames <= promised <= path.stat().st_size - offset:
            return None
        return np.memmap(path, dtype="<i2", mode="r", offset=offset, shape=(frames,))
    except (OSError, ValueError, soundfile.SoundFileError):
        return None


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


def _decoded_whole(path: str) -> Pcm | None:
    """Return a whole recording of which stretches, decoded alone, would differ; None if they do not, or it is long."""
    if is_compressed(path):
        return encode(read(path)) if probe(path).duration_s <= WHOLE_S else None
    try:
        with soundfile.SoundFile(path) as file:
            rate, frames = int(file.samplerate), int(file.frames)
            exact = (rate, file.channels, file.subtype) == (SAMPLE_RATE, 1, "PCM_16")
    except (OSError, TypeError, soundfile.SoundFileError):
        return None  # reading it says what is wrong
    if exact or not 0 < frames <= WHOLE_S * rate:
        return None
    return encode(read(path, duration_s=max(1, round(frames * SAMPLE_RATE / rate)) / SAMPLE_RATE))


def _data(path: Path) -> tuple[int, int]:
    """Return where the samples of a RIFF file begin and how many bytes of them its header promises."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise ValueError("not a RIFF file")
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                return file.tell(), size
            file.seek(size + size % 2, 1)
    raise ValueError("no samples")
