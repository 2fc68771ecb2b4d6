"""Calibration: from scores and the quality of two recordings to a log-likelihood ratio, and its record on disk."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from voxanchor.config import LATER, build, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.scoring.scores import check_index
from voxanchor.types import BoolArray, FloatArray, IntArray

RIDGE = 1e-5
"""Weight of the squared coefficients: what keeps them finite where the classes can be told apart without error."""

_STEPS = 100
_CONVERGED = 1e-10


def fit_logistic(features: FloatArray, targets: BoolArray, weights: FloatArray, offset: float = 0.0) -> FloatArray:
    """Return (F + 1,) coefficients, the constant first, that minimise the weighted logistic loss.

    By Newton's method on standardised features, each step halved until the loss falls, so that it ends at the one
    minimum there is. The ridge acts on standardised features and not on the constant.

    Args:
        features: (K, F) float64.
        targets: (K,) true for the class whose log odds are wanted.
        weights: (K,) at least 0, of any sum.
        offset: added to the log odds of every trial while fitting, and not part of the result: the log odds of the
            prior, so that the result is a log-likelihood ratio (Brümmer and du Preez 2006).

    Raises:
        ValueError: shapes that do not fit, a class without weight, or features that are not finite.
    """
    if features.ndim != 2 or targets.shape != features.shape[:1] or weights.shape != targets.shape:
        raise ValueError(f"Expected (K, F), (K,) and (K,), got {features.shape}, {targets.shape} and {weights.shape}.")
    if not np.isfinite(features).all():
        raise ValueError("Features must be finite.")
    if not (weights[targets].sum() > 0 and weights[~targets].sum() > 0):
        raise ValueError("Both classes need trials with weight.")
    share = weights / weights.sum()
    mean = share @ features
    scale = np.sqrt(share @ np.square(features - mean))
    # a feature that never changes, but for the rounding of its mean, says nothing, and its coefficient stays 0
    scale[scale < 1e-12 * np.maximum(1.0, np.abs(mean))] = 1.0
    design = np.column_stack((np.ones(len(features)), (features - mean) / scale))
    penalty = np.concatenate(([0.0], np.full(features.shape[1], RIDGE)))
    # features of seconds, decibels and cosines have scales that differ by orders: one ridge is fair to all of them, and
    # the curvature well conditioned, only once they are standardised
    sign = np.where(targets, 1.0, -1.0)

    def loss(coefficients: FloatArray) -> float:
        odds = design @ coefficients + offset
        return float(share @ np.logaddexp(0.0, -sign * odds) + 0.5 * penalty @ np.square(coefficients))

    found = np.zeros(design.shape[1])
    current = loss(found)
    for _ in range(_STEPS):
        odds = design @ found + offset
        chance = np.exp(-np.logaddexp(0.0, -odds))
        slope = design.T @ (share * (chance - targets)) + penalty * found
        # the small diagonal keeps it regular where every trial is decided beyond doubt and p (1 - p) underflows to 0
        curvature = (design * (share * chance * (1.0 - chance))[:, None]).T @ design + np.diag(penalty + 1e-12)
        step = np.linalg.solve(curvature, slope)
        # A full Newton step overshoots where the classes are nearly separable; the loss is convex, so a shorter step of
        # the same direction always lowers it, down to rounding.
        size = 1.0
        while (tried := loss(found - size * step)) > current and size > 1e-6:
            size /= 2
        if tried >= current - _CONVERGED:
            break
        found, current = found - size * step, tried
    # back from standardised features to those that were given
    coefficients = found[1:] / scale
    result: FloatArray = np.concatenate(([found[0] - coefficients @ mean], coefficients))
    return result


# Calibration: from the cosine of two recordings and their quality to a log-likelihood ratio.
#
# What a cosine means depends on the recordings: two seconds in babble never come as near to each other as ten in a
# quiet room. The log-likelihood ratio of a trial is
#
#     llr = a + b z + sum over measures m of (c_m + d_m z) m_low + (e_m + f_m z) m_high,    z = artanh(cosine)
#
# with every measure of quality once for the worse and once for the better of the two sides, so that their order does
# not matter. Logistic regression (Brümmer and du Preez 2006) finds the coefficients over trials of clean and noisy
# conditions. That quality belongs into calibration is from Mandasari et al., "Quality measure functions for calibration
# of speaker recognition systems in various duration conditions", 2013; the mean cohort score as such a measure from
# Thienpondt et al., "The IDLAB VoxSRC-20 submission", 2021; the products with z, which let one threshold serve clean
# and noisy trials, were chosen by measurement (docs/verification.md).

Kind = Literal["cosine", "as-norm"]
MeasureName = Literal["speech", "snr", "cohort_mean"]
"""Logarithm of the seconds of speech; estimated signal-to-noise ratio in tens of dB; mean of the highest scores with a
cohort of impostors."""

PRIOR = 0.1
"""Of same-speaker trials, that the fit is weighted for: towards the high scores where thresholds lie in use."""

LARGEST_COSINE = 0.9999
"""Cosines beyond it count as this: artanh has no bound."""

LEAST_SPEECH_S = 0.1


@dataclass(frozen=True)
class QualityMeasures:
    """Quality measures (QMF) of N recordings, or of N voiceprints.

    Attributes:
        speech_s: (N,) seconds of active speech, of all recordings of a voiceprint together.
        snr_db: (N,) estimates of the signal-to-noise ratio, the mean for a voiceprint.
        cohort_mean: (N,) mean of the highest scores with a cohort; None without one.
    """

    speech_s: FloatArray
    snr_db: FloatArray
    cohort_mean: FloatArray | None = None

    def measure(self, name: MeasureName) -> FloatArray:
        """Return (N,) values of a measure, in the scale that calibration takes."""
        if name == "speech":
            logarithm: FloatArray = np.log(np.maximum(self.speech_s, LEAST_SPEECH_S))
            return logarithm
        if name == "snr":
            return self.snr_db / 10.0
        if self.cohort_mean is None:
            raise ValueError("The cohort mean needs a cohort.")
        return self.cohort_mean


@dataclass(frozen=True)
class ScoredTrials:
    """K scored comparisons of N sides with M others.

    Attributes:
        scores: (K,) of the kind that the calibration takes.
        enrol: of the N.
        test: of the M.
        enrol_index: (K,) rows of `enrol`.
        test_index: (K,) rows of `test`.
    """

    scores: FloatArray
    enrol: QualityMeasures
    test: QualityMeasures
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
        offset_weights: (c, e) of each measure, for the lower and the higher of the two sides.
        slope_weights: (d, f) of each.
        ranges: lowest and highest value of each measure in the fit; values beyond count as these.
    """

    kind: Kind
    offset: float
    slope: float
    measures: tuple[MeasureName, ...] = ()
    offset_weights: dict[str, tuple[float, float]] = field(default_factory=dict)
    slope_weights: dict[str, tuple[float, float]] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = set(self.measures)
        if len(names) < len(self.measures) or any(
            set(by) != names for by in (self.offset_weights, self.slope_weights, self.ranges)
        ):
            raise ValueError("Every measure needs its offset weights, slope weights and range, once.")
        pairs = [*self.offset_weights.values(), *self.slope_weights.values(), *self.ranges.values()]
        if not np.isfinite([self.offset, self.slope, *(value for pair in pairs for value in pair)]).all():
            raise ValueError("Offset, slope, their weights and the ranges must be finite.")
        if any(low > high for low, high in self.ranges.values()):
            raise ValueError("A range goes from its lowest value to its highest.")

    def llr(self, trials: ScoredTrials) -> FloatArray:
        """Return (K,) natural-log likelihood ratios: above 0 speaks for one speaker, below for two."""
        z = fisher_z(trials.scores, self.kind)
        offset, slope = np.full(len(z), self.offset), np.full(len(z), self.slope)
        for name, low, high in self._ordered(trials):
            offset += self.offset_weights[name][0] * low + self.offset_weights[name][1] * high
            slope += self.slope_weights[name][0] * low + self.slope_weights[name][1] * high
        return offset + slope * z

    def least_slope(self) -> float:
        """Return the smallest slope that any quality within the ranges gives: above 0, higher scores never lose."""
        # Each measure adds d low + f high, linear on the triangle low <= high of its range: the least is at a corner.
        # Measures vary independently, so that the least of the sum is the sum of the leasts.
        slope = self.slope
        for name in self.measures:
            low, high = self.ranges[name]
            slope += min(
                float(np.dot(self.slope_weights[name], pair)) for pair in ((low, low), (low, high), (high, high))
            )
        return slope

    def outside(self, sides: QualityMeasures) -> tuple[str, ...]:
        """Return the measures by which the first side is worse than all that the fit has heard."""
        return tuple(
            name
            for name in self.measures
            if name != "cohort_mean" and float(sides.measure(name)[0]) < self.ranges[name][0] - 1e-9
        )

    def _ordered(self, trials: ScoredTrials) -> Iterator[tuple[MeasureName, FloatArray, FloatArray]]:
        for name in self.measures:
            low, high = self.ranges[name]
            # beyond what the fit has seen a straight line would promise anything: such values count as the nearest seen
            one = np.clip(trials.enrol.measure(name), low, high)[trials.enrol_index]
            other = np.clip(trials.test.measure(name), low, high)[trials.test_index]
            yield name, np.minimum(one, other), np.maximum(one, other)


