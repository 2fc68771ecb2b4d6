"""A recording in every container we can write, and damaged copies of it: what programs, disks and people send."""

import io
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

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
    "24.wav": {"format": "WAV", "subtype": "PCM_24"},
    "32.wav": {"format": "WAV", "subtype": "PCM_32"},
    "double.wav": {"format": "WAV", "subtype": "DOUBLE"},
    "alaw.wav": {"format": "WAV", "subtype": "ALAW"},
    "gsm.wav": {"format": "WAV", "subtype": "GSM610"},
    "ms.wav": {"format": "WAV", "subtype": "MS_ADPCM"},
    "g721.wav": {"format": "WAV", "subtype": "G721_32"},
    "nms.wav": {"format": "WAV", "subtype": "NMS_ADPCM_16"},
    "float.w64": {"format": "W64", "subtype": "FLOAT"},
    "double.rf64": {"format": "RF64", "subtype": "DOUBLE"},
    "float.aiff": {"format": "AIFF", "subtype": "FLOAT"},
    "ima.aifc": {"format": "AIFF", "subtype": "IMA_ADPCM"},
    "mulaw.au": {"format": "AU", "subtype": "ULAW"},
    "g723.au": {"format": "AU", "subtype": "G723_24"},
    "alac.caf": {"format": "CAF", "subtype": "ALAC_16"},
    "24.flac": {"format": "FLAC", "subtype": "PCM_24"},
    "sph": {"format": "NIST", "subtype": "PCM_16"},
    "mulaw.sph": {"format": "NIST", "subtype": "ULAW"},
    # nobody asks for these, but libsndfile takes them, whatever they are called
    "voc": {"format": "VOC", "subtype": "PCM_16"},
    "ircam": {"format": "IRCAM", "subtype": "FLOAT"},
    "pvf": {"format": "PVF", "subtype": "PCM_16"},
    "paf": {"format": "PAF", "subtype": "PCM_24"},
    "mat4": {"format": "MAT4", "subtype": "DOUBLE"},
    "mat5": {"format": "MAT5", "subtype": "FLOAT"},
    "htk": {"format": "HTK", "subtype": "PCM_16"},
    "svx": {"format": "SVX", "subtype": "PCM_16"},
    "avr": {"format": "AVR", "subtype": "PCM_16"},
    "mpc": {"format": "MPC2K", "subtype": "PCM_16"},
    "xi": {"format": "XI", "subtype": "DPCM_16"},
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
    "alac.m4a": ("mp4", "alac", 16_000),
    "pcm.mka": ("matroska", "pcm_s16le", 16_000),
    "wma": ("asf", "wmav2", 44_100),
    "eac3": ("eac3", "eac3", 48_000),
    "mp2": ("mp2", "mp2", 16_000),
    "latm": ("latm", "aac", 16_000),
    "ts": ("mpegts", "aac", 16_000),
    "avi": ("avi", "ac3", 48_000),
    "flv": ("flv", "aac", 44_100),
    "tta": ("tta", "tta", 16_000),
    "wv": ("wv", "wavpack", 16_000),
}
"""Containers that FFmpeg writes: its name of the container, the codec, and a rate in Hz that the codec takes."""

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}
_SIZES = (0, 1, 8, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF)
_WORDS = (
    *(size.to_bytes(4, order) for size in _SIZES for order in ("little", "big")),
    *(size.to_bytes(8, order) for size in (0, 2**31, 2**62, 2**63, 2**64 - 1) for order in ("little", "big")),
)
_RATES = (0, 1, 7, 999, 1_000, 11_025, 192_000, 767_999, 768_001, 10**9, 2**31, 2**32 - 1)
_CHANNELS = (0, 2, 3, 8, 64, 65, 255, 256, 1024, 32_767, 65_535)
_NUMBERS = (float("nan"), float("inf"), float("-inf"), 3e38, -1e15, 1e300, 1e-45)
_HEADER_BYTES = 256
_PAGE = 4096


def by_sndfile(kind: str, wave: np.ndarray, rate: int) -> bytes:
    """Return a (T,) or (T, channels) waveform as a file of one of the kinds of `SNDFILE`."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, **SNDFILE[kind])
    return buffer.getvalue()


def by_ffmpeg(kind: str, wave: np.ndarray, rate: int, **options: str) -> bytes:
    """Return a waveform as a file of one of the kinds of `FFMPEG`.

    Args:
        kind: key of `FFMPEG`.
        wave: (T,), or (T, channels) where the codec takes so many, float32, full scale 1.
        rate: of it, in Hz.
        options: of the container.
    """
    import av

    container_name, codec, own_rate = FFMPEG[kind]
    layout: Any = _LAYOUTS[1 if wave.ndim == 1 else wave.shape[1]]
    packed = np.ascontiguousarray(wave.reshape(1, -1), dtype=np.float32)
    with (
        tempfile.NamedTemporaryFile() as file,  # by name: to put the index in front, FFmpeg opens it again
        av.open(file.name, "w", format=container_name, options=options) as container,
    ):
        stream: Any = container.add_stream(codec, rate=own_rate)
        stream.layout = layout
        if codec == "wmav2":
            stream.bit_rate = 48_000  # it has none of its own
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
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


def mutated(content: bytes, draw: np.random.Generator, other: bytes = b"") -> bytes:
    """Return a damaged copy of a file: one to three of what happens to headers, lengths, chunks and samples.

    Args:
        content: the file.
        draw: decides what happens.
        other: another file, which may end up behind it or in front of it.
    """
    made = bytearray(content)
    if draw.random() < 0.05:
        made = made + other if draw.random() < 0.5 else bytearray(other) + made
    for _ in range(int(draw.integers(1, 4))):
        if not made:
            break
        _MUTATIONS[int(draw.integers(len(_MUTATIONS)))](made, draw)
    return bytes(made)


def mutant(files: dict[str, bytes], seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and content of one damaged file; the suffix is often that of another kind.

    Args:
        files: whole ones by kind.
        seed: of a series of damaged files.
        number: its place in the series.
    """
    kinds = sorted(files)
    draw = np.random.default_rng([seed, number])
    kind, other = (kinds[int(draw.integers(len(kinds)))] for _ in range(2))
    suffix = (other if draw.random() < 0.25 else kind).rpartition(".")[2]
    suffix = "" if draw.random() < 0.05 else f".{suffix}"
    return f"{number:05d}-{kind.replace('.', '-')}{suffix}", mutated(files[kind], draw, files[other])


