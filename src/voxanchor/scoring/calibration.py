"""Calibration: from the cosine of two recordings and what they are worth to a log-likelihood ratio.

A cosine says how alike two embeddings are, and what that means depends on the recordings: two seconds in babble never
come as near to each other as ten in a quiet room. The log-likelihood ratio of a trial is

    llr = a + b z + sum over measures m of (c_m + d_m z) m_low + (e_m + f_m z) m_high,    z = artanh(cosine)

with every measure of quality once for the worse and once for the better of the two sides, so that their order does
not matter. Logistic regression (Brümmer and du Preez 2006) finds the coefficients over trials of clean and noisy
conditions. That quality belongs into calibration is from Mandasari et al., "Quality measure functions for calibration
of speaker recognition systems in various duration conditions", 2013; the likeness to strangers as such a measure from
Thienpondt et al., "The IDLAB VoxSRC-20 submission", 2021; the products with z, which let one threshold serve clean and
noisy trials, were chosen by measurement (docs/verification.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from voxanchor.scoring.logistic import fit_logistic
from voxanchor.scoring.scores import check_index
from voxanchor.types import BoolArray, FloatArray, IntArray

Kind = Literal["cosine", "as-norm"]
Measure = Literal["speech", "snr", "likeness"]
"""Logarithm of the seconds of speech; estimated signal-to-noise ratio in tens of dB; mean of the highest scores with a
cohort of strangers."""

PRIOR = 0.1
"""Of same-speaker trials, that the fit is weighted for: towards the high scores where thresholds lie in use."""

LARGEST_COSINE = 0.9999
"""Cosines beyond it count as this: artanh has no bound."""

LEAST_SPEECH_S = 0.1


@dataclass(frozen=True)
class Sides:
    """What N recordings, or voiceprints, are worth.

    Attributes:
        speech_s: (N,) seconds of active speech, of all recordings of a voiceprint together.
        snr_db: (N,) estimates of the signal-to-noise ratio, the mean for a voiceprint.
        likeness: (N,) mean of the highest scores with a cohort; None without one.
    """

    speech_s: FloatArray
    snr_db: FloatArray
    likeness: FloatArray | None = None

    def measure(self, name: Measure) -> FloatArray:
        """Return (N,) values of a measure, in the scale that calibration takes."""
        if name == "speech":
            logarithm: FloatArray = np.log(np.maximum(self.speech_s, LEAST_SPEECH_S))
            return logarithm
        if name == "snr":
            return self.snr_db / 10.0
        if self.likeness is None:
            raise ValueError("The likeness to strangers needs a cohort.")
        return self.likeness


@dataclass(frozen=True)
class Trials:
    """K scored comparisons of N sides with M others.

    Attributes:
        scores: (K,) of the kind that the calibration takes.
        enrol: of the N.
        test: of the M.
        enrol_index: (K,) rows of `enrol`.
        test_index: (K,) rows of `test`.
    """

    scores: FloatArray
    enrol: Sides
    test: Sides
    enrol_index: IntArray
    test_index: IntArray

    def __post_init__(self) -> None:
        check_index(self.enrol_index, self.test_index, len(self.enrol.speech_s), len(self.test.speech_s))
        if np.shape(self.scores) != np.shape(self.enrol_index):
            raise ValueError(f"Scores must be (K,), got {np.shape(self.scores)} for {np.shape(self.enrol_index)}.")


@dataclass(frozen=True)
class Calibration:
    """A fitted map from scores and quality to natural-log likelihood ratios.

    Attributes:
        kind: what the scores are: cosines, or cosines normalised by a cohort.
        offset: a.
        slope: b, above 0 at every quality within the ranges.
        measures: those it takes.
        shifts: (c, e) of each measure, for the lower and the higher of the two sides.
        tilts: (d, f) of each.
        ranges: lowest and highest value of each measure in the fit; values beyond count as these.
    """

    kind: Kind
    offset: float
    slope: float
    measures: tuple[Measure, ...] = ()
    shifts: dict[str, tuple[float, float]] = field(default_factory=dict)
    tilts: dict[str, tuple[float, float]] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = set(self.measures)
        if len(names) < len(self.measures) or any(set(by) != names for by in (self.shifts, self.tilts, self.ranges)):
            raise ValueError("Every measure needs its shifts, tilts and range, once.")
        pairs = [*self.shifts.values(), *self.tilts.values(), *self.ranges.values()]
        if not np.isfinite([self.offset, self.slope, *(value for pair in pairs for value in pair)]).all():
            raise ValueError("Offset, slope, shifts, tilts and ranges must be finite.")
        if any(low > high for low, high in self.ranges.values()):
            raise ValueError("A range goes from its lowest value to its highest.")

    def llr(self, trials: Trials) -> FloatArray:
        """Return (K,) natural-log likelihood ratios: above 0 speaks for one speaker, below for two."""
        z = spread(trials.scores, self.kind)
        offset, slope = np.full(len(z), self.offset), np.full(len(z), self.slope)
        for name, low, high in self._ordered(trials):
            offset += self.shifts[name][0] * low + self.shifts[name][1] * high
            slope += self.tilts[name][0] * low + self.tilts[name][1] * high
        return offset + slope * z

    def least_slope(self) -> float:
        """Return the smallest slope that any quality within the ranges gives: above 0, higher scores never lose."""
        slope = self.slope
        for name in self.measures:
            low, high = self.ranges[name]
            slope += min(float(np.dot(self.tilts[name], pair)) for pair in ((low, low), (low, high), (high, high)))
        return slope

    def outside(self, sides: Sides) -> tuple[str, ...]:
        """Return the measures by which the first side is worse than all that the fit has heard."""
        return tuple(
            name
            for name in self.measures
            if name != "likeness" and float(sides.measure(name)[0]) < self.ranges[name][0] - 1e-9
        )

    def _ordered(self, trials: Trials) -> Iterator[tuple[Measure, FloatArray, FloatArray]]:
        for name in self.measures:
            low, high = self.ranges[name]
            one = np.clip(trials.enrol.measure(name), low, high)[trials.enrol_index]
            other = np.clip(trials.test.measure(name), low, high)[trials.test_index]
            yield name, np.minimum(one, other), np.maximum(one, other)


def spread(scores: ArrayLike, kind: Kind) -> FloatArray:
    """Return the scores as the map takes them: artanh of cosines, which tells apart the highest; others as they are."""
    values = np.asarray(scores, dtype=np.float64)
    if kind == "as-norm":
        return values
    angles: FloatArray = np.arctanh(np.clip(values, -LARGEST_COSINE, LARGEST_COSINE))
    return angles


def fit_calibration(
    groups: Sequence[tuple[Trials, BoolArray]], kind: Kind = "cosine", measures: Sequence[Measure] = ()
) -> Calibration:
    """Return the calibration fitted on groups of trials, of which each weighs the same.

    Args:
        groups: the trials of a condition, and (K,) which of them are of one speaker.
        kind: what their scores are.
        measures: qualities to take into account.

    Raises:
        ValueError: no group, one without trials of both classes, or scores that do not rise with one speaker.
    """
    ranges: dict[str, tuple[float, float]] = {name: _range([group for group, _ in groups], name) for name in measures}
    empty: dict[str, tuple[float, float]] = dict.fromkeys(measures, (0.0, 0.0))
    blank = Calibration(kind, 0.0, 0.0, tuple(measures), empty, empty, ranges)
    found = _fitted(blank, groups, tilted=bool(measures))
    # too few trials can turn the slope round at some quality: then quality moves scores and no longer stretches them,
    # and if that turns it round as well, quality is left out
    if found.least_slope() <= 0:
        found = _fitted(blank, groups, tilted=False)
    if found.slope <= 0 and measures:
        found = _fitted(Calibration(kind, 0.0, 0.0), groups, tilted=False)
    if found.slope <= 0:
        raise ValueError("Trials of one speaker do not score higher than those of two: nothing can be calibrated.")
    return found


def _fitted(blank: Calibration, groups: Sequence[tuple[Trials, BoolArray]], tilted: bool) -> Calibration:
    rows, targets, weights = [], [], []
    for group, same in groups:
        z = spread(group.scores, blank.kind)
        qualities = [value for _, *pair in blank._ordered(group) for value in pair]
        products = [value * z for value in qualities] if tilted else []
        rows.append(np.column_stack([z, *qualities, *products]))
        targets.append(same)
        weights.append(_weights(same))
    odds = float(np.log(PRIOR / (1 - PRIOR)))
    offset, slope, *rest = fit_logistic(
        np.concatenate(rows), np.concatenate(targets), np.concatenate(weights), odds
    ).tolist()
    count = 2 * len(blank.measures)
    shifts, tilts = rest[:count], rest[count:] or [0.0] * count
    return Calibration(
        blank.kind, offset, slope, blank.measures, _pairs(blank, shifts), _pairs(blank, tilts), blank.ranges
    )


def _pairs(blank: Calibration, values: Sequence[float]) -> dict[str, tuple[float, float]]:
    return {name: (values[2 * i], values[2 * i + 1]) for i, name in enumerate(blank.measures)}


def _weights(same: BoolArray) -> FloatArray:
    if not same.any() or same.all():
        raise ValueError("Every condition needs trials of one speaker and of two.")
    weights: FloatArray = np.where(same, PRIOR / same.sum(), (1 - PRIOR) / (~same).sum())
    return weights


def _range(groups: Sequence[Trials], name: Measure) -> tuple[float, float]:
    # of the trials' own sides: a group may hold others, of speakers that the fit must not know
    sides = [
        side.measure(name)[index]
        for group in groups
        for side, index in ((group.enrol, group.enrol_index), (group.test, group.test_index))
    ]
    return min(float(side.min()) for side in sides), max(float(side.max()) for side in sides)


def log_odds(prior: float) -> float:
    """Return the threshold on log-likelihood ratios of the cheapest decision where both errors cost the same.

    Args:
        prior: probability of a same-speaker trial before anything was heard, between 0 and 1.

    Raises:
        ValueError: a prior outside that.
    """
    if not 0 < prior < 1:
        raise ValueError(f"The prior of a same-speaker trial lies between 0 and 1, got {prior}.")
    return float(np.log1p(-prior) - np.log(prior))
