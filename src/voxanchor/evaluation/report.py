"""The report of an evaluation: one HTML file that needs no network and no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voxanchor.conditions.spec import Condition, number
from voxanchor.conditions.suites import snr_note
from voxanchor.conditions.suites import where as places
from voxanchor.errors import MissingExtraError
from voxanchor.evaluation.markup import Cell, count, document, paragraph, section, table, text
from voxanchor.evaluation.plots import (
    MARKER_SIGNS,
    SERIES,
    EmbeddingMap,
    det_panels,
    error_panels,
    map_panels,
    panel_grid,
)
from voxanchor.evaluation.results import (
    CLEAN,
    NOISY,
    OVERALL,
    DecisionRow,
    Estimate,
    GeometryRow,
    Replicates,
    ResultRow,
    SystemSummary,
    summarise,
)
from voxanchor.files import write_text
from voxanchor.runtime import log_line
from voxanchor.types import FloatArray

_HEAT_TICKS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_HEAT_RANGE = (0.5, 40.0)  # EER in percent of the faintest and the strongest colour, on a logarithmic scale
_MINUS = "\N{MINUS SIGN}"
_DASH = "\N{EN DASH}"

Summaries = Mapping[str, SystemSummary]

GEOMETRY_EXPLAINED = (
    "Arrows point to the better direction. <b>Compactness</b>: mean cosine of an embedding to the clean "
    "centre of its speaker. <b>Separation</b>: cosine between the centres of two speakers, the mean over all "
    "pairs and the 95th percentile (the most alike). <b>Ratio</b>: distance between speakers over distance "
    "within a speaker. <b>Drift</b>: how far noise moves an embedding from that of the same recording when "
    "clean, as 1 minus the cosine."
)


def system_name(name: str, index: int) -> str:
    """Return a system's name with the colour and the marker it has in all figures."""
    sign = MARKER_SIGNS[index % len(MARKER_SIGNS)]
    shown = text(name).replace("_", "_<wbr>")  # where a narrow column may break it
    return f'<span class="key series-{index % SERIES}" aria-hidden="true">{sign}</span>&nbsp;{shown}'


def legend(systems: Sequence[str]) -> str:
    """Return the systems with their colours and markers, in a row."""
    items = "".join(f"<li>{system_name(name, index)}</li>" for index, name in enumerate(systems))
    return f'<ul class="legend">{items}</ul>'


def remark(words: str) -> str:
    """Return what a reader has to know before the figures, a paragraph for each line; nothing for no words."""
    paragraphs = "".join(paragraph(text(line)) for line in words.splitlines() if line.strip())
    return f'<div class="remark" role="note">{paragraphs}</div>' if paragraphs else ""


def lead(summaries: Summaries, ours: str = "") -> str:
    """Return the result in a few sentences, no more certain than the intervals allow.

    Args:
        summaries: the base first.
        ours: the system that they are about, held against the base and then against its rivals; empty for the one
            with the fewest errors.
    """
    figure = NOISY if NOISY in next(iter(summaries.values())).figures else OVERALL
    where = places(_conditions(summaries)) if figure == NOISY else "over all conditions"
    base = next(iter(summaries))
    best = ours or min(summaries, key=lambda name: summaries[name].figures[figure].value)
    before = summaries[base].figures
    if best == base:
        other = f" No other system here does better {where}." if len(summaries) > 1 else ""
        clean = f" and {percent(before[CLEAN].value)} on clean speech" if CLEAN in before and figure == NOISY else ""
        return paragraph(
            f"<b>{text(base)}</b> has an equal error rate of {percent(before[figure].value)} {where}{clean}.{other}",
            "lead",
        )
    sentences = [_change_sentence(summaries, base, best, figure, where)]
    if CLEAN in before and figure == NOISY:
        sentences.append(_clean_sentence(summaries, base, best))
    gain = summaries[best].gain
    if gain is not None and gain.db > 0 and gain.bound != "at_most":
        least = "at least " if gain.bound == "at_least" else ""
        sentences.append(f"At equal error it bears {least}{gain.db:.1f} dB more noise.")
    sentences += _rival_sentences(summaries, base, best, figure, where)
    return paragraph(" ".join(sentences), "lead")


def _change_sentence(summaries: Summaries, base: str, best: str, figure: str, where: str) -> str:
    before, after = (summaries[name].figures[figure].value for name in (base, best))
    went = f"the equal error rate {where} from {percent(before)} to <b>{percent(after)}</b>"
    if after >= before:
        return f"<b>{text(best)}</b> takes {went}, against {text(base)}: no gain."
    return f"<b>{text(best)}</b> cuts {went}, that is by {100 * (1 - after / before):.0f} %, against {text(base)}."


