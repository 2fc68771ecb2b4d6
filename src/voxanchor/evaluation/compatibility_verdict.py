"""May old enrolments stay, may the threshold, or must everybody enrol again? By rules that are stated here.

In this order. *Enrol again* where the new model with old enrolments is worse on clean speech than the old model was, or
where it is worse in noise, so that it gains nothing. *Set a new threshold* where at the old one the false acceptances
on clean speech change too much, or the false rejections rise and another threshold would mend it. Otherwise *keep*
both. Unless it is settled that both may be kept, *upgrade* comes before all of these where upgraded enrolments pass the
first rule and do better than old ones: it needs no recordings.

A question counts as settled when all of its 95 % interval lies on one side of the rule. A verdict that is not settled
leads with what risks nothing: the old model as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from voxanchor.evaluation.compatibility_figures import (
    MIXED,
    NEW,
    OLD,
    UPGRADED,
    Change,
    Figure,
    OperatingPoint,
    Pair,
    Upgraded,
    one_side,
    outside,
    thresholds,
)
from voxanchor.evaluation.results import CLEAN, NOISY, Estimate
from voxanchor.scoring.metrics import NEAR_CHANCE

COSINES = (
    "These thresholds are cosines, for a model without a calibration; once voxanchor calibrate has run, its "
    "thresholds, which are log-likelihood ratios, replace them."
)


def span(change: Change) -> str:
    """Return a change in percent with its interval: ``+13 %, -12 to +41 %``; in points where percent mean nothing."""
    if change.percent is None:
        low, high = change.points.low, change.points.high
        return f"{change.points.value:+.2f} points" + (
            "" if low is None or high is None else f" [{low:+.2f}, {high:+.2f}]"
        )
    value, low, high = change.percent.value, change.percent.low, change.percent.high
    if low is None and high is None:
        return f"{signed(value)} %"
    ends = ["open" if end is None else signed(end) for end in (low, high)]
    return f"{signed(value)} %, {ends[0]} to {ends[1]} %"


def interval_words(estimate: Estimate, digits: int = 2, sign: str = "") -> str:
    """Return a figure with its interval as tables show it: ``2.25 [1.10, 3.41]``."""
    form = f"{sign}.{digits}f"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def signed(value: float) -> str:
    """Return whole percents with their sign, and nothing as 0."""
    return f"{value:+.0f}" if f"{value:.0f}" not in ("0", "-0") else "0"


def set_to(values: Mapping[str, float]) -> str:
    """Return thresholds and the rates that they are for: ``0.726 (1 % false acceptance) or 0.801 (0.1 %)``."""
    names = [f"{rate} % false acceptance" if not place else f"{rate} %" for place, rate in enumerate(values)]
    return " or ".join(f"{value:.3f} ({name})" for name, value in zip(names, values.values(), strict=True))


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

DECIDING: dict[Decision, Pair] = {"keep": MIXED, "new threshold": MIXED, "upgrade": UPGRADED, "re-enrol": NEW}
"""Who enrols and who hears the test once a decision was followed."""

OF_UPGRADED = ", upgraded"
"""What the names of questions end in that are asked of upgraded enrolments."""

_AS_IT_IS = "keep the old model and its threshold"


@dataclass(frozen=True)
class Check:
    """One question, and its answer.

    Attributes:
        name: of the question.
        holds: the answer by the figures as measured.
        settled: whether the 95 % interval leaves no other answer.
        text: what was found, with its interval.
        rule: what it is held against.
    """

    name: str
    holds: bool
    settled: bool
    text: str
    rule: str = ""


@dataclass(frozen=True)
class Verdict:
    """What to do, and why.

    Attributes:
        decision: ``keep`` old enrolments and the threshold, ``new threshold`` with old enrolments, ``upgrade`` them, or
            ``re-enrol``; ``unknown`` where nobody says who speaks, or the old model itself is close to guessing.
        settled: whether the intervals leave no other decision.
        lead: what to do in a sentence or two; where it is not settled, what is safe until it is.
        reasons: what a reader has to know besides the figures and checks, a sentence each: what is not settled, say.
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
        """Return where, for a sentence, and the figure there: clean first."""
        words = ((CLEAN, "on clean speech"), (NOISY, self.where))
        return [(where, self.figures[part]) for part, where in words if part in self.figures]

    @property
    def upgrades(self) -> list[tuple[str, Figure, Upgraded]]:
        """Return the same with upgraded enrolments, where these were measured."""
        return [(where, figure, figure.upgraded) for where, figure in self.parts if figure.upgraded]


