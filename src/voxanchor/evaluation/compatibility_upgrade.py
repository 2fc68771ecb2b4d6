"""What carrying stored voiceprints into the new model's space changes about the verdict."""

from dataclasses import replace

from voxanchor.evaluation.compatibility_figures import UPGRADED, Figure, one_side, outside
from voxanchor.evaluation.compatibility_thresholds import thresholds
from voxanchor.evaluation.compatibility_verdict import (
    AIM_CLEAN,
    AIM_NOISY,
    TOLERATED_CLEAN,
    Check,
    Evidence,
    Verdict,
    judge,
)
from voxanchor.evaluation.compatibility_words import set_to, span
from voxanchor.evaluation.sections import listed
from voxanchor.evaluation.summary import CLEAN, NOISY


def upgrading(evidence: Evidence) -> Verdict:
    """Return the verdict of `judge`, and with it what upgraded enrolments are worth, where they were measured.

    Where old enrolments would have to be made again as they are, and upgraded ones pass the same rules, the decision is
    to upgrade them.
    """
    verdict = judge(evidence)
    figures = [(where, figure) for where, figure in evidence.parts if figure.upgraded]
    if not figures:
        return verdict
    aim = tuple(_aim(evidence))
    told = _words(figures, aim)
    checks = _checks(evidence)
    if verdict.decision != "re-enrol" or not all(check.holds for check in checks):
        return replace(verdict, reasons=(*verdict.reasons, told), aim=(*verdict.aim, *aim))
    values = thresholds(evidence.points, UPGRADED)
    settled = all(check.settled for check in checks)
    lead = "Upgrade the stored voiceprints (voxanchor upgrade); nobody has to be recorded again"
    lead += f". Set the threshold to {set_to(values)}." if values else "."
    return Verdict(
        "upgrade",
        settled,
        lead + ("" if settled else " This is not settled."),
        (*verdict.reasons, told),
        values,
        (*verdict.checks, *checks),
        (*verdict.aim, *aim),
    )


def _checks(evidence: Evidence) -> list[Check]:
    """Return the rules for old enrolments, asked of upgraded ones."""
    found = []
    clean, noisy = evidence.figures.get(CLEAN), evidence.figures.get(NOISY)
    if clean is not None and clean.upgraded:
        change = clean.upgraded.minus_old
        certain = change.points.low is None or change.points.low > 0
        holds = not (change.beyond > TOLERATED_CLEAN and certain)
        settled = evidence.sure and outside(change, TOLERATED_CLEAN)
        found.append(Check("clean error, upgraded", holds, settled, span(change)))
    if noisy is not None and noisy.upgraded:
        points = noisy.upgraded.minus_old.points
        settled = evidence.sure and one_side(points, float("-inf"), 0.0)
        found.append(Check("noisy error, upgraded", points.value <= 0, settled, span(noisy.upgraded.minus_old)))
    return found


def _aim(evidence: Evidence) -> list[Check]:
    found = []
    for (where, figure), bound in zip(evidence.parts, (AIM_CLEAN, AIM_NOISY), strict=False):
        if figure.upgraded:
            change = figure.upgraded.minus_new
            holds, settled = change.beyond <= bound, evidence.sure and outside(change, bound)
            text = f"{'met' if holds else 'not met'} {where} ({span(change)}{'' if settled else '; not settled'})"
            found.append(Check(f"{where}, upgraded", holds, settled, text))
    return found


def _words(figures: list[tuple[str, Figure]], aim: tuple[Check, ...]) -> str:
    went = [
        f"{figure.mixed.value:.2f} to {figure.upgraded.eer.value:.2f} % {where}"
        for where, figure in figures
        if figure.upgraded
    ]
    return (
        f"Upgrading the stored voiceprints, which needs no recordings, would take the EER from {listed(went)}. With "
        f"them the aim is {listed([check.text for check in aim])}."
    )
