"""Recordings in any form, read to a waveform at 16 kHz and its quality."""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeAlias, Union

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxanchor.audio.downmix import Channel, ChannelMeter, Channels, index_of, mono
from voxanchor.audio.io import RATES, AudioFile, Block, finite
from voxanchor.audio.quality import Quality, QualityMeter
from voxanchor.audio.resampling import at_16_khz, resampled
from voxanchor.errors import AudioError, TooLongError
from voxanchor.types import SAMPLE_RATE, BoolArray, Waveform

Samples: TypeAlias = NDArray[np.floating] | NDArray[np.integer]

Recording: TypeAlias = Union[str, Path, Samples, tuple[Samples, int], "LoadedAudio"]
"""A file of any common format; or samples at 16 kHz; or samples and their rate in Hz. Samples are (T,) or
(T, channels), floating with full scale at 1, or 16- or 32-bit integers; what numpy takes for an array, such as a tensor
of torch or a list of numbers, serves as well. What `load_audio` returned may be given again."""

WHOLE_S = 120.0
"""A recording up to this long is held in memory and embedded whole; a longer one block by block."""

LONGEST_S = 6 * 3600.0
"""Longest recording, unless another limit is given."""

KEPT_S = 600.0
"""Longest recording that is kept with an enrolment: half an hour of it would be 50 MB in the store."""

CANCEL = "its channels cancel each other: channel {} alone, the loudest, was heard"
"""The warning about a recording one of whose channels is the other with its sign changed."""

DIFFERENT = "its two channels hold different voices: choose one of them (channel left or right)"
"""The warning about a call with a party in each channel."""

_MOST_CHANNELS = 64
_BLOCK_VALUES = 2**20
_PIECE_SAMPLES = 10 * SAMPLE_RATE


class Sound(Protocol):
    """A recording at its own rate, which can be gone through again and again.

    Attributes:
        rate: in Hz.
        channels: how many.
        stated_s: length in seconds, as far as it is known before.
        warnings: what is wrong with it, although it can be heard.
    """

    rate: float
    channels: int
    stated_s: float
    warnings: tuple[str, ...]

    def blocks(self) -> Iterator[Block]:
        """Yield (T, channels) float32."""
        ...


