"""Equal error rates of many weightings of the same trials at once.

For a batch of weightings the trials of each bin of scores are summed, which shows for every weighting in which bin its
misses come to outnumber its false alarms; only there are single trials looked at. Weights are whole numbers, so sums
are exact in whatever order they are taken, and the result is that of weighing and counting all trials anew every time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxanchor.scoring.metrics import crossing
from voxanchor.types import FloatArray, IntArray

_BIN = 1024  # trials of either class in a bin ...
_BINS = 2048  # ... as long as there are not more bins than about twice this
_HULL_VALUES = 1 << 23  # weights of single trials held at once for a hull: 64 MB
_ROUNDING = 1e-14  # of rates and their products
_CHUNK = 1024  # rows of the table gathered at once, which then stay in the processor's cache


@dataclass(frozen=True)
class WeightedClass:
    """The target or the non-target trials in rising order of score.

    Attributes:
        scores: (K,) rising.
        first: (K,) the row of the table that holds each trial's weights.
        second: (K,) the row they are multiplied with; None where that is one everywhere.
    """

    scores: NDArray[np.floating]
    first: NDArray[np.integer]
    second: NDArray[np.integer] | None

    def sums(self, places: IntArray, table: NDArray[np.floating]) -> FloatArray:
        """Return the weight of all trials before each of P rising places, in every weighting: (P, B)."""
        sums = np.zeros((len(places), table.shape[1]))
        for row, start, stop in _chunks(places):
            weights = table.take(self.first[start:stop], axis=0)
            if self.second is None:
                sums[row] += weights.sum(axis=0)
            else:
                sums[row] += np.einsum("kb,kb->b", weights, table.take(self.second[start:stop], axis=0))
        return np.cumsum(sums, axis=0, out=sums)

    def running_sums(self, low: int, high: int, table: NDArray[np.floating], columns: IntArray) -> FloatArray:
        """Return the weight of the first 0, 1, ... trials from `low` to `high`: (high - low + 1, len(columns))."""
        weights = table[np.ix_(self.first[low:high], columns)]
        if self.second is not None:
            weights *= table[np.ix_(self.second[low:high], columns)]
        sums = np.zeros((high - low + 1, len(columns)))
        np.cumsum(weights, axis=0, out=sums[1:])
        return sums


def _chunks(places: IntArray) -> Iterator[tuple[int, int, int]]:
    """Yield (row, start, stop): the trials between two places in portions, numbered by the place behind them."""
    bounds = places.tolist()
    for row in range(1, len(bounds)):
        for start in range(bounds[row - 1], bounds[row], _CHUNK):
            yield row, start, min(start + _CHUNK, bounds[row])


def exact_table(table: NDArray[np.integer]) -> NDArray[np.floating]:
    """Return weightings as floating-point numbers in which the sums of `WeightedClass` are exact."""
    # whole numbers up to 2**24 are exact in float32; of any order but C, take would make a copy every time
    exact = np.float32 if int(table.max()) ** 2 * _CHUNK <= 1 << 24 else np.float64
    values: NDArray[np.floating] = table.astype(exact, order="C")
    return values


def weighted_eers(targets: WeightedClass, nontargets: WeightedClass, table: NDArray[np.integer]) -> FloatArray:
    """Return the EER (linear, a fraction) of every weighting: (B,) float64, NaN where a class has no weight.

    Args:
        targets: the same-speaker trials.
        nontargets: the others.
        table: (U, B) whole numbers, a row per unit and a column per weighting.
    """
    values = exact_table(table)
    edges = _edges(targets.scores, nontargets.scores)
    bins = [_Bins.of(part, edges, values) for part in (targets, nontargets)]
    missed, rejected = (part.below for part in bins)
    usable = (missed[-1] > 0) & (rejected[-1] > 0)
    _, excess = _rates(missed, rejected, np.where(usable, missed[-1], 1.0), np.where(usable, rejected[-1], 1.0))
    ends = np.where(usable, np.count_nonzero(excess < 0, axis=0), 0)  # the first edge with more misses
    rates = np.full(table.shape[1], np.nan)
    for end in np.unique(ends[usable]):
        columns = np.flatnonzero(ends == end)
        points = np.unique(np.concatenate([part.scores(end) for part in bins]))
        missed, rejected = (part.below_points(points, end, values, columns) for part in bins)
        miss, excess = _rates(missed, rejected, *(part.below[-1, columns] for part in bins))
        after, each = np.count_nonzero(excess < 0, axis=0), np.arange(len(columns))
        before = after - 1
        rates[columns] = crossing(excess[before, each], excess[after, each], miss[before, each], miss[after, each])
    return rates


def weighted_hull_eers(targets: WeightedClass, nontargets: WeightedClass, table: NDArray[np.integer]) -> FloatArray:
    """Return the EER on the convex hull (a fraction) of every weighting: (B,) float64, NaN where a class has no weight.

    The arguments are those of `weighted_eers`. The hull depends on trials far from where it is read off, so all are
    weighed anew every time, as many weightings at once as fit a block of memory.
    """
    values = exact_table(table)
    # a corner of the hull lies at a score of a target, or where everything is rejected: see `ranked_min_dcf`
    thresholds = np.append(np.unique(targets.scores), np.array(np.inf, targets.scores.dtype))
    places = [np.searchsorted(part.scores, thresholds) for part in (targets, nontargets)]
    size = max(1, _HULL_VALUES // (len(targets.scores) + len(nontargets.scores)))
    rates = np.full(table.shape[1], np.nan)
    for start in range(0, table.shape[1], size):
        columns = np.arange(start, min(start + size, table.shape[1]))
        missed, rejected = (
            part.running_sums(0, len(part.scores), values, columns)[own]
            for part, own in zip((targets, nontargets), places, strict=True)
        )
        usable = (missed[-1] > 0) & (rejected[-1] > 0)
        if usable.any():
            missed, rejected = missed[:, usable], rejected[:, usable]
            rates[columns[usable]] = _hull_crossing(missed / missed[-1], (rejected[-1] - rejected) / rejected[-1])
    return rates


def _hull_crossing(miss: FloatArray, false_alarm: FloatArray) -> FloatArray:
    """Return where the lower convex hull of P operating points meets equal rates, for each of C weightings: (C,).

    The side of the hull that is crossed is found from a chord across it: the point furthest below the chord is a corner
    of the hull, and takes the place of the end that lies on its side, until there is none.

    Args:
        miss: (P, C), the first 0 and the last 1.
        false_alarm: (P, C), the last 0.
    """
    each = np.arange(miss.shape[1])
    before = np.stack([np.zeros(len(each)), np.ones(len(each))])  # rates of misses and of false alarms
    after = before[::-1].copy()
    while True:
        slope = before[1] - after[1], after[0] - before[0]
        height = slope[0] * miss + slope[1] * false_alarm
        lowest = height.argmin(axis=0)
        corner = np.stack([miss[lowest, each], false_alarm[lowest, each]])
        below = height[lowest, each] < slope[0] * before[0] + slope[1] * before[1] - _ROUNDING
        if not below.any():
            return crossing(before[0] - before[1], after[0] - after[1], before[0], after[0])
        left = corner[0] < corner[1]
        before, after = np.where(below & left, corner, before), np.where(below & ~left, corner, after)


def _rates(
    missed: FloatArray, rejected: FloatArray, targets: FloatArray, nontargets: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the rate of misses and by how much it exceeds that of false alarms."""
    miss = missed / targets
    return miss, miss - (nontargets - rejected) / nontargets