def decide(evidence: Evidence) -> Verdict:
    """Return the verdict, by the rules above."""
    before = evidence.figures[CLEAN].old.value
    if before >= NEAR_CHANCE:
        return _near_chance(before)
    enrolments, upgraded = _enrolments(evidence), _upgraded(evidence)
    moves = [check for point in evidence.points if point.pairs for check in _threshold(evidence, point)]
    decision, settled = _as_they_are(enrolments, moves)
    checks = [*enrolments, *moves]
    if _upgrading(evidence, decision, settled, upgraded):
        decision, settled = "upgrade", all(check.settled for check in upgraded)
        checks += upgraded
    values = thresholds(evidence.points, OLD if decision == "keep" else DECIDING[decision])
    reasons = [
        f"Whether the old threshold for {point.false_acceptance:g} % serves is not known: {point.remark}."
        for point in evidence.points
        if not point.pairs
    ]
    reasons += [*_worse(decision, evidence), *_open(checks, evidence, settled), *[COSINES] * bool(moves)]
    lead = _lead(decision, settled, values, evidence)
    return Verdict(decision, settled, lead, tuple(reasons), values, tuple(checks), tuple(_aim(evidence)))


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


def _near_chance(eer: float) -> Verdict:
    """Return the verdict on enrolments of a model that nearly guesses: what they are worth depends on nothing else."""
    return Verdict(
        "unknown",
        False,
        "No verdict: the old model hardly tells these speakers apart, so its enrolments are worth little with any "
        "model.",
        (
            f"Its EER on clean speech is {eer:.2f} %; 50 % is guessing, and good models have a few percent. See "
            "whether its weights were loaded, and whether each folder of the recordings is one speaker.",
        ),
        {},
    )


def _as_they_are(enrolments: Sequence[Check], moves: Sequence[Check]) -> tuple[Decision, bool]:
    """Return the decision on old enrolments as they are, and whether it is settled."""
    if failed := [check for check in enrolments if not check.holds]:
        return "re-enrol", any(check.settled for check in failed)
    settled = all(check.settled for check in enrolments)
    if moved := [check for check in moves if not check.holds]:
        return "new threshold", settled and any(check.settled for check in moved)
    return "keep", settled and bool(moves) and all(check.settled for check in moves)


def _upgrading(evidence: Evidence, decision: Decision, settled: bool, upgraded: Sequence[Check]) -> bool:
    """Whether to upgrade rather than to follow the decision on old enrolments as they are."""
    if not upgraded or not all(check.holds for check in upgraded):
        return False
    if decision == "re-enrol":
        return True
    gains = [figure.mixed.value - found.eer.value for _, figure, found in evidence.upgrades]
    return not (decision == "keep" and settled) and min(gains) >= 0 and max(gains) > 0


def _enrolments(evidence: Evidence) -> list[Check]:
    """Return the rules for old enrolments as they are."""
    return _rules(evidence, [figure.mixed_minus_old for _, figure in evidence.parts], "")


def _upgraded(evidence: Evidence) -> list[Check]:
    """Return the same rules, asked of upgraded enrolments; nothing where these were not measured."""
    return _rules(evidence, [found.minus_old for _, _, found in evidence.upgrades], OF_UPGRADED)


def _rules(evidence: Evidence, changes: Sequence[Change], suffix: str) -> list[Check]:
    """Return the questions of the EER: clean, and where it is not clean if that was measured."""
    rules = (
        ("clean error", _clean, f"at most +{TOLERATED_CLEAN:g} %, or no certain rise"),
        ("noisy error", _noise, "no rise"),
    )
    return [
        Check(f"{name}{suffix}", *answer(evidence, change), span(change), rule)
        for (name, answer, rule), change in zip(rules, changes, strict=False)
    ]


def _clean(evidence: Evidence, change: Change) -> tuple[bool, bool]:
    """Return whether clean errors may rise so, and whether that is settled."""
    certain = change.points.low is None or change.points.low > 0  # without an interval the figure itself decides
    holds = not (change.beyond > TOLERATED_CLEAN and certain)
    return holds, evidence.sure and outside(change, TOLERATED_CLEAN)


def _noise(evidence: Evidence, change: Change) -> tuple[bool, bool]:
    """Return whether errors in noise do not rise, and whether that is settled."""
    return change.points.value <= 0, evidence.sure and one_side(change.points, float("-inf"), 0.0)


