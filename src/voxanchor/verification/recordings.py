"""What a recording may be, and hearing it: waveform and quality."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from voxanchor.audio.io import probe, read, read_original
from voxanchor.audio.quality import Quality, clipped
from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, Waveform

Samples: TypeAlias = NDArray[np.floating] | NDArray[np.integer]

Recording: TypeAlias = str | Path | Samples | tuple[Samples, int]
"""A file of any common format; or samples at 16 kHz; or samples and their rate in Hz. Samples are (T,) or
(T, channels), floating with full scale at 1, or 16- or 32-bit integers."""

_MOST_CHANNELS = 64


@dataclass(frozen=True)
class Heard:
    """A recording that was read.

    Attributes:
        waveform: (T,) float32 at 16 kHz.
        quality: what it is worth.
        name: for messages.
        source: a file's name, for records; empty for samples.
    """

    waveform: Waveform
    quality: Quality
    name: str
    source: str = ""


def is_one(recordings: "Recording | Sequence[Recording]") -> bool:
    """Return whether a value is one recording, and not several."""
    if isinstance(recordings, str | Path | np.ndarray):
        return True
    return isinstance(recordings, tuple) and len(recordings) == 2 and isinstance(recordings[1], int | float | np.number)


def hear(recording: Recording, name: str = "the recording") -> Heard:
    """Return a recording's waveform and quality.

    Args:
        recording: any of its forms.
        name: what to call it where it is not a file.

    Raises:
        AudioError: a file that cannot be read, or samples that are no recording: none, not finite, a strange shape.
    """
    if isinstance(recording, str | Path):
        wave = read(recording)
        quality = Quality.of(wave)
        if probe(recording).sample_rate != SAMPLE_RATE:
            quality = _clipped_before(read_original(recording)[0], quality)
        return Heard(wave, quality, str(recording), Path(recording).name)
    original, rate = _converted(recording, name)
    wave = _resampled(original, rate, name)
    quality = Quality.of(wave)
    return Heard(wave, quality if rate == SAMPLE_RATE else _clipped_before(original, quality), name)


def hear_all(recordings: Sequence[Recording]) -> list[Heard]:
    """Return several recordings' waveforms and qualities.

    Raises:
        AudioError: as `hear`.
    """
    names = ("the first recording", "the second recording") if len(recordings) == 2 else ()
    return [
        hear(recording, names[place] if names else f"recording {place + 1}")
        for place, recording in enumerate(recordings)
    ]


def flac(heard: Heard) -> bytes:
    """Return the recording as a FLAC file, in 24 bits, scaled down only where it is beyond full scale."""
    peak = max(1.0, float(np.abs(heard.waveform).max()))
    buffer = io.BytesIO()
    soundfile.write(buffer, heard.waveform / peak, SAMPLE_RATE, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def _clipped_before(original: Waveform, quality: Quality) -> Quality:
    """Return the quality with the clipping of a waveform at its own rate: resampling rounds off what was cut."""
    return replace(quality, clipped=float(clipped(original).mean()))


def _resampled(wave: Waveform, rate: float, name: str) -> Waveform:
    if rate != SAMPLE_RATE:
        wave = np.asarray(soxr.resample(wave, rate, SAMPLE_RATE), dtype=np.float32)
    if not wave.size:
        raise AudioError(f"{name}: holds no samples at {SAMPLE_RATE} Hz")
    return np.ascontiguousarray(wave)


def _converted(recording: Samples | tuple[Samples, int], name: str) -> tuple[Waveform, float]:
    """Return (T,) samples at their own rate, and the rate."""
    rate: Any = SAMPLE_RATE
    samples: Any = recording
    if isinstance(recording, tuple) and len(recording) == 2:
        samples, rate = recording
    try:
        array = np.asarray(samples)
    except ValueError as error:
        raise AudioError(f"{name}: a waveform must be an array of numbers ({error})") from None
    wave = _scaled(array, name)
    if wave.ndim == 2 and 1 <= wave.shape[1] <= _MOST_CHANNELS:
        wave = wave.mean(axis=1)
    if wave.ndim != 1 or not wave.size:
        shape = f"(T,) or (T, channels) samples, got shape {np.shape(samples)}"
        raise AudioError(f"{name}: a waveform must be a non-empty array of {shape}")
    if not np.isfinite(wave).all():
        raise AudioError(f"{name}: a waveform must be finite, and holds NaN or infinity")
    if not isinstance(rate, int | float | np.number) or not 1_000 <= rate <= 768_000:
        raise AudioError(f"{name}: a sample rate of {rate} Hz cannot be right")
    return wave, float(rate)


def _scaled(array: NDArray[Any], name: str) -> Waveform:
    """Return the samples as float32 with full scale at 1."""
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what is beyond float32 is found to be infinite
            return array.astype(np.float32, copy=False)
    if array.dtype.kind != "i" or array.dtype.itemsize not in (2, 4):
        wanted = "floating point with full scale at 1, or int16 or int32"
        raise AudioError(f"{name}: samples of type {array.dtype}; give {wanted}")
    scaled: Waveform = (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    return scaled
