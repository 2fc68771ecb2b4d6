"""Decoding every file of a folder once, to know its length and whether it can be used."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from voxanchor.audio import io, level
from voxanchor.audio.downmix import Channel, ChannelMeter, channel_of, index_of, mono
from voxanchor.audio.resampling import resampled
from voxanchor.errors import AudioError
from voxanchor.files import printable
from voxanchor.progress import say, track
from voxanchor.types import SAMPLE_RATE, Waveform

CANCEL = "the channels cancel each other; of these the loudest alone is heard"

_THREADS = 8
_LONG_S = 600.0

_one_long_file = threading.Lock()
"""Held while a file of more than ten minutes is in memory: an hour takes half a gigabyte, eight of them eight times."""


@dataclass(frozen=True)
class Checked:
    """What decoding a file showed: its length, or why it cannot be used.

    Attributes:
        duration_s: length at 16 kHz.
        reason: why it cannot be used; empty when it can.
        channel: which channel of it is to be heard: as was asked, and the loudest by its number.
        remarks: what is wrong with it, although it can be used.
    """

    duration_s: float = 0.0
    reason: str = ""
    channel: Channel = "mix"
    remarks: tuple[str, ...] = ()


def checked(path: Path, listen: Callable[[], Checked]) -> Checked:
    """Return what listening to a file showed; whatever goes wrong with it is a reason not to use it.

    A name that is not UTF-8 is such a reason, too: manifests, packs and tables are UTF-8 and could not name the file.
    So is a pipe, which is not listened to: it may have nothing to say for ever, and what it says it says once.
    """
    if printable(path) != str(path):
        return Checked(reason="its path is not UTF-8, and lists of recordings are: rename it, with convmv for example")
    try:
        if path.exists() and not path.is_file():
            return Checked(reason="a pipe or a device, and no file")
        return listen()
    except Exception as error:  # decoders raise nearly anything, and one file must not end a corpus
        return Checked(reason=str(AudioError.of(path, error)).removeprefix(f"{path}: "))


def _check(path: Path, min_duration_s: float, min_active_s: float, channel: Channel) -> Checked:
    file = io.AudioFile(path)
    with file.decoder() as decoder, _turn(decoder):
        waveform, channel, remarks = _heard(file, decoder, channel)
        return _judged(waveform, min_duration_s, min_active_s, channel, remarks)


def _turn(decoder: io.Decoder) -> AbstractContextManager[object]:
    """Return what is to be held while the sound of a file is in memory."""
    return _one_long_file if (decoder.frames or np.inf) / decoder.rate > _LONG_S else nullcontext()


def _judged(
    waveform: Waveform, min_duration_s: float, min_active_s: float, channel: Channel, remarks: tuple[str, ...]
) -> Checked:
    length_s = len(waveform) / SAMPLE_RATE
    if length_s < min_duration_s:
        return Checked(reason=f"too short: {length_s:.2f} s, {min_duration_s:g} s needed")
    active = level.active_s(waveform)
    if active == 0.0:
        return Checked(reason="silent: every sample is zero")
    if active < min_active_s:
        return Checked(reason=f"too little sound: {active:.2f} s active, {min_active_s:g} s needed")
    return Checked(length_s, channel=channel, remarks=remarks)


def _heard(file: io.AudioFile, decoder: io.Decoder, channel: Channel) -> tuple[Waveform, Channel, tuple[str, ...]]:
    """Return a file's waveform at 16 kHz, which channel that is, and what is to be said about the file."""
    place, meter = index_of(channel, decoder.channels, file.name), ChannelMeter(decoder.channels, decoder.rate)
    chosen, remarks = place is None and channel == "loudest", decoder.warnings
    blocks = []
    for block in file.decoded(decoder):
        meter.add(block)
        if not chosen:
            blocks.append(io.finite(file.name, mono(block, place)))
    found = meter.result()
    if place is None and found.cancel and not chosen:
        chosen, remarks = True, (*remarks, CANCEL)
    if not chosen:
        return resampled(np.concatenate(blocks), decoder.rate), channel, remarks
    blocks.clear()
    return io.read(file.name, channel=found.loudest + 1), found.loudest + 1, remarks


def check_files(
    paths: list[Path], min_duration_s: float, min_active_s: float, label: str, channel: Channel = "mix"
) -> list[Checked]:
    """Return what decoding each file showed, in the order of the paths; several are decoded at once.

    How many files have something wrong with them, although they can be used, is said.

    Args:
        paths: the files.
        min_duration_s: shortest usable one.
        min_active_s: least active sound of a usable one.
        label: what the progress display calls the job.
        channel: which channel of them is heard; where channels cancel each other, the loudest under ``mix``, too.

    Raises:
        RecipeError: nothing names a channel so.
    """
    channel = channel_of(channel)
    results: list[Checked] = []
    check = partial(_check, min_duration_s=min_duration_s, min_active_s=min_active_s, channel=channel)
    with track(label, len(paths)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        for result in pool.map(lambda path: checked(path, partial(check, path)), paths):
            results.append(result)
            advance(1)
    for remark, count in sorted(Counter(remark for result in results for remark in result.remarks).items()):
        say(f"{label}: {count} of {len(paths)} files: {remark}")
    return results
