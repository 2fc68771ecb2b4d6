"""The tables of a comparison: what the systems are, their figures, and ours against each of the others."""

from collections.abc import Mapping, Sequence

from voxanchor.conditions.suites import FIELD_SUITES
from voxanchor.evaluation.compared import ComparedSystem, ComparedSystems
from voxanchor.evaluation.compared_figures import GAIN
from voxanchor.evaluation.markup import Cell, paragraph, section, table, text
from voxanchor.evaluation.paired import SETTLED, Contrast
from voxanchor.evaluation.sections import system_name
from voxanchor.evaluation.summary import CLEAN, NOISY, OVERALL

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
