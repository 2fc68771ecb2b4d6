"""Voiceprints in memory for a search: a matrix in blocks that never change, so that no search needs a lock."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxanchor.types import Embeddings, IntArray

BLOCK_ROWS = 16_384
"""Voices in a block: 12 MB at dimension 192, which is what one change copies."""

_PRODUCT_NUMBERS = 400_000
"""Numbers of the matrix in one product. One core reads memory about as fast as several, and for so few numbers the
linear algebra library starts no threads. They wait for each other: with other programs on the cores a search took 15
times as long."""

_ROUNDING = 1e-5
"""More than a cosine in float32 may be off by; among those so near each other, float64 decides."""


@dataclass(frozen=True)
class Block:
    """Some voices: their people's numbers (P,), and their unit vectors (P, D)."""

    people: IntArray
    voices: Embeddings


@dataclass(frozen=True)
class Matrix:
    """The voiceprints of one model in one state of a store.

    Attributes:
        blocks: the voices.
        state: number of the last change in them.
    """

    blocks: tuple[Block, ...]
    state: int

    def changed(self, touched: IntArray, now: Iterable[Block], state: int) -> "Matrix":
        """Return the matrix after a change: without the people touched, and with what they are now.

        Blocks in which nothing changed are shared with this matrix.
        """
        kept = [_without(block, touched) for block in self.blocks]
        return Matrix((*(block for block in kept if block.people.size), *now), state).packed()

    def packed(self) -> "Matrix":
        """Return the matrix with the small blocks at its end joined, so that many small changes make few blocks."""
        blocks = list(self.blocks)
        while len(blocks) > 1 and blocks[-1].people.size + blocks[-2].people.size <= BLOCK_ROWS:
            last, before = blocks.pop(), blocks.pop()
            people = np.concatenate([before.people, last.people])
            blocks.append(Block(people, np.concatenate([before.voices, last.voices])))
        return Matrix(tuple(blocks), self.state)

    def nearest(self, voice: NDArray[np.float32], top: int) -> list[tuple[int, float]]:
        """Return (person's number, cosine) of the best `top` voices, and of those that are as good as the last of them.

        In no order, cosines in float64. The same two vectors give the same cosine wherever they lie.
        """
        if not self.blocks:
            return []
        people = np.concatenate([block.people for block in self.blocks])
        cosines = np.empty(people.size, dtype=np.float32)
        rows = max(1, _PRODUCT_NUMBERS // voice.size)
        parts = (
            block.voices[start : start + rows] for block in self.blocks for start in range(0, block.people.size, rows)
        )
        done = 0
        for part in parts:
            np.dot(part, voice, out=cosines[done : done + len(part)])
            done += len(part)
        if top < cosines.size:
            least = np.partition(cosines, cosines.size - top)[cosines.size - top]
            chosen = np.flatnonzero(cosines >= least - _ROUNDING)
        else:
            chosen = np.arange(cosines.size)
        starts = np.cumsum([0, *(block.people.size for block in self.blocks)])
        found: list[tuple[int, float]] = []
        for block, start in zip(self.blocks, starts, strict=False):
            best = chosen[(chosen >= start) & (chosen < start + block.people.size)] - start
            exact = np.einsum("nd,d->n", block.voices[best].astype(np.float64), voice.astype(np.float64))
            found.extend(zip(people[best + start].tolist(), np.clip(exact, -1.0, 1.0).tolist(), strict=True))
        return found


def _without(block: Block, people: IntArray) -> Block:
    leave = np.isin(block.people, people)
    return Block(block.people[~leave], block.voices[~leave]) if leave.any() else block
