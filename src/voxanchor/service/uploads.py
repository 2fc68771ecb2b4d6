"""From uploaded files to waveforms, with the limits held before anything large is decoded."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from starlette.datastructures import UploadFile

from voxanchor.audio import compressed
from voxanchor.audio.io import AUDIO_SUFFIXES, probe, read_original
from voxanchor.errors import AudioError
from voxanchor.service import calls
from voxanchor.service.failures import Refusal
from voxanchor.service.settings import Settings
from voxanchor.types import Waveform
from voxanchor.verification.recordings import hear

_ONLY = "the recording"
_VERB = re.compile(r"^(?:the recording|recording \d+): (?=(?:is|holds|lasts|cannot|does) )")
"""What stands before a colon is the subject of what stands behind it."""

_SAMPLE_BYTES = 4
_UNKNOWN_FRAMES = 2**62
_READABLE = "WAV, FLAC, Ogg, Opus, MP3 and AIFF can be read; M4A, MP4 and WebM if the file's name ends so"


def recordings(files: Sequence[UploadFile], settings: Settings) -> list[tuple[Waveform, int]]:
    """Return the recordings, each (T,) float32 at its own rate, and that rate in Hz: what a verifier takes.

    A file is told by its content; the ending of its name matters only for formats that libsndfile does not read. Each
    is copied into a file of its own, which is removed at once after it was read.

    Raises:
        AudioError: a file that cannot be read; files are called by their place, not their name.
        Refusal: too many recordings, or one that is longer or larger than the limits.
    """
    if len(files) > settings.max_recordings:
        raise Refusal(413, "too_large", f"{len(files)} recordings; at most {settings.max_recordings} at once")
    call = calls.current()
    found = []
    for number, file in enumerate(files, start=1):
        call.deadline.check()
        wave, rate = _recording(file, f"recording {number}" if len(files) > 1 else _ONLY, settings)
        call.audio_s += len(wave) / rate
        found.append((wave, rate))
    return found


def waveforms(files: Sequence[UploadFile], settings: Settings) -> list[Waveform]:
    """Return the recordings, (T,) float32 at 16 kHz each; as `recordings`."""
    return [hear(recording).waveform for recording in recordings(files, settings)]


def _recording(upload: UploadFile, name: str, settings: Settings) -> tuple[Waveform, int]:
    with tempfile.NamedTemporaryFile(prefix="voxanchor-", suffix=_suffix(upload.filename)) as copy:
        upload.file.seek(0)
        shutil.copyfileobj(upload.file, copy)
        copy.flush()
        path = Path(copy.name)
        try:
            _refuse_large(path, name, settings)
            return read_original(path)
        except AudioError as error:
            text = str(error).replace(str(path), name).replace(path.name, "FILE").replace(path.stem, "FILE")
            if "not a readable recording" in text:  # the decoder's own reason is a guess about the copy
                text = f"{'this is no recording' if name == _ONLY else f'{name} is not one'}: {_READABLE}"
            raise AudioError(_VERB.sub(f"{name} ", text)) from None


def _suffix(filename: str | None) -> str:
    suffix = Path(filename or "").suffix.lower()
    return suffix if suffix in AUDIO_SUFFIXES + compressed.SUFFIXES else ""


def _refuse_large(path: Path, name: str, settings: Settings) -> None:
    """Do nothing for a recording within the limits.

    Raises:
        Refusal: it is longer, or larger when decoded.
        AudioError: it cannot be read.
    """
    info = probe(path)
    if info.frames >= _UNKNOWN_FRAMES:
        raise AudioError(f"{name}: does not say how long it is, as FLAC written to a pipe: write it to a file")
    if info.duration_s > settings.max_duration_s:
        raise _too_long(name, f"lasts {info.duration_s:.1f} s", settings)
    size = info.frames * info.channels * _SAMPLE_BYTES
    if size > settings.max_decoded_bytes:
        limit = settings.max_decoded_bytes // 2**20
        raise Refusal(413, "too_large", f"{name} would be {size // 2**20} MiB decoded; at most {limit} MiB are taken")
    if compressed.is_compressed(path):
        _refuse_long_stream(path, name, settings)


def _refuse_long_stream(path: Path, name: str, settings: Settings) -> None:
    """Decode without keeping anything: containers of these formats may say that they are shorter than they are.

    Raises:
        Refusal: more comes out than the limits allow.
    """
    import av

    heard_s, size = 0.0, 0
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(audio=0):
                heard_s += frame.samples / frame.sample_rate
                size += frame.samples * len(frame.layout.channels) * _SAMPLE_BYTES
                if heard_s > settings.max_duration_s or size > settings.max_decoded_bytes:
                    raise _too_long(name, f"lasts more than {heard_s:.0f} s", settings)
    except av.FFmpegError as error:
        raise AudioError(f"{name}: is truncated or damaged ({error.strerror})") from None


def _too_long(name: str, what: str, settings: Settings) -> Refusal:
    return Refusal(413, "too_long", f"{name} {what}; at most {settings.max_duration_s:g} s are taken")
