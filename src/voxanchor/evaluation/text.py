"""Calibration and compatibility as Markdown and plain values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxanchor.conditions.suites import snr_note
from voxanchor.config import to_plain
from voxanchor.evaluation import compatibility_verdict as rules
from voxanchor.evaluation.compatibility import Findings
from voxanchor.evaluation.compatibility_figures import LABELS, LEAST_PASSING, MIXED, OLD, OperatingPoint, Rates
from voxanchor.evaluation.compatibility_verdict import interval_words, span
from voxanchor.evaluation.results import CLEAN, NOISY, Estimate
from voxanchor.scoring.calibration import CalibrationRecord, ConditionFigures, SearchFigures, Threshold
from voxanchor.scoring.metrics import NEAR_CHANCE
from voxanchor.scoring.scores import ScoreStats


def calibration_markdown(record: CalibrationRecord) -> str:
    """Return ``calibration.md``: what it takes, its thresholds, and how good it is in every condition."""
    return "\n".join((*_map(record), *_thresholds(record), *_searches(record), *_conditions(record))) + "\n"


USELESS = 0.9
"""Bits, of 1 that knowing nothing costs."""


def remarks(pool: ConditionFigures) -> list[str]:
    """Return what is wrong with a calibration by its figures over all trials; nothing as a rule."""
    found = []
    if pool.cllr > USELESS:
        found.append(
            f"the log-likelihood ratios say next to nothing (a cost of {pool.cllr:.3f} bits of 1): this model hardly "
            "tells these speakers apart, so do not decide by it"
        )
    if pool.cllr > pool.cllr_score:
        found.append(
            f"quality makes the calibration worse here ({pool.cllr_score:.3f} -> {pool.cllr:.3f} bits): the speakers "
            "are too few, or their recordings too much alike in length. Give more of them"
        )
    return found


def summary(record: CalibrationRecord) -> str:
    """Return a few lines for the command line."""
    pool = record.figures[0]
    lines = [
        "cost of log-likelihood ratios on speakers the fit did not hear, in bits, all conditions together:",
        f"  by the score alone {pool.cllr_score:.3f}, with quality {pool.cllr:.3f}, at best {pool.min_cllr:.3f}",
    ]
    lines += [f"  {_threshold_line(threshold)}" for threshold in record.thresholds]
    usual = [item for item in record.searches if item.purpose == "prior" and item.people > 1]
    if usual:
        lines.append(
            f"searches among many (identify) at threshold {usual[0].llr:.2f}, for a prior of {usual[0].value:g}: "
            "strangers taken for somebody (interval; highest condition) / people on the list not found"
        )
        lines += [f"  {item.people} people: {_both(item)}" for item in usual]
    return "\n".join(lines)


def _map(record: CalibrationRecord) -> Iterator[str]:
    names = {
        "speech": "the length of the speech",
        "snr": "an estimate of the signal-to-noise ratio",
        "cohort_mean": "the mean score with a cohort of impostors",
    }
    kind = "the cosine" if record.calibration.kind == "cosine" else "the score normalised by a cohort (AS-norm)"
    takes = " and ".join(filter(None, [kind, ", ".join(names[name] for name in record.calibration.measures)]))
    yield "## Calibration"
    yield ""
    yield f"Log-likelihood ratios from {takes}, for the model `{record.model}`. Fitted on:"
    yield ""
    yield from (f"* {label}: {value}" for label, value in record.material.items())
    yield ""
    yield "All figures are of speakers that the calibration did not hear (four folds). Enrolments are clean; where both"
    yield "sides are in the condition its name says so, and its trials are not among all."
    yield ""


def _thresholds(record: CalibrationRecord) -> Iterator[str]:
    yield "### Thresholds"
    yield ""
    yield "For a prior p of one voice the threshold is log((1 - p) / p): 4.60 for 1 %, 0 for 50 %."
    yield "For a rate of false acceptance, over all conditions. These replace thresholds on cosines (compatibility.md)."
    yield ""
    yield "| false acceptance | threshold | trials | pass | pairs of speakers | 95 % interval | false rejection |"
    yield "|---|---|---|---|---|---|---|"
    for item in record.thresholds:
        if item.llr is None:
            yield f"| {item.false_acceptance:g} % | not stated: {item.remark} | | | | | |"
        else:
            yield (
                f"| {item.false_acceptance:g} % | {item.llr:.2f} | {item.trials:,} | {item.passing:,} | {item.pairs:,} "
                f"| {item.low:.2g} to {item.high:.2g} % | {item.false_rejection:.1f} % |"
            )
    yield ""


def _searches(record: CalibrationRecord) -> Iterator[str]:
    if not record.searches:
        return
    sizes = sorted({item.people for item in record.searches})
    columns = list(dict.fromkeys((item.purpose, item.value) for item in record.searches))
    at = {(item.people, item.purpose, item.value): item for item in record.searches}
    yield "### Searches among many"
    yield ""
    yield (
        f"What `identify` does: {record.searches[0].searches:,} recordings, clean and noisy, each looked for among N "
        "speakers of whom one clean recording each is enrolled; the mean over all lists of N. Strangers who are taken "
        "for somebody (FPIR), and people on the list who are not found or taken for others (FNIR), with 95 % intervals "
        "over speakers, and the FPIR in the condition where it is highest. By the threshold alone: the certainty that "
        "is asked for besides can only make nobody of somebody."
    )
    yield ""
    single = [column for column in columns if column[0] != "list"]
    heads = [
        f"{f'prior {value:g}' if purpose == 'prior' else f'{value:g} % false acceptance'} "
        f"({at[sizes[0], purpose, value].llr:.2f})"
        for purpose, value in single
    ]
    yield "At the thresholds of single comparisons, FPIR / FNIR:"
    yield ""
    yield from _table(sizes, heads, [[_both(at[people, *column]) for column in single] for people in sizes])
    whole = [column for column in columns if column[0] == "list"]
    heads = [f"FPIR {value:g} %" for _, value in whole]
    yield "Thresholds for a rate of the whole list (`identify --false-acceptance`) / FNIR:"
    yield ""
    yield from _table(sizes, heads, [[_for_list(at[people, *column]) for column in whole] for people in sizes])


def _table(sizes: Sequence[int], heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| N | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(heads)
    for people, cells in zip(sizes, rows, strict=True):
        yield f"| {people:,} | {' | '.join(cells)} |"
    yield ""


def _both(item: SearchFigures) -> str:
    found = (
        f"not stated ({_too_few(item)})"
        if item.false_positive is None
        else f"{item.false_positive:.2g} % ({item.low:.2g} to {item.high:.2g}; {item.highest:.2g} in {item.condition})"
    )
    return f"{found} / {_missed(item)}"


def _for_list(item: SearchFigures) -> str:
    if item.llr is None:
        return f"not stated ({_too_few(item)})"
    return f"{item.llr:.2f} / {_missed(item)}"


def _too_few(item: SearchFigures) -> str:
    return f"comparisons that pass: {item.passing}, pairs of speakers: {item.pairs}"


def _missed(item: SearchFigures) -> str:
    if item.false_negative is None:
        return "nobody to find"
    return f"{item.false_negative:.1f} % ({item.missed_low:.1f} to {item.missed_high:.1f})"


def _conditions(record: CalibrationRecord) -> Iterator[str]:
    rate = max(record.figures[0].false_acceptance, key=float, default="")
    yield "### By condition"
    yield ""
    yield (
        "Cllr in bits (0 is perfect, 1 is no information): of plain cosines, calibrated by the score alone, calibrated "
        "with quality, and at best."
    )
    if rate:
        yield (
            f"False acceptance and rejection at the one threshold for {rate} % over all conditions: by the score alone "
            "-> with quality."
        )
    yield ""
    head = f" FA at {rate} % | FR at {rate} % |" if rate else ""
    yield f"| condition | trials | EER | Cllr cosine | by score | with quality | min |{head}"
    yield "|---|---|---|---|---|---|---|" + ("---|---|" if rate else "")
    for item in record.figures:
        yield _row(item, rate)
    yield ""


def _row(item: ConditionFigures, rate: str) -> str:
    cells = [
        item.condition,
        f"{item.trials:,}",
        f"{item.eer:.2f} %",
        f"{item.cllr_cosine:.3f}",
        f"{item.cllr_score:.3f}",
        f"{item.cllr:.3f}",
        f"{item.min_cllr:.3f}",
    ]
    if rate:
        cells.append(f"{item.false_acceptance_score[rate]:.2f} -> {item.false_acceptance[rate]:.2f} %")
        cells.append(f"{item.false_rejection_score[rate]:.1f} -> {item.false_rejection[rate]:.1f} %")
    return "| " + " | ".join(cells) + " |"


def _threshold_line(item: Threshold) -> str:
    if item.llr is None:
        return f"no threshold for {item.false_acceptance:g} % false acceptance: {item.remark}"
    return (
        f"threshold {item.llr:.2f} for {item.false_acceptance:g} % false acceptance ({item.low:.2g} to "
        f"{item.high:.2g} %), {item.false_rejection:.1f} % false rejection; "
        f"{item.passing:,} of {item.trials:,} trials pass"
    )


# The findings on old and new enrolments as plain values, as tables of words, and as Markdown.

FORMAT = "voxanchor-compatibility"
SCHEMA_VERSION = 1

PAIR = "enrolment and test"
DECIDED = " (verdict)"


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
            "near_chance_percent": NEAR_CHANCE,
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
    points = [point for point in findings.thresholds if point.pairs]
    return [
        _error_table(findings),
        *(entry for point in points for entry in _threshold_tables(point, findings, intervals)),
    ]


def compatibility_markdown(findings: Findings) -> str:
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
