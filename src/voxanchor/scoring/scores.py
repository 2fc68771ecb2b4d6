"""Cosine scores of trials."""

import numpy as np
from numpy.typing import NDArray

from voxanchor.types import FloatArray, IntArray

_BLOCK_VALUES = 4_000_000  # float64 values held at once by either path: 32 MB
_DENSE_SHARE = 1 / 16  # from this share of all pairs on, a matrix product beats gathering rows


def trial_scores(
    enrol: NDArray[np.floating], test: NDArray[np.floating], enrol_index: IntArray, test_index: IntArray
) -> FloatArray:
    """Return the cosine of each trial's two embeddings: (K,) float64 in [-1, 1].

    Computed in blocks, so memory stays small for millions of trials. The lengths of the embeddings do not matter.

    Args:
        enrol: (N, D) enrolment embeddings.
        test: (M, D) test embeddings.
        enrol_index: (K,) rows of `enrol`, one per trial.
        test_index: (K,) rows of `test`, one per trial.

    Raises:
        ValueError: shapes that do not fit, an index out of range, or an embedding that is zero or not finite.
    """
    if enrol.ndim != 2 or test.ndim != 2 or enrol.shape[1] != test.shape[1]:
        raise ValueError(f"Embeddings must be (N, D) and (M, D) with one D, got {enrol.shape} and {test.shape}.")
    left, right = np.asarray(enrol_index), np.asarray(test_index)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"Both index arrays must be (K,), got {left.shape} and {right.shape}.")
    for name, index, rows in (("enrol", left, len(enrol)), ("test", right, len(test))):
        if index.size and (index.min() < 0 or index.max() >= rows):
            raise ValueError(f"A trial points outside the {rows} {name} embeddings.")
    enrol_unit, test_unit = _unit(enrol, "enrol"), _unit(test, "test")
    if left.size >= _DENSE_SHARE * len(enrol) * len(test):
        scores = _dense(enrol_unit, test_unit, left, right)
    else:
        scores = _sparse(enrol_unit, test_unit, left, right)
    return np.clip(scores, -1.0, 1.0)


def _unit(embeddings: NDArray[np.floating], name: str) -> FloatArray:
    rows = np.asarray(embeddings, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0))
    if bad.size:
        raise ValueError(f"{bad.size} {name} embeddings are zero or not finite, the first in row {bad[0]}.")
    unit: FloatArray = rows / norms
    return unit


def _sparse(enrol: FloatArray, test: FloatArray, left: IntArray, right: IntArray) -> FloatArray:
    scores = np.empty(left.size)
    step = max(1, _BLOCK_VALUES // (2 * enrol.shape[1]))
    for start in range(0, left.size, step):
        block = slice(start, start + step)
        np.einsum("kd,kd->k", enrol[left[block]], test[right[block]], out=scores[block])
    return scores


def _dense(enrol: FloatArray, test: FloatArray, left: IntArray, right: IntArray) -> FloatArray:
    scores = np.empty(left.size)
    order = np.argsort(left, kind="stable")
    step = max(1, _BLOCK_VALUES // max(1, len(test)))
    for start in range(0, len(enrol), step):
        low, high = np.searchsorted(left, [start, start + step], sorter=order)
        trials = order[low:high]
        if trials.size:
            scores[trials] = (enrol[start : start + step] @ test.T)[left[trials] - start, right[trials]]
    return scores
