"""The report of a comparison: one HTML file that needs no network and no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voxanchor.conditions.suites import FIELD_SUITES
from voxanchor.errors import MissingExtraError
from voxanchor.evaluation import report
from voxanchor.evaluation.compare import (
    GAIN,
    MEASURES,
    SETTLED,
    ComparedSystem,
    ComparedSystems,
    Contrast,
    SeededEstimate,
    compare_systems,
    split_name,
)
from voxanchor.evaluation.compare_training import (
    Budget,
    TrainingCurve,
    TuningRow,
    budget_section,
    read_curve,
    training_section,
)
from voxanchor.evaluation.markup import Cell, count, details, document, paragraph, section, table, text
from voxanchor.evaluation.plots import (
    MARKERS,
    SERIES,
    SERIES_COLOURS,
    EmbeddingMap,
    Panel,
    det_panels,
    drawing,
    error_panels,
    map_panels,
    panel_grid,
)
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.report import (
    DET_EXPLAINED,
    GEOMETRY_EXPLAINED,
    MAP_EXPLAINED,
    PROTOCOLS,
    SNR_EXPLAINED,
    listed,
    percent,
    signed,
    system_name,
)
from voxanchor.evaluation.results import CLEAN, NOISY, OVERALL
from voxanchor.files import write_text
from voxanchor.runtime import log_line
from voxanchor.types import FloatArray

_MINUS = "\N{MINUS SIGN}"
_DASH = "\N{EN DASH}"


def figure_label(compared: ComparedSystems, figure: str) -> tuple[str, str]:
    """Return what heads the column of a figure, as HTML: its name, and a remark in small letters."""
    if figure == GAIN:
        return "dB gained", f"over {text(compared.base)}"
    if figure == CLEAN:
        return "clean", "no noise"
    known = {NOISY: ("noisy", "avg15"), OVERALL: ("all", "avg16")}
    if figure in known and compared.suites[0] in FIELD_SUITES:
        return known[figure]
    name = known[figure][0] if figure in known else text(figure.replace("-", " "))
    return name, f"mean of {compared.mean_of(figure)}"


def systems_section(compared: ComparedSystems, described: Mapping[str, str], plans: Mapping[str, Sequence[str]]) -> str:
    """Return what each system is, and the stages it went through."""
    items = []
    for index, system in enumerate(compared.systems):
        words = paragraph(text(described[system])) if described.get(system) else ""
        stages = "".join(f"<li>{text(stage)}</li>" for stage in plans.get(system, ()))
        stages = f"<ol>{stages}</ol>" if stages else ""
        if words or stages:
            items.append(f"<div><dt>{system_name(system, index)}</dt><dd>{words}{stages}</dd></div>")
    return section("systems", "The systems", f'<dl class="systems">{"".join(items)}</dl>') if items else ""


def headline(compared: ComparedSystems) -> str:
    """Return every figure of every system, with its interval over speakers and its spread over training seeds."""
    figures = compared.figures
    best = {figure: _settled_best(compared, figure) for figure in figures}
    head = [Cell("system", head=True), *_heads(compared, figures)]
    rows = []
    for index, (name, system) in enumerate(compared.systems.items()):
        row = [Cell(system_name(name, index), head=True)]
        row += [_figure_cell(compared, system, figure, best=name == best[figure]) for figure in figures]
        rows.append(row)
    several = any(len(system.seeds) > 1 for system in compared.systems.values())
    explanation = (
        "Equal error rate (EER) in percent: lower is better. A figure is bold where it is the best of its column and "
        "that is settled against each of the others. At this setting a system rejects as many recordings of the right "
        "speaker as it accepts of a wrong one; 50 % is guessing. The first small line spans 95 % of what other draws "
        "of the same kind of speakers would give"
    )
    explanation += (
        "; the second is the least and the largest value among the training seeds, of which the large figure is the "
        "mean."
        if several
        else "."
    )
    if compared.suites[0] in FIELD_SUITES:
        explanation += (
            " avg15 is the mean of the 15 noisy conditions and avg16 that of all 16, as the literature reports them."
        )
    if GAIN in figures:
        explanation += (
            f" dB gained says how much lower the signal-to-noise ratio may be for the same error as "
            f"{text(compared.base)}; ≥ and ≤ mark bounds, where the two share no error "
            "rate; intervals and differences then are bounds too."
        )
    return section("results", "Results", table("headline compared", head, [rows]), paragraph(explanation, "explain"))


def _settled_best(compared: ComparedSystems, figure: str) -> str | None:
    """Return the system that is best in a figure where that is settled against every other one, or None."""
    systems = compared.systems
    known = {name: system.figures[figure].value for name, system in systems.items() if figure in system.figures}
    if figure == GAIN:
        known[compared.base] = 0.0  # over itself
    sign = -1.0 if figure == GAIN else 1.0
    best = min(known, key=lambda name: sign * known[name])
    differences = [found[figure] for found in systems[best].minus.values() if figure in found]
    won = all(difference.settled and sign * difference.value < 0 for difference in differences)
    return best if differences and won else None


def _heads(compared: ComparedSystems, figures: Sequence[str]) -> list[Cell]:
    labels = [figure_label(compared, figure) for figure in figures]
    return [Cell(f"{name}<small>{remark}</small>", head=True, css="number") for name, remark in labels]


def _label(compared: ComparedSystems, figure: str) -> str:
    """The column's name once more inside the cell, shown where the page is too narrow for columns."""
    return f'<span class="label" aria-hidden="true">{figure_label(compared, figure)[0]}</span>'


