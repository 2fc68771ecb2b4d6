"""Recordings of any container, codec, rate and channel count, read as 16 kHz mono; and recordings written.

A file is told by its content, whatever it is called: libsndfile decodes it, or FFmpeg through PyAV, an extra.
"""

import contextlib
import os
import stat
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd, isfinite
from pathlib import Path
from typing import IO, Any, Protocol, Self, TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxanchor.audio.downmix import LARGEST, Channel, ChannelMeter, index_of, mono
from voxanchor.audio.headers import LEAST_BYTES, SAMPLE_DUMP, Mended, asf_length_s, format_name, sound_chunk
from voxanchor.audio.resampling import EDGE_S, resampled
from voxanchor.errors import AudioError, CorpusError
from voxanchor.extras import install_line, is_installed
from voxanchor.files import replacing
from voxanchor.types import SAMPLE_RATE, Waveform

PYAV_SUFFIXES: tuple[str, ...] = (
    ".m4a", ".mp4", ".m4b", ".mov", ".3gp", ".3g2", ".aac", ".ac3", ".wma", ".webm", ".weba", ".mka", ".amr", ".awb",
)  # fmt: skip
"""Suffixes (lower case) of formats that need the extra ``m4a``."""

AUDIO_SUFFIXES: tuple[str, ...] = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph",
    ".w64", ".rf64", *PYAV_SUFFIXES,
)  # fmt: skip
"""Suffixes (lower case) that a folder's recordings are known by. A file that is named is read whatever its suffix."""

RATES = (1_000, 768_000)
"""Rates in Hz that a recording may have; what states another is damaged."""

COPIED_BYTES = 4 * 2**30
"""What comes out of a pipe is copied to a temporary file up to this size."""

OPEN_HEADER = "its header was never finished; it was read to the end of the file"
"""The warning about a recording whose program stopped before it wrote how long it is."""

_OPTIONS = {
    "format_whitelist": "mov,matroska,asf,aac,loas,amr,amrnb,amrwb,wav,w64,ac3,eac3,ogg,flac,mp3,aiff,au,caf,mpegts,"
    "mpeg,avi,flv,dts,tta,wv,ape"
}
"""What FFmpeg may take a file for: containers of sound. Its playlists would open other files, and addresses."""

_TABLED = ("mov", "matroska", "asf")
"""Containers that state their length; of the others FFmpeg guesses it, from the bit rate of the beginning."""

_MARGIN_S = EDGE_S
"""Sound read on either side of a crop: longer than half the resampler's impulse response and a codec's memory."""

_LOSSY = ("MP3", "OGG", "MPEG")
"""Containers whose decoders start wrong after a seek, and settle."""

_TRUNCATION_S = 0.1
"""A file may end this much earlier than its header says (encoder padding) before it counts as truncated."""

_PRIMING_S = 0.3
"""The same where FFmpeg decodes: some containers count what an encoder puts before and behind the sound."""

_BY_DESCRIPTOR = os.name == "posix"
"""Whether libsndfile can read from a descriptor of Python's; on Windows, where it cannot, it reads through Python."""

_UNKNOWN_FRAMES = 2**62
"""From here on libsndfile's number of frames says that the file states none."""

_BLOCK_VALUES = 2**20
"""Samples, of all channels together, that are decoded at once: 4 MiB."""

Block = NDArray[np.float32]

T = TypeVar("T")


@dataclass(frozen=True)
class AudioInfo:
    """What a file is, before any conversion.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        frames: samples per channel, as the header says; counted where it does not.
        warnings: what is wrong with the file, although it can be read.
        encoding: libsndfile's name of the encoding; empty where FFmpeg decodes.
    """

    sample_rate: int
    channels: int
    frames: int
    warnings: tuple[str, ...] = ()
    encoding: str = field(default="", compare=False)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


