"""May old enrolments stay, may the threshold, or must everybody enrol again? By rules that are stated here.

In this order. *Enrol again* where the new model with old enrolments is worse on clean speech than the old model was, or
where it is worse in noise, so that it gains nothing. *Set a new threshold* where at the old one the false acceptances
on clean speech change too much, or the false rejections rise and another threshold would mend it. Otherwise *keep*
both.

A question counts as settled when all of its 95 % interval lies on one side of the rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from voxanchor.evaluation.compatibility_figures import MIXED, NEW, OLD, Figure, Pair, one_side, outside
from voxanchor.evaluation.compatibility_thresholds import OperatingPoint, thresholds
from voxanchor.evaluation.compatibility_words import (
    acceptance_words,
    clean_words,
    elsewhere_words,
    noise_words,
    rejection_words,
    set_to,
    span,
)
from voxanchor.evaluation.sections import listed
from voxanchor.evaluation.summary import CLEAN, NOISY

TOLERATED_CLEAN = 10.0
"""By how many percent the EER on clean speech may rise when old enrolments meet the new model."""

ACCEPTANCE_RANGE = (0.5, 2.0)
"""At the old threshold, false acceptances on clean speech may be so many times what they were with the old model."""

TOLERATED_REJECTIONS = 1.0
"""At the old threshold, so many percentage points of false rejections on clean speech may be new and avoidable."""

AIM_CLEAN, AIM_NOISY = 10.0, 30.0
"""The project's aim: old enrolments cost at most so many percent of the EER that new enrolments would have."""

FEW_SPEAKERS = 20
"""With fewer the intervals themselves are unsure, and nothing counts as settled."""

Decision = Literal["keep", "new threshold", "upgrade", "re-enrol", "unknown"]


@dataclass(frozen=True)
class Check:
    """One question, and its answer.

    Attributes:
        name: of the question.
        holds: the answer by the figures as measured.
        settled: whether the 95 % interval leaves no other answer.
        text: the answer in words.
    """

    name: str
    holds: bool
    settled: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """What to do, and why.

    Attributes:
        decision: ``keep`` old enrolments and the threshold, ``new threshold`` with old enrolments, ``upgrade`` them, or
            ``re-enrol``; ``unknown`` where nobody says who speaks.
        settled: whether the intervals leave no other decision.
        lead: the decision in a sentence.
        reasons: a sentence each: what decided, what enrolling again would bring, whether the project's aim holds, and
            what is not settled.
        thresholds: rate of false acceptance in percent, as text -> the threshold to set under this decision.
        checks: the questions that decided.
        aim: the questions of the project's aim.
    """

    decision: Decision
    settled: bool
    lead: str
    reasons: tuple[str, ...]
    thresholds: Mapping[str, float]
    checks: tuple[Check, ...] = ()
    aim: tuple[Check, ...] = ()

    @property
    def text(self) -> str:
        """All of it in one paragraph."""
        return " ".join((self.lead, *self.reasons))


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        figures: clean, and noisy where the suite has other conditions.
        points: thresholds at rates of false acceptance.
        speakers: how many were drawn anew for the intervals; 0 where they are unknown.
        where: the conditions but clean, for a sentence: "in noise".
    """

    figures: Mapping[str, Figure]
    points: Sequence[OperatingPoint]
    speakers: int
    where: str = "in noise"

    @property
    def sure(self) -> bool:
        """Whether there are enough speakers for intervals to settle anything."""
        return self.speakers >= FEW_SPEAKERS

    @property
    def parts(self) -> list[tuple[str, Figure]]:
        """Where, for a sentence, and the figure: clean first."""
        said = ((CLEAN, "on clean speech"), (NOISY, self.where))
        return [(where, self.figures[part]) for part, where in said if part in self.figures]


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict, by the rules above."""
    enrolments = [_clean(evidence)] + ([_noise(evidence)] if NOISY in evidence.figures else [])
    found = {point.false_acceptance: _threshold(evidence, point) for point in evidence.points if point.pairs}
    moves = [check for checks in found.values() for check in checks]
    failed = [check for check in enrolments if not check.holds]
    decision: Decision
    if failed:
        decision, settled = "re-enrol", any(check.settled for check in failed)
    else:
        moved = [check for check in moves if not check.holds]
        settled = all(check.settled for check in enrolments)
        if moved:
            decision, settled = "new threshold", settled and any(check.settled for check in moved)
        else:
            decision, settled = "keep", settled and bool(moves) and all(check.settled for check in moves)
    deciding: dict[Decision, Pair] = {"keep": OLD, "new threshold": MIXED, "re-enrol": NEW}
    values = thresholds(evidence.points, deciding[decision])
    checks, aim = (*enrolments, *moves), tuple(_aim(evidence))
    reasons = [check.text for check in enrolments]
    reasons += [_threshold_words(evidence, point, found) for point in evidence.points]
    reasons += [_gain(decision, evidence), _aim_words(aim), *_open(checks, evidence, settled)]
    lead = _lead(decision, values, evidence.points) + ("" if settled else " This is not settled.")
    return Verdict(decision, settled, lead, tuple(reasons), values, checks, aim)


def unknown() -> Verdict:
    """Return the verdict where nobody says who speaks."""
    return Verdict(
        "unknown",
        False,
        "No verdict: error rates need to know who speaks.",
        (
            "What is measured is how far embeddings and scores move. Give recordings with a folder for each speaker, "
            "or a list of trials, to learn what that means for errors.",
        ),
        {},
    )