def mutants(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the first `count` damaged files of a series."""
    for number in range(count):
        yield mutant(files, seed, number)


def _at(made: bytearray, draw: np.random.Generator) -> int:
    """Return a place, mostly in the header."""
    return int(draw.integers(min(len(made), _HEADER_BYTES) if draw.random() < 0.8 else len(made)))


def _flip(made: bytearray, draw: np.random.Generator) -> None:
    made[_at(made, draw)] ^= 1 << int(draw.integers(8))


def _word(made: bytearray, draw: np.random.Generator) -> None:
    at = _at(made, draw)
    made[at : at + 4] = _WORDS[int(draw.integers(len(_WORDS)))]


def _length(made: bytearray, draw: np.random.Generator) -> None:
    """Have a chunk state another length: it stands behind the chunk's name, or before it, as in MP4."""
    names = _names(made)
    if names:
        at = max(0, names[int(draw.integers(len(names)))] + (4 if draw.random() < 0.7 else -4))
        word = _WORDS[int(draw.integers(len(_WORDS)))]
        if draw.random() < 0.3:
            word = struct.pack("<I" if draw.random() < 0.5 else ">I", int(draw.integers(2 * len(made))))
        made[at : at + len(word)] = word


def _chunk(made: bytearray, draw: np.random.Generator) -> None:
    """Drop, double or move what lies from the name of one chunk to that of another."""
    names = _names(made)
    if len(names) < 2:
        return
    begin, end = sorted(names[int(draw.integers(len(names)))] for _ in range(2))
    content = bytes(made[begin:end])
    what = int(draw.integers(3))
    if what != 1:
        del made[begin:end]
    if what != 0:
        at = min(len(made), names[int(draw.integers(len(names)))])
        made[at:at] = content


def _rate(made: bytearray, draw: np.random.Generator) -> None:
    """State an absurd rate, where a rate is found."""
    rate = _RATES[int(draw.integers(len(_RATES)))]
    for form in ("<I", ">I", ">H"):
        for stated in (8_000, 16_000, 44_100, 48_000):
            at = made.find(struct.pack(form, stated), 0, 4 * _HEADER_BYTES)
            if at >= 0:
                made[at : at + struct.calcsize(form)] = struct.pack(form, rate % 256 ** struct.calcsize(form))
                return


def _channels(made: bytearray, draw: np.random.Generator) -> None:
    """State another number of channels, in the place where WAV has it, or wherever a 1 or 2 stands."""
    count = _CHANNELS[int(draw.integers(len(_CHANNELS)))]
    head = bytes(made[:_HEADER_BYTES])
    order: Literal["big", "little"] = "big" if head[:4] in (b"FORM", b"RIFX", b".snd") else "little"
    fields = [at for at in range(4, len(head) - 1) if head[at : at + 2] in (b"\1\0", b"\0\1")]
    if head[8:12] == b"WAVE" and draw.random() < 0.5:
        fields = [made.find(b"fmt ") + 10]
    if fields:
        at = fields[int(draw.integers(len(fields)))]
        made[at : at + 2] = count.to_bytes(2, order)


def _numbers(made: bytearray, draw: np.random.Generator) -> None:
    """Put what is not finite, or far too large, among the samples; only files of floats are the worse for it."""
    form = ("<f", ">f", "<d", ">d")[int(draw.integers(4))]
    number = _NUMBERS[int(draw.integers(len(_NUMBERS) if form[1] == "d" else 5))]
    size = struct.calcsize(form)
    at = int(draw.integers(len(made))) // size * size
    content = struct.pack(form, number) * int(draw.integers(1, 20))
    made[at : at + len(content)] = content


def _page(made: bytearray, draw: np.random.Generator) -> None:
    """Empty a page of the file, as a crash does."""
    at = int(draw.integers(len(made))) // _PAGE * _PAGE
    made[at : at + _PAGE] = bytes(len(made[at : at + _PAGE]))


def _names(made: bytearray) -> list[int]:
    """Return where names of chunks, boxes and pages may stand: four printable characters."""
    found = [match.start() for match in re.finditer(rb"[A-Za-z][A-Za-z0-9+]{2}[A-Za-z0-9 ]", bytes(made[:_PAGE]))]
    return found + [match.start() for match in re.compile(b"OggS|moov|mdat|data|SSND").finditer(bytes(made), _PAGE)]


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


_MUTATIONS = (
    _flip, _word, _length, _chunk, _rate, _channels, _numbers, _page, _cut, _repeat, _remove, _noise, _append, _zeros,
)  # fmt: skip