class AudioFile:
    """A recording in a file, which may be read several times; a pipe is copied first.

    Args:
        path: the file.

    Attributes:
        name: for messages.

    Raises:
        AudioError: no such file, a folder, an empty file, one that may not be read, or a pipe with too much in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._path = Path(path)
        self._remove: Callable[[], object] = lambda: None
        try:
            found = self._path.stat()
            if stat.S_ISDIR(found.st_mode):
                raise AudioError(f"{path}: is a folder, not a recording")
            if not stat.S_ISREG(found.st_mode):
                with self._path.open("rb") as pipe:
                    self._copy(pipe)
            self._refuse_head()
        except (FileNotFoundError, NotADirectoryError):
            raise AudioError(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{path}: cannot be opened ({_reason(error)})") from error

    @classmethod
    def copied(cls, stream: IO[bytes], name: str) -> Self:
        """Return the recording that comes out of a stream, copied into a temporary file.

        Args:
            stream: of a file's bytes, from its beginning.
            name: what to call the recording in messages.

        Raises:
            AudioError: nothing comes out of it, or too much.
            OSError: it cannot be copied, because the disk is full, say.
        """
        file = cls.__new__(cls)
        file.name = name
        file._copy(stream)
        file._refuse_head()
        return file

    def close(self) -> None:
        """Remove the copy, if there is one; otherwise it goes when this object goes."""
        self._remove()

    @property
    def info(self) -> AudioInfo:
        """What the file is; where it does not say how long it is, it is decoded to count.

        Raises:
            AudioError: it is no recording, or damaged.
        """
        with self.decoder() as decoder:
            frames = decoder.frames
            if frames is None:
                frames = sum(map(len, self._guarded(decoder.blocks())))
            return AudioInfo(decoder.rate, decoder.channels, frames, decoder.warnings, decoder.encoding)

    def blocks(self) -> Iterator[Block]:
        """Yield all of the recording as (T, channels) float32 at its own rate, a few MiB at a time.

        Raises:
            AudioError: it is no recording, damaged, truncated or holds no samples.
        """
        with self.decoder() as decoder:
            yield from self.decoded(decoder)

    def decoded(self, decoder: "Decoder", begin: int = 0, end: int | None = None) -> Iterator[Block]:
        """Yield what a decoder of this file gives from frame `begin` to `end`, or to its end, as `blocks` does."""
        self.refuse_cut(decoder, end)
        total = 0
        for block in self._guarded(decoder.blocks(begin, end)):
            total += len(block)
            if len(block):
                yield block
        self.refuse_cut(decoder, end, begin + total)
        if not total:
            raise AudioError(f"{self.name}: holds no samples")

    def refuse_cut(self, decoder: "Decoder", end: int | None = None, there: int | None = None) -> None:
        """Do nothing for a file that is as long as it says.

        Args:
            decoder: of this file.
            end: so many frames of it are wanted; all when None.
            there: so many were decoded; as many as its decoder says, before anything is decoded, when None.

        Raises:
            AudioError: it is truncated.
        """
        promised = decoder.promised_s * decoder.rate
        reached: float | None = decoder.frames if there is None else there
        if end is not None and there is not None:
            promised = end
        elif there is not None:
            reached = max(there, decoder.reached_s * decoder.rate)
        if reached is not None and promised - reached > decoder.tolerated_s * decoder.rate:
            stated_s, decoded_s = promised / decoder.rate, reached / decoder.rate
            raise AudioError(
                f"{self.name}: is truncated: its header promises {stated_s:.2f} s, only {decoded_s:.2f} s can be "
                "decoded"
            )

    @contextlib.contextmanager
    def decoder(self) -> Iterator["Decoder"]:
        """Give what decodes the file, by its content.

        Raises:
            AudioError: nothing does.
        """
        decoder = self._decoder()
        try:
            if not RATES[0] <= decoder.rate <= RATES[1]:
                raise AudioError(f"{self.name}: a sample rate of {decoder.rate} Hz cannot be right: it is damaged")
            yield decoder
        finally:
            decoder.close()

    def _decoder(self) -> "Decoder":
        try:
            return _Sndfile(self._path)
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from None
        except Exception as error:  # whatever a decoder says of bytes it did not expect
            reason = _reason(error)
        known = format_name(self._path)
        if not is_installed("av"):
            if known:
                name = Path(self.name).name
                raise AudioError(
                    f"{self.name}: is {known}, which needs the package 'av': {install_line('av')}, or convert the "
                    f"recording first, for example: ffmpeg -i {name} -ar {SAMPLE_RATE} {Path(name).stem}.flac"
                )
            raise AudioError(f"{self.name}: is not a readable recording ({reason})")
        try:
            return _PyAV(self._path)
        except AudioError as error:
            raise AudioError(f"{self.name}: {error}") from None
        except Exception as error:
            described = f"{known}: {_reason(error)}" if known else reason
            raise AudioError(f"{self.name}: is not a readable recording ({described})") from error

    def _guarded(self, blocks: Iterator[T]) -> Iterator[T]:
        """Yield the blocks of a decoder, whose errors are all about the file: it was given no other input."""
        while True:
            try:
                block = next(blocks, None)
            except AudioError as error:
                raise AudioError(f"{self.name}: {error}") from None
            except Exception as error:
                raise AudioError(f"{self.name}: is truncated or damaged ({_reason(error)})") from error
            if block is None:
                return
            yield block

    def _copy(self, stream: IO[bytes]) -> None:
        left = COPIED_BYTES
        with tempfile.NamedTemporaryFile(prefix="voxanchor-", delete=False) as copy:
            self._path = Path(copy.name)
            self._remove = weakref.finalize(self, Path(copy.name).unlink, missing_ok=True)
            while left >= 0 and (content := stream.read(min(2**20, left + 1))):
                left -= len(content)
                if left >= 0:
                    copy.write(content)
        if left < 0:
            self._remove()  # once it is closed: Windows removes no file that is open
            limit = COPIED_BYTES // 2**30
            raise AudioError(f"{self.name}: more than {limit} GiB came out of this pipe; write it to a file")

    def _refuse_head(self) -> None:
        with self._path.open("rb") as file:  # a missing permission is found here: a decoder has no word for it
            head = file.read(2)
        if not head or head == SAMPLE_DUMP:
            self._remove()
            wrong = "is a MIDI sample dump, which is not read" if head else "the file is empty (0 bytes)"
            raise AudioError(f"{self.name}: {wrong}")


def probe(path: str | Path) -> AudioInfo:
    """Return what a file is; where it does not say how long it is, it is decoded to count.

    Raises:
        AudioError: the file is missing, empty, unreadable or not audio.
    """
    info = AudioFile(path).info
    if info.frames <= 0:
        raise AudioError(f"{path}: holds no samples")
    return info


def read(
    path: str | Path, *, start_s: float = 0.0, duration_s: float | None = None, channel: Channel = "mix"
) -> Waveform:
    """Return (T,) float32, the recording or a crop of it, at 16 kHz.

    A crop is read by seeking, with a margin around it, so that it equals the same crop of the whole recording after
    resampling to within 1e-4; what FFmpeg decodes, and a file that does not say how long it is, is decoded whole for
    every crop. Nothing is clipped or normalised.

    Args:
        path: a file.
        start_s: where the crop begins.
        duration_s: length of the crop, which then has exactly ``round(duration_s * 16000)`` samples (zeros where a
            compressed file ends up to 0.1 s before its header says); to the end of the recording when None.
        channel: which channel is heard; the loudest is that of the whole recording.

    Raises:
        AudioError: the file is missing, empty, unreadable, not audio, truncated, holds samples that are not finite,
            has no such channel, or ends before the crop does.
        RecipeError: nothing names a channel so.
    """
    file = AudioFile(path)
    with file.decoder() as decoder:
        place = _place(file, decoder, channel)
        rate, frames = decoder.rate, decoder.frames
        if frames is None or not decoder.seeks:
            return _cut(file.name, resampled(_mono(file, decoder, place), rate), start_s, duration_s)
        if frames <= 0:
            raise AudioError(f"{path}: holds no samples")
        file.refuse_cut(decoder)
        total = max(1, round(frames * SAMPLE_RATE / rate))
        first, count = crop_bounds(file.name, start_s, duration_s, total)
        # Source frames are taken from a multiple of `down`, which is where input and output samples coincide.
        down, up = rate // gcd(rate, SAMPLE_RATE), SAMPLE_RATE // gcd(rate, SAMPLE_RATE)
        margin = 0 if rate == SAMPLE_RATE and decoder.exact else int(_MARGIN_S * SAMPLE_RATE)
        block = max(0, (first - margin) // up)
        end = min(frames, -(-(first + count + margin) * rate // SAMPLE_RATE))
        if first + count == total:
            end = frames
        around = resampled(_mono(file, decoder, place, block * down, end), rate)
    offset = first - block * up
    crop = around[offset : offset + count]
    if duration_s is not None and len(crop) < count:  # an encoder that padded less than its header says
        crop = np.pad(crop, (0, count - len(crop)))
    return np.ascontiguousarray(crop, dtype=np.float32)


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
        soundfile.write(os.fsencode(temporary), waveform, sample_rate, format=kind, subtype=subtype)


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
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES
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


def advice(paths: Iterable[Path]) -> str:
    """Return a sentence that counts the files that need the extra, when it is not installed; otherwise nothing."""
    kinds = Counter(path.suffix.lower() for path in paths if path.suffix.lower() in PYAV_SUFFIXES)
    if not kinds or is_installed("av"):
        return ""
    counted = " and ".join(f"{count:,} of the files are {kind}" for kind, count in sorted(kinds.items()))
    return f"{counted}: {install_line('av')} reads them, or convert them to .wav or .flac with ffmpeg"


def crop_bounds(path: str, start_s: float, duration_s: float | None, total: int) -> tuple[int, int]:
    """Return the first sample and the number of samples of a crop, at 16 kHz, of a recording of `total` samples.

    Raises:
        AudioError: there is no such crop.
    """
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


def finite(name: str, wave: Waveform) -> Waveform:
    """Return a waveform.

    Raises:
        AudioError: a sample is NaN, infinite, or so large that its square would be.
    """
    if not (np.abs(wave) < LARGEST).all():  # false for NaN, too
        raise AudioError(f"{name}: holds samples that are not finite (NaN, infinity, or beyond {LARGEST:g})")
    return wave


def _place(file: AudioFile, decoder: "Decoder", channel: Channel) -> int | None:
    if channel == "loudest" and decoder.channels > 1:
        meter = ChannelMeter(decoder.channels, decoder.rate)
        for block in file.blocks():
            meter.add(block)
        return meter.result().loudest
    return index_of(channel, decoder.channels, file.name)


def _mono(file: AudioFile, decoder: "Decoder", place: int | None, begin: int = 0, end: int | None = None) -> Waveform:
    return np.concatenate([finite(file.name, mono(block, place)) for block in file.decoded(decoder, begin, end)])


def _cut(path: str, whole: Waveform, start_s: float, duration_s: float | None) -> Waveform:
    first, count = crop_bounds(path, start_s, duration_s, len(whole))
    return np.ascontiguousarray(whole[first : first + count], dtype=np.float32)


class Decoder(Protocol):
    """A file that is being decoded.

    Attributes:
        rate: in Hz.
        channels: how many.
        frames: samples per channel, as the header says; None where it does not.
        promised_s: length in seconds that the file is held to; 0 where it states none.
        tolerated_s: it may end so much earlier.
        reached_s: where what was decoded last ends by the file's own clock, which goes on while nothing is sent and
            while a film has no sound; 0 where samples alone tell the time.
        seeks: whether `blocks` may begin anywhere.
        exact: what it gives after a seek is what it gives without.
        warnings: about the file.
        encoding: as of `AudioInfo`.
    """

    rate: int
    channels: int
    frames: int | None
    promised_s: float
    tolerated_s: float
    reached_s: float
    seeks: bool
    exact: bool
    warnings: tuple[str, ...]
    encoding: str

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[Block]:
        """Yield (T, channels) float32 from frame `begin` to `end`, or to where the file ends."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile states no types
    """A file whose position is left where a read ends: to set it again fails where no length is known."""

    def seekable(self) -> bool:
        return False

    @property
    def goes_back(self) -> bool:
        """Whether it may nevertheless be read from anywhere: libsndfile says so of DWVW, too, which fails."""
        return bool(super().seekable()) and not self.subtype.startswith("DWVW")


