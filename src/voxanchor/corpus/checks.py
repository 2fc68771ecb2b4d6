"""Decoding every file of a folder once, to know its length and whether it can be used."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from voxanchor.audio import io, level
from voxanchor.errors import AudioError
from voxanchor.files import printable
from voxanchor.progress import track
from voxanchor.types import SAMPLE_RATE

_THREADS = 8
_LONG_S = 600.0

_one_long_file = threading.Lock()
"""Held while a file of more than ten minutes is decoded: an hour in stereo takes a gigabyte, eight of them eight."""


@dataclass(frozen=True)
class Checked:
    """What decoding a file showed: its length, or why it cannot be used."""

    duration_s: float = 0.0
    reason: str = ""


def checked(path: Path, listen: Callable[[], Checked]) -> Checked:
    """Return what listening to a file showed; whatever goes wrong with it is a reason not to use it.

    A name that is not UTF-8 is such a reason, too: manifests, packs and tables are UTF-8 and could not name the file.
    """
    if printable(path) != str(path):
        return Checked(reason="its path is not UTF-8, and lists of recordings are: rename it, with convmv for example")
    try:
        return listen()
    except Exception as error:  # decoders raise nearly anything, and one file must not end a corpus
        return Checked(reason=str(AudioError.of(path, error)).removeprefix(f"{path}: "))


def _check(path: Path, min_duration_s: float, min_active_s: float) -> Checked:
    with _one_long_file if io.probe(path).duration_s > _LONG_S else nullcontext():
        waveform = io.read(path)
    length_s = len(waveform) / SAMPLE_RATE
    if length_s < min_duration_s:
        return Checked(reason=f"too short: {length_s:.2f} s, {min_duration_s:g} s needed")
    active = level.active_s(waveform)
    if active == 0.0:
        return Checked(reason="silent: every sample is zero")
    if active < min_active_s:
        return Checked(reason=f"too little sound: {active:.2f} s active, {min_active_s:g} s needed")
    return Checked(duration_s=length_s)


def check_files(paths: list[Path], min_duration_s: float, min_active_s: float, label: str) -> list[Checked]:
    """Return what decoding each file showed, in the order of the paths; several are decoded at once.

    Args:
        paths: the files.
        min_duration_s: shortest usable one.
        min_active_s: least active sound of a usable one.
        label: what the progress display calls the job.
    """
    results: list[Checked] = []
    with track(label, len(paths)) as advance, ThreadPoolExecutor(_THREADS) as pool:
        for result in pool.map(lambda path: checked(path, partial(_check, path, min_duration_s, min_active_s)), paths):
            results.append(result)
            advance(1)
    return results
