"""Reading recordings of any rate and channel count as 16 kHz mono, and writing them back."""

import os
import re
from dataclasses import dataclass
from math import gcd, isfinite
from pathlib import Path

import numpy as np
import soundfile
import soxr

from voxanchor.audio import compressed
from voxanchor.errors import AudioError, CorpusError
from voxanchor.files import replacing
from voxanchor.types import SAMPLE_RATE, Waveform

AUDIO_SUFFIXES: tuple[str, ...] = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".sph", ".w64",
)  # fmt: skip
"""Suffixes (lower case) of the formats that can be read."""

_MARGIN_S = 0.25
"""Sound read on either side of a crop: longer than half the resampler's impulse response and a codec's memory."""

_LOSSY = ("MP3", "OGG")
"""Containers whose decoders start wrong after a seek, and settle."""

_TRUNCATION_S = 0.1
"""A file may end this much earlier than its header says (encoder padding) before it counts as truncated."""

_SHORTENED_DATA = re.compile(r"^ ?(?:data|SSND) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says, before any conversion: rate in Hz, number of channels, samples per channel."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Return what the header of a file says, without decoding it.

    Raises:
        AudioError: the file is missing, empty, unreadable or not audio.
    """
    path = Path(path)
    if compressed.is_compressed(path):
        _refuse_missing(path)
        return AudioInfo(*compressed.header(path))
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def read(path: str | Path, *, start_s: float = 0.0, duration_s: float | None = None) -> Waveform:
    """Return (T,) float32, the recording or a crop of it, at 16 kHz, its channels averaged.

    A crop is read by seeking, with a margin around it, so that it equals the same crop of the whole recording after
    resampling to within 1e-4. Nothing is clipped or normalised.

    Args:
        path: a file in one of the formats of `AUDIO_SUFFIXES`, or, with the extra ``m4a``, of `compressed.SUFFIXES`;
            the latter is decoded whole for every crop.
        start_s: where the crop begins.
        duration_s: length of the crop, which then has exactly ``round(duration_s * 16000)`` samples (zeros where a
            compressed file ends up to 0.1 s before its header says); to the end of the recording when None.

    Raises:
        AudioError: the file is missing, empty, unreadable, not audio, truncated, holds samples that are not finite, or
            ends before the crop does.
    """
    path = Path(path)
    if compressed.is_compressed(path):
        return _read_compressed(path, start_s, duration_s)
    with _open(path) as file:
        rate, frames = int(file.samplerate), int(file.frames)
        total = max(1, round(frames * SAMPLE_RATE / rate))
        first, count = _crop(path, start_s, duration_s, total)
        # Source frames are taken from a multiple of `down`, which is where input and output samples coincide.
        down, up = rate // gcd(rate, SAMPLE_RATE), SAMPLE_RATE // gcd(rate, SAMPLE_RATE)
        exact = rate == SAMPLE_RATE and file.format not in _LOSSY
        margin = 0 if exact else int(_MARGIN_S * SAMPLE_RATE)
        block = max(0, (first - margin) // up)
        begin = block * down
        end = min(frames, -(-(first + count + margin) * rate // SAMPLE_RATE))
        if first + count == total:
            end = frames
        mono = _decode(path, file, begin, end)
    resampled = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
    offset = first - block * up
    crop = resampled[offset : offset + count]
    if duration_s is not None and len(crop) < count:  # an encoder that padded less than its header says
        crop = np.pad(crop, (0, count - len(crop)))
    return np.ascontiguousarray(crop, dtype=np.float32)


def read_original(path: str | Path) -> tuple[Waveform, int]:
    """Return (T,) float32, the whole recording at its own rate, its channels averaged, and that rate in Hz.

    Raises:
        AudioError: as `read`.
    """
    path = Path(path)
    if compressed.is_compressed(path):
        _refuse_missing(path)
        mono, rate = compressed.decode(path)
        return _finite(path, mono), rate
    with _open(path) as file:
        return _decode(path, file, 0, int(file.frames)), int(file.samplerate)


def write(path: str | Path, waveform: Waveform, sample_rate: int = SAMPLE_RATE) -> None:
    """Write a mono waveform: ``.wav`` as 32-bit float, ``.flac`` as 16-bit PCM; it appears complete or not at all.

    Args:
        path: file to write.
        waveform: (T,) float32, full scale at 1.0.
        sample_rate: rate in Hz to state in the header.

    Raises:
        AudioError: another suffix, an empty waveform or one that is not one-dimensional or finite, samples beyond full
            scale for ``.flac``.
        OutputError: a place that cannot be written to.
    """
    path = Path(path)
    formats = {".wav": ("WAV", "FLOAT"), ".flac": ("FLAC", "PCM_16")}
    if path.suffix.lower() not in formats:
        raise AudioError(f"{path}: audio is written as .wav or .flac, not '{path.suffix}'")
    if waveform.ndim != 1 or len(waveform) == 0 or not np.isfinite(waveform).all():
        raise AudioError(f"{path}: only a non-empty mono waveform of finite samples can be written")
    kind, subtype = formats[path.suffix.lower()]
    peak = float(np.abs(waveform).max())
    if kind == "FLAC" and peak > 1.0:
        raise AudioError(f"{path}: a peak of {peak:.3f} would clip in FLAC; write .wav or scale the waveform down")
    with replacing(path) as temporary:
        soundfile.write(temporary, waveform, sample_rate, format=kind, subtype=subtype)


def find_audio(folder: str | Path) -> list[Path]:
    """Return the recordings in a folder and all folders below it, sorted by path, hidden ones left out.

    Recordings that need the extra ``m4a`` are in the list with or without it: reading them says what to do. Links to
    folders are followed, but for those to a folder above: two names of one folder are both listed.

    Raises:
        CorpusError: the folder, or one below it, is missing, not a folder or not readable.
    """
    folder = Path(folder)
    try:
        if not folder.exists():
            raise CorpusError(f"{folder}: no such folder")
        if not folder.is_dir():
            raise CorpusError(f"{folder}: is a file; give the folder that holds the recordings")
    except OSError as error:  # in a folder that may not be entered
        _refuse_folder(error)
    found: list[Path] = []
    for parent, names, files in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        names[:] = sorted(name for name in names if not (name.startswith(".") or _leads_up(Path(parent, name), folder)))
        found += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES + compressed.SUFFIXES
        ]
    return sorted(found)


def _leads_up(path: Path, top: Path) -> bool:
    """Return whether a folder below `top` is a link to one that lies above it, on the way from `top` or beyond."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    above = path.parents[: len(path.parts) - len(top.parts)]
    return any(folder.resolve().is_relative_to(target) for folder in above)


def _refuse_folder(error: OSError) -> None:
    raise CorpusError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from error


def _refuse_missing(path: Path) -> None:
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not a recording")


def _read_compressed(path: Path, start_s: float, duration_s: float | None) -> Waveform:
    _refuse_missing(path)
    mono, rate = compressed.decode(path)
    whole = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
    first, count = _crop(path, start_s, duration_s, len(whole))
    return np.ascontiguousarray(_finite(path, whole[first : first + count]), dtype=np.float32)


def _open(path: Path) -> soundfile.SoundFile:
    _refuse_missing(path)
    try:
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: the file is empty (0 bytes)")
        with path.open("rb"):
            pass  # libsndfile reports a missing permission as "System error"
        file = soundfile.SoundFile(path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({error.strerror})") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless .raw
        raise AudioError(f"{path}: is not a readable recording ({_reason(error)})") from error
    if file.frames <= 0 or file.samplerate <= 0:
        file.close()
        raise AudioError(f"{path}: holds no samples")
    return file


def _crop(path: Path, start_s: float, duration_s: float | None, total: int) -> tuple[int, int]:
    """Return the first sample and the number of samples of a crop, at 16 kHz."""
    length = total / SAMPLE_RATE
    if not isfinite(start_s) or start_s < 0.0 or (duration_s is not None and not duration_s > 0.0):
        raise AudioError(f"{path}: no crop of {duration_s} s can start at {start_s} s")
    first = round(start_s * SAMPLE_RATE)
    count = total - first if duration_s is None else round(duration_s * SAMPLE_RATE)
    if first + count == total + 1:  # start and duration were rounded separately
        first = max(0, first - 1)
    if count < 1 or first + count > total:
        wanted = "the end" if duration_s is None else f"{start_s + duration_s:.3f} s"
        raise AudioError(f"{path}: lasts {length:.3f} s, so it has no crop from {start_s:.3f} s to {wanted}")
    return first, count


def _decode(path: Path, file: soundfile.SoundFile, begin: int, end: int) -> Waveform:
    """Return source frames begin to end, their channels averaged."""
    shortened = _SHORTENED_DATA.search(file.extra_info)
    if shortened:
        promised, present = int(shortened[1]), int(shortened[2])
        missing_s = (promised - present) * file.frames / max(present, 1) / file.samplerate
        # Programs that write to a pipe leave the size open: the largest number there is.
        if missing_s > _TRUNCATION_S and promised < 0x7FFF_0000:
            raise _truncated(path, file.frames / file.samplerate + missing_s, file.frames / file.samplerate)
    try:
        if begin:
            file.seek(begin)
        samples = file.read(end - begin, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioError(f"{path}: is truncated or damaged ({_reason(error)})") from error
    missing_s = (end - begin - len(samples)) / file.samplerate
    if missing_s > _TRUNCATION_S or len(samples) == 0:
        raise _truncated(path, end / file.samplerate, (begin + len(samples)) / file.samplerate)
    mono: Waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    return _finite(path, mono)


def _finite(path: Path, mono: Waveform) -> Waveform:
    if not np.isfinite(mono).all():
        raise AudioError(f"{path}: holds samples that are not finite (NaN or infinity)")
    return mono


def _truncated(path: Path, promised_s: float, decoded_s: float) -> AudioError:
    return AudioError(
        f"{path}: is truncated: its header promises {promised_s:.2f} s, only {decoded_s:.2f} s can be decoded"
    )


def _reason(error: Exception) -> str:
    text = str(error).partition(": ")[2] if str(error).startswith("Error opening") else str(error)
    return text.strip().rstrip(".") or "damaged data"