def _figure_cell(compared: ComparedSystems, system: ComparedSystem, figure: str, *, best: bool) -> Cell:
    estimate, label = system.figures.get(figure), _label(compared, figure)
    if estimate is None:
        return Cell(f"{label}{_DASH}", css="number")
    signed = figure == GAIN
    value = str(system.gain) if signed else f"{estimate.value:.2f}"
    lines = []
    if estimate.low is not None and estimate.high is not None:
        lines.append(_span(estimate.low, estimate.high, signed))
    if estimate.spread is not None:
        lines.append("seeds " + _span(*estimate.spread, signed))
    small = "".join(f"<small>{line}</small>" for line in lines)
    return Cell(f"{label}{value}{small}", css="number best" if best else "number")


def _span(low: float, high: float, signed: bool) -> str:
    if not signed:
        return f"{low:.2f}{_DASH}{high:.2f}"
    return f"{low:.1f} to {high:.1f}".replace("-", _MINUS)


def against_section(compared: ComparedSystems) -> str:
    """Return ours against each opponent: difference, interval, p-value, and what that means in a word."""
    figures = [figure for figure in compared.figures if any(figure in found for found in compared.against.values())]
    places = list(compared.systems)
    head = [Cell(f"{text(compared.ours)} minus", head=True), *_heads(compared, figures)]
    rows = []
    for opponent, contrasts in compared.against.items():
        row = [Cell(system_name(opponent, places.index(opponent)), head=True)]
        row += [_contrast_cell(compared, contrasts.get(figure), figure) for figure in figures]
        rows.append(row)
    title = f"{compared.ours} against each of the others"
    return section("against", title, table("headline compared against", head, [rows]), *_against_explained(compared))


def _contrast_cell(compared: ComparedSystems, difference: Contrast | None, figure: str) -> Cell:
    label = _label(compared, figure)
    if difference is None:
        return Cell(f"{label}{_DASH}", css="number")
    digits = 1 if figure == GAIN else 2
    value, *limits = (
        f"{number:+.{digits}f}".replace("-", _MINUS)
        for number in (difference.value, difference.low, difference.high)
        if number is not None
    )
    small = f"<small>{limits[0]} to {limits[1]}</small>" if limits else ""
    won = (difference.value > 0) == (figure == GAIN)
    word, css = ("better", "won") if won else ("worse", "lost")
    if not difference.settled:
        word, css = "not settled", "open"
    chance = "" if difference.p is None else f"<small>p&nbsp;{_p(difference.p)}</small>"
    return Cell(f"{label}{value}{small}{chance}<small>{word}</small>", css=f"number {css}")


def _p(value: float) -> str:
    return "&lt;&nbsp;0.001" if value < 0.001 else f"=&nbsp;{value:.3f}"


