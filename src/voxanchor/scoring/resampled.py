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
