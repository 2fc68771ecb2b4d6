"""The report of an evaluation: one HTML file that needs no network, no script and no explanation beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voxanchor.conditions.suites import snr_note
from voxanchor.errors import MissingExtraError
from voxanchor.evaluation import sections
from voxanchor.evaluation.canvas import panel_grid
from voxanchor.evaluation.decisions_section import decisions_table
from voxanchor.evaluation.figures import det_panels, error_panels, map_panels
from voxanchor.evaluation.markup import count, document, paragraph, section, text
from voxanchor.evaluation.projection import EmbeddingMap
from voxanchor.evaluation.results import DecisionRow, GeometryRow, ResultRow
from voxanchor.evaluation.summary import Replicates, SystemSummary, summarise
from voxanchor.files import write_text
from voxanchor.progress import say
from voxanchor.types import FloatArray

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
            sections.remark(data.remark),
            sections.lead(summaries, data.ours),
            sections.headline(summaries),
            sections.heat_map(summaries),
            decisions_table(data.decisions, list(summaries)),
            _figures(data, summaries),
            sections.geometry_table(data.geometry, list(summaries)),
            sections.facts_section(data.facts, data.notes),
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
    legend = sections.legend(systems)
    try:
        curves = error_panels(summaries)
        det = det_panels(data.det, systems)
        maps = map_panels(data.maps)
    except MissingExtraError as error:
        say(f"the report has no figures: {error}")
        return section("figures", "Figures", paragraph(text(error), "explain"))
    return "\n".join(
        section(identifier, title, key, panel_grid(panels), paragraph(explanation, "explain"))
        for identifier, title, key, panels, explanation in (
            ("snr", "Error against noise level", legend, curves, SNR_EXPLAINED),
            ("det", "Misses against false alarms (DET)", legend, det, DET_EXPLAINED),
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