def _rival_sentences(summaries: Summaries, base: str, best: str, figure: str, where: str) -> list[str]:
    """Return how the others stand against it: certainly lower or higher, or not to be told apart."""
    sides: dict[str, list[str]] = {"lower": [], "open": [], "higher": []}
    for name, minus in summaries[best].minus.items():
        difference = minus[figure]
        if difference.low is None or difference.high is None:
            continue
        side = "higher" if difference.high < 0 else "lower" if difference.low > 0 else "open"
        if side == "open" or name != base:
            sides[side].append(f"<b>{text(name)}</b> ({percent(summaries[name].figures[figure].value)})")
    found = []
    if sides["lower"]:
        found.append(f"{_have(sides['lower'])} fewer errors than it {where}.")
    if sides["open"]:
        found.append(f"{listed(sides['open'])} cannot be told apart from it {where} by these trials.")
    if sides["higher"]:
        found.append(f"{_have(sides['higher'])} more errors than it.")
    return found


def _have(names: Sequence[str]) -> str:
    return f"{listed(names)} {'has' if len(names) == 1 else 'have'}"


def settled_best(summaries: Summaries, figure: str) -> str | None:
    """Return the system with the fewest errors in a figure where that is settled against every other one, or None."""
    best = min(summaries, key=lambda name: summaries[name].figures[figure].value)
    ends = [minus[figure].high for minus in summaries[best].minus.values() if figure in minus]
    return best if ends and all(high is not None and high < 0 for high in ends) else None


def _conditions(summaries: Summaries) -> list[Condition]:
    """Return all conditions but clean."""
    return [Condition.parse(name) for name in next(iter(summaries.values())).conditions if name != CLEAN]


def _clean_sentence(summaries: Summaries, base: str, best: str) -> str:
    before, after = summaries[base].figures[CLEAN].value, summaries[best].figures[CLEAN].value
    difference = summaries[best].minus[base][CLEAN]
    if f"{before:.2f}" == f"{after:.2f}":
        return f"On clean speech it stays at {percent(after)}."
    sentence = f"On clean speech it goes from {percent(before)} to {percent(after)}"
    if difference.low is None or difference.high is None:
        return sentence + "."
    if difference.low <= 0 <= difference.high:
        return sentence + ", a difference too small for these trials to settle."
    return sentence + (", a clear improvement." if difference.high < 0 else ", a clear loss.")


def headline(summaries: Summaries) -> str:
    """Return the table of averages, with intervals and dB gained."""
    first = next(iter(summaries.values()))
    noisy_count = len(first.conditions) - (CLEAN in first.figures)
    labels = {
        CLEAN: "clean",
        NOISY: f"{_column(_conditions(summaries))}<small>mean of {noisy_count}</small>",
        OVERALL: f"all<small>mean of {len(first.conditions)}</small>",
    }
    shown = [name for name in labels if name in first.figures]
    best = {name: settled_best(summaries, name) for name in shown}
    gains = any(summary.gain is not None for summary in summaries.values())
    head = [Cell("system", head=True), *(Cell(labels[name], head=True, css="number") for name in shown)]
    if gains:
        head.append(Cell(f"dB gained<small>over {text(next(iter(summaries)))}</small>", head=True, css="number"))
    rows = []
    for index, (system, summary) in enumerate(summaries.items()):
        row = [Cell(system_name(system, index), head=True)]
        for name in shown:
            estimate = summary.figures[name]
            row.append(Cell(_with_interval(estimate), css="number best" if system == best[name] else "number"))
        if gains:
            row.append(Cell(str(summary.gain or _DASH), css="number"))
        rows.append(row)
    intervals = any(summary.figures[OVERALL].low is not None for summary in summaries.values())
    explanation = (
        "Equal error rate (EER) in percent: lower is better. At this setting the "
        "system rejects as many recordings of the right speaker as it accepts of a wrong one; 50 % is guessing."
    )
    if intervals:
        explanation += (
            " The small figures span 95 % of what other draws of the same kind of speakers would give. A figure is "
            "bold where it is the lowest of its column and that is settled against each of the others."
        )
    if gains:
        explanation += (
            f" dB gained says how much lower the signal-to-noise ratio may be for the same error as "
            f"{text(next(iter(summaries)))}; ≥ marks a bound where the two share no error rate."
        )
    return section("results", "Results", table("headline", head, [rows]), paragraph(explanation, "explain"))