def _clean(evidence: Evidence) -> Check:
    figure = evidence.figures[CLEAN]
    change = figure.mixed_minus_old
    certain = change.points.low is None or change.points.low > 0  # without an interval the figure itself decides
    holds = not (change.beyond > TOLERATED_CLEAN and certain)
    settled = evidence.sure and outside(change, TOLERATED_CLEAN)
    return Check("clean error", holds, settled, clean_words(figure, holds, TOLERATED_CLEAN))


def _noise(evidence: Evidence) -> Check:
    figure = evidence.figures[NOISY]
    points = figure.mixed_minus_old.points
    settled = evidence.sure and one_side(points, float("-inf"), 0.0)
    return Check("noisy error", points.value <= 0, settled, noise_words(figure, evidence.where))


def _threshold(evidence: Evidence, point: OperatingPoint) -> list[Check]:
    mixed, rate = point.pairs[MIXED], point.false_acceptance
    times = mixed.times_accepted[CLEAN]
    rises = mixed.more_rejected[CLEAN], mixed.avoidable[CLEAN]
    within = [rise.value <= TOLERATED_REJECTIONS for rise in rises]
    certain = [one_side(rise, float("-inf"), TOLERATED_REJECTIONS) for rise in rises]
    settled = all(certain) or any(sure and small for sure, small in zip(certain, within, strict=True))
    return [
        Check(
            f"false acceptance at the threshold for {rate:g} %",
            ACCEPTANCE_RANGE[0] <= times.value <= ACCEPTANCE_RANGE[1],
            evidence.sure and one_side(times, *ACCEPTANCE_RANGE),
            acceptance_words(mixed),
        ),
        Check(
            f"false rejection at the threshold for {rate:g} %",
            any(within),
            evidence.sure and settled,
            rejection_words(mixed, point.pairs[OLD], TOLERATED_REJECTIONS),
        ),
    ]


def _lead(decision: Decision, values: Mapping[str, float], points: Sequence[OperatingPoint]) -> str:
    threshold = set_to(values)
    if decision == "keep":
        if len(values) == len(points):
            return "Keep the old enrolments and the threshold."
        known = " or ".join(f"{rate} %" for rate in values)
        unless = f", and the threshold if it was set for about {known} false acceptance" if known else ""
        return f"Keep the old enrolments{unless}."
    if decision == "new threshold":
        return f"Keep the old enrolments, and set the threshold to {threshold}."
    return "Enrol everybody again with the new model" + (f", and set the threshold to {threshold}." if values else ".")


def _threshold_words(evidence: Evidence, point: OperatingPoint, found: Mapping[float, Sequence[Check]]) -> str:
    """Return what becomes of the old threshold at a rate, or why that is not known."""
    if not point.pairs:
        return f"Whether the old threshold for {point.false_acceptance:g} % serves is not known: {point.remark}."
    rate, (accepted, rejected) = point.false_acceptance, found[point.false_acceptance]
    elsewhere = elsewhere_words(point.pairs[MIXED], point.pairs[OLD], evidence.where)
    at = f"At the old threshold for {rate:g} % false acceptance on clean speech"
    return f"{at}, {accepted.text}, and {rejected.text}.{elsewhere}"


def _gain(decision: Decision, evidence: Evidence) -> str:
    """Return what enrolling again would bring, and what it would not mend."""
    went = [f"from {figure.mixed.value:.2f} to {figure.new.value:.2f} % {where}" for where, figure in evidence.parts]
    said = f"Enrolling again with the new model would take the EER {listed(went)}."
    if decision != "re-enrol":
        values = set_to(thresholds(evidence.points, NEW))
        return f"{said} The threshold would then have to be {values}." if values else said
    worse = [
        f"{figure.new.value:.2f} against {figure.old.value:.2f} % {where}"
        for where, figure in evidence.parts
        if figure.new_minus_old.points.value > 0
    ]
    return f"{said} Even then the new model would be the worse of the two: {listed(worse)}." if worse else said


def _aim(evidence: Evidence) -> list[Check]:
    found = []
    for (where, figure), bound in zip(evidence.parts, (AIM_CLEAN, AIM_NOISY), strict=False):
        change = figure.mixed_minus_new
        holds, settled = change.beyond <= bound, evidence.sure and outside(change, bound)
        text = f"{'met' if holds else 'not met'} {where} ({span(change)}{'' if settled else '; not settled'})"
        found.append(Check(where, holds, settled, text))
    return found


def _aim_words(aim: Sequence[Check]) -> str:
    bounds = [f"{bound:g} % {check.name}" for check, bound in zip(aim, (AIM_CLEAN, AIM_NOISY), strict=False)]
    said = listed([check.text for check in aim])
    return f"The aim, that old enrolments cost at most {listed(bounds)} against new ones, is {said}."


def _open(checks: Sequence[Check], evidence: Evidence, settled: bool) -> list[str]:
    """Return what is not certain, and why."""
    if settled:
        return []
    if not evidence.speakers:
        return ["The speakers are unknown, so intervals are over single trials, and too narrow to settle anything."]
    if not evidence.sure:
        few = f"With {evidence.speakers} speakers the intervals themselves are unsure"
        return [f"{few}: it takes {FEW_SPEAKERS} at least to settle anything."]
    names = [check.name for check in checks if not check.settled]
    said = f"What {evidence.speakers} speakers leave open, since the interval reaches across the rule: {listed(names)}."
    return [said] if names else []
