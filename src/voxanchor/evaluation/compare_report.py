"""The report of a comparison: what it shows, as data for `templates/comparison.html`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxanchor.conditions.suites import FIELD_SUITES
from voxanchor.errors import CorpusError
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
from voxanchor.evaluation.plots import (
    EmbeddingMap,
    TrainingCurve,
    det_panels,
    error_panels,
    geometry_panels,
    loss_panels,
    map_panels,
    validation_panels,
)
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.report import (
    DASH,
    MEASURE_LABELS,
    NBSP,
    Cell,
    Groups,
    draw,
    measure,
    page,
    signed,
    write_page,
)
from voxanchor.evaluation.results import CLEAN, NOISY, OVERALL
from voxanchor.types import FloatArray


@dataclass(frozen=True)
class Budget:
    """What one training of a system was given.

    Attributes:
        system: its name.
        stages: names of the stages it went through, in their order.
        steps: optimiser steps of all of them.
        examples_clean: clean inputs, repetitions counted.
        examples_noisy: noisy inputs, repetitions counted.
        hours_heard: length of all inputs together, in hours.
        seconds: wall-clock time, the mean over training seeds.
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
    """One setting that was tried for a system on the validation speakers.

    Attributes:
        settings: value by name.
        clean_eer: EER in percent without noise.
        noisy_eer: EER in percent in noise.
        score: what the choice was made by; lower is better.
        chosen: whether this one was chosen.
    """

    system: str
    settings: Mapping[str, float]
    clean_eer: float
    noisy_eer: float
    score: float
    chosen: bool


