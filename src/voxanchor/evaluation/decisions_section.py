"""The part of a report about decisions: what the systems' own calibrations and thresholds came to."""

from collections.abc import Sequence

import numpy as np

from voxanchor.evaluation.markup import Cell, paragraph, section, table
from voxanchor.evaluation.results import DecisionRow
from voxanchor.evaluation.sections import system_name

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
