"""The part of a comparison's report that is about training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxanchor.errors import CorpusError
from voxanchor.evaluation.markup import Cell, count, details, paragraph, section, table, text
from voxanchor.evaluation.plots import MUTED, SERIES, SERIES_COLOURS, Panel, drawing, panel_grid
from voxanchor.evaluation.report import system_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Budget:
    """What one training of a system was given.

    Attributes:
        system: its name.
        stages: names of the stages it went through, in their order.
        steps: optimiser steps of all of them.
        examples_clean: clean inputs heard, repetitions counted.
        examples_noisy: noisy inputs heard, repetitions counted.
        hours_heard: length of all inputs together, in hours.
        seconds: time it took on the wall clock, the mean over training seeds.
        parameters: numbers in the model.
    """

    system: str
    stages: Sequence[str]
    steps: int
    examples_clean: int
    examples_noisy: int
    hours_heard: float
    seconds: float
    parameters: int


@dataclass(frozen=True)
class TuningRow:
    """One setting that was tried for a system on the speakers kept aside for choosing.

    Attributes:
        settings: value by name.
        clean_eer: EER in percent without noise.
        noisy_eer: EER in percent in noise.
        score: what the choice was made by; lower is better.
        chosen: whether this one was taken.
    """

    system: str
    settings: Mapping[str, float]
    clean_eer: float
    noisy_eer: float
    score: float
    chosen: bool


@dataclass(frozen=True)
class TrainingCurve:
    """How one stage of one training went.

    Attributes:
        seed: the training seed.
        stage: name of the stage.
        steps: optimiser steps at which the loss was written down, rising.
        losses: training loss at each of them.
        validation: (step, clean EER, noisy EER) in percent on the speakers kept aside to watch the training by.
    """

    system: str
    seed: int
    stage: str
    steps: Sequence[int]
    losses: Sequence[float]
    validation: Sequence[tuple[int, float, float]]


def read_curve(path: Path, system: str, seed: int, stage: str) -> TrainingCurve:
    """Return the curve of a stage from its `metrics.jsonl`; an empty one where there is no such file.

    Validation without error rates, as there is without speaker labels, is left out.

    Raises:
        CorpusError: a file that cannot be read or is not what a training writes.
    """
    try:
        lines: list[dict[str, Any]] = []
        if path.exists():
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        steps = [int(line["step"]) for line in lines]
        losses = [(step, float(line["loss"])) for step, line in zip(steps, lines, strict=True) if "loss" in line]
        checks = [(step, line["validation"]) for step, line in zip(steps, lines, strict=True) if "validation" in line]
        validation = [
            (step, float(found["clean_eer"]), float(found["noisy_eer"]))
            for step, found in checks
            if "clean_eer" in found and "noisy_eer" in found
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}: not the metrics of a training ({error!r}).") from None
    return TrainingCurve(
        system, seed, stage, tuple(step for step, _ in losses), tuple(loss for _, loss in losses), tuple(validation)
    )


# How the systems of a comparison were trained: budgets, settings tried, curves.

_DASH = "\N{EN DASH}"
_POINTS = 150  # of a loss curve: a drawing needs no more


def budget_section(
    systems: Sequence[str], budgets: Sequence[Budget], unequal: Sequence[str], tuning: Sequence[TuningRow]
) -> str:
    """Return what each system was given, what could not be made equal, and the settings that were tried."""
    if not (budgets or unequal or tuning):
        return ""
    remarks = "".join(f"<li>{text(sentence)}</li>" for sentence in unequal)
    return section(
        "budgets",
        "What each system was given",
        _budget_table(systems, budgets) if budgets else "",
        paragraph(
            "Of one training, from where its plan begins to the model that was measured: stages that systems share "
            "count for each of them. An example is one crop of a recording; the same recording comes again with other "
            "crops and other noise. Time depends on what else the machine had to do.",
            "explain",
        )
        if budgets
        else "",
        f"<h3>Not equal</h3><ul>{remarks}</ul>" if remarks else "",
        _tuning(systems, tuning) if tuning else "",
    )


def _budget_table(systems: Sequence[str], budgets: Sequence[Budget]) -> str:
    labels = ("steps", "clean examples", "noisy examples", "hours heard", "time", "parameters")
    head = [Cell("system", head=True), Cell("stages", head=True)]
    head += [Cell(label, head=True, css="number") for label in labels]
    rows = [
        [
            Cell(_named(systems, budget.system), head=True),
            Cell(text(", ".join(budget.stages) or _DASH)),
            Cell(count(budget.steps), css="number"),
            Cell(count(budget.examples_clean), css="number"),
            Cell(count(budget.examples_noisy), css="number"),
            Cell(f"{budget.hours_heard:.1f}", css="number"),
            Cell(_duration(budget.seconds), css="number"),
            Cell(count(budget.parameters), css="number"),
        ]
        for budget in budgets
    ]
    return table("plain", head, [rows])


def _tuning(systems: Sequence[str], tuning: Sequence[TuningRow]) -> str:
    head = [Cell("system", head=True), Cell("settings", head=True)]
    head += [Cell(label, head=True, css="number") for label in ("clean EER", "noisy EER", "score ↓")]
    head.append(Cell("choice", head=True))
    bodies = []
    for system in dict.fromkeys(row.system for row in tuning):
        own = [row for row in tuning if row.system == system]
        body = []
        for position, row in enumerate(own):
            cells = [Cell(_named(systems, system), head=True, rows=len(own))] if position == 0 else []
            settings = ", ".join(f"{name} {value:g}" for name, value in row.settings.items())
            css = "number best" if row.chosen else "number"
            cells.append(Cell(text(settings) or _DASH, css="part"))
            cells += [Cell(f"{value:.2f}", css=css) for value in (row.clean_eer, row.noisy_eer, row.score)]
            cells.append(Cell("chosen" if row.chosen else ""))
            body.append(cells)
        bodies.append(body)
    return details(
        "Settings that were tried",
        table("plain", head, bodies),
        paragraph(
            "On speakers kept aside for choosing, none of whom is in the results. Every system had as many tries as it "
            "has rows here; the least score was taken.",
            "explain",
        ),
    )


def _named(systems: Sequence[str], name: str) -> str:
    return system_name(name, list(systems).index(name)) if name in systems else text(name)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f}&nbsp;s"
    return f"{seconds / 60:.0f}&nbsp;min" if seconds < 5400 else f"{seconds / 3600:.1f}&nbsp;h"


def validation_panels(systems: Sequence[str], curves: Sequence[TrainingCurve]) -> list[Panel]:
    """Return EER on the validation speakers against the step, a panel per system; the stages stand end to end.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    shown = [curve for curve in curves if curve.validation]
    top = 1.05 * max((eer for curve in shown for _, *eers in curve.validation for eer in eers), default=1.0)
    panels = []
    for number, (system, own) in enumerate(_by_system(systems, shown).items()):
        with drawing(f"validation{number}", f"Validation error of {system} during training", (4.0, 3.1)) as canvas:
            axes, colour = canvas.axes, SERIES_COLOURS[list(systems).index(system) % SERIES]
            begin = _mark_stages(canvas.axes, own)
            for curve in own:
                steps = [begin[curve.stage] + step for step, _, _ in curve.validation]
                axes.plot(steps, [noisy for _, _, noisy in curve.validation], color=colour, linewidth=1.5)
                axes.plot(steps, [clean for _, clean, _ in curve.validation], ":", color=colour, linewidth=1.5)
            axes.set_ylim(0, top)
            axes.set_xlabel("step")
            axes.set_ylabel("EER (%)")
        panels.append(Panel(system, canvas.svg))
    return panels


