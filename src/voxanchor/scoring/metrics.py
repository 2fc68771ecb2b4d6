"""Error rates of a set of scored trials: EER, minDCF, Cllr.

None of them depends on the order of the trials; EER, minDCF and min Cllr do not change under strictly rising maps of
the scores either. Ties are one operating point.
"""

from bisect import bisect_left
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from voxanchor.scoring.det import RankedTrials, check_trials, group_trials, hull_curve, rank_trials
from voxanchor.scoring.pav import pool_adjacent_violators
from voxanchor.types import FloatArray

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
