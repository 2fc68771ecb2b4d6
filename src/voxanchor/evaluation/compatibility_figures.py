"""Error rates of old and new enrolments with old and new tests, and their differences on the same drawn speakers."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from voxanchor.evaluation.paired import ends
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.seeded import Samples
from voxanchor.evaluation.summary import CLEAN, NOISY, OVERALL, Estimate
from voxanchor.types import FloatArray

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
