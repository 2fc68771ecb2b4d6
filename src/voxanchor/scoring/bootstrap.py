"""Intervals by bootstrap: how far an error rate could have moved with other speakers.

Trials that share a speaker rise and fall together, so resampling single trials makes intervals too narrow by far.
Speakers are resampled instead (as in Bolle et al., "Error analysis of pattern recognition systems: the subsets
bootstrap", 2004), and all systems and conditions meet the same resampled speakers, so differences are paired.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.scoring.det import check_trials
from voxanchor.scoring.metrics import EerMethod
from voxanchor.scoring.resampled import WeightedClass, weighted_eers, weighted_hull_eers
from voxanchor.scoring.thresholds import weighted_below, weighted_thresholds
from voxanchor.types import BoolArray, FloatArray, IntArray

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
