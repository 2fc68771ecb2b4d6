"""Cosine scores of trials and matrices, and how they are distributed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from voxanchor.types import FloatArray, IntArray

_BLOCK_SIDE = 2048  # rows and columns of a block: 32 MB in float64
_GATHER_ROWS = 256  # pairs of embeddings gathered at once, which then stay in the processor's cache
_DENSE_SHARE = 1 / 16  # from this share of all pairs on, a matrix product beats gathering rows


class ScoreBlock(NamedTuple):
    """A rectangle of a score matrix: which rows, which columns, and their (rows, columns) cosines."""

    rows: slice
    columns: slice
    scores: NDArray[np.floating]


def trial_scores(
    enrol: NDArray[np.floating], test: NDArray[np.floating], enrol_index: IntArray, test_index: IntArray
) -> FloatArray:
    """Return the cosine of each trial's two embeddings: (K,) float64 in [-1, 1].

    The lengths of the embeddings do not matter. Memory beside the arguments and the result: at most 100 MB, and 16
    bytes a trial where the trials are so many of all pairs that blocks of the whole matrix are computed.

    Args:
        enrol: (N, D) enrolment embeddings.
        test: (M, D) test embeddings.
        enrol_index: (K,) rows of `enrol`, one per trial.
        test_index: (K,) rows of `test`, one per trial.

    Raises:
        ValueError: shapes that do not fit, an index out of range, or an embedding that is zero or not finite.
    """
    left, right = check_index(enrol_index, test_index, len(enrol), len(test))
    if left.size >= _DENSE_SHARE * len(enrol) * len(test):
        scores = _dense(enrol, test, left, right)
    else:
        scores = _sparse(enrol, test, left, right)
    return np.clip(scores, -1.0, 1.0, out=scores)


def score_blocks(
    enrol: NDArray[np.floating], test: NDArray[np.floating], dtype: DTypeLike = np.float32
) -> Iterator[ScoreBlock]:
    """Yield the (N, M) matrix of cosines in blocks of at most 2048 by 2048, row by row of blocks.

    Nothing but the block at hand is held, so the matrix may be larger than the memory.

    Args:
        enrol: (N, D) enrolment embeddings, of any length.
        test: (M, D) test embeddings.
        dtype: of the products. In float32 a cosine is off by up to about 1e-6.

    Raises:
        ValueError: shapes that do not fit, or an embedding that is zero or not finite.
    """
    lengths, test_lengths = _lengths(enrol, test)
    for top in range(0, len(enrol), _BLOCK_SIDE):
        rows = slice(top, top + _BLOCK_SIDE)
        left = scaled(enrol[rows], lengths[rows], dtype)
        for first in range(0, len(test), _BLOCK_SIDE):
            columns = slice(first, first + _BLOCK_SIDE)
            yield ScoreBlock(rows, columns, left @ scaled(test[columns], test_lengths[columns], dtype).T)


def check_index(enrol_index: IntArray, test_index: IntArray, enrolments: int, tests: int) -> tuple[IntArray, IntArray]:
    """Return the rows of each trial as arrays, (K,) both.

    Raises:
        ValueError: arrays of different shapes, or a row that is not there.
    """
    left, right = np.asarray(enrol_index), np.asarray(test_index)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"Both index arrays must be (K,), got {left.shape} and {right.shape}.")
    for name, index, rows in (("enrol", left, enrolments), ("test", right, tests)):
        if index.size and (index.min() < 0 or index.max() >= rows):
            raise ValueError(f"A trial points outside the {rows} {name} embeddings.")
    return left, right


def lengths_of(embeddings: NDArray[np.floating], name: str) -> FloatArray:
    """Return the length of each of (N, D) embeddings, in float64.

    Raises:
        ValueError: an embedding that is zero or not finite; `name` says whose.
    """
    lengths = np.empty(len(embeddings))
    for start in range(0, len(embeddings), _BLOCK_SIDE):
        part = slice(start, start + _BLOCK_SIDE)
        lengths[part] = np.linalg.norm(embeddings[part].astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        raise ValueError(f"{bad.size} {name} embeddings are zero or not finite, the first in row {bad[0]}.")
    return lengths


def scaled(embeddings: NDArray[np.floating], lengths: FloatArray, dtype: DTypeLike) -> NDArray[np.floating]:
    """Return the embeddings divided by their lengths."""
    unit: NDArray[np.floating] = (embeddings / lengths[:, None]).astype(dtype, copy=False)
    return unit


def _lengths(enrol: NDArray[np.floating], test: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    if enrol.ndim != 2 or test.ndim != 2 or enrol.shape[1] != test.shape[1]:
        raise ValueError(f"Embeddings must be (N, D) and (M, D) with one D, got {enrol.shape} and {test.shape}.")
    return lengths_of(enrol, "enrol"), lengths_of(test, "test")


def _sparse(enrol: NDArray[np.floating], test: NDArray[np.floating], left: IntArray, right: IntArray) -> FloatArray:
    enrol_lengths, test_lengths = _lengths(enrol, test)
    scores = np.empty(left.size)
    for start in range(0, left.size, _GATHER_ROWS):
        part = slice(start, start + _GATHER_ROWS)
        rows, others = enrol.take(left[part], axis=0), test.take(right[part], axis=0)
        np.einsum("kd,kd->k", rows.astype(np.float64), others.astype(np.float64), out=scores[part])
        scores[part] /= enrol_lengths[left[part]] * test_lengths[right[part]]
    return scores


def _dense(enrol: NDArray[np.floating], test: NDArray[np.floating], left: IntArray, right: IntArray) -> FloatArray:
    across = -(-len(test) // _BLOCK_SIDE)
    block_of = left // _BLOCK_SIDE
    block_of *= across
    block_of += right // _BLOCK_SIDE
    order = np.argsort(block_of)
    counts = np.bincount(block_of, minlength=across * -(-len(enrol) // _BLOCK_SIDE))
    ends = np.append(0, np.cumsum(counts)).tolist()
    del block_of
    scores = np.empty(left.size)
    for (start, end), block in zip(pairwise(ends), score_blocks(enrol, test, np.float64), strict=True):
        trials = order[start:end]
        scores[trials] = block.scores[left[trials] - block.rows.start, right[trials] - block.columns.start]
    return scores


# How alike the embeddings of the same recordings are, and how scores are spread.

QUANTILES = (0.1, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9)
"""In percent, of a `ScoreStats`."""


@dataclass(frozen=True)
class Similarity:
    """Cosines between two embeddings of the same recording.

    Attributes:
        mean: over the recordings; 1 where nothing moved.
        p05: 5th percentile: only one recording in twenty moved further.
    """

    mean: float
    p05: float

    @classmethod
    def of(cls, one: NDArray[np.floating], other: NDArray[np.floating]) -> "Similarity":
        """Return the similarity of (N, D) embeddings to (N, D) others, row by row.

        Raises:
            ValueError: shapes that differ, or an embedding that is zero or not finite.
        """
        if len(one) != len(other):
            raise ValueError(f"Embeddings of the same recordings are needed, got {len(one)} and {len(other)}.")
        rows = np.arange(len(one))
        cosines = trial_scores(one, other, rows, rows)
        return cls(float(cosines.mean()), float(np.percentile(cosines, 5)))


def mean_cosine_apart(embeddings: NDArray[np.floating], groups: ArrayLike) -> float:
    """Return the mean cosine of all pairs of (N, D) unit vectors from different groups, (N,); 0 where there is none.

    From sums over the groups, so that time and memory grow with N and not with its square.
    """
    rows = embeddings.astype(np.float64)
    _, places, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return 0.0
    sums = np.zeros((len(sizes), rows.shape[1]))
    np.add.at(sums, places, rows)
    whole = sums.sum(axis=0)
    pairs = float(len(rows)) ** 2 - float(np.square(sizes.astype(np.float64)).sum())
    return float(whole @ whole - np.square(sums).sum()) / pairs


@dataclass(frozen=True)
class ScoreStats:
    """How scores are distributed.

    Attributes:
        count: number of scores.
        mean: their mean.
        deviation: their standard deviation.
        quantiles: percentage, as text, to the score that so many are not above.
    """

    count: int
    mean: float
    deviation: float
    quantiles: Mapping[str, float]

    @classmethod
    def of(cls, scores: ArrayLike) -> "ScoreStats":
        """Return the spread of (K,) scores, K at least 1."""
        values: FloatArray = np.asarray(scores, dtype=np.float64)
        found = np.percentile(values, QUANTILES).tolist()
        named = {f"{share:g}": value for share, value in zip(QUANTILES, found, strict=True)}
        return cls(values.size, float(values.mean()), float(values.std()), named)
