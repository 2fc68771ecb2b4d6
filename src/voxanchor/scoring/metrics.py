"""Error rates of scored trials: EER, minDCF, Cllr and the DET curve behind them."""

from bisect import bisect_left
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.types import BoolArray, FloatArray, IntArray


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


# Trials in order of score, and the curve of error rates over all thresholds that follows from it.
#
# Whatever is asked of a list of trials, they are sorted once, each class for itself, and everything is read off the two
# sorted arrays: no array of thresholds by trials exists, nor one of all thresholds.


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


# Error rates of a set of scored trials: EER, minDCF, Cllr.
#
# None of them depends on the order of the trials; EER, minDCF and min Cllr do not change under strictly rising maps of
# the scores either. Ties are one operating point.

NEAR_CHANCE = 25.0
"""EER in percent of clean speech from which on a model hardly tells speakers apart: it is half the way to guessing."""

EerMethod = Literal["linear", "convex_hull"]

_Rate = TypeVar("_Rate", float, FloatArray)
_BLOCK = 1 << 20  # thresholds looked at in one go: 32 MB of arrays


class Eer(NamedTuple):
    """Equal error rate, a fraction in [0, 1], and a threshold on the scores at which it is met."""

    eer: float
    threshold: float


def eer(scores: ArrayLike, targets: ArrayLike, method: EerMethod = "linear") -> Eer:
    """Return the equal error rate: where the rate of misses equals the rate of false alarms.

    Args:
        scores: (K,) finite scores, higher for the same speaker.
        targets: (K,) true for same-speaker trials.
        method: `"linear"` joins neighbouring points of the ROC by straight lines; `"convex_hull"` joins the corners of
            its convex hull, which is never higher and is what the BOSARIS toolkit calls ROCCH-EER.

    Raises:
        ValueError: see `det.check_trials`; an unknown method.
    """
    return ranked_eer(rank_trials(scores, targets), method)


def ranked_eer(ranked: RankedTrials, method: EerMethod = "linear") -> Eer:
    """Return the equal error rate of sorted trials; see `eer`. The threshold is halfway between the scores around it.

    By bisection: of all thresholds only a handful is looked at.
    """
    if method == "convex_hull":
        curve = hull_curve(ranked)
        after = int(np.searchsorted(curve.p_miss - curve.p_fa, 0.0))
        low, high = (float(score) for score in curve.thresholds[after - 1 : after + 1])
        ends = [(float(curve.p_miss[point]), float(curve.p_fa[point])) for point in (after - 1, after)]
    elif method == "linear":
        below, above = _around_crossing(ranked)
        low, high = float(below), float(above)
        ends = [_rates(ranked, below), _rates(ranked, above)]
    else:
        raise ValueError(f"Unknown EER method '{method}': use 'linear' or 'convex_hull'.")
    (miss_before, fa_before), (miss_after, fa_after) = ends
    rate = crossing(miss_before - fa_before, miss_after - fa_after, miss_before, miss_after)
    return Eer(rate, low + (high - low) / 2 if np.isfinite(high) else low)


def _around_crossing(ranked: RankedTrials) -> tuple[np.floating, np.floating]:
    """Return the neighbouring thresholds between which misses come to outnumber false alarms."""

    def excess(threshold: np.floating) -> float:
        miss, false_alarm = _rates(ranked, threshold)
        return miss - false_alarm

    before, after = [], [ranked.targets.dtype.type(np.inf)]
    for part in ranked:
        place = bisect_left(part, 0.0, key=excess)
        before += list(part[:place][-1:])
        after += list(part[place:][:1])
    return max(before), min(after)


def _rates(ranked: RankedTrials, threshold: np.floating) -> tuple[float, float]:
    missed, rejected = (int(np.searchsorted(part, threshold)) for part in ranked)
    nontargets = len(ranked.nontargets)
    return missed / len(ranked.targets), (nontargets - rejected) / nontargets


def crossing(excess_before: _Rate, excess_after: _Rate, miss_before: _Rate, miss_after: _Rate) -> _Rate:
    """Return the miss rate where the excess of misses over false alarms, rising linearly, passes zero."""
    share = -excess_before / (excess_after - excess_before)
    return miss_before + share * (miss_after - miss_before)


