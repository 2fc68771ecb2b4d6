"""A recording in every container we can write, and damaged copies of it: what programs, disks and people send."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

SNDFILE: dict[str, dict[str, str]] = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "float.wav": {"format": "WAV", "subtype": "FLOAT"},
    "extensible.wav": {"format": "WAVEX", "subtype": "PCM_24"},
    "ima.wav": {"format": "WAV", "subtype": "IMA_ADPCM"},
    "mulaw.wav": {"format": "WAV", "subtype": "ULAW"},
    "rf64": {"format": "RF64", "subtype": "PCM_16"},
    "w64": {"format": "W64", "subtype": "PCM_16"},
    "aiff": {"format": "AIFF", "subtype": "PCM_16"},
    "au": {"format": "AU", "subtype": "PCM_16"},
    "caf": {"format": "CAF", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}
"""Containers that libsndfile writes."""

FFMPEG: dict[str, tuple[str, str, int]] = {
    "m4a": ("mp4", "aac", 16_000),
    "mov": ("mov", "aac", 16_000),
    "3gp": ("3gp", "aac", 16_000),
    "mka": ("matroska", "aac", 16_000),
    "webm": ("webm", "libopus", 48_000),
    "aac": ("adts", "aac", 16_000),
    "amr": ("amr", "libopencore_amrnb", 8_000),
    "ac3": ("ac3", "ac3", 48_000),
    "g722.wav": ("wav", "g722", 16_000),
    "g726.wav": ("wav", "g726", 8_000),
}
"""Containers that FFmpeg writes: its name of the container, the codec, and a rate in Hz that the codec takes."""

_WORDS = tuple(
    number.to_bytes(4, order)
    for number in (0, 1, 8, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
    for order in ("little", "big")
)
_HEADER_BYTES = 256


def by_sndfile(kind: str, wave: np.ndarray, rate: int) -> bytes:
    """Return a (T,) or (T, channels) waveform as a file of one of the kinds of `SNDFILE`."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, **SNDFILE[kind])
    return buffer.getvalue()


def by_ffmpeg(kind: str, wave: np.ndarray, rate: int, **options: str) -> bytes:
    """Return a (T,) waveform as a file of one of the kinds of `FFMPEG`; a (T, 2) waveform where it takes two channels.

    Args:
        kind: key of `FFMPEG`.
        wave: float32, full scale 1.
        rate: of it, in Hz.
        options: of the container.
    """
    import av

    container_name, codec, own_rate = FFMPEG[kind]
    layout: Any = "mono" if wave.ndim == 1 else "stereo"
    rows = np.ascontiguousarray(wave[None] if wave.ndim == 1 else wave.T, dtype=np.float32)
    with (
        tempfile.NamedTemporaryFile() as file,  # by name: to put the index in front, FFmpeg opens it again
        av.open(file.name, "w", format=container_name, options=options) as container,
    ):
        stream: Any = container.add_stream(codec, rate=own_rate)
        stream.layout = layout
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(rows, format="fltp", layout=layout)
        frame.sample_rate = rate
        sizes = stream.codec_context.frame_size or 1024
        resampler: Any = av.AudioResampler(stream.codec_context.format, layout, own_rate, frame_size=sizes)
        for made in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
        container.close()
        return Path(file.name).read_bytes()


def whole_files(wave: np.ndarray, rate: int, ffmpeg: bool) -> dict[str, bytes]:
    """Return a waveform in every container, by kind.

    Args:
        wave: (T,) float32.
        rate: in Hz; 8, 16 or 48 kHz, which all codecs take.
        ffmpeg: whether PyAV is there.
    """
    files = {kind: by_sndfile(kind, wave, rate) for kind in SNDFILE}
    return files | ({kind: by_ffmpeg(kind, wave, rate) for kind in FFMPEG} if ffmpeg else {})


def mutated(content: bytes, draw: np.random.Generator) -> bytes:
    """Return a damaged copy of a file: one to three of what happens to headers, lengths and chunks."""
    made = bytearray(content)
    for _ in range(int(draw.integers(1, 4))):
        if not made:
            break
        _MUTATIONS[int(draw.integers(len(_MUTATIONS)))](made, draw)
    return bytes(made)


def mutants(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield `count` damaged files with a name each, whose suffix is often that of another kind."""
    kinds = sorted(files)
    for number in range(count):
        draw = np.random.default_rng([seed, number])
        kind = kinds[int(draw.integers(len(kinds)))]
        other = kinds[int(draw.integers(len(kinds)))] if draw.random() < 0.25 else kind
        suffix = "" if draw.random() < 0.05 else f".{other.rpartition('.')[2]}"
        yield f"{number:05d}-{kind.replace('.', '-')}{suffix}", mutated(files[kind], draw)


def _at(made: bytearray, draw: np.random.Generator) -> int:
    """Return a place, mostly in the header."""
    return int(draw.integers(min(len(made), _HEADER_BYTES) if draw.random() < 0.8 else len(made)))


def _flip(made: bytearray, draw: np.random.Generator) -> None:
    made[_at(made, draw)] ^= 1 << int(draw.integers(8))


def _word(made: bytearray, draw: np.random.Generator) -> None:
    at = _at(made, draw)
    made[at : at + 4] = _WORDS[int(draw.integers(len(_WORDS)))]


def _cut(made: bytearray, draw: np.random.Generator) -> None:
    del made[int(draw.integers(len(made))) :]


def _repeat(made: bytearray, draw: np.random.Generator) -> None:
    at, length = _at(made, draw), int(draw.integers(1, 64))
    made[at:at] = made[at : at + length]


def _remove(made: bytearray, draw: np.random.Generator) -> None:
    at = _at(made, draw)
    del made[at : at + int(draw.integers(1, 64))]


def _noise(made: bytearray, draw: np.random.Generator) -> None:
    at, length = _at(made, draw), int(draw.integers(1, 64))
    made[at : at + length] = draw.bytes(length)


def _append(made: bytearray, draw: np.random.Generator) -> None:
    made += draw.bytes(int(draw.integers(1, 4096)))


def _zeros(made: bytearray, draw: np.random.Generator) -> None:
    at, length = _at(made, draw), int(draw.integers(1, 512))
    made[at : at + length] = bytes(len(made[at : at + length]))


_MUTATIONS = (_flip, _word, _cut, _repeat, _remove, _noise, _append, _zeros)
