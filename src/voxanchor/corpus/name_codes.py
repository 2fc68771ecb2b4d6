"""Names that stand in a buffer of bytes, as numbers."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxanchor.types import IntArray

LONGEST = 256
"""Bytes of the longest name that can be looked up in a buffer."""

_SLOTS_PER_NAME = 8
_MASKS = np.where(np.arange(LONGEST) < np.arange(LONGEST + 1)[:, None], 255, 0).astype(np.uint8).view("<u8")
_MULTIPLIERS = np.array([pow(0x9E3779B97F4A7C15, power, 1 << 64) for power in range(1, LONGEST // 8 + 1)], np.uint64)


class NameCodes:
    """The numbers of names, asked for once per name however often it is met.

    A hash table in arrays, whose keys are the names themselves, eight bytes a word, so that all names of a buffer are
    found at once. A name whose slot is another's is found in a dictionary.
    """

    def __init__(self, find: Callable[[str], int]) -> None:
        """`find` gives the number of a name, which must fit int32; negative ones are of names that nothing has."""
        self.of: dict[str, int] = {}
        self.find = find
        self._words = np.zeros((1, 1), np.uint64)  # the first entry is of no name: empty slots point to it
        self._hashes = np.zeros(1, np.uint64)
        self._codes = np.zeros(1, np.int32)
        self._slots = np.zeros(1 << 10, np.int32)

    def __getitem__(self, name: str) -> int:
        """Return the number of a name."""
        if name not in self.of:
            self.of[name] = self.find(name)
        return self.of[name]

    def look_up(self, characters: NDArray[np.uint8], starts: IntArray, ends: IntArray) -> NDArray[np.int32]:
        """Return the number of each name: (K,) int32.

        Args:
            characters: (C,) ASCII characters, followed by at least `LONGEST` bytes of no matter.
            starts: (K,) where each name starts.
            ends: (K,) where it ends; no name is empty or longer than `LONGEST`.
        """
        lengths = ends - starts
        width = max(-(-int(lengths.max(initial=0)) // 8), self._words.shape[1])
        if width > self._words.shape[1]:
            self._words = np.pad(self._words, ((0, 0), (0, width - self._words.shape[1])))
        rows = np.ndarray((len(characters) - 8 * width + 1,), f"V{8 * width}", characters, strides=(1,))
        words = rows[starts].view("<u8").reshape(-1, width) & _MASKS[lengths, :width]
        hashes = words @ _MULTIPLIERS[:width]
        entries = self._slots[self._slot(hashes)]
        codes = self._codes[entries]
        elsewhere = np.flatnonzero((self._words[entries] != words).any(axis=1))
        fresh = []
        for place in elsewhere.tolist():
            name = characters[starts[place] : ends[place]].tobytes().decode("ascii")
            if name not in self.of:
                fresh.append(place)
            codes[place] = self[name]
        if fresh:
            self._add(words[fresh], hashes[fresh], codes[fresh])
        return codes

    def _slot(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return hashes >> np.uint64(65 - len(self._slots).bit_length())  # the highest bits are mixed best

    def _add(self, words: NDArray[np.uint64], hashes: NDArray[np.uint64], codes: NDArray[np.int32]) -> None:
        first = len(self._codes)
        self._words = np.concatenate((self._words, words))
        self._hashes = np.concatenate((self._hashes, hashes))
        self._codes = np.concatenate((self._codes, codes))
        if len(self._codes) * _SLOTS_PER_NAME > len(self._slots):
            self._slots = np.zeros(1 << (len(self._codes) * _SLOTS_PER_NAME).bit_length(), np.int32)
            first = 1
        self._slots[self._slot(self._hashes[first:])] = np.arange(first, len(self._codes), dtype=np.int32)
