"""The findings on old and new enrolments as plain values, as tables of words, and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voxanchor.config import to_plain
from voxanchor.evaluation import compatibility_verdict as rules
from voxanchor.evaluation.compatibility import Findings
from voxanchor.evaluation.compatibility_figures import LABELS, MIXED, OLD
from voxanchor.evaluation.compatibility_thresholds import LEAST_PASSING, OperatingPoint, PairThreshold
from voxanchor.evaluation.compatibility_words import interval_words, span
from voxanchor.evaluation.summary import CLEAN, NOISY
from voxanchor.scoring.similarity import Spread

FORMAT = "voxanchor-compatibility"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Table:
    """A table of words: the heading row names the columns, and the first cell of a row what it is about."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


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
            "least_passing": LEAST_PASSING,
        },
        "remarks": list(findings.remarks),
    }


def tables(findings: Findings, *, intervals: bool = True) -> list[Table]:
    """Return what a person reads: error rates and thresholds, or how far embeddings and scores moved.

    Args:
        findings: what was found.
        intervals: give those of thresholds and of the errors there, too; otherwise of error rates alone.
    """
    if not findings.figures:
        return [_similarity_table(findings), *_spread_tables(findings)]
    return [
        _error_table(findings),
        *(_threshold_table(point, findings, intervals) for point in findings.thresholds if point.pairs),
    ]


def markdown(findings: Findings) -> str:
    """Return verdict and tables as Markdown without a heading, for a model card."""
    lead = f"**{findings.verdict.lead}**"
    parts = [lead, *(_markdown(table) for table in tables(findings)), _bullets([*findings.verdict.reasons])]
    return "\n\n".join([*parts, _bullets(_footnotes(findings))]) + "\n"


def described(findings: Findings) -> str:
    """Return in a sentence what was compared on what."""
    material, suite = findings.material, findings.suite
    speakers = f"{material.speakers} speakers, " if material.speakers else ""
    trials = f", {material.trials:,} trials, {material.targets:,} of them of one speaker" if material.trials else ""
    seeds = len(findings.noise_seeds)
    drawn = f", {seeds} noise seeds" if seeds > 1 else ""
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


def _error_table(findings: Findings) -> Table:
    parts = [part for part in (CLEAN, NOISY) if part in findings.figures]
    heads = {CLEAN: "clean", NOISY: f"{findings.where}, mean of {len(findings.conditions) - (CLEAN in parts)}"}
    shown = [findings.figures[part] for part in parts]
    rows = [(LABELS[pair], *(interval_words(figure.of(pair)) for figure in shown)) for pair in shown[0].pairs]
    rows += [
        ("the second against the first", *(span(figure.mixed_minus_old) for figure in shown)),
        ("the second against the last", *(span(figure.mixed_minus_new) for figure in shown)),
    ]
    upgrades = [figure.upgraded for figure in shown if figure.upgraded]
    if upgrades:
        rows.append(("the third against the last", *(span(upgraded.minus_new) for upgraded in upgrades)))
    return Table("EER in %", ("", *(heads[part] for part in parts)), tuple(rows))


def _threshold_table(point: OperatingPoint, findings: Findings, intervals: bool) -> Table:
    parts = [part for part in (CLEAN, NOISY) if part in findings.figures]
    names = {CLEAN: "clean", NOISY: findings.where}
    if intervals:
        heads = [f"false {kind}, {names[part]}" for part in parts for kind in ("acc.", "rej.")]
    else:
        heads = [names[part] for part in parts]
    title = f"Threshold for {point.false_acceptance:g} % false acceptance on clean speech; "
    title += "errors in % at the old one" if intervals else "false acceptance / rejection at the old one"
    cells = _with_intervals if intervals else _without_intervals
    rows = [(LABELS[pair], *cells(point.pairs[pair], parts, pair == OLD)) for pair in point.pairs]
    return Table(title, ("", "threshold", "moves by", *heads), tuple(rows))


def _with_intervals(pair: PairThreshold, parts: Sequence[str], is_old: bool) -> list[str]:
    cells = [interval_words(pair.threshold, 3), "" if is_old else interval_words(pair.moved, 3, "+")]
    for rates in (pair.at_old[part] for part in parts):
        cells += [interval_words(rates.false_acceptance), interval_words(rates.false_rejection)]
    return cells


def _without_intervals(pair: PairThreshold, parts: Sequence[str], is_old: bool) -> list[str]:
    errors = [pair.at_old[part] for part in parts]
    shown = [f"{rates.false_acceptance.value:.2f} / {rates.false_rejection.value:.2f}" for rates in errors]
    return [f"{pair.threshold.value:.3f}", "" if is_old else f"{pair.moved.value:+.3f}", *shown]


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
    head = ("", "mean", "deviation", *(f"{share} % below" for share in shown))
    return [
        Table(
            f"Clean scores of {kind}",
            head,
            tuple((LABELS[pair], *_spread_cells(spreads[kind], shown)) for pair, spreads in findings.scores.items()),
        )
        for kind in kinds
    ]


def _spread_cells(spread: Spread, shown: Sequence[str]) -> list[str]:
    return [f"{value:.3f}" for value in (spread.mean, spread.deviation, *(spread.quantiles[share] for share in shown))]


def _markdown(table: Table) -> str:
    lines = [f"{table.title}:", "", _line(table.head), "|" + "---|" * len(table.head), *map(_line, table.rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)
