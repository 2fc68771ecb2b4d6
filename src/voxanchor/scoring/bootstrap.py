"""Intervals by bootstrap over speakers, and thresholds for a stated rate of false acceptance.

For a batch of weightings the trials of each bin of scores are summed, which shows for every weighting in which bin its
misses come to outnumber its false alarms; only there are single trials looked at. Weights are whole numbers, so sums
are exact in whatever order they are taken, and the result is that of weighing and counting all trials anew every time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.scoring.metrics import EerMethod, RankedTrials, check_trials, crossing
from voxanchor.types import BoolArray, FloatArray, IntArray

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


# Thresholds that let a stated share of the different-speaker trials pass, and the error rates that a threshold gives.
#
# A trial is accepted when its score is at or above the threshold, as everywhere. Of all thresholds with which no more
# than the stated share passes, the lowest stretch between two scores is taken, and its middle.

_SCANNED = 1024  # trials looked at together, from the highest score downwards
_SHARE_ROUNDING = 1e-9  # a share of 0.29 of 100 trials is 29 trials, whatever the product says in binary


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
    allowed = int(false_acceptance * len(scores) + _SHARE_ROUNDING)
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
    if not 0 <= weight < passing[0] * (1 - _SHARE_ROUNDING):
        raise ValueError(f"The weight must be at least 0 and below that of all trials, {passing[0]:g}, got {weight:g}.")
    rejected = np.count_nonzero(passing > weight * (1 + _SHARE_ROUNDING)) - 1
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
    allowed = np.floor(shares[:, None] * total + _SHARE_ROUNDING)
    rejected = np.full(allowed.shape, -1)  # the highest-scored trial that must not pass
    carried = np.zeros(len(columns))
    for stop in range(count, 0, -_SCANNED):
        start = max(0, stop - _SCANNED)
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


# Intervals by bootstrap: how far an error rate could have moved with other speakers.
#
# Trials that share a speaker rise and fall together, so resampling single trials makes intervals too narrow by far.
# Speakers are resampled instead (as in Bolle et al., "Error analysis of pattern recognition systems: the subsets
# bootstrap", 2004), and all systems and conditions meet the same resampled speakers, so differences are paired.

_TABLE_VALUES = 1 << 24  # multiplicities held as floating-point numbers at once: 64 MB
_BATCH = 256  # replicates worked on at once
_WEIGHTED = {"linear": weighted_eers, "convex_hull": weighted_hull_eers}


class Interval(NamedTuple):
    """Lower and upper end, in the unit of the samples it was made from."""

    low: float
    high: float


@dataclass(frozen=True)
class TrialBootstrap:
    """Resampled weights of one list of trials, to be applied to any number of score lists over it.

    Attributes:
        targets: (K,) true for same-speaker trials.
        enrol: (K,) int32 number of each trial's enrolment speaker, or None when speakers are unknown.
        test: (K,) int32 number of each trial's test speaker, or None when speakers are unknown.
        multiplicities: (R, S) int64, how often each speaker was drawn; (R, 0) when speakers are unknown.
        seeds: (R,) seeds of the trial-wise draws, used when speakers are unknown.
    """

    targets: BoolArray
    enrol: NDArray[np.int32] | None
    test: NDArray[np.int32] | None
    multiplicities: IntArray
    seeds: IntArray

    @classmethod
    def draw(
        cls,
        targets: ArrayLike,
        enrol_speakers: ArrayLike | None,
        test_speakers: ArrayLike | None,
        generator: np.random.Generator,
        replicates: int = 200,
    ) -> "TrialBootstrap":
        """Return a bootstrap over speakers, or over single trials where the speakers are not given.

        A trial weighs as much as its two speakers were drawn: the product of their multiplicities, or the
        multiplicity itself where both are the same.

        Args:
            targets: (K,) true for same-speaker trials.
            enrol_speakers: (K,) speaker of each enrolment, as numbers or names; None when unknown.
            test_speakers: (K,) speaker of each test, as numbers or names; None when unknown.
            generator: source of the draws.
            replicates: number of resampled sets R.

        Raises:
            ValueError: arrays that do not fit each other, or no replicates.
        """
        labels = np.asarray(targets, dtype=np.bool_)
        if replicates < 1:
            raise ValueError(f"A bootstrap needs at least one replicate, got {replicates}.")
        seeds = generator.integers(0, 2**63 - 1, size=replicates)
        if enrol_speakers is None or test_speakers is None:
            return cls(labels, None, None, np.empty((replicates, 0), np.int64), seeds)
        enrol, test = np.asarray(enrol_speakers), np.asarray(test_speakers)
        if not enrol.shape == test.shape == labels.shape:
            raise ValueError(f"Speakers must be (K,) = {labels.shape}, got {enrol.shape} and {test.shape}.")
        enrol, test, count = _numbered(enrol, test)
        multiplicities = generator.multinomial(count, np.full(count, 1 / count), size=replicates)
        return cls(labels, enrol, test, multiplicities, seeds)

    @property
    def unit(self) -> str:
        """What is resampled: "speaker" or "trial"."""
        return "trial" if self.enrol is None else "speaker"

    def eer(self, scores: ArrayLike, method: EerMethod = "linear") -> FloatArray:
        """Return the EER (a fraction) of every replicate: (R,) float64.

        NaN where a replicate holds no target or no non-target trial, as happens with very few speakers.
        Two calls meet the same resampled speakers, so their difference is a paired sample. Scores are sorted once;
        beside that the cost is a few operations per trial and replicate. Memory, whatever the number of replicates:
        about 32 bytes a trial, 64 where single trials are drawn, and up to 200 MB. On the convex hull every trial is
        weighed in every replicate: 5 s for 200 replicates of 300,000 trials, where the other takes 0.2 s.

        Args:
            scores: (K,) finite scores of the trials the bootstrap was drawn for.
            method: how the points of the ROC are joined, as in `metrics.eer`; that of the figure the interval is for.

        Raises:
            ValueError: see `det.check_trials`; an unknown method.
        """
        if method not in _WEIGHTED:
            raise ValueError(f"Unknown EER method '{method}': use 'linear' or 'convex_hull'.")
        same, other = self._classes(scores)
        return np.concatenate([_WEIGHTED[method](same, other, table) for table in self._tables()])

    def thresholds(self, scores: ArrayLike, false_acceptances: ArrayLike) -> FloatArray:
        """Return in every replicate the thresholds with which stated shares of its non-target trials are accepted.

        As `thresholds.threshold_at` gives them: (T, R) float64, NaN where a replicate holds no non-target trial.

        Args:
            scores: (K,) finite scores of the trials the bootstrap was drawn for.
            false_acceptances: (T,) shares, each at least 0 and below 1.

        Raises:
            ValueError: see `det.check_trials`; a share outside that.
        """
        _, other = self._classes(scores)
        return np.concatenate([weighted_thresholds(other, part, false_acceptances) for part in self._tables()], axis=1)

    def error_rates(self, scores: ArrayLike, thresholds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the rates of false acceptance and of false rejection in every replicate: (T, R) float64 fractions.

        NaN where a threshold is NaN or a replicate holds no trial of the kind.

        Args:
            scores: (K,) finite scores of the trials the bootstrap was drawn for.
            thresholds: (T, R), T for every replicate.

        Raises:
            ValueError: see `det.check_trials`; thresholds for another number of replicates.
        """
        if thresholds.ndim != 2 or thresholds.shape[1] != len(self.seeds):
            raise ValueError(f"Thresholds must be (T, {len(self.seeds)}), got {thresholds.shape}.")
        classes, rejected, first = self._classes(scores), [], 0
        for table in self._tables():
            own = thresholds[:, first : first + table.shape[1]]
            rejected.append([weighted_below(part, table, own) for part in classes])
            first += table.shape[1]
        missed, turned_away = (np.concatenate([part[place] for part in rejected], axis=1) for place in (0, 1))
        return 1.0 - turned_away, missed

    def _classes(self, scores: ArrayLike) -> tuple[WeightedClass, WeightedClass]:
        """Return the target and the non-target trials, sorted."""
        values, labels = check_trials(scores, self.targets)
        return self._ranked(values, np.flatnonzero(labels)), self._ranked(values, np.flatnonzero(~labels))

    def _ranked(self, scores: NDArray[np.floating], trials: IntArray) -> WeightedClass:
        order = trials[np.argsort(scores[trials])]
        if self.enrol is None or self.test is None:  # every trial is a unit of its own
            return WeightedClass(scores[order], order, None)
        enrol, test = self.enrol[order], self.test[order]
        same = enrol == test
        if same.all():
            return WeightedClass(scores[order], enrol, None)
        test[same] = self.multiplicities.shape[1]  # the unit behind the last, of which there is always one
        return WeightedClass(scores[order], enrol, test)

    def _tables(self) -> Iterator[NDArray[np.integer]]:
        """Yield (units + 1, B) multiplicities of B replicates at a time, the last row all ones."""
        units = self.targets.size if self.enrol is None else self.multiplicities.shape[1]
        batch = min(_BATCH, max(1, _TABLE_VALUES // (units + 1)))
        for start in range(0, len(self.seeds), batch):
            if self.enrol is None:
                drawn: NDArray[np.integer] = np.stack(
                    [_drawn(units, int(seed)) for seed in self.seeds[start : start + batch]]
                )
            else:
                drawn = self.multiplicities[start : start + batch]
            yield np.vstack((drawn.T, np.ones((1, len(drawn)), drawn.dtype)))


def _drawn(units: int, seed: int) -> NDArray[np.int32]:
    draw = np.random.Generator(np.random.Philox(seed))
    return np.bincount(draw.integers(0, units, size=units), minlength=units).astype(np.int32)


def _numbered(enrol: NDArray[Any], test: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Return both sides' speakers numbered from 0 in sorted order, and how many there are."""
    if enrol.dtype.kind in "iu" and test.dtype.kind in "iu" and enrol.size and enrol.min() >= 0 and test.min() >= 0:
        highest = int(max(enrol.max(), test.max()))
        if highest <= 4 * enrol.size + 64:  # numbers already: no need to sort them all
            taken = np.zeros(highest + 1, dtype=np.bool_)
            taken[enrol] = taken[test] = True
            numbers = (np.cumsum(taken) - 1).astype(np.int32)
            return numbers[enrol], numbers[test], int(np.count_nonzero(taken))
    names, inverse = np.unique(np.concatenate((enrol, test)), return_inverse=True)
    codes = inverse.astype(np.int32)
    return codes[: enrol.size], codes[enrol.size :], len(names)


def interval(samples: ArrayLike, level: float = 0.95) -> Interval:
    """Return the central percentile interval of bootstrap samples; NaN samples are left out.

    For the difference of two systems pass the difference of their samples: it is paired.

    Args:
        samples: (R,) replicates of a figure.
        level: share of the samples inside, in (0, 1).

    Raises:
        ValueError: a level outside (0, 1), or no sample that is a number.
    """
    values = np.asarray(samples, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval must lie between 0 and 1, got {level}.")
    if values.size == 0:
        raise ValueError("No replicate held both target and non-target trials: an interval needs more speakers.")
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high))