@dataclass(frozen=True)
class Long:
    """A recording that is too long to be held in memory.

    Attributes:
        again: begins it anew: (T,) float32 blocks at `rate`.
        rate: in Hz.
        samples: its length at 16 kHz.
        active: (ceil(samples / 320),) bool: which 20 ms frames hold speech.
    """

    again: Callable[[], Iterator[Waveform]]
    rate: float
    samples: int
    active: BoolArray

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Yield (`samples`,) float32 at 16 kHz, the last one shorter."""
        return at_16_khz(self.again(), self.rate, samples)


@dataclass(frozen=True)
class LoadedAudio:
    """A recording that was read.

    Attributes:
        sound: (T,) float32 at 16 kHz; of a recording longer than `WHOLE_S` how to read it again.
        quality: its length, speech, noise, level and band.
        name: for messages.
        source: a file's name, for records; empty for samples.
        remarks: what is wrong with the file or its channels.
    """

    sound: Waveform | Long
    quality: Quality
    name: str
    source: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Length at 16 kHz."""
        return self.sound.samples if isinstance(self.sound, Long) else len(self.sound)

    @cached_property
    def waveform(self) -> Waveform:
        """(T,) float32 at 16 kHz, all of it in memory."""
        return np.concatenate(list(self.sound.blocks(2**20))) if isinstance(self.sound, Long) else self.sound

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before trusting a decision on it."""
        return (*self.quality.warnings, *self.remarks)


def is_one(recordings: "Recording | Sequence[Recording]") -> bool:
    """Return whether a value is one recording, and not several: all is one but a sequence of recordings.

    A list of numbers is one, and so are samples of another library, a tensor of torch for example.
    """
    if isinstance(recordings, tuple) and len(recordings) == 2 and isinstance(recordings[1], int | float | np.number):
        return True
    if isinstance(recordings, str | bytes) or not isinstance(recordings, Sequence):
        return True
    return bool(recordings) and isinstance(recordings[0], int | float | np.number)


def load_audio(
    recording: Recording | AudioFile,
    name: str = "the recording",
    channel: Channel = "mix",
    longest_s: float = LONGEST_S,
) -> LoadedAudio:
    """Return a recording's waveform and quality.

    It is read once; twice where the loudest channel is wanted, or where the channels cancel in their mean. Then the
    loudest is taken under ``mix``, too.

    Args:
        recording: any of its forms.
        name: what to call it where it is not a file.
        channel: which channel is taken.
        longest_s: limit of its length.

    Raises:
        AudioError: a file that cannot be read, or samples that are no recording: none, not finite, a strange shape;
            one without such a channel.
        RecipeError: no such channel.
        TooLongError: it lasts longer than the limit.
    """
    if isinstance(recording, LoadedAudio):
        return recording
    source = ""
    sound: Sound
    if isinstance(recording, str | Path | AudioFile):
        file = recording if isinstance(recording, AudioFile) else AudioFile(recording)
        source = "" if file is recording else Path(file.name).name
        name, sound = file.name, _Filed(file)
    else:
        sound = _Given(recording, name)
    if sound.stated_s > longest_s:
        raise TooLongError.beyond(name, sound.stated_s, longest_s)
    place = index_of(channel, sound.channels, name)
    if place is None and channel == "loudest":
        place = _loudest(sound)
    audio, channels = _read(sound, place, name, longest_s)
    remarks = list(sound.warnings)
    if place is None and channels.cancel:
        audio, _ = _read(sound, channels.loudest, name, longest_s)
        remarks.append(CANCEL.format(channels.loudest + 1))
    elif channels.different and channel in ("mix", "loudest"):
        remarks.append(DIFFERENT)
    return replace(audio, source=source, remarks=tuple(remarks))


def load_all_audio(
    recordings: Sequence[Recording], channel: Channel | Sequence[Channel] = "mix", longest_s: float = LONGEST_S
) -> list[LoadedAudio]:
    """Return several recordings' waveforms and qualities.

    Args:
        recordings: any of their forms.
        channel: which channel of all of them, or of each.
        longest_s: limit of the length of each.

    Raises:
        AudioError: as `load_audio`.
        RecipeError: as `load_audio`.
    """
    names = ("the first recording", "the second recording") if len(recordings) == 2 else ()
    channels = [channel] * len(recordings) if isinstance(channel, str | int | np.integer) else channel
    return [
        load_audio(recording, names[place] if names else f"recording {place + 1}", chosen, longest_s)
        for place, (recording, chosen) in enumerate(zip(recordings, channels, strict=True))
    ]


def flac(audio: LoadedAudio) -> bytes:
    """Return the recording as a FLAC file, in 24 bits, scaled down only where it is beyond full scale.

    Raises:
        TooLongError: it is too long to be kept.
    """
    if audio.quality.duration_s > KEPT_S:
        lasts = f"lasts {audio.quality.duration_s:.0f} s"
        raise TooLongError(
            f"{audio.name}: {lasts}, and at most {KEPT_S:g} s are kept. Cut it, or do not keep the audio."
        )
    peak = max(1.0, float(np.abs(audio.waveform).max()))
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.waveform / peak, SAMPLE_RATE, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def _read(sound: Sound, place: int | None, name: str, longest_s: float) -> tuple[LoadedAudio, Channels]:
    """Return the audio of the channel at a place, or the mean of all, and how the channels relate."""
    meter = ChannelMeter(sound.channels, sound.rate)
    frames = 0

    def blocks() -> Iterator[Waveform]:
        nonlocal frames
        for block in sound.blocks():
            frames += len(block)
            if frames > longest_s * sound.rate:
                raise TooLongError.beyond(name, None, longest_s)
            meter.add(block)
            yield finite(name, mono(block, place))

    coming, begun = blocks(), []
    for block in coming:
        begun.append(block)
        if frames > WHOLE_S * sound.rate:
            return _long(_all(begun, coming), sound, place, name), meter.result()
    if not frames:
        raise AudioError(f"{name}: holds no samples")
    return _whole(np.concatenate(begun), sound.rate, name), meter.result()


def _all(begun: list[Waveform], coming: Iterator[Waveform]) -> Iterator[Waveform]:
    """Yield the blocks read so far, freeing each, and then those that follow."""
    while begun:
        yield begun.pop(0)
    yield from coming


def _whole(original: Waveform, rate: float, name: str) -> LoadedAudio:
    wave = resampled(original, rate)
    if not wave.size:
        raise AudioError(f"{name}: holds no samples at {SAMPLE_RATE} Hz")
    quality = Quality.of(finite(name, wave), None if rate == SAMPLE_RATE else original)
    return LoadedAudio(np.ascontiguousarray(wave), quality, name)


def _long(blocks: Iterator[Waveform], sound: Sound, place: int | None, name: str) -> LoadedAudio:
    meter, originals = QualityMeter(), deque[Waveform]()

    def passing() -> Iterator[Waveform]:
        for block in blocks:
            originals.append(block)
            yield block

    samples = 0
    for piece in at_16_khz(passing(), sound.rate, _PIECE_SAMPLES):
        # what went into the resampler since the piece before: resampling rounds off what was cut
        original = np.concatenate(originals) if originals else np.zeros(0, np.float32)
        originals.clear()
        meter.add(finite(name, piece), None if sound.rate == SAMPLE_RATE else original)
        samples += len(piece)
    quality = meter.result()

    def again() -> Iterator[Waveform]:
        for block in sound.blocks():
            yield finite(name, mono(block, place))

    return LoadedAudio(Long(again, sound.rate, samples, meter.active), quality, name)


def _loudest(sound: Sound) -> int:
    meter = ChannelMeter(sound.channels, sound.rate)
    for block in sound.blocks():
        meter.add(block)
    return meter.result().loudest


class _Filed:
    """A file as a sound."""

    def __init__(self, file: AudioFile) -> None:
        self._file = file
        with file.decoder() as decoder:
            self.rate: float = decoder.rate
            self.channels = decoder.channels
            self.stated_s = (decoder.frames or 0) / decoder.rate
            self.warnings = decoder.warnings

    def blocks(self) -> Iterator[Block]:
        return self._file.blocks()


class _Given:
    """Samples as a sound.

    Raises:
        AudioError: they are none.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, recording: Samples | tuple[Samples, int], name: str) -> None:
        rate: Any = SAMPLE_RATE
        samples: Any = recording
        if isinstance(recording, tuple) and len(recording) == 2:
            samples, rate = recording
        try:
            array = np.asarray(samples)
        except (ValueError, TypeError, RuntimeError) as error:  # the last two: a tensor that numpy cannot take over
            raise AudioError(f"{name}: a waveform must be an array of numbers ({error})") from None
        kind = array.dtype.kind
        if array.ndim == 0 or kind in "OSU":
            what = f"a value of type {type(samples).__name__} is no recording"
            raise AudioError(f"{name}: {what}: give the path of a file, or samples as an array")
        if kind != "f" and (kind != "i" or array.dtype.itemsize not in (2, 4)):
            wanted = "floating point with full scale at 1, or int16 or int32"
            raise AudioError(f"{name}: samples of type {array.dtype}; give {wanted}")
        if array.ndim not in (1, 2) or not array.size or (array.ndim == 2 and array.shape[1] > _MOST_CHANNELS):
            shape = f"(T,) or (T, channels) samples, got shape {array.shape}"
            turn = ". Turn it, with .T, where channels come first" if array.ndim == 2 and array.size else ""
            raise AudioError(f"{name}: a waveform must be a non-empty array of {shape}{turn}")
        if not isinstance(rate, int | float | np.number) or not RATES[0] <= rate <= RATES[1]:
            raise AudioError(f"{name}: a sample rate of {rate} Hz cannot be right")
        self._array: NDArray[Any] = array if array.ndim == 2 else array[:, None]
        self._full_scale = 1.0 if kind == "f" else -float(np.iinfo(array.dtype).min)
        self.rate = float(rate)
        self.channels = self._array.shape[1]
        self.stated_s = len(array) / self.rate

    def blocks(self) -> Iterator[Block]:
        most = max(1, _BLOCK_VALUES // self.channels)
        for start in range(0, len(self._array), most):
            block = self._array[start : start + most]
            with np.errstate(over="ignore"):  # what is beyond float32 is found to be infinite
                yield (block if self._full_scale == 1.0 else block / self._full_scale).astype(np.float32)
