"""Is a difference between two systems more than chance? Speakers and training seeds drawn anew, paired.

All systems meet the same drawn speakers, and systems with the same training seeds the same drawn seeds: a seed decides
initial weights and order of data, so what it does to one system it may do to another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxanchor.evaluation.summary import Estimate
from voxanchor.rng import generator
from voxanchor.scoring.bootstrap import interval
from voxanchor.scoring.gain import ErrorCurve, mean_db_gained
from voxanchor.types import FloatArray

SETTLED = 0.05
"""A difference counts as settled below this p-value."""


@dataclass(frozen=True)
class Contrast(Estimate):
    """A difference of two systems with its 95 % interval over speakers and training seeds.

    Attributes:
        p: two-sided p-value of "no difference"; None where the speakers were too few to draw them anew.
    """

    p: float | None = None

    @property
    def settled(self) -> bool:
        """Whether the sign of the difference is more than chance would give."""
        return self.p is not None and self.p < SETTLED


def contrast(value: float, samples: FloatArray) -> Contrast:
    """Return a difference with interval and p-value.

    Args:
        value: the difference as measured.
        samples: (R,) the difference in every replicate; NaN ones are left out.
    """
    return Contrast(value, *ends(samples), p_value(samples))


def p_value(samples: FloatArray) -> float | None:
    """Return twice the smaller share of replicates on either side of zero, at most 1; None without replicates.

    A difference of exactly zero counts for both sides, and one replicate is added to each, so that the value is never
    0: with R replicates the least is 2 / (R + 1).

    Args:
        samples: (R,) differences; NaN ones are left out.
    """
    known = samples[~np.isnan(samples)]
    if known.size == 0:
        return None
    side = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return float(min(1.0, 2 * (side + 1) / (known.size + 1)))


def ends(samples: FloatArray) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of (R,) replicates, or twice None where none is a number."""
    return interval(samples) if np.isfinite(samples).any() else (None, None)


def seed_weights(seeds: Sequence[int], replicates: int) -> FloatArray:
    """Return how much each training seed weighs in each replicate: (K, R) float64, columns sum to 1.

    K - 1 of the K seeds are drawn, with replacement. Drawing K, as is usual, would make the variance of a mean too
    small by (K - 1) / K, a third for three seeds; this is exact (Rao and Wu, "Resampling inference with complex survey
    data", 1988). The draw depends on the seeds and nothing else: systems with the same seeds share it.

    Args:
        seeds: the K training seeds in rising order; of one, every replicate takes it.
        replicates: the number R.
    """
    count = len(seeds)
    draw = generator(0, 0, ",".join(map(str, seeds)), "training seeds")
    drawn = draw.integers(0, count, size=(replicates, max(1, count - 1)))
    return np.stack([(drawn == place).mean(axis=1) for place in range(count)])


def over_seeds(samples: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the mean over training seeds of (K, C, R) samples: (C, R).

    Args:
        samples: a value for every seed, condition and replicate.
        weights: (K, R) of the seeds; None for equal ones.
    """
    if weights is None:
        mean: FloatArray = samples.mean(axis=0)
        return mean
    weighted: FloatArray = np.einsum("kcr,kr->cr", samples, weights)
    return weighted


def gains(base: FloatArray, robust: FloatArray, kinds: Mapping[str, tuple[FloatArray, tuple[int, ...]]]) -> FloatArray:
    """Return the dB gained in every replicate: (R,), NaN where a replicate has none.

    A replicate that allows only a bound counts as that bound.

    Args:
        base: (C, R) EERs of the base.
        robust: (C, R) EERs of the system compared with it.
        kinds: kind of noise -> SNRs in dB, rising, and the places of their conditions.
    """
    found = np.full(base.shape[1], np.nan)
    for replicate in np.flatnonzero(np.isfinite(base).all(axis=0) & np.isfinite(robust).all(axis=0)):
        curves = [
            {kind: ErrorCurve(levels, eers[list(places), replicate]) for kind, (levels, places) in kinds.items()}
            for eers in (base, robust)
        ]
        gain = mean_db_gained(*curves)
        if gain is not None:
            found[replicate] = gain.db
    return found