def _against_explained(compared: ComparedSystems) -> list[str]:
    several = max(len(system.seeds) for system in compared.systems.values())
    drawn = "speakers and training seeds are" if several > 1 else "the speakers are"
    cells = sum(len(found) for found in compared.against.values())
    gained = " and dB gained, where above zero is better," if GAIN in compared.figures else ""
    first = (
        f"Each cell is the figure of {text(compared.ours)} minus that of the system in the row: errors in percentage "
        f"points, where below zero is better,{gained} with the 95 % interval of the difference below it."
    )
    second = (
        f"<b>p-value</b>, by paired bootstrap: {compared.draws} times {drawn} drawn anew with replacement, the same "
        "draw for both systems, and the difference is computed again. p is twice the share of draws on the rarer side "
        "of zero: small when the difference keeps its sign whoever is drawn. Below "
        f"{SETTLED:g} the difference counts as settled. The least value that so many draws can give is "
        f"{2 / (compared.draws + 1):.2g}. Nothing is corrected for the number of cells: among {cells} without any true "
        f"difference, about {max(1, round(cells * SETTLED))} would look settled by chance."
    )
    others = "other speakers and other training seeds" if several > 1 else "other speakers"
    third = f"It speaks of {others} of the same kind, not of other languages, microphones or training data."
    if 1 < several < 6:
        third += (
            f" {several} training seeds are few: where trainings differ more than draws of speakers do, p comes out "
            "too small, so trust it most where the spread over seeds in the table above is small beside the difference."
        )
    if several == 1:
        third += " Every system was trained once: another training seed might turn a small difference round."
    return [paragraph(part, "explain") for part in (first, second, third)]


# Geometry of the embeddings in a comparison: tables, and how it changes as the noise grows.

_LABELS = {
    "compactness": "compactness ↑",
    "separation_mean": "separation, mean ↓",
    "separation_p95": "separation, p95 ↓",
    "ratio": "ratio ↑",
    "drift": "drift ↓",
}
_DRAWN = {
    "compactness": "compactness (higher is better)",
    "separation_mean": "separation (lower is better)",
    "drift": "drift from the clean embedding (lower is better)",
}


def geometry_section(compared: ComparedSystems, figures: str) -> str:
    """Return the measures of every system, clean and averaged over noise, and every condition folded away.

    Args:
        compared: all systems.
        figures: pictures to stand under the table, as HTML.
    """
    head = [Cell("system", head=True)]
    head += [Cell(_LABELS[measure], head=True, css="number") for measure in MEASURES]
    bodies = []
    for index, name in enumerate(compared.systems):
        body = [[Cell(system_name(name, index), head=True, css="whole", columns=len(head))]]
        for part, measures in _parts(compared, name).items():
            row = [Cell(text(part), head=True, css="part")]
            body.append(row + [Cell(_with_spread(measures[measure]), css="number") for measure in MEASURES])
        if len(body) > 1:
            bodies.append(body)
    if not bodies:
        return ""
    seeds = any(len(system.seeds) > 1 for system in compared.systems.values())
    return section(
        "geometry",
        "Geometry of the embeddings",
        table("geometry", head, bodies),
        paragraph(
            GEOMETRY_EXPLAINED + (" Small figures: least and largest among the training seeds." if seeds else ""),
            "explain",
        ),
        figures,
        details("Every condition", *(_by_condition(compared, measure) for measure in MEASURES)),
    )


def _parts(compared: ComparedSystems, name: str) -> dict[str, Mapping[str, SeededEstimate]]:
    """Clean, the mean over the main suite's noise, and that of every further suite."""
    geometry = compared.systems[name].geometry
    main = geometry.get(compared.suites[0], {})
    parts = {part: main[part] for part in (CLEAN, NOISY) if part in main}
    further = {suite.replace("-", " "): geometry.get(suite, {}).get(NOISY) for suite in compared.suites[1:]}
    return parts | {suite: measures for suite, measures in further.items() if measures is not None}


def _with_spread(estimate: SeededEstimate) -> str:
    if estimate.spread is None:
        return signed(estimate.value)
    least, largest = (signed(value) for value in estimate.spread)
    if least == largest:
        return signed(estimate.value)
    return f"{signed(estimate.value)}<small>{least}{_DASH}{largest}</small>"


def _by_condition(compared: ComparedSystems, measure: str) -> str:
    head = [Cell(_LABELS[measure], head=True)]
    head += [Cell(system_name(name, index), head=True, css="number") for index, name in enumerate(compared.systems)]
    bodies = []
    for number, suite in enumerate(compared.suites):
        first = compared.systems[compared.base].geometry.get(suite, {})
        body = []
        for condition in first:
            if condition != NOISY and (condition != CLEAN or number == 0):
                row = [Cell(text(condition), head=True)]
                for system in compared.systems.values():
                    found = system.geometry.get(suite, {}).get(condition)
                    row.append(Cell(_DASH if found is None else signed(found[measure].value), css="number"))
                body.append(row)
        if body:
            bodies.append(body)
    return table("geometry narrow", head, bodies)


