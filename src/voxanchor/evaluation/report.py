"""The reports of an evaluation and of old enrolments: what they show, as data for the templates beside this module.

A report is one HTML file that needs no network and no script. `templates/kit.html` is what all of them are made of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from voxanchor.conditions.spec import Condition, number
from voxanchor.conditions.suites import snr_note
from voxanchor.conditions.suites import where as places
from voxanchor.errors import MissingExtraError
from voxanchor.evaluation.compare import MEASURES
from voxanchor.evaluation.compatibility import Findings
from voxanchor.evaluation.compatibility_figures import LABELS
from voxanchor.evaluation.compatibility_text import described, drift_words, tables
from voxanchor.evaluation.plots import MARKER_SIGNS, SERIES, EmbeddingMap, Panel, det_panels, error_panels, map_panels
from voxanchor.evaluation.protocol import Outcome
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
from voxanchor.extras import missing
from voxanchor.files import write_text
from voxanchor.runtime import log_line
from voxanchor.types import FloatArray

if TYPE_CHECKING:
    from jinja2 import Environment

MINUS, DASH, NBSP = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"

MEASURE_LABELS = dict(
    zip(
        MEASURES,
        (
            f"compactness{NBSP}↑",
            f"separation, mean{NBSP}↓",
            f"separation, p95{NBSP}↓",
            f"ratio{NBSP}↑",
            f"drift{NBSP}↓",
        ),
        strict=True,
    )
)

_HEAT_RANGE = (0.5, 40.0)  # EER in percent of the faintest and the strongest colour, on a logarithmic scale

Summaries = Mapping[str, SystemSummary]
Groups = dict[str, list[tuple[str, list["Cell"]]]]
"""System -> its rows in a table: what heads each, and its cells."""


class Cell(NamedTuple):
    """A figure in a table.

    Attributes:
        value: the figure.
        small: lines in small letters below it.
        css: class that its look goes by.
    """

    value: str
    small: tuple[str, ...] = ()
    css: str = ""


# Pages, whatever they show.


def page(template: str, **content: object) -> str:
    """Return a report as an HTML document.

    Args:
        template: name of the file in `templates`.
        content: what it shows. Text is escaped on its way into the page.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    return _environment().get_template(template).render(**content).strip() + "\n"


def write_page(path: str | Path, render: Callable[[], str]) -> None:
    """Write a page atomically. Without Jinja2 there is none, and a line says how to get it: tables are other files."""
    try:
        write_text(path, render())
    except MissingExtraError as error:
        log_line(f"{Path(path).name} is not written: {error}")