def heat_map(
    summaries: Summaries,
    identifier: str = "conditions",
    title: str = "Every condition",
    *,
    explained: bool = True,
    elsewhere: str = "Detection costs (minDCF) and Cllr of every condition are in results.csv.",
) -> str:
    """Return EER by condition and system, coloured in steps that double, as a section of that id and title.

    Where it is explained, `elsewhere` says what else there is to know of every condition, and where.
    """
    first = next(iter(summaries.values()))
    groups: dict[str, list[str]] = {}
    for name in first.conditions:
        groups.setdefault(Condition.parse(name).kind or name, []).append(name)
    head = [Cell("condition", head=True, columns=2)]
    head += [Cell(system_name(system, index), head=True, css="number") for index, system in enumerate(summaries)]
    bodies = []
    for noise, names in groups.items():
        body = []
        for position, name in enumerate(names):
            ratio = Condition.parse(name).snr_db
            wide = ratio is None and len(names) == 1
            row = [Cell(text(noise), head=True, rows=len(names), columns=1 + wide)] if position == 0 else []
            if not wide:
                level = "" if ratio is None else f"{number(ratio).replace('-', _MINUS)}&nbsp;dB"
                row.append(Cell(level, head=bool(level), css="number"))
            row += [_heat_cell(summary.conditions[name].value) for summary in summaries.values()]
            body.append(row)
        bodies.append(body)
    levels = "".join(words for found, words in zip(_parts(_conditions(summaries)), _EXPLAINED, strict=True) if found)
    swatches = [_heat_cell(tick) for tick in _HEAT_TICKS]
    steps = "".join(
        f'<span class="{swatch.css}" style="{swatch.style}">{tick:g}</span>'
        for swatch, tick in zip(swatches, _HEAT_TICKS, strict=True)
    )
    return section(
        identifier,
        title,
        table("conditions", head, bodies),
        f'<div class="legend steps" role="note"><span>EER&nbsp;%</span>{steps}</div>',
        paragraph(
            f"EER in percent. {levels}The stronger the colour, the more errors; equal steps of colour are equal "
            f"ratios. {elsewhere}",
            "explain",
        )
        if explained
        else "",
    )


_EXPLAINED = (
    "For each kind of noise and each signal-to-noise ratio (SNR): at 20 dB faint, at 0 dB as loud as the speech. ",
    "<b>reverb</b> is a room: a measured one, or a synthetic one of that reverberation time. ",
    "A channel is what all of it goes through last: <b>telephone</b> a telephone's band, <b>mulaw</b> and <b>gsm</b> "
    "that band and the code of a digital line or a mobile phone, <b>opus</b> a codec at so many kbit/s, <b>clipped</b> "
    "a ceiling so many dB above the active level. ",
)


def _parts(conditions: Sequence[Condition]) -> tuple[bool, bool, bool]:
    """Return whether there is noise, a room, a channel in any of the conditions."""
    return any(c.noise for c in conditions), any(c.room for c in conditions), any(c.channel for c in conditions)


def _column(conditions: Sequence[Condition]) -> str:
    noise, rooms, channels = _parts(conditions)
    return "noisy" if noise else " and ".join(["rooms"] * rooms + ["channels"] * channels)


def _heat_cell(eer: float) -> Cell:
    faint, strong = _HEAT_RANGE
    share = np.log(min(max(eer, faint), strong) / faint) / np.log(strong / faint)
    css = "number heat" + (" upper" if share > 0.5 else "")
    return Cell(f"{eer:.2f}", css=css, style=f"--heat:{200 * share % 100 if share < 1 else 100:.0f}%")


def geometry_table(rows: Sequence[GeometryRow], systems: Sequence[str]) -> str:
    """Return compactness, separation and drift per system, clean and averaged over the noisy conditions."""
    columns = ("compactness", "separation_mean", "separation_p95", "ratio", "drift")
    labels = ("compactness ↑", "separation, mean ↓", "separation, p95 ↓", "ratio ↑", "drift ↓")
    head = [Cell("system", head=True), Cell("speech", head=True, css="part")]
    head += [Cell(label, head=True, css="number") for label in labels]
    bodies = []
    for index, system in enumerate(systems):
        own = [row for row in rows if row.system == system]
        parts = {
            "clean": [row for row in own if row.condition == "clean"],
            "noisy": [row for row in own if row.condition != "clean"],
        }
        parts = {name: part for name, part in parts.items() if part}
        body = []
        for position, (name, part) in enumerate(parts.items()):
            line = [Cell(system_name(system, index), head=True, rows=len(parts))] if position == 0 else []
            line.append(Cell(name, head=True, css="part"))
            line += [Cell(signed(float(np.mean([getattr(row, c) for row in part]))), css="number") for c in columns]
            body.append(line)
        if body:
            bodies.append(body)
    if not bodies:
        return ""
    return section(
        "geometry",
        "Geometry of the embeddings",
        table("geometry", head, bodies),
        paragraph(
            GEOMETRY_EXPLAINED,
            "explain",
        ),
    )


