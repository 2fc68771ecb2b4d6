"""Recordings as 16-bit samples: read, mapped from disk, and gathered in batches of crops.

Whatever is kept, packed or trained on goes through here, so it sounds the same from a file and from a pack.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxanchor import runtime
from voxanchor.audio.arrays import sent
from voxanchor.audio.downmix import Channel, channel_of
from voxanchor.audio.headers import sound_chunk
from voxanchor.audio.io import crop_bounds, probe, read
from voxanchor.errors import AudioError
from voxanchor.extras import lazily
from voxanchor.files import reserve, writing
from voxanchor.runtime import log_line, track
from voxanchor.types import SAMPLE_RATE, Waveform

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazily("torch", globals(), "torch")

FULL_SCALE = 32768.0

MAPPED_BYTES = 64 * 2**20
"""Files from this size on are mapped; smaller ones are read, because every map keeps a file open."""

WHOLE_S = 60.0
"""A stretch of a recording up to this long is cut out of the whole, decoded, so that it does not depend on the cut."""

_OPEN_MAPS = 512
_OBJECT_BYTES = 1024
_SMALLEST_EXPONENT = -100


@dataclass(frozen=True)
class Pcm:
    """A waveform in 16 bits.

    Attributes:
        samples: (T,) int16, in memory or mapped from a file.
        gain: what the samples times 1 / 32768 are multiplied by to give the waveform.
    """

    samples: NDArray[np.int16]
    gain: float = 1.0

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def memory_bytes(self) -> int:
        """Memory it takes: only that of the Python objects where the samples lie in a mapped file."""
        return _OBJECT_BYTES if isinstance(self.samples, np.memmap) else self.samples.nbytes

    def crop(self, start: int, length: int) -> Pcm:
        """Return `length` samples from sample `start` on, not copied."""
        return Pcm(self.samples[start : start + length], self.gain)

    def waveform(self, start: int = 0, length: int | None = None) -> Waveform:
        """Return (T,) float32, full scale 1.0: all of it or a crop, given in samples."""
        end = len(self.samples) if length is None else start + length
        return self.samples[start:end].astype(np.float32) * np.float32(self.gain / FULL_SCALE)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where in a shard of a pack a recording lies.

    Attributes:
        path: the shard, a 16-bit mono WAV file at 16 kHz.
        first: the recording's first sample, counted from the shard's.
        samples: how many it has.
        gain: as of `Pcm`.
        source_bytes: size of the file it was packed from; 0 when it was made of several.
    """

    path: str
    first: int
    samples: int
    gain: float = 1.0
    source_bytes: int = 0

    def pcm(self) -> Pcm:
        """Return the recording, mapped: nothing is read before it is used.

        Raises:
            AudioError: the shard is missing, or not what it was.
        """
        try:
            pcm = Pcm(_map(self.path), self.gain).crop(self.first, self.samples)
        except ValueError:
            raise AudioError(f"{self.path}: no such shard of a pack; 'voxanchor data check' says more") from None
        if len(pcm) < self.samples:
            raise AudioError(f"{self.path}: this shard of a pack is cut short; 'voxanchor data check' says more")
        return pcm


def load(
    path: str,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stored: Stored | None = None,
    channel: Channel = "mix",
) -> Pcm:
    """Return a recording or a stretch of it in 16 bits, at 16 kHz.

    16-bit recordings at 16 kHz come bit for bit, any other as `encode` gives it; mapped where they lie in a pack or in
    a large WAV file. A stretch is the same samples of the whole, but for recordings longer than 60 s that are not
    16-bit at 16 kHz: of those only the stretch is decoded, which then equals the whole to within 1e-4.

    Args:
        path: the recording.
        start_s: where the stretch begins.
        duration_s: its length; to the end of the recording when None.
        stored: where a pack keeps the recording, one channel of it; its file is then not looked for.
        channel: which channel of a file is heard.

    Raises:
        AudioError: as `voxanchor.audio.io.read`.
        RecipeError: nothing names a channel so.
    """
    channel = channel_of(channel)
    try:
        return _load(path, start_s, duration_s, stored, channel)
    except Exception as error:  # decoders raise nearly anything, and one file must not end a corpus
        raise AudioError.of(path, error) from error