def read_curve(path: Path, system: str, seed: int, stage: str) -> TrainingCurve:
    """Return the curve of a stage from its `metrics.jsonl`; an empty one where there is no such file.

    Validation without error rates, as there is without speaker labels, is left out.

    Raises:
        CorpusError: a file that cannot be read or is not what a training writes.
    """
    losses: list[tuple[int, float]] = []
    validation: list[tuple[int, float, float]] = []
    try:
        for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            line: dict[str, Any] = json.loads(text)
            step, checked = int(line["step"]), line.get("validation", {})
            if "loss" in line:
                losses.append((step, float(line["loss"])))
            if "clean_eer" in checked and "noisy_eer" in checked:
                validation.append((step, float(checked["clean_eer"]), float(checked["noisy_eer"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}: not the metrics of a training ({error!r}).") from None
    steps, values = (tuple(side) for side in zip(*losses, strict=True)) if losses else ((), ())
    return TrainingCurve(system, seed, stage, steps, values, tuple(validation))


@dataclass(frozen=True)
class ComparedReport:
    """Everything the report of a comparison shows.

    Attributes:
        title: heading of the page.
        question: what the comparison is to answer, a sentence or two.
        outcomes: suite -> what was found, the main suite first; see `compare.compare_systems`.
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
        ValueError: outcomes that cannot be compared; see `compare.compare_systems`.
    """
    write_page(path, lambda: render(data, compared))


def render(data: ComparedReport, compared: ComparedSystems | None = None) -> str:
    """Return the report as an HTML document; arguments are those of `write_compared_report`.

    Raises:
        ValueError: as `write_compared_report`.
        MissingExtraError: Jinja2 is not installed.
    """
    if compared is None:
        compared = compare_systems(data.outcomes, base=data.base, ours=data.ours)
    figures, systems = compared.figures, list(compared.systems)
    columns = {figure: _column(compared, figure) for figure in figures}
    det, det_note = _first_runs(data, compared)
    described = {name: (data.described.get(name, ""), data.plans.get(name, ())) for name in systems}
    return page(
        "comparison.html",
        data=data,
        compared=compared,
        systems=systems,
        row=data.outcomes[compared.suites[0]].rows[0],
        field=compared.suites[0] in FIELD_SUITES,
        gains=GAIN in figures,
        settled=SETTLED,
        verdicts=_verdicts(compared),
        columns=list(columns.values()),
        rows=_headline(compared),
        against=_against(compared, columns),
        cells=sum(len(found) for found in compared.against.values()),
        described={name: words for name, words in described.items() if any(words)},
        measures=MEASURE_LABELS,
        geometry=_geometry(compared),
        by_condition=_by_condition(compared),
        tuning=_tuning(data.tuning),
        det_note=det_note,
        drawn=draw(
            snr=lambda: [
                panel
                for number, suite in enumerate(compared.suites)
                for panel in error_panels(compared.summaries(suite), f"snr{number}-", {compared.base, compared.ours})
            ],
            det=lambda: det_panels(det, systems),
            geometry=lambda: geometry_panels(compared),
            maps=lambda: map_panels(data.maps),
            validation=lambda: validation_panels(systems, data.curves),
            loss=lambda: loss_panels(systems, data.curves),
        ),
    )


def _column(compared: ComparedSystems, figure: str) -> tuple[str, str]:
    """Return what heads the column of a figure: its name, and a remark in small letters."""
    if figure == GAIN:
        return "dB gained", f"over {compared.base}"
    if figure == CLEAN:
        return "clean", "no noise"
    known = {NOISY: ("noisy", "avg15"), OVERALL: ("all", "avg16")}
    if figure in known and compared.suites[0] in FIELD_SUITES:
        return known[figure]
    name = known[figure][0] if figure in known else figure.replace("-", " ")
    return name, f"mean of {compared.mean_of(figure)}"


def _verdicts(compared: ComparedSystems) -> list[dict[str, object]]:
    """Return how ours stands against every opponent in each error rate: noise first, then what holds elsewhere."""
    found = []
    for figure in (NOISY, *compared.suites[1:], CLEAN):
        if figure in compared.figures:
            sides: dict[str, list[tuple[str, float]]] = {"lower": [], "higher": [], "open": []}
            for opponent, contrasts in compared.against.items():
                difference = contrasts[figure]
                side = "open" if not difference.settled else "lower" if difference.value < 0 else "higher"
                sides[side].append((opponent, compared.systems[opponent].figures[figure].value))
            value = compared.systems[compared.ours].figures[figure].value
            found.append({"place": _place(compared, figure), "value": value, **sides})
    return found


def _place(compared: ComparedSystems, figure: str) -> str:
    """Return where a figure was measured, as the beginning of a sentence."""
    if figure == CLEAN:
        return "On clean speech"
    suite = compared.suites[0] if figure == NOISY else figure
    mean = f"(mean of {compared.mean_of(figure)} conditions)"
    if suite == "unseen-noise":
        return f"In kinds of noise that no training had heard {mean}"
    if not compared.systems[compared.base].suites[suite].curves or figure != NOISY:
        return f"In the suite {suite} {mean}"
    return f"In noise {mean}"


def _headline(compared: ComparedSystems) -> dict[str, list[Cell]]:
    """Return every figure of every system, with its interval over speakers and its spread over training seeds."""
    best = {figure: _settled_best(compared, figure) for figure in compared.figures}
    return {
        name: [_figure(system, figure, best=name == best[figure]) for figure in compared.figures]
        for name, system in compared.systems.items()
    }


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


def _figure(system: ComparedSystem, figure: str, *, best: bool) -> Cell:
    estimate = system.figures.get(figure)
    if estimate is None:
        return Cell(DASH)

    def span(low: float, high: float) -> str:
        return (
            f"{low:.1f} to {high:.1f}".replace("-", "\N{MINUS SIGN}")
            if figure == GAIN
            else f"{low:.2f}{DASH}{high:.2f}"
        )

    small = []
    if estimate.low is not None and estimate.high is not None:
        small.append(span(estimate.low, estimate.high))
    if estimate.spread is not None:
        small.append("seeds " + span(*estimate.spread))
    value = str(system.gain) if figure == GAIN else f"{estimate.value:.2f}"
    return Cell(value, tuple(small), "best" if best else "")


def _against(compared: ComparedSystems, columns: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    """Return ours against each opponent: difference, interval, p-value, and what that means in a word."""
    figures = [figure for figure in columns if any(figure in found for found in compared.against.values())]
    rows = {
        opponent: [_contrast(contrasts.get(figure), figure) for figure in figures]
        for opponent, contrasts in compared.against.items()
    }
    return {"columns": [columns[figure] for figure in figures], "rows": rows}


def _contrast(difference: Contrast | None, figure: str) -> Cell:
    if difference is None:
        return Cell(DASH)
    digits = 1 if figure == GAIN else 2
    small = []
    if difference.low is not None and difference.high is not None:
        small.append(f"{signed(difference.low, digits)} to {signed(difference.high, digits)}")
    if difference.p is not None:
        small.append(f"p{NBSP}<{NBSP}0.001" if difference.p < 0.001 else f"p{NBSP}={NBSP}{difference.p:.3f}")
    won = (difference.value > 0) == (figure == GAIN)
    word, css = ("better", "won") if won else ("worse", "lost")
    if not difference.settled:
        word, css = "not settled", "open"
    return Cell(signed(difference.value, digits), (*small, word), css)


def _geometry(compared: ComparedSystems) -> Groups:
    """Return the measures of every system: clean, and the mean over the noise of every suite."""
    found: Groups = {}
    for name, system in compared.systems.items():
        main = system.geometry.get(compared.suites[0], {})
        parts = {part: main.get(part) for part in (CLEAN, NOISY)}
        parts |= {suite.replace("-", " "): system.geometry.get(suite, {}).get(NOISY) for suite in compared.suites[1:]}
        for part, measures in parts.items():
            if measures is not None:
                cells = [_with_spread(measures[measure]) for measure in MEASURES]
                found.setdefault(name, []).append((part, cells))
    return found


def _with_spread(estimate: SeededEstimate) -> Cell:
    least, largest = (measure(value) for value in estimate.spread or (0.0, 0.0))
    return Cell(measure(estimate.value), (f"{least}{DASH}{largest}",) if least != largest else ())


def _by_condition(compared: ComparedSystems) -> list[dict[str, list[Any]]]:
    """Return for every suite: condition -> the measures of each system, None where they are not known."""
    found = []
    for number, suite in enumerate(compared.suites):
        geometry = [system.geometry.get(suite, {}) for system in compared.systems.values()]
        names = [
            name
            for name in compared.systems[compared.base].geometry.get(suite, {})
            if name != NOISY and (name != CLEAN or number == 0)
        ]
        found.append({name: [own.get(name) for own in geometry] for name in names})
    return [conditions for conditions in found if conditions]


def _tuning(rows: Sequence[TuningRow]) -> Groups:
    """Return the settings tried for each system, their errors and which of them were chosen."""
    found: Groups = {}
    for row in rows:
        settings = ", ".join(f"{name} {value:g}" for name, value in row.settings.items()) or DASH
        css = "best" if row.chosen else ""
        cells = [Cell(f"{value:.2f}", css=css) for value in (row.clean_eer, row.noisy_eer, row.score)]
        found.setdefault(row.system, []).append((settings, [*cells, Cell("chosen" if row.chosen else "")]))
    return found


def _first_runs(
    data: ComparedReport, compared: ComparedSystems
) -> tuple[dict[tuple[str, str], tuple[FloatArray, FloatArray]], str]:
    """Return the DET curves of the first training of each system, and a remark that says so.

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
