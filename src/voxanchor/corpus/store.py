"""Decoded recordings kept in memory up to a limit, the least recently used leaving first."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxanchor.types import Waveform

DEFAULT_BYTES = 2 * 1024**3


class WaveStore:
    """A bounded memory of waveforms by name, safe for threads.

    A waveform whose samples are exact in 16 bits, as those of a 16 kHz FLAC file are, is held in half the space and
    comes back bit for bit; any other is held as it is.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self._waves: OrderedDict[str, NDArray[np.int16] | Waveform] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, name: str, load: Callable[[], Waveform]) -> Waveform:
        """Return the waveform called `name`, from memory or else from `load`."""
        with self._lock:
            kept = self._waves.get(name)
            if kept is not None:
                self._waves.move_to_end(name)
        if kept is None:
            wave = load()
            kept = _shrink(wave)
            with self._lock:
                if name not in self._waves:
                    self._waves[name] = kept
                    self._bytes += kept.nbytes
                while self._bytes > self.max_bytes and len(self._waves) > 1:
                    self._bytes -= self._waves.popitem(last=False)[1].nbytes
            return wave
        return _grow(kept)


def _shrink(wave: Waveform) -> "NDArray[np.int16] | Waveform":
    scaled = wave * 32768.0
    small = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
    return small if np.array_equal(scaled, small) else wave


def _grow(kept: "NDArray[np.int16] | Waveform") -> Waveform:
    return kept.astype(np.float32) / np.float32(32768.0) if kept.dtype == np.int16 else kept  # type: ignore[return-value]
