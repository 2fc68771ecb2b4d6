"""Decoded recordings kept in memory up to a limit."""

from collections.abc import Callable

from voxanchor.audio.memory import Memory
from voxanchor.audio.pcm import Pcm, encode
from voxanchor.types import Waveform


class WaveStore:
    """A bounded memory of waveforms by name, in 16 bits (`voxanchor.audio.pcm.encode`), safe for threads.

    Those mapped from files take none of it.
    """

    def __init__(self, max_bytes: int = 2 * 2**30) -> None:
        self._memory: Memory[Pcm] = Memory(max_bytes, _bytes)

    def get(self, name: str, load: Callable[[], Waveform]) -> Waveform:
        """Return the waveform called `name`, from memory or else from `load`."""
        return self.pcm(name, lambda: encode(load())).waveform()

    def pcm(self, name: str, load: Callable[[], Pcm]) -> Pcm:
        """Return the waveform called `name` as it is kept, from memory or else from `load`."""
        return self._memory.get(name, load)


def _bytes(kept: Pcm) -> int:
    return kept.memory_bytes
