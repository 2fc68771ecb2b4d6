"""Pool adjacent violators: the one algorithm behind the convex hull of a ROC and the optimal calibration."""

import numpy as np

from voxanchor.types import FloatArray, IntArray


def pool_adjacent_violators(hits: FloatArray, totals: FloatArray) -> IntArray:
    """Return where the blocks of the isotonic fit start: (B,) int64, the first of them 0.

    Groups are pooled until the share of hits rises strictly from block to block (Ayer et al. 1955). Whole runs of
    violators are pooled at once by numpy; what is left when that no longer pays is pooled one by one.

    Args:
        hits: (G,) weight of the hits in each group, groups in rising order of score.
        totals: (G,) weight of each group, above 0.
    """
    starts = np.arange(len(hits), dtype=np.int64)
    while True:
        violating = hits[:-1] * totals[1:] >= hits[1:] * totals[:-1]
        if not violating.any():
            return starts
        first = np.flatnonzero(np.concatenate(([True], ~violating)))
        slow = len(first) > 0.9 * len(hits)
        starts, hits, totals = starts[first], np.add.reduceat(hits, first), np.add.reduceat(totals, first)
        if slow:
            return _one_by_one(starts, hits, totals)


def _one_by_one(starts: IntArray, hits: FloatArray, totals: FloatArray) -> IntArray:
    stack: list[tuple[int, float, float]] = []
    for start, hit, total in zip(starts.tolist(), hits.tolist(), totals.tolist(), strict=True):
        while stack and stack[-1][1] * total >= hit * stack[-1][2]:
            start, hit, total = stack[-1][0], hit + stack[-1][1], total + stack[-1][2]
            stack.pop()
        stack.append((start, hit, total))
    return np.array([block[0] for block in stack], dtype=np.int64)
