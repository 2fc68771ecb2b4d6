"""What becomes of a threshold that was set with the old model, when the new one hears the tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxanchor.conditions.spec import Condition
from voxanchor.evaluation.compatibility_figures import ALL_PAIRS, OLD, Pair, open_ends
from voxanchor.evaluation.paired import ends
from voxanchor.evaluation.summary import CLEAN, NOISY, Estimate
from voxanchor.scoring.bootstrap import TrialBootstrap
from voxanchor.scoring.det import rank_trials
from voxanchor.scoring.thresholds import error_rates, threshold_at
from voxanchor.types import BoolArray, FloatArray

RATES = (1.0, 0.1)
"""Rates of false acceptance in percent, on clean trials, that thresholds are set for."""

LEAST_PASSING = 10
"""Different-speaker trials that pass at a rate, at least: with fewer the threshold would be chance."""


@dataclass(frozen=True)
class Rates:
    """Both kinds of error at a threshold, in percent.

    Attributes:
        false_acceptance: of different-speaker trials.
        false_rejection: of same-speaker trials.
    """

    false_acceptance: Estimate
    false_rejection: Estimate


@dataclass(frozen=True)
class PairThreshold:
    """One pair of models at one rate of false acceptance; parts are clean speech, and the mean of all that is not.

    Attributes:
        threshold: that gives the pair the rate on clean trials.
        moved: the same minus that of old enrolments with old tests.
        at_old: part -> errors at the threshold of old enrolments with old tests.
        at_own: part -> errors at the pair's own threshold.
        times_accepted: part -> false acceptances at the old threshold, as a multiple of those of old enrolments with
            old tests; an end is None where draws of speakers without any leave it open.
        more_rejected: part -> false rejections at the old threshold, in percentage points above those of old
            enrolments with old tests.
        avoidable: part -> false rejections at the old threshold, in percentage points above those at the pair's own:
            what a new threshold would mend.
    """

    threshold: Estimate
    moved: Estimate
    at_old: Mapping[str, Rates]
    at_own: Mapping[str, Rates]
    times_accepted: Mapping[str, Estimate]
    more_rejected: Mapping[str, Estimate]
    avoidable: Mapping[str, Estimate]


@dataclass(frozen=True)
class OperatingPoint:
    """A rate of false acceptance, and what it asks of every pair.

    Attributes:
        false_acceptance: the rate in percent.
        pairs: by name; empty where there are too few trials.
        remark: why there are none.
    """

    false_acceptance: float
    pairs: Mapping[str, PairThreshold]
    remark: str = ""


@dataclass
class _Tally:
    """Errors at T thresholds, added up over conditions and seeds: (2, T) values, (2, T, R) replicates."""

    values: FloatArray
    samples: FloatArray
    count: int = 0

    def add(self, values: FloatArray, samples: FloatArray) -> None:
        self.values, self.samples, self.count = self.values + values, self.samples + samples, self.count + 1


@dataclass
class ThresholdStudy:
    """Takes the scores of an evaluation as they come, and keeps the errors at thresholds; see `protocol.Scored`.

    Clean scores of the old pair come first of all, and clean scores of a pair before its others. In every replicate of
    the bootstrap the thresholds are set anew, as they would have been with those speakers.
    """

    targets: BoolArray
    bootstrap: TrialBootstrap
    rates: Sequence[float] = RATES

    def __post_init__(self) -> None:
        self._others = int(np.count_nonzero(~self.targets))
        self._usable = [rate for rate in self.rates if self._others * rate >= 100 * LEAST_PASSING - 1e-6]
        self._at_old: dict[tuple[str, str, int], FloatArray] = {}  # (T, 2) in percent
        self._own: dict[str, tuple[FloatArray, FloatArray]] = {}
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def errors(self, key: tuple[str, str, int]) -> dict[tuple[float, str], float]:
        """Return errors in percent at the old thresholds: (rate, "false acceptance" or "false rejection") -> errors.

        Args:
            key: pair, condition and noise seed.
        """
        kinds = ("false acceptance", "false rejection")
        rows = zip(self._usable, self._at_old.get(key, np.empty((0, 2))).tolist(), strict=True)
        return {(rate, kind): error for rate, row in rows for kind, error in zip(kinds, row, strict=True)}

    def __call__(self, pair: str, condition: Condition, seed: int, scores: FloatArray) -> None:
        """Take the (K,) scores of a pair in a condition."""
        if not self._usable:
            return
        if condition.is_clean and pair in self._own:  # without noise every seed gives the same
            first = next(self._at_old[key] for key in self._at_old if key[:2] == (pair, condition.name))
            self._at_old[pair, condition.name, seed] = first
            return
        ranked = rank_trials(scores, self.targets)
        if condition.is_clean:
            shares = [rate / 100 for rate in self._usable]
            values = np.array([threshold_at(ranked, share) for share in shares])
            self._own[pair] = values, self.bootstrap.thresholds(scores, shares)
        sides = self._own[OLD], self._own[pair]
        thresholds, samples = (np.concatenate([side[place] for side in sides]) for place in (0, 1))
        errors = 100 * np.array([error_rates(ranked, threshold) for threshold in thresholds]).T
        replicates = 100 * np.array(self.bootstrap.error_rates(scores, samples))
        self._at_old[pair, condition.name, seed] = errors[:, : len(self._usable)].T
        part = CLEAN if condition.is_clean else NOISY
        tally = self._tallies.setdefault((pair, part), _Tally(np.zeros_like(errors), np.zeros_like(replicates)))
        tally.add(errors, replicates)

    def points(self) -> tuple[OperatingPoint, ...]:
        """Return what was found, for every rate that was asked for."""
        found = []
        for rate in self.rates:
            if rate in self._usable:
                place = self._usable.index(rate)
                found.append(
                    OperatingPoint(rate, {pair: self._at(pair, place) for pair in ALL_PAIRS if pair in self._own})
                )
            else:
                needed = round(100 * LEAST_PASSING / rate)
                few = f"{self._others:,} different-speaker trials are too few for {rate:g} %: it takes {needed:,}"
                found.append(OperatingPoint(rate, {}, few))
        return tuple(found)

    def _at(self, pair: str, place: int) -> PairThreshold:
        values, samples = self._own[pair]
        old_values, old_samples = self._own[OLD]
        parts = [part for part in (CLEAN, NOISY) if (pair, part) in self._tallies]
        own_place = place + len(self._usable)
        return PairThreshold(
            Estimate(float(values[place]), *ends(samples[place])),
            Estimate(float(values[place] - old_values[place]), *ends(samples[place] - old_samples[place])),
            {part: self._rates(pair, part, place) for part in parts},
            {part: self._rates(pair, part, own_place) for part in parts},
            {part: self._times_accepted(pair, part, place) for part in parts},
            {part: self._rejected((pair, part, place), (OLD, part, place)) for part in parts},
            {part: self._rejected((pair, part, place), (pair, part, own_place)) for part in parts},
        )

    def _rates(self, pair: str, part: str, place: int) -> Rates:
        tally = self._tallies[pair, part]
        values, samples = tally.values[:, place] / tally.count, tally.samples[:, place] / tally.count
        return Rates(*(Estimate(float(values[kind]), *ends(samples[kind])) for kind in (0, 1)))

    def _times_accepted(self, pair: str, part: str, place: int) -> Estimate:
        own, old = self._tallies[pair, part], self._tallies[OLD, part]
        known = np.isfinite(own.samples[0, place]) & np.isfinite(old.samples[0, place])
        draws = _times(own.samples[0, place][known] / own.count, old.samples[0, place][known] / old.count)
        before = float(old.values[0, place]) / old.count or self._usable[place]  # tied scores may let nobody pass
        return Estimate(float(own.values[0, place]) / own.count / before, *open_ends(draws))

    def _rejected(self, one: tuple[str, str, int], other: tuple[str, str, int]) -> Estimate:
        """Return the false rejections of one pair, part and threshold minus those of another."""
        values, samples = zip(*(self._rejections(*key) for key in (one, other)), strict=True)
        return Estimate(values[0] - values[1], *ends(samples[0] - samples[1]))

    def _rejections(self, pair: str, part: str, place: int) -> tuple[float, FloatArray]:
        tally = self._tallies[pair, part]
        return float(tally.values[1, place]) / tally.count, tally.samples[1, place] / tally.count


def _times(ones: FloatArray, others: FloatArray) -> FloatArray:
    """Return how many times as many ones as others there are; nothing is as many as nothing."""
    some = others > 0
    times: FloatArray = np.where(ones > 0, np.inf, 1.0)
    times[some] = ones[some] / others[some]
    return times


def thresholds(points: Sequence[OperatingPoint], pair: Pair) -> dict[str, float]:
    """Return the threshold of a pair at every rate of false acceptance, in percent as text, that has one."""
    return {f"{point.false_acceptance:g}": point.pairs[pair].threshold.value for point in points if point.pairs}
