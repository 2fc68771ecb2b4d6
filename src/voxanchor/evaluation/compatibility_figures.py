"""Figures on old voiceprints and a new model: error rates, thresholds, differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from voxanchor.conditions.spec import Condition
from voxanchor.evaluation.compare import Samples, ends
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.results import CLEAN, NOISY, OVERALL, Estimate
from voxanchor.scoring.bootstrap import TrialBootstrap, error_rates, threshold_at
from voxanchor.scoring.metrics import rank_trials
from voxanchor.types import BoolArray, FloatArray

Pair = Literal["old", "mixed", "upgraded", "new"]

OLD: Pair = "old"
MIXED: Pair = "mixed"
UPGRADED: Pair = "upgraded"
NEW: Pair = "new"

PAIRS: tuple[Pair, ...] = (OLD, MIXED, NEW)
"""Which model enrolled and which one hears the test: the old one both, the old and the new, the new one both."""

ALL_PAIRS: tuple[Pair, ...] = (OLD, MIXED, UPGRADED, NEW)
"""And, where the new model has a map for them, old enrolments carried into its space."""

LABELS: dict[str, str] = {
    OLD: "old enrolment, old test",
    MIXED: "old enrolment, new test",
    UPGRADED: "upgraded enrolment, new test",
    NEW: "new enrolment, new test",
}


@dataclass(frozen=True)
class Change:
    """One error rate minus another, with paired 95 % intervals.

    Attributes:
        points: in percentage points.
        percent: in percent of the other; None where the other is 0 and this one is not. An end is None where draws of
            speakers without any error leave it open.
    """

    points: Estimate
    percent: Estimate | None

    @classmethod
    def of(cls, one: float, other: float, ones: FloatArray, others: FloatArray) -> "Change":
        """Return the change from `other` to `one`, percentages both, with their (R,) replicates."""
        points = Estimate(one - other, *ends(ones - others))
        if other == 0 and one > 0:
            return cls(points, None)
        known = np.isfinite(ones) & np.isfinite(others)
        shares = _percent(ones[known], others[known])
        return cls(points, Estimate(float(_percent(np.array([one]), np.array([other]))[0]), *open_ends(shares)))

    @property
    def beyond(self) -> float:
        """The change in percent, infinite where there is none to compare with."""
        return float("inf") if self.percent is None else self.percent.value


@dataclass(frozen=True)
class Upgraded:
    """EER of old enrolments carried into the new model's space, with new tests, in percent."""

    eer: Estimate
    minus_old: Change
    minus_new: Change


@dataclass(frozen=True)
class Figure:
    """EERs of the pairs in percent, in one condition or averaged over several, noise seeds averaged."""

    old: Estimate
    mixed: Estimate
    new: Estimate
    mixed_minus_old: Change
    mixed_minus_new: Change
    new_minus_old: Change
    upgraded: Upgraded | None = None

    def of(self, pair: Pair) -> Estimate:
        """Return the EER of a pair that was measured."""
        found: Estimate | Upgraded = getattr(self, pair)
        return found.eer if isinstance(found, Upgraded) else found

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Return the pairs that were measured."""
        return ALL_PAIRS if self.upgraded else PAIRS


def joined(*outcomes: Outcome) -> Outcome:
    """Return rows, curves and replicates of all pairs in the order of `ALL_PAIRS`."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    return replace(
        outcomes[0],
        rows=[row for pair in ALL_PAIRS for row in rows if row.system == pair],
        det={key: curve for outcome in outcomes for key, curve in outcome.det.items()},
        replicates={key: draws for outcome in outcomes for key, draws in outcome.replicates.items()},
        geometry=[],
        embeddings={},
    )


def figures(outcome: Outcome) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """Return the averages (clean, noisy, overall, as far as there are such conditions) and every condition."""
    there = {row.system for row in outcome.rows}
    samples = Samples.of(outcome, dict.fromkeys([pair for pair in ALL_PAIRS if pair in there], (0,)))
    names = samples.conditions
    places = {name: [place] for place, name in enumerate(names)}
    groups = {
        CLEAN: [place for name, (place,) in places.items() if name == "clean"],
        NOISY: [place for name, (place,) in places.items() if name != "clean"],
        OVERALL: list(range(len(names))),
    }
    averages = {name: _figure(samples, group) for name, group in groups.items() if group}
    return averages, {name: _figure(samples, place) for name, place in places.items()}


def _figure(samples: Samples, places: list[int]) -> Figure:
    values = {pair: float(eers[0, places].mean()) for pair, eers in samples.eers.items()}
    draws: dict[str, FloatArray] = {pair: samples.replicates[pair][0, places].mean(axis=0) for pair in values}

    def estimate(pair: str) -> Estimate:
        return Estimate(values[pair], *ends(draws[pair]))

    def change(one: str, other: str) -> Change:
        return Change.of(values[one], values[other], draws[one], draws[other])

    upgraded = None
    if UPGRADED in values:
        upgraded = Upgraded(estimate(UPGRADED), change(UPGRADED, OLD), change(UPGRADED, NEW))
    old, mixed, new = (estimate(pair) for pair in PAIRS)
    return Figure(old, mixed, new, change(MIXED, OLD), change(MIXED, NEW), change(NEW, OLD), upgraded)


def _percent(ones: FloatArray, others: FloatArray) -> FloatArray:
    """Return by how many percent errors are above others; nothing above nothing is no change."""
    some = others > 0
    share: FloatArray = np.where(ones > 0, np.inf, 0.0)
    share[some] = 100 * (ones[some] / others[some] - 1)
    return share


def open_ends(samples: FloatArray) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval among the replicates themselves, since infinities allow no mean of two."""
    if not samples.size:
        return None, None
    ordered = np.sort(samples)
    last = len(ordered) - 1
    low, high = float(ordered[int(0.025 * last)]), float(ordered[int(np.ceil(0.975 * last))])
    return (low if np.isfinite(low) else None), (high if np.isfinite(high) else None)


def one_side(estimate: Estimate, least: float, most: float) -> bool:
    """Whether an interval lies inside bounds, or outside them on one side."""
    low, high = estimate.low, estimate.high
    if (low is not None and low > most) or (high is not None and high < least):
        return True
    return low is not None and high is not None and least <= low and high <= most


def outside(change: Change, bound: float) -> bool:
    """Whether the interval of a change in percent leaves no doubt on which side of a bound it is."""
    if change.percent is None:
        return change.points.low is not None and change.points.low > 0
    low, high = change.percent.low, change.percent.high
    return (low is not None and low > bound) or (high is not None and high <= bound)


# What becomes of a threshold that was set with the old model, when the new one hears the tests.

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