@contextlib.contextmanager
def known_usable() -> Iterator[None]:
    """Say of a recording that cannot be read what to do, where its folder was read through before and it could.

    Raises:
        AudioError: the one raised inside, with that advice.
    """
    try:
        yield
    except AudioError as error:
        raise AudioError(
            f"{error}\nIt could be read when its folder was looked through. Mend it and start the same command again; "
            "or, if it is gone for good, begin anew without it"
        ) from error


def _load(path: str, start_s: float, duration_s: float | None, stored: Stored | None, channel: Channel) -> Pcm:
    if stored is not None:
        whole: Pcm | None = stored.pcm()
    else:
        whole = _plain(path) if channel in ("mix", "loudest", "left", 1) else None  # what is mapped has one channel
        if whole is None and (start_s > 0.0 or duration_s is not None):
            whole = _decoded_whole(path, channel)
    if whole is None:
        return encode(read(path, start_s=start_s, duration_s=duration_s, channel=channel))
    first, count = crop_bounds(path, start_s, duration_s, len(whole))
    found = whole.crop(first, count)
    if stored is None and whole.samples.nbytes < MAPPED_BYTES:
        return Pcm(np.array(found.samples), whole.gain)
    return found


def encode(waveform: Waveform) -> Pcm:
    """Return a waveform in 16 bits.

    One whose samples are exact in 16 bits, as those of a 16-bit file at 16 kHz are, comes back bit for bit. Any other
    is rounded after scaling by the power of two that brings its peak nearest below full scale, whatever its level: no
    error exceeds 1 / 32,767 of the peak (-90 dB). Encoding the result again changes nothing.

    Args:
        waveform: (T,) finite float32.
    """
    scaled = waveform * np.float32(FULL_SCALE)
    small = np.clip(np.rint(scaled), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    if np.array_equal(scaled, small):
        return Pcm(small)
    peak = float(np.abs(waveform).max())
    exponent = math.frexp(peak * FULL_SCALE / (FULL_SCALE - 0.5))[1]  # the peak must not round up to full scale
    gain = 2.0 ** max(exponent, _SMALLEST_EXPONENT)
    rounded = np.rint(waveform * np.float32(FULL_SCALE / gain))
    return Pcm(np.clip(rounded, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), gain)


def mapped(path: str | Path) -> NDArray[np.int16] | None:
    """Return (T,) int16, the samples of a file mapped into memory; None unless it is 16-bit mono WAV at 16 kHz.

    Nothing is read before it is used, so a file may be larger than the memory. One whose header promises more than
    there is, or less, gives None: reading it says what is wrong.
    """
    try:
        if not Path(path).is_file():  # to open a pipe is to wait for what comes out of it, and to take it away
            return None
        with Path(path).open("rb") as file:
            chunk = sound_chunk(file) if file.seekable() else None
            if chunk is None or not _is_plain(chunk.described):
                return None
            frames = chunk.size // 2
            if frames == 0 or chunk.present < chunk.size or chunk.left_open(file):
                return None
        return np.memmap(os.fsencode(path), dtype="<i2", mode="r", offset=chunk.start, shape=(frames,))
    except (OSError, ValueError, OverflowError):
        return None


def _is_plain(described: bytes) -> bool:
    """Return whether the chunk ``fmt `` of a WAV file says 16 bits, one channel, 16 kHz."""
    if len(described) < 16:
        return False
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", described[:16])
    tag = int.from_bytes(described[24:26], "little") if tag == 0xFFFE else tag  # extensible: the tag stands further on
    return (tag, channels, rate, bits) == (1, 1, SAMPLE_RATE, 16)


def _plain(path: str) -> Pcm | None:
    with contextlib.suppress(OSError, ValueError):
        if Path(path).stat().st_size >= MAPPED_BYTES:
            return Pcm(_map(path))
    samples = mapped(path)
    return None if samples is None else Pcm(samples)


@lru_cache(maxsize=_OPEN_MAPS)
def _map(path: str) -> NDArray[np.int16]:
    _allow_many_files()
    samples = mapped(path)
    if samples is None:
        raise ValueError(f"{path} cannot be mapped")  # and is not remembered: it may be mended
    return samples


@cache
def _allow_many_files() -> None:
    """Lift the limit of open files as far as the system allows: Python keeps one open for every map."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _decoded_whole(path: str, channel: Channel) -> Pcm | None:
    """Return a whole recording of which stretches, decoded alone, would differ; None if they do not, or it is long."""
    info = probe(path)
    exact = (info.sample_rate, info.channels, info.encoding) == (SAMPLE_RATE, 1, "PCM_16")
    if exact or info.duration_s > WHOLE_S:
        return None
    whole = read(path, channel=channel)
    # stretches may reach to the end that the header states, which an encoder may have missed by a little
    stated = max(1, round(info.frames * SAMPLE_RATE / info.sample_rate)) if info.encoding else len(whole)
    return encode(np.pad(whole, (0, max(0, stated - len(whole)))))


# The samples of many recordings where crops of them are cheap: memory, or files mapped into it.

MEMORY_BYTES = 2 * 2**30
"""Samples beyond this are kept in an unnamed file, which the system holds in memory as far as there is room."""

Indices = NDArray[np.int64]

_BLOCK_SAMPLES = 2**26
_THREADS = 8


Key = Hashable
"""What a recording is, for example its file and where in it it begins: the same recording is kept once."""


class PoolBuilder:
    """What a pool is to hold, collected before it is filled."""

    def __init__(self) -> None:
        self.loads: list[Callable[[], Pcm]] = []
        self._places: dict[Key, int] = {}

    def add(self, key: Key, load: Callable[[], Pcm]) -> int:
        """Return the place of the recording `key` in the pool, which `load` will give."""
        place = self._places.setdefault(key, len(self.loads))
        if place == len(self.loads):
            self.loads.append(load)
        return place


class Pool:
    """N recordings in 16 bits, of which batches of equally long crops are gathered without a loop over them.

    Recordings that lie in mapped files are used where they are; the others are decoded once, side by side. A recording
    shorter than a crop is kept repeated, so that a crop may start anywhere in it and go on at its beginning.

    Args:
        builder: the recordings, each loaded once.
        crop_samples: longest crop that will be gathered.
        label: what the progress display calls the decoding.
        memory_bytes: limit of what is kept in memory.

    Attributes:
        lengths: (N,) int64 samples of each recording, before repetition.
    """

    def __init__(self, builder: PoolBuilder, crop_samples: int, label: str, memory_bytes: int = MEMORY_BYTES) -> None:
        loads = builder.loads
        self.crop_samples = crop_samples
        self.lengths = np.zeros(len(loads), dtype=np.int64)
        self._gain = np.zeros(len(loads), dtype=np.float32)
        self._buffer = np.zeros(len(loads), dtype=np.int64)
        self._offset = np.zeros(len(loads), dtype=np.int64)
        self._buffers: list[NDArray[np.int16]] = []
        self._fill(loads, label, memory_bytes)

    def __len__(self) -> int:
        return len(self.lengths)

    def recording(self, item: int) -> Pcm:
        """Return one whole recording."""
        start = self._offset[item]
        samples = self._buffers[self._buffer[item]][start : start + self.lengths[item]]
        return Pcm(samples, float(self._gain[item]))

    def start(self, items: Indices, length: int, draws: NDArray[np.float64]) -> Indices:
        """Return the (n,) samples at which crops of `length` start, for draws from 0 to 1: anywhere they fit.

        A crop of a recording that is shorter starts anywhere in it.
        """
        lengths = self.lengths[items]
        places = np.where(lengths < length, lengths, lengths - length + 1)
        starts: Indices = np.minimum((draws * places).astype(np.int64), places - 1)
        return starts

    def gather(self, items: Indices, starts: Indices, length: int, device: torch.device | None = None) -> Tensor:
        """Return (n, length) float32, full scale 1.0: a crop of each of `items` from its `starts`.

        Args:
            items: (n,) which recordings.
            starts: (n,) first samples, from 0 to where `start` puts them at most.
            length: samples of each crop, at most `crop_samples`.
            device: where the result is wanted; 16 bits a sample travel there.
        """
        samples = np.empty((len(items), length), dtype=np.int16)
        buffers, begins = self._buffer[items], self._offset[items] + starts
        for buffer in np.unique(buffers):
            rows = np.flatnonzero(buffers == buffer)
            windows = np.lib.stride_tricks.sliding_window_view(self._buffers[buffer], length)
            samples[rows] = windows[begins[rows]]
        gains = sent(self._gain[items] / np.float32(FULL_SCALE), device)
        return sent(samples, device).float().mul_(gains.unsqueeze(1))

    def _fill(self, loads: Sequence[Callable[[], Pcm]], label: str, memory_bytes: int) -> None:
        blocks = _Blocks(memory_bytes)
        numbers: dict[int, int] = {}
        for item, pcm in enumerate(_in_order(loads, label)):
            self.lengths[item], self._gain[item] = len(pcm), pcm.gain
            home = _mapped(pcm.samples)
            if home is None or len(pcm) < self.crop_samples:
                repeated = len(pcm) if len(pcm) >= self.crop_samples else len(pcm) + self.crop_samples - 1
                home, self._offset[item] = blocks.add(pcm.samples, repeated)
            else:
                self._offset[item] = (_address(pcm.samples) - _address(home)) // 2
            if id(home) not in numbers:
                numbers[id(home)] = len(self._buffers)
                self._buffers.append(home)
            self._buffer[item] = numbers[id(home)]


class _Blocks:
    """Arrays that decoded recordings are laid into, one after the other; in a file once the memory is used up."""

    def __init__(self, memory_bytes: int) -> None:
        self._left = memory_bytes
        self._block: NDArray[np.int16] = np.empty(0, dtype=np.int16)
        self._used = 0
        self._told = False

    def add(self, samples: NDArray[np.int16], length: int) -> tuple[NDArray[np.int16], int]:
        """Lay down `samples`, repeated to `length`; return the array and where in it they begin."""
        if self._used + length > len(self._block):
            self._block, self._used = self._new(max(length, _BLOCK_SAMPLES)), 0
        start = self._used
        self._block[start : start + length] = np.resize(samples, length)
        self._used += length
        return self._block, start

    def _new(self, size: int) -> NDArray[np.int16]:
        if self._left > 0:
            self._left -= 2 * size
            return np.zeros(size, dtype=np.int16)  # pages that are never written take no memory
        if runtime.world() > 1 and not self._told:
            self._told = True
            log_line(
                "the decoded recordings outgrow what is kept in memory: each process writes its own copy of the rest "
                "to TMPDIR. Pack them (voxanchor data pack), and the processes of a machine share one"
            )
        with writing("temporary file for samples (TMPDIR)"), tempfile.TemporaryFile(prefix="voxanchor-pool-") as file:
            reserve(file.fileno(), 2 * size)
            return np.memmap(file, dtype=np.int16, mode="w+", shape=(size,))


def _in_order(loads: Sequence[Callable[[], Pcm]], label: str) -> Iterator[Pcm]:
    """Yield what each of `loads` gives; threads run ahead, but only so far."""
    with track(label, len(loads)) as advance, ThreadPoolExecutor(_THREADS) as threads:
        upcoming = iter(loads)
        waiting = [threads.submit(load) for load in islice(upcoming, 4 * _THREADS)]
        while waiting:
            done = waiting.pop(0)
            yield done.result()
            advance(1)
            waiting += [threads.submit(load) for load in islice(upcoming, 1)]


def _mapped(samples: NDArray[np.int16]) -> NDArray[np.int16] | None:
    """Return the array of the whole mapped file that `samples` are a part of, if they are."""
    home: object = samples
    while isinstance(home, np.memmap) and isinstance(home.base, np.memmap):
        home = home.base
    return home if isinstance(home, np.memmap) else None


def _address(samples: NDArray[np.int16]) -> int:
    return int(samples.__array_interface__["data"][0])


# Things that are costly to load, kept in memory up to a number of bytes.

V = TypeVar("V")


class LruCache(Generic[V]):
    """What was loaded, by name; the one unused for longest goes first. The latest always stays.

    Threads may share one. A pickled copy (a worker process) starts empty with the same limit.

    Args:
        max_bytes: the limit.
        size: bytes that a value takes; a function of a module, so that it can be pickled.
    """

    def __init__(self, max_bytes: int, size: Callable[[V], int]) -> None:
        self.max_bytes = max_bytes
        self.size = size
        self._clear()

    def get(self, name: Hashable, load: Callable[[], V]) -> V:
        """Return what is kept under `name`, or else what `load` returns."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        # Outside the lock: two threads may load the same thing once each, but none waits for another's file.
        value = load()
        with self._lock:
            if name not in self._kept:
                self._kept[name] = value
                self._bytes += self.size(value)
            while self._bytes > self.max_bytes and len(self._kept) > 1:
                self._bytes -= self.size(self._kept.popitem(last=False)[1])
        return value

    def _clear(self) -> None:
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes, "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.max_bytes, self.size = state["max_bytes"], state["size"]
        self._clear()