@cache
def _environment() -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise missing("jinja2", "Writing a report as a page") from error
    environment = Environment(
        loader=PackageLoader("voxanchor.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {"series": SERIES, "signs": MARKER_SIGNS}
    environment.filters |= {
        "conditions": _conditions_shown,
        "duration": _duration,
        "measure": measure,
        "percent": lambda value: f"{value:.2f}{NBSP}%",
        "rate": lambda value: f"{value:.2f}",
        "shade": _shade,
        "signed": signed,
        "stacked": _stacked,
        "thousands": lambda value: f"{value:,}",
    }
    return environment


def signed(value: float, digits: int = 2) -> str:
    """Return a difference with its sign, a real minus where it is below zero."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def measure(value: float) -> str:
    """Return a measure of the geometry with three digits."""
    return "∞" if np.isinf(value) else f"{value:.3f}".replace("-", MINUS)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f}{NBSP}s"
    return f"{seconds / 60:.0f}{NBSP}min" if seconds < 5400 else f"{seconds / 3600:.1f}{NBSP}h"


def _shade(eer: float) -> float:
    """Return where an EER lies between the faintest colour, 0, and the strongest, 1."""
    faint, strong = _HEAT_RANGE
    return float(np.log(min(max(eer, faint), strong) / faint) / np.log(strong / faint))


def _conditions_shown(summaries: Summaries) -> dict[str, object]:
    """Return kind of noise -> name of the condition -> its level, and whether there are noise, rooms and channels."""
    kinds: dict[str, dict[str, str]] = {}
    for name in next(iter(summaries.values())).conditions:
        condition = Condition.parse(name)
        level = "" if condition.snr_db is None else f"{number(condition.snr_db).replace('-', MINUS)}{NBSP}dB"
        kinds.setdefault(condition.kind or name, {})[name] = level
    noisy = noisy_conditions(summaries)
    return {
        "kinds": kinds,
        "noise": any(condition.noise for condition in noisy),
        "rooms": any(condition.room for condition in noisy),
        "channels": any(condition.channel for condition in noisy),
    }


def noisy_conditions(summaries: Summaries) -> list[Condition]:
    """Return all conditions but clean."""
    return [Condition.parse(name) for name in next(iter(summaries.values())).conditions if name != CLEAN]


def draw(**panels: Callable[[], list[Panel]]) -> dict[str, object]:
    """Return what was drawn by name, and as ``missing`` how to get the figures where matplotlib is not installed."""
    try:
        return {"missing": "", **{name: make() for name, make in panels.items()}}
    except MissingExtraError as error:
        log_line(f"the report has no figures: {error}")
        return {"missing": str(error), **dict.fromkeys(panels, ())}


# The report of an evaluation.


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
        replicates: bootstrap EERs in percent, for the intervals of averages and differences; see `results.summarise`.
        decisions: of systems with a calibration.
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
    """Write the report of an evaluation as one self-contained HTML file, atomically.

    Without matplotlib the curves and maps are missing and the page says how to get them.

    Raises:
        ValueError: rows that cannot be summarised together; see `results.summarise`.
    """
    write_page(path, lambda: render(data))


def render(data: ReportData) -> str:
    """Return the report of an evaluation as an HTML document.

    Raises:
        ValueError: as `write_report`.
        MissingExtraError: Jinja2 is not installed.
    """
    summaries = summarise(data.rows, data.replicates)
    systems = list(summaries)
    figure = NOISY if NOISY in summaries[systems[0]].figures else OVERALL
    ours = data.ours or min(systems, key=lambda name: summaries[name].figures[figure].value)
    return page(
        "evaluation.html",
        data=data,
        note=snr_note(data.rows[0].suite),
        summaries=summaries,
        systems=systems,
        base=systems[0],
        ours=ours,
        figure=figure,
        where=places(noisy_conditions(summaries)) if figure == NOISY else "over all conditions",
        rivals=_rivals(summaries, ours, figure),
        headline=_headline(summaries),
        decisions=_decisions(data.decisions, systems),
        geometry=_geometry(data.geometry, systems),
        measures=MEASURE_LABELS.values(),
        drawn=draw(
            snr=lambda: error_panels(summaries),
            det=lambda: det_panels(data.det, systems),
            maps=lambda: map_panels(data.maps),
        ),
    )


def _rivals(summaries: Summaries, ours: str, figure: str) -> dict[str, list[tuple[str, float]]]:
    """Return the others with their errors: certainly lower or higher than ours, or not to be told apart."""
    sides: dict[str, list[tuple[str, float]]] = {"lower": [], "open": [], "higher": []}
    base = next(iter(summaries))
    for name, minus in summaries[ours].minus.items():
        difference = minus[figure]
        if difference.low is None or difference.high is None:
            continue
        side = "higher" if difference.high < 0 else "lower" if difference.low > 0 else "open"
        if side == "open" or name != base:
            sides[side].append((name, summaries[name].figures[figure].value))
    return sides


def settled_best(summaries: Summaries, figure: str) -> str | None:
    """Return the system with the fewest errors in a figure where that is settled against every other one, or None."""
    best = min(summaries, key=lambda name: summaries[name].figures[figure].value)
    ends = [minus[figure].high for minus in summaries[best].minus.values() if figure in minus]
    return best if ends and all(high is not None and high < 0 for high in ends) else None


def _headline(summaries: Summaries) -> dict[str, object]:
    """Return the table of averages, with intervals and dB gained: labels and remarks of columns, and rows of cells."""
    base, first = next(iter(summaries.items()))
    noisy = noisy_conditions(summaries)
    shown = _conditions_shown(summaries)
    without_noise = " and ".join(name for name in ("rooms", "channels") if shown[name])
    columns = {
        CLEAN: ("clean", ""),
        NOISY: ("noisy" if shown["noise"] else without_noise, f"mean of {len(noisy)}"),
        OVERALL: ("all", f"mean of {len(first.conditions)}"),
    }
    columns = {name: label for name, label in columns.items() if name in first.figures}
    best = {name: settled_best(summaries, name) for name in columns}
    gains = any(summary.gain is not None for summary in summaries.values())
    rows = {
        system: [
            Cell(*_with_interval(summary.figures[name]), css="best" if system == best[name] else "") for name in columns
        ]
        + [Cell(str(summary.gain or DASH))] * gains
        for system, summary in summaries.items()
    }
    return {
        "columns": [*columns.values(), *[("dB gained", f"over {base}")] * gains],
        "rows": rows,
        "gains": gains,
        "intervals": any(summary.figures[OVERALL].low is not None for summary in summaries.values()),
    }


def _with_interval(estimate: Estimate) -> tuple[str, tuple[str, ...]]:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}", ()
    return f"{estimate.value:.2f}", (f"{estimate.low:.2f}{DASH}{estimate.high:.2f}",)


def _geometry(rows: Sequence[GeometryRow], systems: Sequence[str]) -> Groups:
    """Return compactness, separation and drift per system, clean and averaged over the noisy conditions."""
    found: Groups = {}
    for system in systems:
        own = [row for row in rows if row.system == system]
        clean = [row for row in own if row.condition == CLEAN]
        for name, part in ((CLEAN, clean), (NOISY, [row for row in own if row not in clean])):
            if part:
                cells = [Cell(measure(float(np.mean([getattr(row, column) for row in part])))) for column in MEASURES]
                found.setdefault(system, []).append((name, cells))
    return found


def _decisions(rows: Sequence[DecisionRow], systems: Sequence[str]) -> Groups:
    """Return costs and errors per system and threshold: clean, mean and worst of the noisy conditions."""
    found: Groups = {}
    for system in systems:
        own = [row for row in rows if row.system == system]
        for name in dict.fromkeys(row.threshold for row in own):
            cells = _decided([row for row in own if row.threshold == name])
            found.setdefault(system, []).append((name, [Cell(value) for value in cells]))
    return found


def _decided(rows: Sequence[DecisionRow]) -> list[str]:
    clean = [row for row in rows if row.condition == CLEAN]
    noisy = [row for row in rows if row.condition != CLEAN]

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


# The report of old enrolments and a new model.


def write_compatibility_report(path: str | Path, findings: Findings) -> None:
    """Write the report of old enrolments and a new model as one self-contained HTML file, atomically."""
    write_page(path, lambda: render_compatibility(findings))


def render_compatibility(findings: Findings) -> str:
    """Return the report of old enrolments and a new model as an HTML document.

    Without matplotlib the curves are missing and the page says how to get them.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    outcome = _labelled(findings.outcome) if findings.outcome else None
    summaries = summarise(outcome.rows, outcome.replicates) if outcome else {}
    curves = outcome.det if outcome else {}
    return page(
        "compatibility.html",
        title="May old voiceprints stay?",
        described=described(findings),
        verdict=findings.verdict,
        tables=tables(findings),
        summaries=summaries,
        systems=list(summaries),
        drawn=draw(snr=lambda: error_panels(summaries), det=lambda: det_panels(curves, list(summaries)))
        if outcome
        else {},
        facts=_facts(findings),
        remarks=findings.remarks,
    )


def _labelled(outcome: Outcome) -> Outcome:
    """Return the outcome with the pairs' names in words."""
    return replace(
        outcome,
        rows=[replace(row, system=LABELS[row.system]) for row in outcome.rows],
        det={(LABELS[pair], panel): curve for (pair, panel), curve in outcome.det.items()},
        replicates={
            (LABELS[pair], condition, seed): draws for (pair, condition, seed), draws in outcome.replicates.items()
        },
    )


def _stacked(words: str) -> Cell:
    """Return a figure of a table of words with its interval in small letters below it."""
    value, _, interval = words.partition(" [")
    if interval:
        return Cell(value, (interval.rstrip("]").replace(", ", " to "),))
    value, _, interval = words.partition(" %, ")
    return Cell(f"{value}{NBSP}%", (interval,)) if interval else Cell(words)


def _facts(findings: Findings) -> list[tuple[str, str]]:
    material = findings.material
    facts = [
        ("old model", f"{findings.old.reference}, fingerprint {findings.old.fingerprint}"),
        ("new model", f"{findings.new.reference}, fingerprint {findings.new.fingerprint}"),
        ("drift", drift_words(findings)),
        ("protocol", "clean enrolment, test in the condition"),
        ("noise seeds", ", ".join(map(str, findings.noise_seeds))),
    ]
    if material.trials:
        facts.append(("trials", material.note))
        intervals = f"95 %, {material.resampled}s drawn anew {material.replicates} times, for all alike"
        facts.append(("intervals", intervals))
    return facts
