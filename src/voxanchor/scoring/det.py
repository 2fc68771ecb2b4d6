"""The curve of error rates over all thresholds, from which EER and minDCF are read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxanchor.scoring.pav import pool_adjacent_violators
from voxanchor.types import BoolArray, FloatArray


class DetCurve(NamedTuple):
    """Miss and false-alarm rates at every threshold that matters, in rising order of threshold.

    A trial is accepted when its score is at or above the threshold. The first point accepts everything (no miss), the
    last, at threshold +inf, rejects everything.

    Attributes:
        p_miss: (P,) float64 in [0, 1], not falling.
        p_fa: (P,) float64 in [0, 1], not rising.
        thresholds: (P,) float64, strictly rising.
    """

    p_miss: FloatArray
    p_fa: FloatArray
    thresholds: FloatArray


class TrialGroups(NamedTuple):
    """Trials grouped by equal score, in rising order: (G,) scores and the weight of either class."""

    scores: FloatArray
    target_weight: FloatArray
    nontarget_weight: FloatArray


def check_trials(scores: ArrayLike, targets: ArrayLike, *, finite: bool = True) -> tuple[FloatArray, BoolArray]:
    """Return scores as (K,) float64 and targets as (K,) bool.

    Raises:
        ValueError: shapes that differ, a score that is not a number (or infinite, when `finite`), labels other than
            true and false, or a class without trials.
    """
    values = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(targets)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ValueError(f"Scores and targets must both be (K,), got {values.shape} and {labels.shape}.")
    bad = np.flatnonzero(~np.isfinite(values) if finite else np.isnan(values))
    if bad.size:
        what = "not finite" if finite else "not a number"
        raise ValueError(f"{bad.size} scores are {what}, the first ({values[bad[0]]}) at trial {bad[0]}.")
    if labels.dtype != np.bool_:
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("Targets must be true or false (1 or 0).")
        labels = labels.astype(np.bool_)
    count = int(np.count_nonzero(labels))
    if count == 0 or count == labels.size:
        raise ValueError(f"Error rates need both classes: {count} target and {labels.size - count} non-target trials.")
    return values, labels


def group_trials(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> TrialGroups:
    """Return the trials grouped by equal score, so that ties cannot depend on the order of the trials.

    Args:
        scores: (K,) finite scores, higher for the same speaker.
        targets: (K,) true for same-speaker trials.
        weights: (K,) weight of each trial, finite and not negative; 1 each by default.

    Raises:
        ValueError: see `check_trials`; also weights that are negative, or zero for a whole class.
    """
    values, labels = check_trials(scores, targets)
    order = np.argsort(values)
    values, labels = values[order], labels[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    if weights is None:
        target_sum = np.cumsum(labels)[last].astype(np.float64)
        total_sum = (last + 1).astype(np.float64)
    else:
        weight = np.asarray(weights, dtype=np.float64)
        if weight.shape != values.shape or not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError(f"Weights must be (K,) = {values.shape}, finite and not negative.")
        weight = weight[order]
        target_sum = np.cumsum(weight * labels)[last]
        total_sum = target_sum + np.cumsum(weight * ~labels)[last]
    target_weight = np.diff(target_sum, prepend=0.0)
    nontarget_weight = np.diff(total_sum - target_sum, prepend=0.0)
    if target_sum[-1] <= 0 or total_sum[-1] <= target_sum[-1]:
        raise ValueError("All trials of one class have weight zero.")
    return TrialGroups(values[last], target_weight, nontarget_weight)


def det_curve(
    scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None, *, convex_hull: bool = False
) -> DetCurve:
    """Return miss and false-alarm rates over all thresholds; tied scores share one point.

    The arguments and errors are those of `group_trials`. With `convex_hull`, only the corners of the lower convex hull
    are returned: the rates that can be reached by choosing at random between two thresholds (ROCCH; Provost and
    Fawcett 2001). They are the boundaries of the blocks of pool-adjacent-violators (Brümmer and du Preez 2006).
    """
    groups = group_trials(scores, targets, weights)
    below, target, nontarget = groups.scores, groups.target_weight, groups.nontarget_weight
    if convex_hull:
        total = target + nontarget
        kept = total > 0
        below, target, nontarget = below[kept], target[kept], nontarget[kept]
        starts = pool_adjacent_violators(target, total[kept])
        below = below[starts]
        target, nontarget = np.add.reduceat(target, starts), np.add.reduceat(nontarget, starts)
    missed = np.concatenate(([0.0], np.cumsum(target)))
    rejected = np.concatenate(([0.0], np.cumsum(nontarget)))
    return DetCurve(missed / missed[-1], (rejected[-1] - rejected) / rejected[-1], np.append(below, np.inf))