@dataclass(frozen=True)
class _Bins:
    """A class cut at E edges: (E,) places of the edges among its trials, (E, B) weight of the trials below each."""

    trials: WeightedClass
    places: IntArray
    below: FloatArray

    @classmethod
    def of(cls, trials: WeightedClass, edges: NDArray[np.floating], table: NDArray[np.floating]) -> "_Bins":
        places = np.searchsorted(trials.scores, edges)
        return cls(trials, places, trials.sums(places, table))

    def scores(self, end: int) -> NDArray[np.floating]:
        return self.trials.scores[self.places[end - 1] : self.places[end]]

    def below_points(
        self, points: NDArray[np.floating], end: int, table: NDArray[np.floating], columns: IntArray
    ) -> FloatArray:
        """Return the weight below each of P scores of a bin and below its end: (P + 1, len(columns))."""
        low = int(self.places[end - 1])
        counts = np.searchsorted(self.scores(end), points)
        running = self.trials.running_sums(low, low + int(counts[-1]), table, columns)
        return np.vstack((self.below[end - 1, columns] + running[counts], self.below[end, columns]))


def _edges(*classes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the scores at which bins begin, the first the lowest of all and the last infinite.

    Where a score is that of more trials than fit a bin, a bin holds nothing else: none of its trials needs weighing.
    """
    edges = []
    for scores in classes:
        begins = scores[:: max(_BIN, len(scores) // _BINS)]
        tied = begins[1:][begins[1:] == begins[:-1]]
        edges += [begins, np.nextafter(tied, np.inf, dtype=scores.dtype)]
    return np.unique(np.concatenate([*edges, np.array([np.inf], dtype=classes[0].dtype)]))
