"""The findings of a comparison of old and new enrolments, each in a sentence."""

from collections.abc import Mapping

from voxanchor.evaluation.compatibility_figures import Change, Figure
from voxanchor.evaluation.compatibility_thresholds import PairThreshold, Rates
from voxanchor.evaluation.summary import CLEAN, NOISY, Estimate

COSINES = (
    "These thresholds are cosines, for a model without a calibration; once voxanchor calibrate has run, its "
    "thresholds, which are log-likelihood ratios, replace them."
)


def clean_words(figure: Figure, holds: bool, tolerated: float) -> str:
    """Return what old enrolments cost on clean speech, and whether that is tolerated."""
    change = figure.mixed_minus_old
    went = f"On clean speech the EER with old enrolments {_went(figure.old, figure.mixed)} ({span(change)})"
    if change.beyond <= 0:
        return f"{went}."
    if change.beyond <= tolerated:
        return f"{went}, within the {tolerated:g} % tolerated."
    if holds:
        return f"{went}: more than the {tolerated:g} % tolerated, but that it rises at all is not certain."
    return f"{went}, more than the {tolerated:g} % tolerated."


def noise_words(figure: Figure, where: str) -> str:
    """Return what the new model brings to old enrolments in noise."""
    change = figure.mixed_minus_old
    went = f"{where.capitalize()} it {_went(figure.old, figure.mixed)} ({span(change)})"
    return f"{went}: with old enrolments the new model does worse." if change.points.value > 0 else f"{went}."


def acceptance_words(mixed: PairThreshold) -> str:
    """Return what the old threshold lets pass on clean speech, as a clause."""
    accepted, times = mixed.at_old[CLEAN].false_acceptance, mixed.times_accepted[CLEAN]
    said = f"{accepted.value:.2f} % of other speakers pass now, {times.value:.2f} times as many as before"
    if times.low is None or times.high is None:
        return said
    return f"{said} ({times.low:.2f} to {times.high:.2f} times)"


def rejection_words(mixed: PairThreshold, old: PairThreshold, tolerated: float) -> str:
    """Return whom the old threshold turns away on clean speech, as a clause, and whether another one would mend it."""
    before, after = (pair.at_old[CLEAN].false_rejection for pair in (old, mixed))
    more = mixed.more_rejected[CLEAN]
    said = f"false rejections {_went(before, after, 'go', 'stay')} ({more.value:+.2f} points{_to(more, '+.2f')})"
    lasting = more.value > tolerated >= mixed.avoidable[CLEAN].value
    return f"{said}, which another threshold would not mend" if lasting else said


def rates_words(rates: Mapping[str, Rates], when: str, where: str) -> str:
    """Return the errors at a threshold as a sentence: clean, and where it is not clean if that was measured."""
    clean = rates[CLEAN]
    said = (
        f"{when}, {clean.false_acceptance.value:.2f} % of other speakers pass and {clean.false_rejection.value:.2f} % "
        "of the right ones are turned away on clean speech"
    )
    if NOISY not in rates:
        return f"{said}."
    noisy = rates[NOISY]
    return f"{said}, {noisy.false_acceptance.value:.2f} and {noisy.false_rejection.value:.2f} % {where}."


def elsewhere_words(mixed: PairThreshold, old: PairThreshold, where: str) -> str:
    """Return what the old threshold does where it is not clean, as a sentence; nothing where all is clean."""
    if NOISY not in mixed.at_old:
        return ""
    before, after = old.at_old[NOISY], mixed.at_old[NOISY]
    accepted = _went(before.false_acceptance, after.false_acceptance, "go", "stay")
    rejected = _went(before.false_rejection, after.false_rejection, "go", "stay")
    return f" {where.capitalize()} false acceptances {accepted}, false rejections {rejected}."


def span(change: Change) -> str:
    """Return a change in percent with its interval: ``+13 %, -12 to +41 %``; in points where percent mean nothing."""
    if change.percent is None:
        return f"{change.points.value:+.2f} points{_to(change.points, '+.2f')}"
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


def _went(before: Estimate, after: Estimate, goes: str = "goes", stays: str = "stays") -> str:
    one, other = f"{before.value:.2f}", f"{after.value:.2f}"
    return f"{stays} at {one} %" if one == other else f"{goes} from {one} to {other} %"


def _to(estimate: Estimate, form: str) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f", {estimate.low:{form}} to {estimate.high:{form}}"
