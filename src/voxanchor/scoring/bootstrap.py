"""Intervals by bootstrap: how far an error rate could have moved with other speakers.

Trials that share a speaker rise and fall together, so resampling single trials makes intervals too narrow by far.
Speakers are resampled instead (as in Bolle et al., "Error analysis of pattern recognition systems: the subsets
bootstrap", 2004), and all systems and conditions meet the same resampled speakers, so differences are paired.
"""

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from voxanchor.scoring.det import check_trials
from voxanchor.scoring.metrics import crossing
from voxanchor.types import BoolArray, FloatArray, IntArray


class Interval(NamedTuple):
    """Lower and upper end, in the unit of the samples it was made from."""

    low: float
    high: float


@dataclass(frozen=True)
class TrialBootstrap:
    """Resampled weights of one list of trials, to be applied to any number of score lists over it.

    Attributes:
        targets: (K,) true for same-speaker trials.
        enrol: (K,) number of each trial's enrolment speaker, or None when speakers are unknown.
        test: (K,) number of each trial's test speaker, or None when speakers are unknown.
        multiplicities: (R, S) how often each speaker was drawn; (R, 0) when speakers are unknown.
        seeds: (R,) seeds of the trial-wise draws, used when speakers are unknown.
    """

    targets: BoolArray
    enrol: IntArray | None
    test: IntArray | None
    multiplicities: FloatArray
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
            return cls(labels, None, None, np.empty((replicates, 0)), seeds)
        enrol, test = np.asarray(enrol_speakers), np.asarray(test_speakers)
        if not enrol.shape == test.shape == labels.shape:
            raise ValueError(f"Speakers must be (K,) = {labels.shape}, got {enrol.shape} and {test.shape}.")
        names, numbers = np.unique(np.concatenate((enrol, test)), return_inverse=True)
        count = len(names)
        multiplicities = generator.multinomial(count, np.full(count, 1 / count), size=replicates).astype(np.float64)
        return cls(labels, numbers[: labels.size], numbers[labels.size :], multiplicities, seeds)

    @property
    def unit(self) -> str:
        """What is resampled: "speaker" or "trial"."""
        return "trial" if self.enrol is None else "speaker"

    def eer(self, scores: ArrayLike) -> FloatArray:
        """Return the EER (linear, a fraction) of every replicate: (R,) float64.

        NaN where a replicate holds no target or no non-target trial, as happens with very few speakers.
        Scores are sorted once. Two calls meet the same resampled speakers, so their difference is a paired sample.

        Args:
            scores: (K,) finite scores of the trials the bootstrap was drawn for.

        Raises:
            ValueError: see `det.check_trials`.
        """
        values, labels = check_trials(scores, self.targets)
        order = np.argsort(values)
        ranked = values[order]
        first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))  # points: below each distinct score ...
        targets_below = np.append(np.cumsum(labels[order])[first] - labels[order][first], np.count_nonzero(labels))
        points = np.append(first, labels.size)  # ... and above all of them
        nontargets_below = points - targets_below
        is_target = labels[order]
        target_trials, nontarget_trials = order[is_target], order[~is_target]
        target_weights, nontarget_weights = self._weights(target_trials), self._weights(nontarget_trials)
        rates = np.empty(len(self.seeds))
        for replicate in range(len(self.seeds)):
            missed = _running_sum(target_weights.of(replicate))
            rejected = _running_sum(nontarget_weights.of(replicate))
            rates[replicate] = _weighted_eer(missed, rejected, targets_below, nontargets_below)
        return rates

    def _weights(self, trials: IntArray) -> "_Weights":
        if self.enrol is None or self.test is None:
            return _Weights(None, None, None, trials, self.targets.size, self.multiplicities, self.seeds)
        enrol, test = self.enrol[trials], self.test[trials]
        return _Weights(enrol, test, enrol == test, trials, self.targets.size, self.multiplicities, self.seeds)


@dataclass(frozen=True)
class _Weights:
    enrol: IntArray | None
    test: IntArray | None
    same: BoolArray | None
    trials: IntArray
    total: int
    multiplicities: FloatArray
    seeds: IntArray

    def of(self, replicate: int) -> FloatArray:
        if self.enrol is None or self.test is None or self.same is None:
            draw = np.random.Generator(np.random.Philox(int(self.seeds[replicate])))
            picked = np.bincount(draw.integers(0, self.total, size=self.total), minlength=self.total)
            return picked[self.trials].astype(np.float64)
        drawn = self.multiplicities[replicate]
        weights: FloatArray = drawn[self.enrol] * np.where(self.same, 1.0, drawn[self.test])
        return weights


def _running_sum(weights: FloatArray) -> FloatArray:
    sums = np.zeros(weights.size + 1)
    np.cumsum(weights, out=sums[1:])
    return sums


def _weighted_eer(
    missed: FloatArray, rejected: FloatArray, targets_below: IntArray, nontargets_below: IntArray
) -> float:
    """Return the EER by bisection over the thresholds: of all points only a handful is looked at."""
    if missed[-1] == 0 or rejected[-1] == 0:
        return float("nan")

    def miss(point: int) -> float:
        return float(missed[targets_below[point]] / missed[-1])

    def excess(point: int) -> float:
        return miss(point) - float((rejected[-1] - rejected[nontargets_below[point]]) / rejected[-1])

    after = bisect_left(range(len(targets_below)), 0.0, key=excess)
    return crossing(excess(after - 1), excess(after), miss(after - 1), miss(after))


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
