"""Decoding every file of a folder once, to know its length and whether it can be used."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from voxanchor.audio import io, snr
from voxanchor.audio.downmix import Channel, ChannelMeter, channel_of, index_of, mono
from voxanchor.audio.resampling import resampled
from voxanchor.errors import AudioError
from voxanchor.files import printable
from voxanchor.runtime import log_line, track
from voxanchor.types import SAMPLE_RATE, Waveform

CANCEL = "the channels cancel each other; of these the loudest alone is heard"

_THREADS = 8
_ROUNDED_S = 0.05  # a list may round times, or state the length before a conversion
_LONG_S = 600.0

_one_long_file = threading.Lock()
"""Held while a file of more than ten minutes is in memory: an hour takes half a gigabyte, eight of them eight times."""


class Stretch(NamedTuple):
    """A stretch of a recording that a list names.

    Attributes:
        start: in seconds, or in samples of the file.
        length: in the same unit; to the end of the recording when None.
        in_samples: which of the two it is.
    """

    start: float = 0.0
    length: float | None = None
    in_samples: bool = False


class CheckedStretch(NamedTuple):
    """What a stretch of a recording turned out to be, in seconds; its length is None where it is the whole of it."""

    start_s: float = 0.0
    duration_s: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Checked:
    """What decoding a file showed: its length, or why it cannot be used.

    Attributes:
        duration_s: length at 16 kHz.
        reason: why it cannot be used; empty when it can.
        channel: which channel of it to use: as was asked, and the loudest by its number.
        remarks: what is wrong with it, although it can be used.
        stretches: what was found of those that were asked for, in their order.
    """

    duration_s: float = 0.0
    reason: str = ""
    channel: Channel = "mix"
    remarks: tuple[str, ...] = ()
    stretches: tuple[CheckedStretch, ...] = ()


def checked(path: Path, decode: Callable[[], Checked]) -> Checked:
    """Return what decoding a file showed; whatever goes wrong with it is a reason not to use it.

    A name that is not UTF-8 is such a reason, too: manifests, packs and tables are UTF-8 and could not name the file.
    So is a pipe, which is not read: it may block for ever, and gives its content once only.
    """
    if printable(path) != str(path):
        return Checked(reason="its path is not UTF-8, and lists of recordings are: rename it, with convmv for example")
    try:
        if path.exists() and not path.is_file():
            return Checked(reason="a pipe or a device, and no file")
        return decode()
    except Exception as error:  # decoders raise nearly anything, and one file must not end a corpus
        return Checked(reason=str(AudioError.of(path, error)).removeprefix(f"{path}: "))


def check_each(paths: Sequence[Path], decode: Callable[[Path], Checked], label: str) -> list[Checked]:
    """Return what decoding each file showed (`checked`), in the order of the paths; several are decoded at once."""
    with track(label, len(paths)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        results = []
        for result in pool.map(lambda path: checked(path, partial(decode, path)), paths):
            results.append(result)
            advance(1)
        return results


def _check(
    path: Path, stretches: Sequence[Stretch], min_duration_s: float, min_active_s: float, channel: Channel
) -> Checked:
    file = io.AudioFile(path)
    with file.decoder() as decoder, _turn(decoder):
        waveform, channel, remarks = _heard(file, decoder, channel)
        whole = _judged(waveform, min_duration_s, min_active_s, channel, remarks)
        if whole.reason:
            return whole
        parts = [_stretch(waveform, item, decoder.rate, min_duration_s, min_active_s) for item in stretches]
        return replace(whole, stretches=tuple(parts))


def _stretch(
    waveform: Waveform, asked: Stretch, rate: int, min_duration_s: float, min_active_s: float
) -> CheckedStretch:
    """Return what a stretch of a usable recording is; one that covers all of it is the recording."""
    whole_s, unit = len(waveform) / SAMPLE_RATE, rate if asked.in_samples else 1
    start_s = asked.start / unit
    end_s = whole_s if asked.length is None else start_s + asked.length / unit
    if not 0.0 <= start_s < end_s <= whole_s + _ROUNDED_S:
        return CheckedStretch(reason=f"from {start_s:g} s to {end_s:g} s of a recording of {whole_s:.2f} s")
    if start_s == 0.0 and end_s >= whole_s - _ROUNDED_S:
        return CheckedStretch()
    duration_s = min(end_s, whole_s) - start_s
    piece = waveform[round(start_s * SAMPLE_RATE) : round((start_s + duration_s) * SAMPLE_RATE)]
    reason = _judged(piece, min_duration_s, min_active_s, "mix", ()).reason
    return CheckedStretch(start_s, duration_s, f"from {start_s:g} s to {end_s:g} s {reason}" if reason else "")


def _turn(decoder: io.Decoder) -> AbstractContextManager[object]:
    """Return what is to be held while the sound of a file is in memory."""
    return _one_long_file if (decoder.frames or np.inf) / decoder.rate > _LONG_S else nullcontext()


def _judged(
    waveform: Waveform, min_duration_s: float, min_active_s: float, channel: Channel, remarks: tuple[str, ...]
) -> Checked:
    length_s = len(waveform) / SAMPLE_RATE
    if length_s < min_duration_s:
        return Checked(reason=f"too short: {length_s:.2f} s, {min_duration_s:g} s needed")
    active = snr.active_s(waveform)
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
    paths: list[Path],
    min_duration_s: float,
    min_active_s: float,
    label: str,
    channel: Channel = "mix",
    stretches: Sequence[Sequence[Stretch]] | None = None,
) -> list[Checked]:
    """Return what decoding each file showed, in the order of the paths; several are decoded at once.

    How many files have something wrong with them, although they can be used, is said.

    Args:
        paths: the files.
        min_duration_s: shortest usable one.
        min_active_s: least active sound of a usable one.
        label: what the progress display calls the job.
        channel: which channel of them is used; where channels cancel each other, the loudest under ``mix``, too.
        stretches: of each file, what is looked at beside the whole of it; none when None.

    Raises:
        RecipeError: nothing names a channel so.
    """
    channel = channel_of(channel)
    wanted = dict(zip(paths, stretches, strict=True)) if stretches else {}
    results = check_each(
        paths, lambda path: _check(path, wanted.get(path, ()), min_duration_s, min_active_s, channel), label
    )
    for remark, count in sorted(Counter(remark for result in results for remark in result.remarks).items()):
        log_line(f"{label}: {count} of {len(paths)} files: {remark}")
    return results