class _Sndfile:
    """What libsndfile decodes."""

    tolerated_s = _TRUNCATION_S
    reached_s = 0.0

    def __init__(self, place: Path) -> None:
        self._handle = place.open("rb", buffering=0)
        try:
            chunk = sound_chunk(self._handle)
            self._handle.seek(0)
            left_open = chunk is not None and chunk.left_open(self._handle)
            self._mended = Mended(self._handle, chunk.closed()) if chunk and left_open else None
            self._handle.seek(0)
            # not by its name, so that neither a suffix nor the encoding of a name matters
            given = self._handle.fileno() if _BY_DESCRIPTOR else self._handle
            self._file = _Sequential(self._mended or given, closefd=False)
        except BaseException:
            self._handle.close()
            raise
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        stated = int(self._file.frames)
        self.frames = None if stated >= _UNKNOWN_FRAMES else stated
        self.promised_s = (self.frames or 0) / max(self.rate, 1)
        if chunk is not None and chunk.cut:
            self.promised_s *= chunk.size / chunk.present
        self.seeks, self.exact = self._file.goes_back, self._file.format not in _LOSSY
        self.warnings: tuple[str, ...] = (OPEN_HEADER,) if left_open else ()
        self.encoding = str(self._file.subtype)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[Block]:
        if begin:
            self._file.seek(begin)
        most = max(1, _BLOCK_VALUES // self.channels)
        left = most if end is None else end - begin
        while left > 0:
            block = self._file.read(min(most, left), dtype="float32", always_2d=True)
            if self._mended is not None and self._mended.error is not None:
                raise self._mended.error
            if not len(block):
                return
            if end is not None:
                left -= len(block)
            yield block

    def close(self) -> None:
        self._file.close()
        self._handle.close()


class _PyAV:
    """What FFmpeg decodes."""

    seeks = False
    exact = False
    tolerated_s = _PRIMING_S
    encoding = ""
    warnings: tuple[str, ...] = ()

    def __init__(self, place: Path) -> None:
        import av

        self._opened = contextlib.ExitStack()
        handle = self._opened.enter_context(place.open("rb", buffering=0))
        self._read = Mended(handle)
        try:
            chunk = sound_chunk(handle)
            if chunk is not None and chunk.cut and chunk.size - chunk.present > LEAST_BYTES:
                there = f"only {chunk.present:,} are there"
                raise AudioError(f"is truncated: its header promises {chunk.size:,} bytes of sound, {there}")
            self._asf_s = asf_length_s(handle)
            handle.seek(0)
            opened = av.open(self._read, options=_OPTIONS, metadata_errors="replace")
            self._container: Any = self._opened.enter_context(opened)
            if not self._container.streams.audio:
                raise AudioError("holds no sound")
            self._stream = self._container.streams.audio[0]
            self.rate, self.channels = int(self._stream.rate or 0), int(self._stream.channels)
            if self.rate < 1 or self.channels < 1:
                raise ValueError("it only looks like a recording")
        except BaseException:
            self._opened.close()
            raise
        self._codec: Any = self._stream.codec_context
        # FFmpeg's own decoders of AMR know no frames of silence (DTX); those beside them do
        if (beside := f"libopencore_{self._codec.name}") in av.codecs_available:
            self._codec = av.CodecContext.create(beside, "r")
        tabled = any(name in _TABLED for name in self._container.format.name.split(","))
        # both lengths are counted from where the sound begins; what an encoder puts before it lies before 0
        self._begin_s = max(0.0, float((self._stream.start_time or 0) * (self._stream.time_base or 0)))
        end_s, by_all = self._stated_s() if tabled else (0.0, False)
        self.promised_s, self.reached_s = max(0.0, end_s - self._begin_s), 0.0
        self._watched: tuple[Any, ...] = tuple(self._container.streams) if by_all else (self._stream,)
        alone = len(self._container.streams) == 1  # where a film may go on there is no telling how long its sound is
        self.frames = round(self.promised_s * self.rate) if self.promised_s > 0.0 and (alone or not by_all) else None

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[Block]:
        import av

        if begin or end is not None:
            raise ValueError("FFmpeg's files are decoded whole")
        # the sample format alone; packed, since PyAV counts the planes of a frame past their end where there are eight
        floats = av.AudioResampler(format="flt", layout=self._stream.layout, rate=self.rate)
        held: list[Block] = []
        most = max(1, _BLOCK_VALUES // self.channels // 8)
        count = 0
        for frame in self._frames(floats):
            held.append(frame)
            count += len(frame)
            if count >= most:
                yield np.concatenate(held)
                held, count = [], 0
        if held:
            yield np.concatenate(held)

    def close(self) -> None:
        self._opened.close()

    def _frames(self, floats: Any) -> Iterator[Block]:
        for packet in self._container.demux(*self._watched):
            if packet.pts is not None and packet.time_base is not None:
                end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.reached_s = max(self.reached_s, end_s - self._begin_s)
            if packet.stream.index != self._stream.index:
                continue
            for frame in self._codec.decode(packet):
                yield from self._packed(floats.resample(frame))
        if self._read.error is not None:
            raise self._read.error
        yield from self._packed(floats.resample(None))

    def _packed(self, frames: Iterable[Any]) -> Iterator[Block]:
        return (frame.to_ndarray().reshape(-1, self.channels) for frame in frames)

    def _stated_s(self) -> tuple[float, bool]:
        """Return where in time the sound ends by the header, and whether that is where the last of all streams does."""
        whole_s = float(self._container.duration or 0) / 1e6
        if (tagged_s := _tagged_s(self._stream.metadata)) > 0.0:
            return (min(tagged_s, whole_s) if whole_s else tagged_s), False
        if self._container.format.name == "asf":
            return self._asf_s, True
        if self._stream.duration is None or self._stream.time_base is None:
            return whole_s, True
        return self._begin_s + float(self._stream.duration * self._stream.time_base), False


def _tagged_s(tags: Mapping[str, str]) -> float:
    """Return where a stream of a Matroska file ends, as a tag of its own says it (00:01:02.5); 0 where none does."""
    for name, value in tags.items():
        if name.upper().startswith("DURATION"):
            with contextlib.suppress(ValueError):
                hours, minutes, seconds = map(float, value.split(":"))
                return 3600.0 * hours + 60.0 * minutes + seconds
    return 0.0


def _reason(error: Exception) -> str:
    """Return what an exception says, without the name of the file, which stands before it."""
    if isinstance(error, MemoryError):
        return "it states sizes for which there is no memory"
    # of libsndfile's errors, of the system's, and of FFmpeg's, some of which are nothing but a number
    said = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    text = said.strip().rstrip(".").partition("; last error log")[0]
    return "damaged data" if text.startswith("Error number") else text or "damaged data"