def fisher_z(scores: ArrayLike, kind: Kind) -> FloatArray:
    """Return the scores as the map takes them: artanh of cosines, which tells apart the highest; others as they are."""
    values = np.asarray(scores, dtype=np.float64)
    if kind == "as-norm":
        return values
    angles: FloatArray = np.arctanh(np.clip(values, -LARGEST_COSINE, LARGEST_COSINE))
    return angles


def fit_calibration(
    groups: Sequence[tuple[ScoredTrials, BoolArray]], kind: Kind = "cosine", measures: Sequence[MeasureName] = ()
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
    found = _fitted(blank, groups, with_products=bool(measures))
    # A decision must never turn against a higher score. Too few trials can fit a negative slope at some quality; then
    # the products with z go first (quality shifts scores and no longer stretches them), and quality altogether next.
    if found.least_slope() <= 0:
        found = _fitted(blank, groups, with_products=False)
    if found.slope <= 0 and measures:
        found = _fitted(Calibration(kind, 0.0, 0.0), groups, with_products=False)
    if found.slope <= 0:
        raise ValueError("Trials of one speaker do not score higher than those of two: nothing can be calibrated.")
    return found


def _fitted(blank: Calibration, groups: Sequence[tuple[ScoredTrials, BoolArray]], with_products: bool) -> Calibration:
    rows, targets, weights = [], [], []
    for group, same in groups:
        z = fisher_z(group.scores, blank.kind)
        qualities = [value for _, *pair in blank._ordered(group) for value in pair]
        products = [value * z for value in qualities] if with_products else []
        rows.append(np.column_stack([z, *qualities, *products]))
        targets.append(same)
        weights.append(_weights(same))
    # The log odds of the prior are put in as a constant, so that what is fitted is the likelihood ratio without it.
    odds = float(np.log(PRIOR / (1 - PRIOR)))
    offset, slope, *rest = fit_logistic(
        np.concatenate(rows), np.concatenate(targets), np.concatenate(weights), odds
    ).tolist()
    count = 2 * len(blank.measures)
    offset_weights, slope_weights = rest[:count], rest[count:] or [0.0] * count
    return Calibration(
        blank.kind,
        offset,
        slope,
        blank.measures,
        _pairs(blank, offset_weights),
        _pairs(blank, slope_weights),
        blank.ranges,
    )


def _pairs(blank: Calibration, values: Sequence[float]) -> dict[str, tuple[float, float]]:
    return {name: (values[2 * i], values[2 * i + 1]) for i, name in enumerate(blank.measures)}


def _weights(same: BoolArray) -> FloatArray:
    if not same.any() or same.all():
        raise ValueError("Every condition needs trials of one speaker and of two.")
    weights: FloatArray = np.where(same, PRIOR / same.sum(), (1 - PRIOR) / (~same).sum())
    return weights


def _range(groups: Sequence[ScoredTrials], name: MeasureName) -> tuple[float, float]:
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


# A calibration as it is kept beside a model: the map, the thresholds, and what both rest on.

FILE = "calibration.json"
COHORT_FILE = "cohort.safetensors"
TEXT_FILE = "calibration.md"
FORMAT = "voxanchor-calibration-2"
FORMER_FORMAT = "voxanchor-calibration-1"
"""Of before the keys of the map got the field's words. It is read; programs of that time refuse the present one."""

_FORMER_KEYS = {"shifts": "offset_weights", "tilts": "slope_weights"}
_FORMER_MEASURES = {"likeness": "cohort_mean"}

_SAME = 1e-9  # thresholds and rates no further apart are the same one, written down in between


@dataclass(frozen=True)
class Threshold:
    """Where a stated share of different-speaker trials passes, or why that cannot be said.

    Attributes:
        false_acceptance: the share in percent.
        llr: the threshold, on the log-likelihood ratio; None where the trials do not support one.
        trials: different-speaker trials behind it, of clean and noisy conditions.
        passing: of these, how many it accepts.
        pairs: how many different pairs of speakers these are of.
        false_rejection: same-speaker trials that it rejects, in percent.
        low: lower end of the 95 % interval of its false acceptance in percent, with other speakers.
        high: upper end.
        remark: why there is none.
    """

    false_acceptance: float
    llr: float | None
    trials: int
    passing: int = 0
    pairs: int = 0
    false_rejection: float | None = None
    low: float | None = None
    high: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class ConditionFigures:
    """How good log-likelihood ratios are in a condition, on speakers that the fit did not hear.

    Attributes:
        condition: its name; ``all`` for all trials with clean enrolments together; with ``, both sides`` behind it
            where the enrolment is in the condition, too.
        trials: how many.
        targets: of these, of one speaker.
        eer: in percent.
        cllr_cosine: cost in bits of cosines taken for log-likelihood ratios: before any calibration.
        cllr_score: cost of a calibration by the score alone.
        cllr: cost of the calibration that is kept.
        min_cllr: cost after the best rising map of what is kept.
        false_acceptance: threshold's rate in percent, as text -> what it lets pass here, in percent.
        false_acceptance_score: the same with a calibration by the score alone, and its threshold for the rate.
        false_rejection: threshold's rate -> same-speaker trials that it rejects here, in percent.
        false_rejection_score: the same with a calibration by the score alone.
    """

    condition: str
    trials: int
    targets: int
    eer: float
    cllr_cosine: float
    cllr_score: float
    cllr: float
    min_cllr: float
    false_acceptance: dict[str, float] = field(default_factory=dict)
    false_acceptance_score: dict[str, float] = field(default_factory=dict)
    false_rejection: dict[str, float] = field(default_factory=dict)
    false_rejection_score: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchFigures:
    """How often a search among so many people goes wrong at a threshold, on speakers that the fit did not hear.

    A search finds the likeliest of N people, of whom one recording each is enrolled, where that log-likelihood ratio
    reaches the threshold. Figures are means over all lists of N of the speakers at hand.

    Attributes:
        people: N.
        purpose: what the threshold is for: a ``prior``, or a rate of false acceptance of one ``comparison`` or of the
            whole ``list``.
        value: that prior, or that rate in percent.
        llr: the threshold; None where the searches do not support one.
        searches: of strangers, behind it, in clean and noisy conditions.
        passing: comparisons with others than the speaker, in these searches, that reach the threshold.
        pairs: how many different pairs of speakers these are of.
        false_positive: strangers for whom somebody is found (FPIR), in percent; None where too few pass.
        low: lower end of its 95 % interval, with other speakers.
        high: upper end.
        highest: the same rate in the condition where it is highest.
        condition: that condition.
        false_negative: people on the list who are not found, or taken for others (FNIR), in percent.
        missed_low: lower end of its 95 % interval.
        missed_high: upper end.
        remark: why there is no rate of false positives.
    """

    people: int
    purpose: Literal["prior", "comparison", "list"]
    value: float
    llr: float | None
    searches: int
    passing: int = 0
    pairs: int = 0
    false_positive: float | None = None
    low: float | None = None
    high: float | None = None
    highest: float | None = None
    condition: str = ""
    false_negative: float | None = None
    missed_low: float | None = None
    missed_high: float | None = None
    remark: str = ""

    def __post_init__(self) -> None:
        if self.people < 1:
            raise ValueError("A search is among one person at least.")


@dataclass(frozen=True)
class SearchRate:
    """How often a stranger who is looked for among so many people is taken for one of them.

    Attributes:
        rate: in percent, at most, over all conditions of the calibration; None where it is not stated.
        kind: ``measured`` among as many people or more; ``extrapolated`` from fewer, a bound that nobody measured;
            ``not stated``.
        low: lower end of the 95 % interval of what was measured, with other speakers; None of an extrapolation.
        high: upper end.
        highest: the rate in the condition where it is highest; None where it is not known.
        condition: that condition.
        remark: what it rests on, or why it is not stated.
    """

    rate: float | None
    kind: Literal["measured", "extrapolated", "not stated"]
    low: float | None = None
    high: float | None = None
    highest: float | None = None
    condition: str = ""
    remark: str = ""


class _Bound(NamedTuple):
    """Figures that bound the rate among more people, and how many times theirs is no less; of the same threshold."""

    figures: SearchFigures
    times: int
    llr: float
    rate: float


@dataclass(frozen=True)
class _Margin:
    """How far outside of what was heard a quality may lie: a warning first, further on no decision."""

    warn: float
    refuse: float
    below: str
    above: str = ""


MARGINS: dict[str, _Margin] = {
    "level_db": _Margin(6.0, 30.0, "quieter", "louder"),
    "snr_db": _Margin(float("inf"), 10.0, "noisier"),  # of a little more noise the calibration itself warns
    "bandwidth_hz": _Margin(1_000.0, 5_000.0, "of a narrower band"),
    "clipped": _Margin(0.001, 0.2, "", "more clipped"),
}
"""Of the figures of `voxanchor.audio.quality.Quality` that a calibration notes; those without a word do no harm there.
5,000 Hz less than wide band is less than any telephone gives."""


@dataclass(frozen=True)
class Outside:
    """Where a recording lies outside of what a calibration has heard.

    Attributes:
        warnings: in words, for each figure; empty where it lies inside.
        reason: why there should be no decision; empty where it does not lie so far outside.
    """

    warnings: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class CalibrationRecord:
    """What `voxanchor calibrate` leaves in a model directory.

    Attributes:
        model: fingerprint of the model that it is for.
        calibration: the map.
        thresholds: at the usual rates of false acceptance.
        figures: by condition, all trials together first.
        material: what it was fitted on, label -> value.
        cohort_top: how many of the stored cohort count; 0 without a cohort.
        cohort_sha256: of the cohort's file, so that another calibration's is not taken for it.
        searches: by number of people and threshold; none in a calibration of before they were measured.
        heard: lowest and highest value of qualities, by name as in `MARGINS`, in the recordings that it was fitted on,
            in all conditions; none in a calibration of before they were noted.
        format: of the file.
    """

    model: str
    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    figures: tuple[ConditionFigures, ...]
    material: dict[str, str]
    cohort_top: int = 0
    cohort_sha256: str = ""
    searches: tuple[SearchFigures, ...] = field(default=(), metadata=LATER)
    heard: dict[str, tuple[float, float]] = field(default_factory=dict, metadata=LATER)
    format: str = FORMAT

    def text(self) -> str:
        """Return the content of ``calibration.json``."""
        return json.dumps(to_plain(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Return the record in a text.

        Args:
            text: what `text` gave.
            where: its place, for messages.

        Raises:
            ModelError: another format, or damaged.
        """
        try:
            values = json.loads(text, parse_constant=_refuse)
            if isinstance(values, dict) and values.get("format") == FORMER_FORMAT:
                values = _renamed(values)
            if not isinstance(values, dict) or values.get("format") != FORMAT:
                raise ModelError(f"{where}: not a calibration that this program reads. Run voxanchor calibrate again.")
            return build(cls, values, where)
        except (ValueError, RecipeError) as error:
            raise ModelError(f"{where}: damaged ({error}). Copy it again, or run voxanchor calibrate.") from None

    def outside(self, quality: Mapping[str, float | None]) -> Outside:
        """Return where a recording lies outside of what the calibration has heard.

        Args:
            quality: figures by name; None for one that is not known.
        """
        warnings, reasons = [], []
        for name, (low, high) in self.heard.items():
            margin, value = MARGINS.get(name), quality.get(name)
            if margin is None or value is None:
                continue
            for word, far in ((margin.below, low - value), (margin.above, value - high)):
                if word and far > margin.refuse:
                    reasons.append(f"far {word} than anything that the calibration has heard")
                elif word and far > margin.warn:
                    warnings.append(f"{word} than the calibration has heard")
        return Outside(tuple(warnings), " and ".join(reasons))

    def threshold(self, false_acceptance: float) -> Threshold:
        """Return the threshold at a rate of false acceptance in percent.

        Raises:
            RecipeError: a rate that was not looked at.
        """
        for threshold in self.thresholds:
            if abs(threshold.false_acceptance - false_acceptance) < _SAME:
                return threshold
        known = ", ".join(f"{threshold.false_acceptance:g}" for threshold in self.thresholds)
        raise RecipeError(f"no threshold for {false_acceptance:g} % false acceptance: there is one for {known} %")

    def search_rate(self, llr: float, people: int) -> SearchRate:
        """Return how often a stranger is taken for somebody, at a threshold and among so many people, at least 1.

        What was measured counts first: the lowest rate at this threshold or a lower one, among as many people or more.
        From fewer it is extrapolated: a list is no worse than the lists that it falls into, together.
        """
        bounds = [bound for bound in self._bounds(people) if bound.llr <= llr + _SAME]
        measured = [bound for bound in bounds if bound.times == 1]
        best = min(measured or bounds, key=lambda bound: bound.rate, default=None)
        if best is None or best.rate >= 100:
            known = "is of no use among so many" if best else "has no figures for it"
            return SearchRate(None, "not stated", remark=f"the calibration {known}. Calibrate with more speakers")
        figures, times = best.figures, best.times
        among = f"{figures.people} people" if figures.people > 1 else "one person"
        highest = None if figures.highest is None else min(times * figures.highest, 100.0)
        if times > 1:
            remark = f"extrapolated, not measured: {times} times the {figures.false_positive:.2g} % of {among}"
            return SearchRate(best.rate, "extrapolated", None, None, highest, figures.condition, remark)
        remark = f"measured with {among} at a threshold of {best.llr:.2f}"
        return SearchRate(best.rate, "measured", figures.low, figures.high, highest, figures.condition, remark)

    def search_threshold(self, false_acceptance: float, people: int) -> float:
        """Return the lowest threshold at which, as at any higher one, at most so many strangers are taken for somebody.

        Args:
            false_acceptance: how many, in percent.
            people: length of the list.

        Raises:
            RecipeError: the calibration supports none.
        """
        llrs = sorted({bound.llr for bound in self._bounds(people)}, reverse=True)
        rates = [self.search_rate(llr, people).rate for llr in llrs]
        found = None
        # from the highest down: a rate that was measured above counts against one that is extrapolated below
        for llr, rate in zip(llrs, rates, strict=True):
            if rate is None or rate > false_acceptance + _SAME:
                break
            found = llr
        if found is None:
            known = bool(rates) and rates[0] is not None
            lowest = f"the lowest rate that it supports is {rates[0]:.2g} %" if known else "it supports none"
            raise RecipeError(
                f"the calibration has no threshold for {false_acceptance:g} % false acceptance among {people} people: "
                f"{lowest}. Ask for a higher rate or give a prior, or calibrate with more speakers"
            )
        return found

    def _bounds(self, people: int) -> Iterator[_Bound]:
        for item in self.searches or self._single():
            if item.llr is not None and item.false_positive is not None:
                times = math.ceil(people / item.people)
                yield _Bound(item, times, item.llr, times * item.false_positive)

    def _single(self) -> Iterator[SearchFigures]:
        """Yield what the thresholds say of searches: among one person each is a comparison."""
        for item in self.thresholds:
            rate = item.false_acceptance
            yield SearchFigures(
                *(1, "comparison", rate, item.llr, item.trials, item.passing, item.pairs, rate, item.low, item.high)
            )


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a file of `FORMER_FORMAT` with the present words; what is damaged in it stays so."""
    calibration = values.get("calibration")
    if not isinstance(calibration, dict) or not set(_FORMER_KEYS.values()).isdisjoint(calibration):
        return dict(values)
    found: dict[str, Any] = {}
    for key, value in dict[str, Any](calibration).items():
        if isinstance(value, dict):
            value = {_FORMER_MEASURES.get(name, name): pair for name, pair in value.items()}
        elif isinstance(value, list):
            value = [_FORMER_MEASURES.get(str(name), name) for name in value]
        found[_FORMER_KEYS.get(key, key)] = value
    return {**values, "calibration": found, "format": FORMAT}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number that stands in it")