def loss_panels(systems: Sequence[str], curves: Sequence[TrainingCurve]) -> list[Panel]:
    """Return the training loss against the step, a panel per system; the stages stand end to end.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    panels = []
    shown = [curve for curve in curves if curve.steps]
    for number, (system, own) in enumerate(_by_system(systems, shown).items()):
        with drawing(f"loss{number}", f"Training loss of {system}", (4.0, 2.6)) as canvas:
            axes, colour = canvas.axes, SERIES_COLOURS[list(systems).index(system) % SERIES]
            begin = _mark_stages(axes, own)
            for curve in own:
                every = max(1, len(curve.steps) // _POINTS)
                steps = [begin[curve.stage] + step for step in curve.steps[::every]]
                axes.plot(steps, curve.losses[::every], color=colour, linewidth=1.0, alpha=0.75)
            axes.set_ylim(bottom=0)
            axes.set_xlabel("step")
            axes.set_ylabel("loss")
        panels.append(Panel(system, canvas.svg))
    return panels


def _by_system(systems: Sequence[str], curves: Sequence[TrainingCurve]) -> dict[str, list[TrainingCurve]]:
    """Curves of each system that has any, in the order of the table."""
    found = {system: [curve for curve in curves if curve.system == system] for system in systems}
    return {system: own for system, own in found.items() if own}


def _mark_stages(axes: "Axes", curves: Sequence[TrainingCurve]) -> Mapping[str, int]:
    """Draw where stages meet, and return at which step of the whole training each begins."""
    begin: dict[str, int] = {}
    at = 0
    stages = list(dict.fromkeys(curve.stage for curve in curves))
    for stage in stages:
        begin[stage] = at
        own = [curve for curve in curves if curve.stage == stage]
        at += max(max((*curve.steps, *(step for step, _, _ in curve.validation))) for curve in own)
    for stage in stages[1:]:
        axes.axvline(begin[stage], color=MUTED, linewidth=0.8, linestyle="--")
        axes.annotate(
            stage,
            (begin[stage], 1),
            xytext=(4, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=9,
        )
    return begin


def training_section(systems: Sequence[str], curves: Sequence[TrainingCurve], legend: str) -> str:
    """Return the section of the training curves, or nothing without any.

    Args:
        systems: in the order that decides their colours.
        curves: of all systems, seeds and stages.
        legend: of the systems, as HTML.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    validation, losses = validation_panels(systems, curves), loss_panels(systems, curves)
    if not (validation or losses):
        return ""
    return section(
        "training",
        "How the trainings went",
        legend if validation else "",
        panel_grid(validation) if validation else "",
        paragraph(
            "Error on the speakers kept aside to watch the training by: solid with noise, dotted without; a line per "
            "training seed. A stage begins at a dashed line. None of these speakers is in the results.",
            "explain",
        )
        if validation
        else "",
        details(
            "Training loss",
            panel_grid(losses),
            paragraph("Systems minimise different losses: compare shapes, not heights.", "explain"),
        )
        if losses
        else "",
    )
