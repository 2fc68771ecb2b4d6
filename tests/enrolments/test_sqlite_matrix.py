"""The matrix of a search against plain arithmetic, through any sequence of changes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.enrolments import sqlite
from voxanchor.enrolments.sqlite import Block, Matrix
from voxanchor.types import Embeddings

D = 4


def unit(count: int, seed: int) -> Embeddings:
    drawn = np.random.default_rng(seed).standard_normal((count, D))
    scaled: Embeddings = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=8), max_size=20), st.integers(1, 12))
def test_changes_are_as_if_made_anew(changes: list[set[int]], top: int) -> None:
    size, sqlite.BLOCK_ROWS = sqlite.BLOCK_ROWS, 5
    try:
        held: dict[int, Embeddings] = {}
        current = Matrix((), 0)
        for step, people in enumerate(changes):
            touched = np.array(sorted(people))
            stay = [number for number in touched if (number + step) % 3]
            voices = unit(len(stay), step)
            held = {number: voice for number, voice in held.items() if number not in people}
            held.update(zip(stay, voices, strict=True))
            current = current.changed(touched, [Block(np.array(stay, dtype=np.int64), voices)], step)
        assert sum(block.people.size for block in current.blocks) == len(held)
        (query,) = unit(1, 10_000)
        found = dict(current.nearest(query, top))
        expected = sorted((-float(voice @ query), number) for number, voice in held.items())[:top]
        assert {number for _, number in expected} <= found.keys()
        np.testing.assert_allclose([found[number] for _, number in expected], [-c for c, _ in expected], atol=1e-6)
    finally:
        sqlite.BLOCK_ROWS = size


def test_small_changes_make_few_blocks() -> None:
    current = Matrix((), 0)
    for step in range(200):
        current = current.changed(np.array([step]), [Block(np.array([step]), unit(1, step))], step)
    assert len(current.blocks) == 1


def test_a_matrix_in_use_does_not_change() -> None:
    first = Matrix((Block(np.arange(10), unit(10, 0)),), 1)
    before = first.blocks[0].voices.copy()
    first.changed(np.array([3]), [Block(np.array([3]), unit(1, 5))], 2)
    np.testing.assert_array_equal(first.blocks[0].voices, before)
