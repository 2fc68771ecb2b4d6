"""Trials in order of score, and the curve of error rates over all thresholds that follows from it.

Whatever is asked of a list of trials, they are sorted once, each class for itself, and everything is read off the two
sorted arrays: no array of thresholds by trials exists, nor one of all thresholds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.scoring.pav import pool_adjacent_violators
from voxanchor.types import BoolArray, FloatArray


class RankedTrials(NamedTuple):
    """The scores of either class in rising order: all that an error rate depends on, 4 or 8 bytes a trial.

    Attributes:
        targets: (T,) float32 or float64, scores of the same-speaker trials.
        nontargets: (N,) of the same type, scores of the others.
    """

    targets: NDArray[np.floating]
    nontargets: NDArray[np.floating]


class DetCurve(NamedTuple):
    """Miss and false-alarm rates at every threshold that matters, in rising order of threshold.

    A trial is accepted when its score is at or above the threshold. The first point accepts everything (no miss), the
    last, at threshold +inf, rejects everything. Of a stretch of thresholds over which only the larger class loses
    trials the two ends are given: a straight line joins them. So there are at most 2 min(T, N) + 2 points.

    Attributes:
        p_miss: (P,) float64 in [0, 1], not falling.
        p_fa: (P,) float64 in [0, 1], not rising.
        thresholds: (P,) float64, strictly rising.
    """

    p_miss: FloatArray
    p_fa: FloatArray
    thresholds: FloatArray


class TrialGroups(NamedTuple):
    """Trials grouped by score, in rising order: (G,) lowest score of each group and its trials of either class.

    A group is all trials of one score, or a stretch of scores that only the larger class has.
    """

    scores: FloatArray
    targets: FloatArray
    nontargets: FloatArray


def check_trials(
    scores: ArrayLike, targets: ArrayLike, *, finite: bool = True
) -> tuple[NDArray[np.floating], BoolArray]:
    """Return scores as (K,) float32 if they are, otherwise float64, and targets as (K,) bool.

    Raises:
        ValueError: shapes that differ, a score that is not a number (or infinite, when `finite`), labels other than
            true and false, or a class without trials.
    """
    values = np.asarray(scores)
    if values.dtype != np.float32:
        values = values.astype(np.float64, copy=False)
    labels = np.asarray(targets)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ValueError(f"Scores and targets must both be (K,), got {values.shape} and {labels.shape}.")
    bad = np.flatnonzero(~np.isfinite(values) if finite else np.isnan(values))
    if bad.size:
        what = "not finite" if finite else "not a number"
        raise ValueError(f"{bad.size} scores are {what}, the first ({values[bad[0]]}) at trial {bad[0]}.")
    if labels.dtype != np.bool_:
        if not ((labels == 0) | (labels == 1)).all():
            raise ValueError("Targets must be true or false (1 or 0).")
        labels = labels.astype(np.bool_)
    count = int(np.count_nonzero(labels))
    if count == 0 or count == labels.size:
        raise ValueError(f"Error rates need both classes: {count} target and {labels.size - count} non-target trials.")
    return values, labels


def rank_trials(scores: ArrayLike, targets: ArrayLike) -> RankedTrials:
    """Return the scores of either class, sorted. Scores in float32 stay so: comparing them needs no more digits.

    Args:
        scores: (K,) finite scores, higher for the same speaker.
        targets: (K,) true for same-speaker trials.

    Raises:
        ValueError: see `check_trials`.
    """
    values, labels = check_trials(scores, targets)
    ranked = RankedTrials(values[labels], values[~labels])
    for part in ranked:
        part.sort()
    return ranked


def group_trials(ranked: RankedTrials) -> TrialGroups:
    """Return the trials grouped by score, so that ties cannot depend on their order."""
    few, many = sorted(ranked, key=len)
    last = np.flatnonzero(np.append(few[1:] != few[:-1], True))
    distinct = few[last]
    below, upto = np.searchsorted(many, distinct, "left"), np.searchsorted(many, distinct, "right")
    starts, ends = np.append(0, upto), np.append(below, len(many))  # of the stretches between distinct scores
    size = 2 * len(distinct) + 1
    scores, few_trials, many_trials = np.empty(size), np.zeros(size), np.empty(size)
    scores[0::2], scores[1::2] = many[np.minimum(starts, len(many) - 1)], distinct
    few_trials[1::2] = np.diff(last, prepend=-1)
    many_trials[0::2], many_trials[1::2] = ends - starts, upto - below
    kept = few_trials + many_trials > 0
    groups = TrialGroups(scores[kept], few_trials[kept], many_trials[kept])
    return groups if few is ranked.targets else groups._replace(targets=groups.nontargets, nontargets=groups.targets)


def det_curve(scores: ArrayLike, targets: ArrayLike) -> DetCurve:
    """Return miss and false-alarm rates over all thresholds; tied scores share one point.

    The arguments and errors are those of `rank_trials`.
    """
    return _curve(*group_trials(rank_trials(scores, targets)))


def hull_curve(ranked: RankedTrials) -> DetCurve:
    """Return the corners of the lower convex hull of the curve of error rates.

    They are the rates that can be reached by choosing at random between two thresholds (ROCCH; Provost and Fawcett
    2001), and the boundaries of the blocks of pool-adjacent-violators (Brümmer and du Preez 2006).
    """
    below, target, nontarget = group_trials(ranked)
    starts = pool_adjacent_violators(target, target + nontarget)
    return _curve(below[starts], np.add.reduceat(target, starts), np.add.reduceat(nontarget, starts))


def _curve(below: FloatArray, target: FloatArray, nontarget: FloatArray) -> DetCurve:
    missed = np.concatenate(([0.0], np.cumsum(target)))
    rejected = np.concatenate(([0.0], np.cumsum(nontarget)))
    return DetCurve(missed / missed[-1], (rejected[-1] - rejected) / rejected[-1], np.append(below, np.inf))
