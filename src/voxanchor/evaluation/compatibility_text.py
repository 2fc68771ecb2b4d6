"""The findings on old and new enrolments as plain values, as tables of words, and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxanchor.conditions.suites import snr_note
from voxanchor.config import to_plain
from voxanchor.evaluation import compatibility_verdict as rules
from voxanchor.evaluation.compatibility import Findings
from voxanchor.evaluation.compatibility_figures import LABELS, LEAST_PASSING, MIXED, OLD, OperatingPoint, Rates
from voxanchor.evaluation.compatibility_verdict import interval_words, span
from voxanchor.evaluation.results import CLEAN, NOISY, Estimate
from voxanchor.scoring.metrics import NEAR_CHANCE
from voxanchor.scoring.scores import ScoreStats

FORMAT = "voxanchor-compatibility"
SCHEMA_VERSION = 1

PAIR = "enrolment and test"
DECIDED = " (verdict)"


@dataclass(frozen=True)
class Table:
    """A table as text: the heading row names the columns, and the first cell of a row what it is about.

    Attributes:
        words: whether the other cells are words rather than figures.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: bool = False


def plain(findings: Findings) -> dict[str, Any]:
    """Return all that was found as the values of `compatibility.json` (docs/compatibility.md)."""
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "old": to_plain(findings.old),
        "new": to_plain(findings.new),
        "dimension": findings.dimension,
        "suite": findings.suite,
        "noise_seeds": list(findings.noise_seeds),
        "material": to_plain(findings.material),
        "verdict": {**to_plain(findings.verdict), "text": findings.verdict.text},
        "eer": {**to_plain(findings.figures), "conditions": to_plain(findings.conditions)},
        "thresholds": to_plain(findings.thresholds),
        "drift": to_plain(findings.drift),
        "similarity": to_plain(findings.similarity),
        "scores": to_plain(findings.scores),
        "rules": {
            "tolerated_clean_percent": rules.TOLERATED_CLEAN,
            "acceptance_range": list(rules.ACCEPTANCE_RANGE),
            "tolerated_rejections_points": rules.TOLERATED_REJECTIONS,
            "aim_clean_percent": rules.AIM_CLEAN,
            "aim_noisy_percent": rules.AIM_NOISY,
            "few_speakers": rules.FEW_SPEAKERS,
            "near_chance_percent": NEAR_CHANCE,
            "least_passing": LEAST_PASSING,
        },
        "remarks": list(findings.remarks),
    }


def tables(findings: Findings, *, intervals: bool = True) -> list[Table]:
    """Return what a person reads: what decided, error rates and thresholds, or how far embeddings and scores moved.

    Args:
        findings: what was found.
        intervals: give those of thresholds and of the errors there, too; otherwise of error rates alone.
    """
    if not findings.figures:
        return [_similarity_table(findings), *_spread_tables(findings)]
    checks = [_check_table(findings.verdict)] if findings.verdict.checks else []
    points = [point for point in findings.thresholds if point.pairs]
    return [
        *checks,
        _error_table(findings),
        *(entry for point in points for entry in _threshold_tables(point, findings, intervals)),
    ]


def compatibility_markdown(findings: Findings) -> str:
    """Return verdict and tables as Markdown without a heading, for a model card."""
    lead = f"**{findings.verdict.lead}**"
    parts = [lead, *(_markdown(table) for table in tables(findings))]
    return "\n\n".join([*parts, _bullets([*findings.verdict.reasons, *_footnotes(findings)])]) + "\n"


def described(findings: Findings) -> str:
    """Return in a sentence what was compared on what."""
    material, suite = findings.material, findings.suite
    speakers = f"{material.speakers} speakers, " if material.speakers else ""
    trials = f", {material.trials:,} trials, {material.targets:,} of them of one speaker" if material.trials else ""
    seeds = len(findings.noise_seeds)
    drawn = f", {seeds} noise seeds" if seeds > 1 else ""
    drawn += f", {note}" if (note := snr_note(suite)) else ""
    return (
        f"old: {findings.old.reference}, new: {findings.new.reference}; {speakers}{material.segments:,} segments of "
        f"{material.recordings:,} recordings{trials}; suite {suite}{drawn}"
    )


def drift_words(findings: Findings) -> str:
    """Return how far clean embeddings moved."""
    drift = findings.drift
    return (
        f"the cosine of a segment's new to its old clean embedding is {drift.mean:.3f} on average and "
        f"{drift.p05:.3f} at the 5th percentile"
    )


def _footnotes(findings: Findings) -> list[str]:
    notes = [f"Measured on {described(findings)}.", f"Drift: {drift_words(findings)}."]
    if findings.material.resampled:
        unit = f"{findings.material.resampled}s drawn anew, {findings.material.replicates} times"
        notes.append(f"In brackets 95 % intervals ({unit}; the same draws for all pairs, so differences are paired).")
    return notes + list(findings.remarks)


