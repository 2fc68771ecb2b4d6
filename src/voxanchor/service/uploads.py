"""From uploaded files to recordings that were heard, with the limits held before anything large is decoded."""

import re
from collections.abc import Sequence

from starlette.datastructures import UploadFile

from voxanchor.audio.downmix import Channel, channels_of
from voxanchor.audio.io import AudioFile
from voxanchor.errors import AudioError
from voxanchor.service import calls
from voxanchor.service.failures import Refusal
from voxanchor.service.settings import Settings
from voxanchor.verification.recordings import Heard, Long, hear

_ONLY = "the recording"
_VERB = re.compile(r"^(?:the recording|recording \d+): (?=(?:is|has|holds|lasts|cannot|does) )")
"""What stands before a colon is the subject of what stands behind it."""

_SAMPLE_BYTES = 4
_READABLE = "WAV, FLAC, Ogg, Opus, MP3 and AIFF can be read, and where PyAV is installed M4A, MP4, WebM and AMR"


def recordings(files: Sequence[UploadFile], settings: Settings, channel: str = "mix") -> list[Heard]:
    """Return the recordings as a verifier takes them.

    A file is told by its content alone: its name and type may be anything. Each is copied into a file of its own,
    which is removed once it was heard.

    Args:
        files: as they were uploaded.
        settings: the limits.
        channel: which channel of them is heard, or of each, with commas between.

    Raises:
        RecipeError: no channel is called so.
        AudioError: a file that cannot be read; files are called by their place, not their name.
        TooLongError: a recording lasts longer than the limit.
        Refusal: too many recordings, or one that is larger than the limit.
    """
    if len(files) > settings.max_recordings:
        raise Refusal(413, "too_large", f"{len(files)} recordings; at most {settings.max_recordings} at once")
    chosen = channels_of(channel, len(files))
    call = calls.current()
    found = []
    for number, (file, one) in enumerate(zip(files, chosen, strict=True), start=1):
        call.deadline.check()
        heard = _recording(file, f"recording {number}" if len(files) > 1 else _ONLY, settings, one)
        call.audio_s += heard.quality.duration_s
        found.append(heard)
    return found


def _recording(upload: UploadFile, name: str, settings: Settings, channel: Channel) -> Heard:
    upload.file.seek(0)
    copy = AudioFile.copied(upload.file, name)
    heard: Heard | None = None
    try:
        _refuse_large(copy, settings)
        heard = hear(copy, channel=channel, longest_s=settings.max_duration_s)
    except AudioError as error:
        text = str(error)
        if "not a readable recording" in text:  # the decoder's own reason is a guess about the copy
            text = f"{'this is no recording' if name == _ONLY else f'{name} is not one'}: {_READABLE}"
        raise type(error)(_VERB.sub(f"{name} ", text)) from None
    finally:
        if heard is None or not isinstance(heard.sound, Long):
            copy.close()
    return heard


def _refuse_large(file: AudioFile, settings: Settings) -> None:
    """Do nothing for a recording within the limit of its size when decoded, as far as its header says.

    Raises:
        Refusal: it is larger.
        AudioError: it cannot be read.
    """
    with file.decoder() as decoder:
        size = (decoder.frames or 0) * decoder.channels * _SAMPLE_BYTES
    if size > settings.max_decoded_bytes:
        limit = settings.max_decoded_bytes // 2**20
        text = f"{file.name} would be {size // 2**20} MiB decoded; at most {limit} MiB are taken"
        raise Refusal(413, "too_large", text)
