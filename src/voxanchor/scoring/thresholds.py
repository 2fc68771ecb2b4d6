"""Thresholds that let a stated share of the different-speaker trials pass, and the error rates that a threshold gives.

A trial is accepted when its score is at or above the threshold, as everywhere. Of all thresholds with which no more
than the stated share passes, the lowest stretch between two scores is taken, and its middle.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.scoring.det import RankedTrials
from voxanchor.scoring.resampled import WeightedClass, exact_table
from voxanchor.types import FloatArray, IntArray

_CHUNK = 1024  # trials looked at together, from the highest score downwards
_ROUNDING = 1e-9  # a share of 0.29 of 100 trials is 29 trials, whatever the product says in binary


class ErrorRates(NamedTuple):
    """Both kinds of error at a threshold, fractions in [0, 1]."""

    false_acceptance: float
    false_rejection: float


def threshold_at(ranked: RankedTrials, false_acceptance: float) -> float:
    """Return the lowest threshold at which at most so many of the different-speaker trials are accepted.

    Args:
        ranked: sorted trials; only those of different speakers matter.
        false_acceptance: the share, at least 0 and below 1.

    Raises:
        ValueError: a share outside that.
    """
    _check(false_acceptance)
    scores = ranked.nontargets
    allowed = int(false_acceptance * len(scores) + _ROUNDING)
    return float(_above(scores, np.array([len(scores) - 1 - allowed]))[0])


def heaviest_threshold(scores: FloatArray, weights: FloatArray, weight: float) -> float:
    """Return the lowest threshold at which trials of at most so much weight, together, are accepted.

    Args:
        scores: (K,) of the trials, in any order, K at least 1.
        weights: (K,) at least 0.
        weight: at least 0 and below that of all.

    Raises:
        ValueError: a weight outside that.
    """
    order = np.argsort(scores)
    passing = np.cumsum(weights[order][::-1])[::-1]  # from each trial on
    if not 0 <= weight < passing[0] * (1 - _ROUNDING):
        raise ValueError(f"The weight must be at least 0 and below that of all trials, {passing[0]:g}, got {weight:g}.")
    rejected = np.count_nonzero(passing > weight * (1 + _ROUNDING)) - 1
    return float(_above(scores[order], np.array([rejected]))[0])


def error_rates(ranked: RankedTrials, threshold: float) -> ErrorRates:
    """Return the share of different-speaker trials that a threshold accepts, and of same-speaker trials it rejects."""
    missed, rejected = (int(np.searchsorted(part, threshold)) for part in ranked)
    others = len(ranked.nontargets)
    return ErrorRates((others - rejected) / others, missed / len(ranked.targets))


def weighted_thresholds(
    nontargets: WeightedClass, table: NDArray[np.integer], false_acceptances: ArrayLike
) -> FloatArray:
    """Return the thresholds of every weighting: (T, B) float64, NaN where no different-speaker trial has weight.

    Args:
        nontargets: the different-speaker trials.
        table: (U, B) whole numbers, a row per unit and a column per weighting.
        false_acceptances: (T,) shares, each at least 0 and below 1.

    Raises:
        ValueError: a share outside that.
    """
    shares = np.asarray(false_acceptances, dtype=np.float64)
    _check(*shares.tolist())
    values = exact_table(table)
    count, columns = len(nontargets.scores), np.arange(values.shape[1])
    total = nontargets.sums(np.array([0, count]), values)[-1]
    allowed = np.floor(shares[:, None] * total + _ROUNDING)
    rejected = np.full(allowed.shape, -1)  # the highest-scored trial that must not pass
    carried = np.zeros(len(columns))
    for stop in range(count, 0, -_CHUNK):
        start = max(0, stop - _CHUNK)
        sums = nontargets.running_sums(start, stop, values, columns)
        passing = carried + (sums[-1] - sums[:-1])  # by weight, from each trial of the chunk on; falls along it
        over = np.count_nonzero(passing[None] > allowed[:, None], axis=1)
        found = (rejected < 0) & (over > 0)
        rejected[found] = start + over[found] - 1
        carried += sums[-1]
        if (rejected >= 0).all():
            break
    thresholds = np.full(allowed.shape, np.nan)
    usable = (rejected >= 0) & (total > 0)
    thresholds[usable] = _above(nontargets.scores, rejected[usable])
    return thresholds


def weighted_below(trials: WeightedClass, table: NDArray[np.integer], thresholds: FloatArray) -> FloatArray:
    """Return the share of a class below each threshold, by weight: (T, B) float64, NaN where it has no weight.

    Args:
        trials: the class.
        table: (U, B) whole numbers, a row per unit and a column per weighting.
        thresholds: (T, B), one of each row for every weighting; NaN gives NaN.
    """
    places = np.searchsorted(trials.scores, thresholds)
    marks, rows = np.unique(np.append(places.ravel(), (0, len(trials.scores))), return_inverse=True)
    sums = trials.sums(marks, exact_table(table))
    below = np.take_along_axis(sums, rows[:-2].reshape(places.shape), axis=0)
    total = sums[-1]
    unknown = np.isnan(thresholds) | (total <= 0)
    shares: FloatArray = np.where(unknown, np.nan, below / np.where(total > 0, total, 1.0))
    return shares


def _above(scores: NDArray[np.floating], rejected: IntArray) -> FloatArray:
    """Return thresholds just above trials: halfway to the next higher score, or the next number where there is none."""
    values = scores[rejected].astype(np.float64)
    places = np.searchsorted(scores, scores[rejected], "right")
    least = np.nextafter(values, np.inf)
    higher = scores[np.minimum(places, len(scores) - 1)].astype(np.float64)
    thresholds: FloatArray = np.where(places < len(scores), np.maximum(values + (higher - values) / 2, least), least)
    return thresholds


def _check(*shares: float) -> None:
    for share in shares:
        if not 0 <= share < 1:
            raise ValueError(f"A share of accepted trials must lie between 0 and 1 and below 1, got {share}.")