def geometry_panels(compared: ComparedSystems) -> list[Panel]:
    """Return compactness, separation and drift against SNR, each the mean over the kinds of noise of the main suite.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    main = compared.suites[0]
    curves = compared.systems[compared.base].suites[main].curves
    levels = sorted({float(level) for curve in curves.values() for level in curve.snr_db})
    if not levels or not all(main in system.geometry for system in compared.systems.values()):
        return []
    clean_at = levels[-1] + (float(np.diff(levels).min()) if len(levels) > 1 else 5.0)
    panels = []
    for number, (measure, title) in enumerate(_DRAWN.items()):
        with drawing(f"geometry{number}", f"{title} against SNR", (4.0, 3.1)) as canvas:
            axes = canvas.axes
            for index, system in enumerate(compared.systems.values()):
                geometry = system.geometry[main]
                values = [_mean_at(geometry, level, measure, curves) for level in levels]
                colour, marker = SERIES_COLOURS[index % SERIES], MARKERS[index % len(MARKERS)]
                axes.plot(levels, values, linewidth=1.8, markersize=5, color=colour, marker=marker)
                if CLEAN in geometry:
                    clean = geometry[CLEAN][measure].value
                    axes.plot([levels[-1], clean_at], [values[-1], clean], ":", color=colour, linewidth=1.2)
                    axes.plot(clean_at, clean, markersize=5, color=colour, marker=marker)
            axes.set_xticks([*levels, clean_at], [*(f"{level:g}" for level in levels), "clean"])
            axes.grid(visible=False, axis="x")
            axes.set_xlabel("SNR (dB)")
        panels.append(Panel(title, canvas.svg))
    return panels


def _mean_at(
    geometry: Mapping[str, Mapping[str, SeededEstimate]], level: float, measure: str, kinds: Mapping[str, object]
) -> float:
    names = [f"{kind}_{level:g}db" for kind in kinds]
    return float(np.mean([geometry[name][measure].value for name in names if name in geometry]))


# What a comparison found, in sentences made from its numbers and no more certain than they are.


def lead(compared: ComparedSystems) -> str:
    """Return the findings: noise first, then what holds elsewhere."""
    first = [verdict(compared, NOISY, where(compared, NOISY))] if NOISY in compared.figures else []
    others = [
        verdict(compared, figure, where(compared, figure))
        for figure in (*compared.suites[1:], CLEAN)
        if figure in compared.figures
    ]
    others += [sentence for sentence in (_gain(compared), _certainty(compared)) if sentence]
    sentences = [*first, *others]
    if not sentences:
        return ""
    items = "".join(f"<li>{sentence}</li>" for sentence in sentences[1:])
    return paragraph(sentences[0], "lead") + (f'\n<ul class="findings">{items}</ul>' if items else "")


def where(compared: ComparedSystems, figure: str) -> str:
    """Return where a figure was measured, as the beginning of a sentence."""
    if figure == CLEAN:
        return "On clean speech"
    suite = compared.suites[0] if figure == NOISY else figure
    mean = f"(mean of {compared.mean_of(figure)} conditions)"
    if suite == "unseen-noise":
        return f"In kinds of noise that no training had heard {mean}"
    if not compared.systems[compared.base].suites[suite].curves or figure != NOISY:
        return f"In the suite {text(suite)} {mean}"
    return f"In noise {mean}"


def verdict(compared: ComparedSystems, figure: str, place: str) -> str:
    """Return how ours stands against every opponent in one figure that is an error rate, as HTML."""
    value = compared.systems[compared.ours].figures[figure].value
    sides: dict[str, list[str]] = {"lower": [], "higher": [], "open": []}
    for opponent, contrasts in compared.against.items():
        error = compared.systems[opponent].figures[figure].value
        sides[_side(contrasts[figure])].append(f"{text(opponent)} ({percent(error)})")
    sentence = f"{place}, <b>{text(compared.ours)}</b> has an equal error rate of <b>{percent(value)}</b>"
    lower, higher, undecided = sides["lower"], sides["higher"], sides["open"]
    if lower:
        sentence += f", lower than {_named(lower, len(compared.against))}"
    if higher:
        sentence += f"{' but' if lower else ','} higher than {_named(higher, len(compared.against))}"
    if undecided:
        luck = "these speakers and training seeds do" if _seeds(compared) > 1 else "these speakers do"
        sentence += f". Whether it is lower or higher than {listed(undecided)}, {luck} not settle"
    return sentence + "."


def _named(items: Sequence[str], everybody: int) -> str:
    """The items in words; all of several are said to be all."""
    return f"every other system: {listed(items)}" if len(items) == everybody > 1 else listed(items)


def _side(difference: Contrast) -> str:
    if not difference.settled:
        return "open"
    return "lower" if difference.value < 0 else "higher"


def _gain(compared: ComparedSystems) -> str:
    gain, difference = compared.systems[compared.ours].gain, compared.against[compared.base].get(GAIN)
    if gain is None or difference is None:
        return ""
    louder = gain.db >= 0
    bound = {"exact": "", "at_least": "at least " if louder else "at most "}
    bound["at_most"] = "at most " if louder else "at least "
    sentence = (
        f"For the same error the noise {'may' if louder else 'must'} be {bound[gain.bound]}"
        f"<b>{abs(gain.db):.1f}&nbsp;dB</b> {'louder' if louder else 'fainter'} than for {text(compared.base)}"
    )
    if gain.bound == "exact" and difference.low is not None and difference.high is not None:
        ends = [f"{end:+.1f}".replace("-", _MINUS) for end in (difference.low, difference.high)]
        sentence += f" (dB gained, 95&nbsp;% interval: {ends[0]} to {ends[1]})"
    return sentence + ("." if difference.settled else ", a difference that is not settled.")


def _certainty(compared: ComparedSystems) -> str:
    if _seeds(compared) == 1:
        return "Every system was trained once, so nothing here says what another training seed would change."
    return ""


def _seeds(compared: ComparedSystems) -> int:
    return max(len(system.seeds) for system in compared.systems.values())


# The report of a comparison: one HTML file that needs no network, no script and no explanation beside it.

__all__ = ["Budget", "ComparedReport", "TrainingCurve", "TuningRow", "read_curve", "render", "write_compared_report"]


@dataclass(frozen=True)
class ComparedReport:
    """Everything the report of a comparison shows.

    Attributes:
        title: heading of the page.
        question: what the comparison is to answer, a sentence or two.
        outcomes: suite -> what was found, the main suite first; see `compared.compare_systems`.
        base: system that dB gained is over.
        ours: system that the others are opponents of.
        described: system -> one sentence that says what it is.
        plans: system -> its stages in words.
        budgets: what each system was given.
        unequal: what could not be made equal, a sentence each.
        tuning: settings tried.
        curves: how the trainings went.
        maps: a map of embeddings per system.
        facts: label and value of what the figures rest on.
        notes: remarks of a sentence or two each.
        remark: what a reader has to know before the figures, a paragraph a line.
        recipe: the resolved recipes as text.
    """

    title: str
    outcomes: Mapping[str, Outcome]
    base: str
    ours: str
    question: str = ""
    described: Mapping[str, str] = field(default_factory=dict)
    plans: Mapping[str, Sequence[str]] = field(default_factory=dict)
    budgets: Sequence[Budget] = ()
    unequal: Sequence[str] = ()
    tuning: Sequence[TuningRow] = ()
    curves: Sequence[TrainingCurve] = ()
    maps: Sequence[EmbeddingMap] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    recipe: str = ""
    remark: str = ""


def write_compared_report(path: str | Path, data: ComparedReport, compared: ComparedSystems | None = None) -> None:
    """Write the report as one self-contained HTML file, atomically.

    Without matplotlib the curves and maps are missing and the page says how to get them.

    Args:
        path: of the page.
        data: what it shows.
        compared: the statistics of ``data.outcomes``, where they are at hand already.

    Raises:
        ValueError: outcomes that cannot be compared; see `compared.compare_systems`.
    """
    write_text(path, render(data, compared))


def render(data: ComparedReport, compared: ComparedSystems | None = None) -> str:
    """Return the report as an HTML document; arguments and errors are those of `write_compared_report`."""
    if compared is None:
        compared = compare_systems(data.outcomes, base=data.base, ours=data.ours)
    systems = list(compared.systems)
    maps = [
        report.heat_map(
            compared.summaries(suite),
            "conditions" if number == 0 else f"conditions-{number}",
            f"Every condition: {suite.replace('-', ' ')}" if len(compared.suites) > 1 else "Every condition",
            explained=number == 0,
        )
        for number, suite in enumerate(compared.suites)
    ]
    parts = (
        _header(data, compared),
        report.remark(data.remark),
        lead(compared),
        headline(compared),
        against_section(compared),
        systems_section(compared, data.described, data.plans),
        *maps,
        _figures(data, compared),
        budget_section(systems, data.budgets, data.unequal, data.tuning),
        _training(data, systems),
        report.facts_section(data.facts, data.notes),
        section("recipe", "Recipes", details("The resolved recipes, as they were run", _preformatted(data.recipe)))
        if data.recipe
        else "",
    )
    return document(data.title, "\n".join(part for part in parts if part), ["report.css", "compared.css"])


def _preformatted(recipe: str) -> str:
    return f'<pre tabindex="0">{text(recipe)}</pre>'


def _header(data: ComparedReport, compared: ComparedSystems) -> str:
    row = data.outcomes[compared.suites[0]].rows[0]
    known = PROTOCOLS.get(row.protocol)
    most = max(len(system.seeds) for system in compared.systems.values())
    fewer = [f"{len(own.seeds)} of {text(name)}" for name, own in compared.systems.items() if len(own.seeds) < most]
    items = [
        f"<b>Protocol</b> {text(row.protocol)}" + (f" ({known})" if known else ""),
        f"<b>Suites</b> {text(', '.join(compared.suites))}",
        f"<b>Trials</b> {count(row.trials)} per condition, {count(row.targets)} of the same speaker",
        f"<b>Trainings</b> {most} of each system" + (f", but {report.listed(fewer)}" if fewer else ""),
    ]
    question = paragraph(text(data.question), "question") if data.question else ""
    listed = "".join(f"<li>{item}</li>" for item in items)
    return f'<header>\n<h1>{text(data.title)}</h1>\n{question}\n<ul class="protocol">{listed}</ul>\n</header>'


def _figures(data: ComparedReport, compared: ComparedSystems) -> str:
    """Everything drawn; the tables of the geometry also without drawings."""
    systems = list(compared.systems)
    legend = report.legend(systems)
    try:
        curves = [
            panel
            for number, suite in enumerate(compared.suites)
            for panel in error_panels(compared.summaries(suite), f"snr{number}-", {compared.base, compared.ours})
        ]
        det, note = _first_runs(data, compared)
        drawn = [
            ("snr", "Error against noise level", legend, curves, f"{SNR_EXPLAINED} {_BANDS}"),
            ("det", "Misses against false alarms (DET)", legend, det_panels(det, systems), f"{DET_EXPLAINED} {note}"),
        ]
        shapes = geometry_panels(compared)
        maps = map_panels(data.maps)
    except MissingExtraError as error:
        log_line(f"the report has no figures: {error}")
        return "\n".join(
            part
            for part in (
                section("figures", "Figures", paragraph(text(error), "explain")),
                geometry_section(compared, ""),
            )
            if part
        )
    found = [
        section(identifier, title, key, panel_grid(panels), paragraph(explanation, "explain"))
        for identifier, title, key, panels, explanation in drawn
        if panels
    ]
    found.append(geometry_section(compared, legend + panel_grid(shapes) if shapes else ""))
    if maps:
        found.append(section("maps", "Where recordings land", panel_grid(maps), paragraph(MAP_EXPLAINED, "explain")))
    return "\n".join(part for part in found if part)


_BANDS = (
    "Points are means over training seeds; to keep the picture readable only the base and the system in question have "
    "bands."
)


def _first_runs(
    data: ComparedReport, compared: ComparedSystems
) -> tuple[dict[tuple[str, str], tuple[FloatArray, FloatArray]], str]:
    """The DET curves of the first training of each system, and a remark that says so.

    Scores of two trainings have no common threshold, so their trials are not pooled.
    """
    curves = {}
    several = False
    for (run, panel), curve in data.outcomes[compared.suites[0]].det.items():
        system, seed = split_name(run)
        several |= len(compared.systems[system].seeds) > 1
        if seed == compared.systems[system].seeds[0]:
            curves[system, panel] = curve
    return curves, "Of several trainings the curve is that of the first seed." if several else ""


def _training(data: ComparedReport, systems: list[str]) -> str:
    try:
        return training_section(systems, data.curves, report.legend(systems))
    except MissingExtraError:
        return ""  # said once, where the first figures would be
