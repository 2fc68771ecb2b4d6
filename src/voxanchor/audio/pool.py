"""The samples of many recordings where crops of them are cheap: memory, or files mapped into it."""

import tempfile
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxanchor import processes
from voxanchor.audio.pcm import FULL_SCALE, Pcm
from voxanchor.files import reserve, writing
from voxanchor.progress import say, track

MEMORY_BYTES = 2 * 2**30
"""Samples beyond this are kept in an unnamed file, which the system holds in memory as far as there is room."""

CPU = torch.device("cpu")
Indices = NDArray[np.int64]

_BLOCK_SAMPLES = 2**26
_THREADS = 8


Key = Hashable
"""What a recording is, for example its file and where in it it begins: the same recording is kept once."""


def sent(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, without waiting until it has come there.

    On the processor the two share their memory.
    """
    tensor = torch.from_numpy(array)
    # out of memory that may be swapped the copy would wait for all that the device has to do before it
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


class Shelf:
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
        shelf: the recordings, each loaded once.
        crop_samples: longest crop that will be gathered.
        label: what the progress display calls the decoding.
        memory_bytes: limit of what is kept in memory.

    Attributes:
        lengths: (N,) int64 samples of each recording, before repetition.
    """

    def __init__(self, shelf: Shelf, crop_samples: int, label: str, memory_bytes: int = MEMORY_BYTES) -> None:
        loads = shelf.loads
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

    def gather(self, items: Indices, starts: Indices, length: int, device: torch.device = CPU) -> Tensor:
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
        if processes.world() > 1 and not self._told:
            self._told = True
            say(
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
