"""Things that are costly to load, kept in memory up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Memory(Generic[V]):
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
