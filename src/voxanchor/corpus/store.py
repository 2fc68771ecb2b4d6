"""Decoded recordings kept in memory up to a limit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.memory import Memory
from voxanchor.types import Waveform

Kept = NDArray[np.int16] | Waveform


class WaveStore:
    """A bounded memory of waveforms by name, safe for threads.

    A waveform whose samples are exact in 16 bits, as those of a 16 kHz FLAC file are, is held in half the space and
    comes back bit for bit; any other is held as it is.
    """

    def __init__(self, max_bytes: int = 2 * 2**30) -> None:
        self._memory: Memory[Kept] = Memory(max_bytes, _bytes)

    def get(self, name: str, load: Callable[[], Waveform]) -> Waveform:
        """Return the waveform called `name`, from memory or else from `load`."""
        return _grow(self._memory.get(name, lambda: _shrink(load())))


def _bytes(kept: Kept) -> int:
    return kept.nbytes


def _shrink(wave: Waveform) -> Kept:
    scaled = wave * 32768.0
    small = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
    return small if np.array_equal(scaled, small) else wave


def _grow(kept: Kept) -> Waveform:
    wave = np.asarray(kept, dtype=np.float32)
    return wave / np.float32(32768.0) if kept.dtype == np.int16 else wave