def facts_section(facts: Sequence[tuple[str, str]], notes: Sequence[str]) -> str:
    """Return the notes and the list of what the figures rest on."""
    remarks = "<ul>" + "".join(f"<li>{text(note)}</li>" for note in notes) + "</ul>" if notes else ""
    terms = "".join(f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>" for label, value in facts)
    if not (remarks or terms):
        return ""
    return section("facts", "What this rests on", remarks, f"<dl>{terms}</dl>" if terms else "")


def percent(value: float) -> str:
    """Return an error rate with its sign."""
    return f"{value:.2f}&nbsp;%"


def signed(value: float) -> str:
    """Return a measure with three digits and a real minus sign."""
    return "∞" if np.isinf(value) else f"{value:.3f}".replace("-", _MINUS)


def _with_interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f}<small>{estimate.low:.2f}{_DASH}{estimate.high:.2f}</small>"


def listed(items: Sequence[str]) -> str:
    """Return items as an enumeration in words."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


# The part of a report about decisions: what the systems' own calibrations and thresholds came to.

EXPLAINED = (
    "What the models' own calibrations decide here. Cllr is the cost of their log-likelihood ratios in bits: 0 is "
    "perfect, 1 is what knowing nothing costs, and what lies between Cllr and its minimum is calibration that does not "
    "fit. FA and FR are false acceptances and false rejections in percent, at the thresholds for a prior of one voice "
    "and for rates of false acceptance where the calibration was fitted: a threshold that holds shows its rate here, "
    "too. All conditions are in decisions.csv."
)


def decisions_table(rows: Sequence[DecisionRow], systems: Sequence[str]) -> str:
    """Return costs and errors per system and threshold: clean, mean and worst of the noisy conditions."""
    if not rows:
        return ""
    labels = ("Cllr", "its minimum", "FA clean", "FA noisy", "FA worst", "FR clean", "FR noisy")
    head = [Cell("system", head=True), Cell("threshold", head=True)]
    head += [Cell(label, head=True, css="number") for label in labels]
    bodies = []
    for index, system in enumerate(systems):
        own = [row for row in rows if row.system == system]
        names = list(dict.fromkeys(row.threshold for row in own))
        body = []
        for position, name in enumerate(names):
            line = [Cell(system_name(system, index), head=True, rows=len(names))] if position == 0 else []
            line.append(Cell(name, head=True, css="part"))
            line += [Cell(value, css="number") for value in _values([row for row in own if row.threshold == name])]
            body.append(line)
        if body:
            bodies.append(body)
    return section("decisions", "Decisions", table("geometry", head, bodies), paragraph(EXPLAINED, "explain"))


def _values(rows: Sequence[DecisionRow]) -> list[str]:
    clean = [row for row in rows if row.condition == "clean"]
    noisy = [row for row in rows if row.condition != "clean"]

    def mean(part: Sequence[DecisionRow], name: str, digits: int) -> str:
        return f"{np.mean([getattr(row, name) for row in part]):.{digits}f}" if part else ""

    return [
        mean(rows, "cllr", 3),
        mean(rows, "min_cllr", 3),
        mean(clean, "false_acceptance", 2),
        mean(noisy, "false_acceptance", 2),
        f"{max(row.false_acceptance for row in noisy):.2f}" if noisy else "",
        mean(clean, "false_rejection", 1),
        mean(noisy, "false_rejection", 1),
    ]


# The report of an evaluation: one HTML file that needs no network, no script and no explanation beside it.

PROTOCOLS = {
    "clean-enrol": "clean enrolment, noisy test",
    "both-noisy": "enrolment and test under the same kind and level of noise",
}


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows.

    Attributes:
        title: heading of the page.
        rows: results of one protocol and one suite; the first system is what the others are compared with.
        geometry: geometry of the embeddings, any systems and conditions.
        det: (system, condition) -> miss and false-alarm rates, (P,) each in the order of rising threshold. The
            conditions may be pooled ones ("all noise at 10 dB"); each becomes a panel.
        maps: maps of embeddings, shown side by side in their order.
        facts: label and value of what the figures rest on: data, trials, seeds, commands.
        notes: remarks of a sentence or two each.
        remark: what a reader has to know before the figures, a paragraph a line.
        ours: the system that the report is about; empty for the one with the fewest errors.
        enrol_model: name of the model that made the enrolments, when another one made the tests.
        replicates: bootstrap EERs in percent, for the intervals of averages and differences; see `summary.summarise`.
        decisions: of systems with a calibration; see `decisions.DecisionRow`.
    """

    title: str
    rows: Sequence[ResultRow]
    geometry: Sequence[GeometryRow] = ()
    det: Mapping[tuple[str, str], tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    maps: Sequence[EmbeddingMap] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    enrol_model: str | None = None
    replicates: Replicates | None = None
    decisions: Sequence[DecisionRow] = ()
    remark: str = ""
    ours: str = ""


def write_report(path: str | Path, data: ReportData) -> None:
    """Write the report as one self-contained HTML file, atomically.

    Without matplotlib the curves and maps are missing and the page says how to get them.

    Raises:
        ValueError: rows that cannot be summarised together; see `summary.summarise`.
    """
    write_text(path, render(data))


def render(data: ReportData) -> str:
    """Return the report as an HTML document; raises as `write_report` does."""
    summaries = summarise(data.rows, data.replicates)
    body = "\n".join(
        part
        for part in (
            _header(data),
            remark(data.remark),
            lead(summaries, data.ours),
            headline(summaries),
            heat_map(summaries),
            decisions_table(data.decisions, list(summaries)),
            _figures(data, summaries),
            geometry_table(data.geometry, list(summaries)),
            facts_section(data.facts, data.notes),
        )
        if part
    )
    return document(data.title, body, ["report.css"])


def _header(data: ReportData) -> str:
    row = data.rows[0]
    protocol = PROTOCOLS.get(row.protocol)
    described = text(row.protocol) + (f" ({protocol})" if protocol else "")
    parts = [
        f"<b>Protocol</b> {described}",
        f"<b>Suite</b> {text(row.suite)}" + (f" ({note})" if (note := snr_note(row.suite)) else ""),
        f"<b>Trials</b> {count(row.trials)} per condition, {count(row.targets)} of the same speaker",
    ]
    if data.enrol_model is not None:
        parts.append(
            f"<b>Enrolment</b> made with {text(data.enrol_model)} for every system: the figures show whether old "
            "voiceprints keep working with a new model"
        )
    items = "".join(f"<li>{part}</li>" for part in parts)
    return f'<header>\n<h1>{text(data.title)}</h1>\n<ul class="protocol">{items}</ul>\n</header>'


def _figures(data: ReportData, summaries: Mapping[str, SystemSummary]) -> str:
    systems = list(summaries)
    key = legend(systems)
    try:
        curves = error_panels(summaries)
        det = det_panels(data.det, systems)
        maps = map_panels(data.maps)
    except MissingExtraError as error:
        log_line(f"the report has no figures: {error}")
        return section("figures", "Figures", paragraph(text(error), "explain"))
    return "\n".join(
        section(identifier, title, key, panel_grid(panels), paragraph(explanation, "explain"))
        for identifier, title, key, panels, explanation in (
            ("snr", "Error against noise level", key, curves, SNR_EXPLAINED),
            ("det", "Misses against false alarms (DET)", key, det, DET_EXPLAINED),
            ("maps", "Where recordings land", "", maps, MAP_EXPLAINED),
        )
        if panels
    )


SNR_EXPLAINED = (
    "Equal error rate as the noise fades, from left to right; the last point is speech without noise. Lower and "
    "flatter is better. Bands, where present, are 95 % intervals of each point; systems met the same speakers and the "
    "same noise, so a difference can be certain even where bands overlap."
)
DET_EXPLAINED = (
    "Each curve shows what one system trades as its threshold moves: strict to the left (few impostors accepted, "
    "speakers turned away), lenient to the right. Nearer to the lower left corner is better. The equal error rate is "
    "where a curve meets the dashed diagonal; axes are stretched so that normally distributed scores give straight "
    "lines."
)
MAP_EXPLAINED = (
    "Each number is a speaker. Dots are clean recordings, rings the same recordings with noise; recordings that a "
    "system takes for alike lie close together (t-SNE, one layout per system). A robust system keeps the rings of a "
    "speaker around its dots and away from those of others. Distances between far groups, directions and sizes of "
    "groups mean nothing."
)
