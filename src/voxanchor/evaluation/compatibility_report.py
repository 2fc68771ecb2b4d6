"""The page of a comparison of old and new enrolments: one HTML file, made of the parts of an evaluation's report."""

from collections.abc import Sequence
from dataclasses import replace

from voxanchor.errors import MissingExtraError
from voxanchor.evaluation import report
from voxanchor.evaluation.compatibility import Findings
from voxanchor.evaluation.compatibility_figures import LABELS
from voxanchor.evaluation.markup import Cell, document, paragraph, section, table, text
from voxanchor.evaluation.plots import det_panels, error_panels, panel_grid
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.report import DET_EXPLAINED, SNR_EXPLAINED
from voxanchor.evaluation.results import summarise
from voxanchor.evaluation.text import Table, described, drift_words, tables
from voxanchor.runtime import log_line

TITLE = "May old voiceprints stay?"


def render(findings: Findings) -> str:
    """Return the findings as an HTML document that needs no network and no script.

    Without matplotlib the curves are missing and the page says how to get them.
    """
    parts = [
        f"<header>\n<h1>{TITLE}</h1>\n{paragraph(text(described(findings)))}\n</header>",
        paragraph(f"<b>{_words(findings.verdict.lead)}</b>", "lead"),
        section("why", "Why", _reasons(findings.verdict.reasons)),
    ]
    parts += [_table(place, entry) for place, entry in enumerate(tables(findings))]
    if findings.outcome is not None:
        parts.append(_curves(_labelled(findings.outcome)))
    parts.append(report.facts_section(_facts(findings), findings.remarks))
    return document(TITLE, "\n".join(part for part in parts if part), ["report.css"])


def _reasons(reasons: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_words(reason)}</li>" for reason in reasons) + "</ul>"


def _words(sentence: str) -> str:
    """Return a sentence as HTML in which no number is parted from its unit."""
    return text(sentence).replace(" %", "&nbsp;%")


def _table(place: int, entry: Table) -> str:
    head = [Cell(text(name), head=True, css="number" if column else "") for column, name in enumerate(entry.head)]
    rows = [
        [Cell(_cell(cell), head=not column, css="number" if column else "") for column, cell in enumerate(row)]
        for row in entry.rows
    ]
    return section(f"table{place}", entry.title, table("conditions", head, [rows]))


def _cell(cell: str) -> str:
    """Return a figure with its interval in small letters below it."""
    for mark in (" [", " %, "):
        value, found, interval = cell.partition(mark)
        if found:
            unit, span = " %" if "%" in mark else "", interval.rstrip("]").replace(", ", " to ")
            return f"{text(value)}{unit}<small>{text(span)}</small>"
    return text(cell)


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


def _curves(outcome: Outcome) -> str:
    summaries = summarise(outcome.rows, outcome.replicates)
    legend, systems = report.legend(list(summaries)), list(summaries)
    elsewhere = "False acceptances and rejections of every condition are in compatibility.csv."
    parts = [report.heat_map(summaries, elsewhere=elsewhere)]
    try:
        drawn = (
            ("snr", "Error against noise level", error_panels(summaries), SNR_EXPLAINED),
            ("det", "Misses against false alarms (DET)", det_panels(outcome.det, systems), DET_EXPLAINED),
        )
    except MissingExtraError as error:
        log_line(f"the report has no figures: {error}")
        return "\n".join([*parts, section("figures", "Figures", paragraph(text(error), "explain"))])
    parts += [
        section(name, title, legend, panel_grid(panels), paragraph(explained, "explain"))
        for name, title, panels, explained in drawn
        if panels
    ]
    return "\n".join(parts)


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
        facts.append(
            ("intervals", f"95 %, {material.resampled}s drawn anew {material.replicates} times, for all alike")
        )
    return facts