def _threshold(evidence: Evidence, point: OperatingPoint) -> list[Check]:
    """Return the questions of the old threshold: whether others pass as before, and whether the right ones do."""
    mixed, rate = point.pairs[MIXED], point.false_acceptance
    times = mixed.times_accepted[CLEAN]
    # a rise counts only as far as another threshold would avoid it: either of the two within the limit is enough
    rises = mixed.more_rejected[CLEAN], mixed.avoidable[CLEAN]
    within = [rise.value <= TOLERATED_REJECTIONS for rise in rises]
    certain = [one_side(rise, float("-inf"), TOLERATED_REJECTIONS) for rise in rises]
    settled = all(certain) or any(sure and small for sure, small in zip(certain, within, strict=True))
    return [
        Check(
            f"false acceptance at the threshold for {rate:g} %",
            ACCEPTANCE_RANGE[0] <= times.value <= ACCEPTANCE_RANGE[1],
            evidence.sure and one_side(times, *ACCEPTANCE_RANGE),
            f"{interval_words(times)} times as many",
            "{:g} to {:g} times as many".format(*ACCEPTANCE_RANGE),
        ),
        Check(
            f"false rejection at the threshold for {rate:g} %",
            any(within),
            evidence.sure and settled,
            f"{interval_words(rises[0], sign='+')} points, {rises[1].value:+.2f} avoidable by a new threshold",
            f"at most +{TOLERATED_REJECTIONS:g} point, or at most 1 of them avoidable",
        ),
    ]


def _lead(decision: Decision, settled: bool, values: Mapping[str, float], evidence: Evidence) -> str:
    """Return what to do: the safe and free thing first."""
    threshold = set_to(values)
    if decision == "upgrade":
        said = (
            "upgrade the stored voiceprints (voxanchor upgrade, or voxanchor people upgrade), which needs no recordings"
        )
        said += f", and set the threshold to {threshold}" if values else ""
        if settled or evidence.sure:
            return _sentence(said) + ("." if settled else f". {_unsettled(evidence)}: measure on more of them.")
    elif decision == "re-enrol":
        said = "enrol everybody again with the new model"
        said += f", and set the threshold to {threshold}" if values else ""
        if settled:
            return f"{_sentence(said)}. Until that is done, {_AS_IT_IS}."
    else:
        said = "keep the old enrolments" + _kept(decision, values, evidence.points)
        if settled:
            return f"{_sentence(said)}."
    return f"{_unsettled(evidence)}: until more are measured, {_AS_IT_IS}. Their figures say: {said}."


def _sentence(said: str) -> str:
    return said[0].upper() + said[1:]


def _kept(decision: Decision, values: Mapping[str, float], points: Sequence[OperatingPoint]) -> str:
    if decision == "new threshold":
        return f", and set the threshold to {set_to(values)}"
    if values and len(values) == len(points):
        return " and the threshold"
    known = " or ".join(f"{rate} %" for rate in values)
    return f", and the threshold if it was set for about {known} false acceptance" if known else ""


def _unsettled(evidence: Evidence) -> str:
    if not evidence.speakers:
        return "Trials of unknown speakers settle nothing"
    if not evidence.sure:
        return f"{evidence.speakers} speakers are not enough to say"
    return f"{evidence.speakers} speakers do not settle it"


def _worse(decision: Decision, evidence: Evidence) -> list[str]:
    """Return where the new model would be the worse one even for those who enrol again."""
    worse = [
        f"{figure.new.value:.2f} against {figure.old.value:.2f} % {where}"
        for where, figure in evidence.parts
        if decision == "re-enrol" and figure.new_minus_old.points.value > 0
    ]
    even = "Even after enrolling again the new model would be the worse of the two"
    return [f"{even}: {', '.join(worse)}."] if worse else []


def _aim(evidence: Evidence) -> list[Check]:
    """Return the questions of the aim: of old enrolments, and of upgraded ones where they were measured."""
    asked = [(where, figure.mixed_minus_new) for where, figure in evidence.parts]
    asked_upgraded = [(f"{where}{OF_UPGRADED}", found.minus_new) for where, _, found in evidence.upgrades]
    return [
        Check(
            name,
            change.beyond <= bound,
            evidence.sure and outside(change, bound),
            span(change),
            f"at most +{bound:g} %",
        )
        for questions in (asked, asked_upgraded)
        for (name, change), bound in zip(questions, (AIM_CLEAN, AIM_NOISY), strict=False)
    ]


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
    reach = "by intervals that reach across the limit of the rule"
    return [f"{evidence.speakers} speakers leave open, {reach}: {', '.join(names)}."] if names else []
