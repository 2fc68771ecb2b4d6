"""The rooms an experiment has at hand: recorded responses, and those that are made; singly, and for batches."""

from collections.abc import Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.clips import Clip, clips_digest, digest, stable_order
from voxanchor.audio.memory import Memory
from voxanchor.audio.pcm import Pcm, encode
from voxanchor.audio.room import Room, load_room
from voxanchor.audio.synthetic_room import VERSION, synthetic_room
from voxanchor.errors import CorpusError
from voxanchor.rng import generator as named_generator
from voxanchor.types import Waveform

if TYPE_CHECKING:  # single rooms are drawn without PyTorch, too
    import torch
    from torch import Tensor

    from voxanchor.audio.pool import Indices, Pool, Shelf

PIECES = 128
"""Rooms that are made for a stage of training, their reverberation times spread evenly over its range."""

_CACHE_BYTES = 256 * 2**20


class Rooms:
    """Recorded room responses, each equally likely. May be pickled.

    Args:
        clips: the recordings; without any, only synthetic rooms can be drawn.
        built_in_share: share of synthetic rooms that training draws where there are recordings too.
    """

    def __init__(self, clips: Iterable[Clip] = (), built_in_share: float = 0.0) -> None:
        self.clips = stable_order(clips)
        self.built_in_share = built_in_share if self.clips else 1.0
        self._memory: Memory[Room] = Memory(_CACHE_BYTES, _room_bytes)

    def draw(self, rt60_s: float | None, generator: np.random.Generator) -> Room:
        """Return a recorded room, or a synthetic one where a reverberation time is stated.

        Raises:
            AudioError: the recording cannot be read.
            CorpusError: there are no recordings.
            RecipeError: no synthetic room has this reverberation time.
        """
        if rt60_s is not None:
            return synthetic_room(rt60_s, generator)
        self.refuse_none()
        clip = self.clips[int(generator.integers(len(self.clips)))]
        return self._memory.get(clip, lambda: load_room(clip))

    def refuse_none(self) -> None:
        """Do nothing where there are recordings.

        Raises:
            CorpusError: there are none.
        """
        if not self.clips:
            raise CorpusError(
                "the condition 'reverb' is heard in measured rooms, and there are none: give a folder of room impulse "
                "responses with --rooms (rooms: [...] in a recipe), or state a reverberation time, such as "
                "'reverb_0.6s', for a synthetic room"
            )

    def fingerprint_of(self, rt60_s: float | None) -> str:
        """Return 16 hex digits that change when the room that `draw` gives would: the same on every machine."""
        return self._fingerprint if rt60_s is None else digest("synthetic rooms", VERSION, rt60_s)

    @cached_property
    def _fingerprint(self) -> str:
        return digest("rooms", clips_digest(self.clips))

    @property
    def summary(self) -> str:
        """How many recordings."""
        files = len(self.clips)
        return f"recorded, {files} room{'s' * (files != 1)}" if files else "synthetic rooms alone"


class RoomStock:
    """Rooms in a pool, drawn in batches.

    Args:
        rooms: those recorded, and the share of synthetic ones.
        rt60_s: lowest and highest reverberation time of the synthetic ones.
        shelf: gets the responses.
        length: samples of the longest speech that will be heard in them; responses are kept no longer.
    """

    DRAWS = 2

    def __init__(self, rooms: Rooms, rt60_s: tuple[float, float], shelf: "Shelf", length: int) -> None:
        self._built_in_share = rooms.built_in_share
        recorded = rooms.clips if self._built_in_share < 1.0 else ()
        self._recorded = np.array(
            [shelf.add(("room", clip, length), partial(_recorded, clip, length)) for clip in recorded], dtype=np.int64
        )
        self._built_in = np.array(
            [
                shelf.add(("room", rt60_s, piece, length), partial(_built_in, rt60_s, piece, length))
                for piece in range(PIECES if self._built_in_share > 0.0 else 0)
            ],
            dtype=np.int64,
        )

    def draw(
        self, pool: "Pool", length: int, draws: NDArray[np.float64], device: "torch.device"
    ) -> "tuple[Tensor, Indices]":
        """Return (n, length) float32 responses, zeros behind the end of each, and (n,) their places in the pool.

        Args:
            pool: filled from the shelf.
            length: samples of the speech that is to be heard in them.
            draws: (n, `DRAWS`) uniform numbers from 0 to 1.
            device: where the responses are wanted.
        """
        items = np.empty(len(draws), dtype=np.int64)
        built_in = draws[:, 0] < self._built_in_share
        for chosen, places in ((built_in, self._built_in), (~built_in, self._recorded)):
            if chosen.any():
                items[chosen] = places[(draws[chosen, 1] * len(places)).astype(np.int64)]
        return pool.gather(items, np.zeros(len(items), dtype=np.int64), length, device), items


def _recorded(clip: Clip, length: int) -> Pcm:
    return _kept(load_room(clip).taps, length)


def _built_in(rt60_s: tuple[float, float], piece: int, length: int) -> Pcm:
    low, high = rt60_s
    draw = named_generator(0, 0, piece, f"rooms/{low:g}-{high:g}/{VERSION}")
    return _kept(synthetic_room(low + (high - low) * (piece + 0.5) / PIECES, draw).taps, length)


def _kept(taps: Waveform, length: int) -> Pcm:
    """Return a response as long as the speech: behind it in the pool lies another."""
    return encode(np.pad(taps[:length], (0, max(0, length - len(taps)))))


def _room_bytes(room: Room) -> int:
    return room.taps.nbytes
