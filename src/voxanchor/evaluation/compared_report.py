"""The report of a comparison: one HTML file that needs no network, no script and no explanation beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voxanchor.errors import MissingExtraError
from voxanchor.evaluation import sections
from voxanchor.evaluation.canvas import panel_grid
from voxanchor.evaluation.compared import ComparedSystems, compare_systems
from voxanchor.evaluation.compared_geometry import geometry_panels, geometry_section
from voxanchor.evaluation.compared_lead import lead
from voxanchor.evaluation.compared_sections import against_section, headline, systems_section
from voxanchor.evaluation.compared_training import budget_section, training_section
from voxanchor.evaluation.figures import det_panels, error_panels, map_panels
from voxanchor.evaluation.markup import count, details, document, paragraph, section, text
from voxanchor.evaluation.projection import EmbeddingMap
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.report import DET_EXPLAINED, MAP_EXPLAINED, PROTOCOLS, SNR_EXPLAINED
from voxanchor.evaluation.seeded import split_name
from voxanchor.evaluation.training_record import Budget, TrainingCurve, TuningRow, read_curve
from voxanchor.files import write_text
from voxanchor.progress import say
from voxanchor.types import FloatArray

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
        sections.heat_map(
            compared.summaries(suite),
            "conditions" if number == 0 else f"conditions-{number}",
            f"Every condition: {suite.replace('-', ' ')}" if len(compared.suites) > 1 else "Every condition",
            explained=number == 0,
        )
        for number, suite in enumerate(compared.suites)
    ]
    parts = (
        _header(data, compared),
        sections.remark(data.remark),
        lead(compared),
        headline(compared),
        against_section(compared),
        systems_section(compared, data.described, data.plans),
        *maps,
        _figures(data, compared),
        budget_section(systems, data.budgets, data.unequal, data.tuning),
        _training(data, systems),
        sections.facts_section(data.facts, data.notes),
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
        f"<b>Trainings</b> {most} of each system" + (f", but {sections.listed(fewer)}" if fewer else ""),
    ]
    question = paragraph(text(data.question), "question") if data.question else ""
    listed = "".join(f"<li>{item}</li>" for item in items)
    return f'<header>\n<h1>{text(data.title)}</h1>\n{question}\n<ul class="protocol">{listed}</ul>\n</header>'


def _figures(data: ComparedReport, compared: ComparedSystems) -> str:
    """Everything drawn; the tables of the geometry also without drawings."""
    systems = list(compared.systems)
    legend = sections.legend(systems)
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
        say(f"the report has no figures: {error}")
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
        return training_section(systems, data.curves, sections.legend(systems))
    except MissingExtraError:
        return ""  # said once, where the first figures would be