def _check_table(verdict: rules.Verdict) -> Table:
    """Return what decided and whether the project's aim holds: what was found, the rule, and whether it holds."""
    asked = [(check.name, check) for check in verdict.checks]
    for check in verdict.aim:
        where = check.name.removesuffix(rules.OF_UPGRADED)
        asked.append((f"aim: {'old' if where == check.name else 'upgraded'} instead of new enrolment, {where}", check))
    rows = [
        (name, check.text, check.rule, ("yes" if check.holds else "no") + ("" if check.settled else ", not settled"))
        for name, check in asked
    ]
    return Table("Rules of the verdict, and the aim", ("question", "found", "rule", "holds"), tuple(rows), words=True)


def _error_table(findings: Findings) -> Table:
    parts = [part for part in (CLEAN, NOISY) if part in findings.figures]
    heads = {CLEAN: "clean", NOISY: f"{findings.where}, mean of {len(findings.conditions) - (CLEAN in parts)}"}
    shown = [findings.figures[part] for part in parts]
    rows = [(LABELS[pair], *(interval_words(figure.of(pair)) for figure in shown)) for pair in shown[0].pairs]
    upgraded = [figure.upgraded for figure in shown if figure.upgraded]
    rows.append(("new test instead of old", *(span(figure.mixed_minus_old) for figure in shown)))
    if upgraded:
        rows.append(
            ("upgraded enrolment, new test instead of both old", *(span(found.minus_old) for found in upgraded))
        )
    rows.append(("everything new instead of old", *(span(figure.new_minus_old) for figure in shown)))
    rows.append(("old enrolment instead of new", *(span(figure.mixed_minus_new) for figure in shown)))
    if upgraded:
        rows.append(("upgraded enrolment instead of new", *(span(found.minus_new) for found in upgraded)))
    return Table("EER in %", (PAIR, *(heads[part] for part in parts)), tuple(rows))


def _threshold_tables(point: OperatingPoint, findings: Findings, intervals: bool) -> list[Table]:
    """Return errors at the threshold of each row, which may be set, and while the old threshold stays."""
    names = {CLEAN: "clean", NOISY: findings.where}
    names = {part: name for part, name in names.items() if part in findings.figures}
    heads = list(names.values())
    what = "false acceptance / rejection in %"
    if intervals:
        heads = [f"false {kind}, {name}" for name in names.values() for kind in ("acc.", "rej.")]
        what = "errors in %"
    own, old = [], []
    for name, pair in point.pairs.items():
        moved = "" if name == OLD else _estimate(pair.moved, intervals, 3, "+")
        set_to = (_row_name(name, findings, own=True), _estimate(pair.threshold, intervals, 3), moved)
        own.append((*set_to, *_errors(pair.at_own, names, intervals)))
        old.append((_row_name(name, findings, own=False), *_errors(pair.at_old, names, intervals)))
    title = f"Threshold for {point.false_acceptance:g} % false acceptance on clean speech; {what}"
    return [
        Table(f"{title} at the threshold of each row", (PAIR, "threshold", "moves by", *heads), tuple(own)),
        Table(f"{title} while the old one stays", (PAIR, *heads), tuple(old)),
    ]


def _estimate(estimate: Estimate, intervals: bool, digits: int = 2, sign: str = "") -> str:
    return interval_words(estimate if intervals else Estimate(estimate.value), digits, sign)


def _errors(rates: Mapping[str, Rates], parts: Iterable[str], intervals: bool) -> list[str]:
    pairs = [(rates[part].false_acceptance, rates[part].false_rejection) for part in parts]
    if intervals:
        return [interval_words(value) for pair in pairs for value in pair]
    return [" / ".join(_estimate(value, intervals) for value in pair) for pair in pairs]


def _row_name(pair: str, findings: Findings, *, own: bool) -> str:
    """Return a pair in words, marked where the verdict is for it, with its own threshold or with the old one."""
    decision = findings.verdict.decision
    decided = pair == rules.DECIDING.get(decision) and own != (decision == "keep")
    return f"{LABELS[pair]}{DECIDED if decided else ''}"


def _similarity_table(findings: Findings) -> Table:
    rows = [
        (condition, *(f"{alike.mean:.3f}" for alike in pairs.values()), f"{pairs[MIXED].p05:.3f}")
        for condition, pairs in findings.similarity.items()
    ]
    measured = next(iter(findings.similarity.values()))
    head = ("condition", *(LABELS[pair] for pair in measured), "old, new: 5 % are below")
    return Table("Cosine of the clean enrolment and the test of the same segment", head, tuple(rows))


def _spread_tables(findings: Findings) -> list[Table]:
    kinds = dict.fromkeys(kind for pairs in findings.scores.values() for kind in pairs)
    shown = ("1", "50", "99", "99.9")
    head = (PAIR, "mean", "deviation", *(f"{share} % below" for share in shown))
    return [
        Table(
            f"Clean scores of {kind}",
            head,
            tuple((LABELS[pair], *_spread_cells(spreads[kind], shown)) for pair, spreads in findings.scores.items()),
        )
        for kind in kinds
    ]


def _spread_cells(spread: ScoreStats, shown: Sequence[str]) -> list[str]:
    return [f"{value:.3f}" for value in (spread.mean, spread.deviation, *(spread.quantiles[share] for share in shown))]


def _markdown(table: Table) -> str:
    lines = [f"{table.title}:", "", _line(table.head), "|" + "---|" * len(table.head), *map(_line, table.rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)
