"""Error rates of a set of scored trials: EER, minDCF, Cllr.

None of them depends on the order of the trials; EER, minDCF and min Cllr do not change under strictly rising maps of
the scores either. Ties are one operating point.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxanchor.scoring.det import DetCurve, check_trials, det_curve, group_trials
from voxanchor.scoring.pav import pool_adjacent_violators

EerMethod = Literal["linear", "convex_hull"]


class Eer(NamedTuple):
    """Equal error rate, a fraction in [0, 1], and a threshold on the scores at which it is met."""

    eer: float
    threshold: float


def eer(scores: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None, method: EerMethod = "linear") -> Eer:
    """Return the equal error rate: where the rate of misses equals the rate of false alarms.

    Args:
        scores: (K,) finite scores, higher for the same speaker.
        targets: (K,) true for same-speaker trials.
        weights: (K,) weight of each trial, not negative; 1 each by default.
        method: `"linear"` joins neighbouring points of the ROC by straight lines; `"convex_hull"` joins the corners of
            its convex hull, which is never higher and is what the BOSARIS toolkit calls ROCCH-EER.

    Raises:
        ValueError: see `det.group_trials`; an unknown method.
    """
    if method not in ("linear", "convex_hull"):
        raise ValueError(f"Unknown EER method '{method}': use 'linear' or 'convex_hull'.")
    return curve_eer(det_curve(scores, targets, weights, convex_hull=method == "convex_hull"))


def curve_eer(curve: DetCurve) -> Eer:
    """Return the equal error rate of a curve whose points are joined by straight lines.

    The threshold lies halfway between the two scores around the crossing.
    """
    excess = curve.p_miss - curve.p_fa
    after = int(np.searchsorted(excess, 0.0))
    before = after - 1
    rate = crossing(excess[before], excess[after], curve.p_miss[before], curve.p_miss[after])
    low, high = float(curve.thresholds[before]), float(curve.thresholds[after])
    return Eer(rate, low + (high - low) / 2 if np.isfinite(high) else low)


def crossing(excess_before: float, excess_after: float, miss_before: float, miss_after: float) -> float:
    """Return the miss rate where the excess of misses over false alarms, rising linearly, passes zero."""
    share = -excess_before / (excess_after - excess_before)
    return float(miss_before + share * (miss_after - miss_before))


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
        ValueError: see `det.group_trials`; a prior outside (0, 1) or a cost that is not positive.
    """
    return curve_min_dcf(det_curve(scores, targets), p_target, c_miss, c_fa)


def curve_min_dcf(curve: DetCurve, p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Return the normalised minimum detection cost over the points of a curve; see `min_dcf`."""
    if not 0 < p_target < 1:
        raise ValueError(f"The prior of a target must lie between 0 and 1, got {p_target}.")
    if not (c_miss > 0 and c_fa > 0):
        raise ValueError(f"Costs must be above 0, got c_miss={c_miss} and c_fa={c_fa}.")
    miss_cost, fa_cost = c_miss * p_target, c_fa * (1 - p_target)
    return float((miss_cost * curve.p_miss + fa_cost * curve.p_fa).min() / min(miss_cost, fa_cost))


def cllr(llr: ArrayLike, targets: ArrayLike) -> float:
    """Return the cost of log-likelihood ratios in bits: 0 is perfect, 1 is what "no information" (llr = 0) costs.

    Source: Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006, eq. 33.

    Args:
        llr: (K,) natural-log likelihood ratios; may be infinite. Plain cosines are not likelihood ratios.
        targets: (K,) true for same-speaker trials.

    Raises:
        ValueError: see `det.check_trials`.
    """
    values, labels = check_trials(llr, targets, finite=False)
    target_cost = np.logaddexp(0.0, -values[labels]).mean()
    nontarget_cost = np.logaddexp(0.0, values[~labels]).mean()
    return float((target_cost + nontarget_cost) / (2 * np.log(2)))


def min_cllr(scores: ArrayLike, targets: ArrayLike) -> float:
    """Return the Cllr after the best rising map of the scores: what is left when calibration is perfect.

    The map is the isotonic fit (pool adjacent violators) of Brümmer and du Preez 2006, section 7. In [0, 1] bits.

    Raises:
        ValueError: see `det.group_trials`.
    """
    groups = group_trials(scores, targets)
    starts = pool_adjacent_violators(groups.target_weight, groups.target_weight + groups.nontarget_weight)
    target = np.add.reduceat(groups.target_weight, starts)
    nontarget = np.add.reduceat(groups.nontarget_weight, starts)
    mixed = (target > 0) & (nontarget > 0)  # a pure block has an infinite llr of the right sign and costs nothing
    target, nontarget = target[mixed], nontarget[mixed]
    target_total, nontarget_total = groups.target_weight.sum(), groups.nontarget_weight.sum()
    llr = np.log(target / target_total) - np.log(nontarget / nontarget_total)
    target_cost = (target * np.logaddexp(0.0, -llr)).sum() / target_total
    nontarget_cost = (nontarget * np.logaddexp(0.0, llr)).sum() / nontarget_total
    return float((target_cost + nontarget_cost) / (2 * np.log(2)))
