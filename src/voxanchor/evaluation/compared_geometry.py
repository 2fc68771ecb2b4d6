"""Geometry of the embeddings in a comparison: tables, and how it changes as the noise grows."""

from collections.abc import Mapping

import numpy as np

from voxanchor.evaluation.canvas import MARKERS, SERIES, SERIES_COLOURS, Panel, drawing
from voxanchor.evaluation.compared import ComparedSystems
from voxanchor.evaluation.markup import Cell, details, paragraph, section, table, text
from voxanchor.evaluation.sections import GEOMETRY_EXPLAINED, signed, system_name
from voxanchor.evaluation.seeded import MEASURES, SeededEstimate
from voxanchor.evaluation.summary import CLEAN, NOISY

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
_DASH = "\N{EN DASH}"


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
