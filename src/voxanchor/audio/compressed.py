"""Recordings that libsndfile cannot decode, VoxCeleb2's .m4a among them: read through PyAV, an extra, or explained."""

import importlib.util
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, Waveform

SUFFIXES: tuple[str, ...] = (".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr")
"""Suffixes (lower case) of recordings that need the extra ``m4a``."""

INSTALL = "pip install 'voxanchor[m4a]'"

_TRUNCATION_S = 0.1


def is_compressed(path: str | Path) -> bool:
    """Return whether a file is one of those that need the extra, by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES


def advice(paths: Iterable[Path]) -> str:
    """Return a sentence that counts the files that need the extra, when it is not installed; otherwise nothing."""
    kinds = Counter(path.suffix.lower() for path in paths if is_compressed(path))
    if not kinds or _installed():
        return ""
    counted = " and ".join(f"{count:,} of the files are {kind}" for kind, count in sorted(kinds.items()))
    return f"{counted}: {INSTALL} reads them, or convert them to .wav or .flac with ffmpeg"


def header(path: Path) -> tuple[int, int, int]:
    """Return (rate in Hz, channels, samples per channel) as the file states them, without decoding it.

    Raises:
        AudioError: the extra is not installed, or the file is not a readable recording.
    """
    av = _pyav(path)
    try:
        with av.open(str(path)) as container:
            stream = _stream(container, path)
            seconds = _seconds(container, stream)
            return int(stream.rate), int(stream.channels), round(seconds * stream.rate)
    except av.FFmpegError as error:
        raise AudioError(f"{path}: is not a readable recording ({error.strerror})") from error


def decode(path: Path) -> tuple[Waveform, int]:
    """Return (T,) float32, the whole recording with its channels averaged, and its rate in Hz.

    Raises:
        AudioError: the extra is not installed, or the file is unreadable, truncated or holds no samples.
    """
    av = _pyav(path)
    try:
        with av.open(str(path)) as container:
            stream = _stream(container, path)
            promised_s, rate = _seconds(container, stream), int(stream.rate)
            floats = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)  # the sample format alone
            frames = [made for frame in container.decode(stream) for made in floats.resample(frame)]
            blocks = [frame.to_ndarray() for frame in frames + floats.resample(None)]
    except av.FFmpegError as error:
        raise AudioError(f"{path}: is truncated or damaged ({error.strerror})") from error
    if not blocks:
        raise AudioError(f"{path}: holds no samples")
    samples = np.concatenate(blocks, axis=1)
    decoded_s = samples.shape[1] / rate
    if promised_s - decoded_s > _TRUNCATION_S:
        raise AudioError(
            f"{path}: is truncated: its header promises {promised_s:.2f} s, only {decoded_s:.2f} s can be decoded"
        )
    mono: Waveform = samples[0] if len(samples) == 1 else samples.mean(axis=0, dtype=np.float32)
    return mono, rate


def _installed() -> bool:
    try:
        return importlib.util.find_spec("av") is not None
    except ValueError:  # a module that is barred, as tests bar it, has no specification
        return False


def _pyav(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise AudioError(
            f"{path}: {path.suffix} needs the package 'av': {INSTALL}, or convert the recording first, for example: "
            f"ffmpeg -i {path.name} -ar {SAMPLE_RATE} -ac 1 {path.stem}.flac"
        ) from None
    return av


def _stream(container: Any, path: Path) -> Any:
    if not container.streams.audio:
        raise AudioError(f"{path}: holds no sound")
    return container.streams.audio[0]


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6