def min_dcf(scores: ArrayLike, targets: ArrayLike, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Return the normalised minimum detection cost, in [0, 1] (NIST speaker recognition evaluations).

    The cost at the best threshold over that of always giving the cheaper of the two answers.

    Args:
        scores: (K,) finite scores, higher for the same speaker.
        targets: (K,) true for same-speaker trials.
        p_target: prior probability of a target trial, between 0 and 1 (0.01 and 0.05 are usual).
        c_miss: cost of a miss, above 0.
        c_fa: cost of a false alarm, above 0.

    Raises:
        ValueError: see `det.check_trials`; a prior outside (0, 1) or a cost that is not positive.
    """
    return ranked_min_dcf(rank_trials(scores, targets), p_target, c_miss, c_fa)


def ranked_min_dcf(ranked: RankedTrials, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Return the normalised minimum detection cost of sorted trials; see `min_dcf`.

    Only scores of targets, and rejecting everything, are tried: between two of them a higher threshold rejects more
    non-targets at no further miss, so the best is never there.
    """
    if not 0 < p_target < 1:
        raise ValueError(f"The prior of a target must lie between 0 and 1, got {p_target}.")
    if not (c_miss > 0 and c_fa > 0):
        raise ValueError(f"Costs must be above 0, got c_miss={c_miss} and c_fa={c_fa}.")
    miss_cost, fa_cost = c_miss * p_target, c_fa * (1 - p_target)
    targets, nontargets = ranked
    best = miss_cost
    for start in range(0, len(targets), _BLOCK):
        thresholds = targets[start : start + _BLOCK]
        p_miss = np.arange(start, start + len(thresholds)) / len(targets)
        p_fa = (len(nontargets) - np.searchsorted(nontargets, thresholds)) / len(nontargets)
        best = min(best, float((miss_cost * p_miss + fa_cost * p_fa).min()))
    return best / min(miss_cost, fa_cost)


def cllr(llr: ArrayLike, targets: ArrayLike) -> float:
    """Return the cost of log-likelihood ratios in bits: 0 is perfect, 1 is what "no information" (llr = 0) costs.

    Source: Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006, eq. 33.

    Args:
        llr: (K,) natural-log likelihood ratios; may be infinite. Plain cosines are not likelihood ratios.
        targets: (K,) true for same-speaker trials.

    Raises:
        ValueError: see `det.check_trials`.
    """
    values, labels = check_trials(np.asarray(llr, dtype=np.float64), targets, finite=False)
    target_cost = np.logaddexp(0.0, -values[labels]).mean()
    nontarget_cost = np.logaddexp(0.0, values[~labels]).mean()
    return float((target_cost + nontarget_cost) / (2 * np.log(2)))


def min_cllr(scores: ArrayLike, targets: ArrayLike) -> float:
    """Return the Cllr after the best rising map of the scores: what is left when calibration is perfect.

    The map is the isotonic fit (pool adjacent violators) of Brümmer and du Preez 2006, section 7. In [0, 1] bits.

    Raises:
        ValueError: see `det.check_trials`.
    """
    return ranked_min_cllr(rank_trials(scores, targets))


def ranked_min_cllr(ranked: RankedTrials) -> float:
    """Return the Cllr of sorted trials after the best rising map; see `min_cllr`."""
    _, target, nontarget = group_trials(ranked)
    starts = pool_adjacent_violators(target, target + nontarget)
    target, nontarget = np.add.reduceat(target, starts), np.add.reduceat(nontarget, starts)
    mixed = (target > 0) & (nontarget > 0)  # a pure block has an infinite llr of the right sign and costs nothing
    target, nontarget = target[mixed] / len(ranked.targets), nontarget[mixed] / len(ranked.nontargets)
    llr = np.log(target) - np.log(nontarget)
    cost = (target * np.logaddexp(0.0, -llr)).sum() + (nontarget * np.logaddexp(0.0, llr)).sum()
    return float(cost / (2 * np.log(2)))
