"""A calibration as it is kept beside a model: the map, the thresholds, and what both rest on."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

from voxanchor.config import LATER, build, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.scoring.calibration import Calibration

FILE = "calibration.json"
COHORT_FILE = "cohort.safetensors"
TEXT_FILE = "calibration.md"
FORMAT = "voxanchor-calibration-1"

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


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number that stands in it")
