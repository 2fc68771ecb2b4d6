"""A calibration in words and tables, as Markdown."""

from collections.abc import Iterator, Sequence

from voxanchor.scoring.calibration import CalibrationRecord, ConditionFigures, SearchFigures, Threshold


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
