"""Plots of the reports: SVG panels, curves, and embeddings projected to a plane."""

import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.conditions.spec import Condition
from voxanchor.evaluation.compare import ComparedSystems, SeededEstimate
from voxanchor.evaluation.results import CLEAN, SystemSummary
from voxanchor.extras import missing
from voxanchor.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


SERIES, SPEAKERS = 8, 10
"""Number of colours for systems and for speakers; they repeat beyond that."""

# Colours that no figure uses by chance: `_inline` replaces them by the page's own, so that one drawing serves both
# the light and the dark page.
INK, MUTED, RULE = "#010203", "#010204", "#010205"
SERIES_COLOURS = [f"#01030{index}" for index in range(SERIES)]
SPEAKER_COLOURS = [f"#01040{index}" for index in range(SPEAKERS)]
_CSS = {INK: "currentColor", MUTED: "var(--muted)", RULE: "var(--rule)"}
_CSS |= {colour: f"var(--series-{index})" for index, colour in enumerate(SERIES_COLOURS)}
_CSS |= {colour: f"var(--speaker-{index})" for index, colour in enumerate(SPEAKER_COLOURS)}

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MARKER_SIGNS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "★")
"""The systems' markers as characters, for the legend of the page."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "axes.axisbelow": True,
}


@dataclass(frozen=True)
class Panel:
    """One small picture: its title and its SVG element as text."""

    title: str
    svg: str


class Canvas:
    """A figure under construction; `svg` is set when drawing ends."""

    def __init__(self, axes: "Axes") -> None:
        self.axes = axes
        self.svg = ""


@contextmanager
def drawing(name: str, description: str, size: tuple[float, float]) -> Iterator[Canvas]:
    """Give axes to draw on, and set `svg` of the canvas on leaving.

    Args:
        name: prefix of all ids inside; no other picture of the page may have it.
        description: what the picture shows, for those who do not see it.
        size: width and height in inches; the page scales it.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing("matplotlib", "Drawing curves and maps") from error
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        canvas = Canvas(figure.add_subplot())
        yield canvas
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    canvas.svg = _inline(buffer.getvalue(), name, description)


def _inline(document: str, name: str, description: str) -> str:
    """Return the <svg> element without its prologue, with the page's colours, and with ids no other panel uses."""
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"#010[234]0\d", lambda match: _CSS[match.group()], body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' (?:width|height)="[\d.]+pt"', "", body, count=2)
    return body.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1).strip()


# What figures are drawn from.


@dataclass(frozen=True)
class TrainingCurve:
    """How one stage of one training went.

    Attributes:
        seed: the training seed.
        stage: name of the stage.
        steps: optimiser steps at which the loss was logged, rising.
        losses: training loss at each of them.
        validation: (step, clean EER, noisy EER) in percent on the validation speakers.
    """

    system: str
    seed: int
    stage: str
    steps: Sequence[int]
    losses: Sequence[float]
    validation: Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class EmbeddingMap:
    """Positions of one system's embeddings in a plane.

    Attributes:
        system: name of the model.
        points: (N, 2) positions; axes and unit have no meaning.
        speakers: (N,) number of the speaker of each point.
        noisy: (N,) true for embeddings of noisy recordings.
    """

    system: str
    points: FloatArray
    speakers: IntArray
    noisy: BoolArray


def project(embeddings: NDArray[np.floating], seed: int = 0) -> FloatArray:
    """Return positions in a plane that keep neighbours together: (N, 2) float64.

    t-SNE (van der Maaten and Hinton 2008) by scikit-learn on unit vectors, started from the principal components.
    Distances between far groups mean little; whether groups mix means a lot.

    Args:
        embeddings: (N, D) unit vectors, N at least 4. Project clean and noisy embeddings of a system together.
        seed: seed of the optimisation.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ValueError: fewer than four embeddings.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise missing("sklearn", "The map of embeddings") from error
    if embeddings.ndim != 2 or len(embeddings) < 4:
        raise ValueError(f"A map needs at least four embeddings (N, D), got {embeddings.shape}.")
    layout = TSNE(2, perplexity=min(30.0, (len(embeddings) - 1) / 3), init="pca", random_state=seed)
    return np.asarray(layout.fit_transform(np.asarray(embeddings, dtype=np.float32)), dtype=np.float64)


# Curves and maps of a report.

_DET_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
_DET_BELOW, _DET_ABOVE = 5.0, 4.0
"""Axes reach from a fifth of the lowest equal error rate of a panel to four times the highest."""

_DET_LABEL_ROOM = 0.08
"""Of the length of an axis, what a label needs to itself."""


def error_panels(
    summaries: Mapping[str, SystemSummary], prefix: str = "snr", banded: Collection[str] | None = None
) -> list[Panel]:
    """Return EER against SNR, one panel per kind of noise, on one scale; bands are 95 % intervals.

    Args:
        summaries: systems in the order that decides their colours.
        prefix: of the ids inside the pictures; another one for each call on a page.
        banded: systems that get a band; None for all.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    first = next(iter(summaries.values()))
    top = max(
        max(1.08 * estimate.value, estimate.high or 0.0 if banded is None or system in banded else 0.0)
        for system, summary in summaries.items()
        for estimate in summary.conditions.values()
    )
    panels = []
    for number, (noise, reference) in enumerate(first.curves.items()):
        levels = reference.snr_db
        with drawing(f"{prefix}{number}", f"Equal error rate against SNR in {noise}", (4.0, 3.1)) as canvas:
            axes = canvas.axes
            for index, (system, summary) in enumerate(summaries.items()):
                clean = summary.figures[CLEAN].value if CLEAN in summary.figures else None
                _snr_curve(axes, levels, summary.curves[noise].eer, clean, index)
                ends = _intervals(summary, noise, levels)
                if ends is not None and (banded is None or system in banded):
                    axes.fill_between(levels, *ends, color=SERIES_COLOURS[index % SERIES], alpha=0.14, linewidth=0)
            _snr_axis(axes, levels, clean=CLEAN in first.figures)
            axes.set_ylim(0, max(top, 1.0))
            axes.set_ylabel("EER (%)")
        panels.append(Panel(noise, canvas.svg))
    return panels


def _clean_at(levels: Sequence[float] | FloatArray) -> float:
    """Return where clean speech stands on the axis: one step beyond the last level."""
    return float(levels[-1]) + (float(np.diff(levels).min()) if len(levels) > 1 else 5.0)


def _snr_curve(
    axes: "Axes",
    levels: Sequence[float] | FloatArray,
    values: Sequence[float] | FloatArray,
    clean: float | None,
    index: int,
) -> None:
    """Draw a system's curve, and a dotted line to its point without noise, where there is one."""
    colour, marker = SERIES_COLOURS[index % SERIES], MARKERS[index % len(MARKERS)]
    axes.plot(levels, values, color=colour, marker=marker, linewidth=1.8, markersize=5)
    if clean is not None:
        axes.plot([levels[-1], _clean_at(levels)], [values[-1], clean], ":", color=colour, linewidth=1.2)
        axes.plot(_clean_at(levels), clean, color=colour, marker=marker, markersize=5)


def _snr_axis(axes: "Axes", levels: Sequence[float] | FloatArray, *, clean: bool) -> None:
    ticks = [f"{level:g}" for level in levels]
    axes.set_xticks([*levels, _clean_at(levels)] if clean else levels, [*ticks, "clean"] if clean else ticks)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("SNR (dB)")


def _intervals(summary: SystemSummary, noise: str, levels: FloatArray) -> tuple[list[float], list[float]] | None:
    lows, highs = [], []
    known = {(c.kind, c.snr_db): found for c, found in ((Condition.parse(n), e) for n, e in summary.conditions.items())}
    for level in levels:
        estimate = known.get((noise, float(level)))
        if estimate is None or estimate.low is None or estimate.high is None:
            return None
        lows.append(estimate.low)
        highs.append(estimate.high)
    return lows, highs


def det_panels(curves: Mapping[tuple[str, str], tuple[FloatArray, FloatArray]], systems: Sequence[str]) -> list[Panel]:
    """Return detection error trade-off curves on probit axes that fit their data, one panel per condition.

    Args:
        curves: (system, condition) -> miss and false-alarm rates, (P,) each, in the order of rising threshold.
        systems: names in the order of the table, which decides colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    panels = []
    for number, condition in enumerate(dict.fromkeys(condition for _, condition in curves)):
        with drawing(f"det{number}", f"Detection error trade-off, {condition}", (4.0, 3.8)) as canvas:
            axes = canvas.axes
            shown = {name: curves[name, condition] for name in systems if (name, condition) in curves}
            rates = det_ticks(shown.values())
            ticks = [_probit(rate) for rate in rates]
            axes.plot(ticks[:: len(ticks) - 1], ticks[:: len(ticks) - 1], "--", color=MUTED, linewidth=0.9)
            for system, curve in shown.items():
                p_miss, p_fa = thin(*curve)
                x, y = [_probit(rate) for rate in p_fa], [_probit(rate) for rate in p_miss]
                axes.plot(x, y, linewidth=1.8, color=SERIES_COLOURS[list(systems).index(system) % SERIES])
            labels = det_labels(rates)
            axes.set_xticks(ticks, labels)
            axes.set_yticks(ticks, labels)
            axes.get_xticklabels()[0].set_horizontalalignment("left")  # side by side the two lowest would touch
            axes.get_yticklabels()[0].set_verticalalignment("bottom")
            axes.set_xlim(ticks[0], ticks[-1])
            axes.set_ylim(ticks[0], ticks[-1])
            axes.set_aspect("equal")
            axes.set_xlabel("false alarms (%)")
            axes.set_ylabel("misses (%)")
        panels.append(Panel(condition, canvas.svg))
    return panels


def det_ticks(curves: Iterable[tuple[FloatArray, FloatArray]]) -> tuple[float, ...]:
    """Return the rates to mark on both axes, from the first to the last that is shown: at least three.

    Args:
        curves: miss and false-alarm rates, (P,) each, in the order of rising threshold.
    """
    equal = [float(np.maximum(p_miss, p_fa).min()) for p_miss, p_fa in curves]
    low = max((place for place, rate in enumerate(_DET_TICKS) if rate <= min(equal) / _DET_BELOW), default=0)
    last = len(_DET_TICKS) - 1
    high = min((place for place, rate in enumerate(_DET_TICKS) if rate >= max(equal) * _DET_ABOVE), default=last)
    return _DET_TICKS[low : max(high, low + 2) + 1]


def det_labels(rates: Sequence[float]) -> list[str]:
    """Return what stands at the rates on an axis: percent, and nothing where two would touch."""
    ticks = [_probit(rate) for rate in rates]
    labels, last = [], float("-inf")
    for rate, tick in zip(rates, ticks, strict=True):
        apart = tick - last >= _DET_LABEL_ROOM * (ticks[-1] - ticks[0])
        labels.append(f"{100 * rate:g}" if apart else "")
        last = tick if apart else last
    return labels


def _probit(rate: float) -> float:
    return NormalDist().inv_cdf(min(max(float(rate), 1e-6), 1 - 1e-6))


def thin(p_miss: FloatArray, p_fa: FloatArray, points: int = 160) -> tuple[FloatArray, FloatArray]:
    """Return at most about 2 x `points` of a curve's points, evenly spread on probit axes; a drawing needs no more."""
    grid = np.array([NormalDist().cdf(value) for value in np.linspace(-3.5, 3.5, points)])
    kept = np.unique(np.concatenate((np.searchsorted(p_miss, grid), np.searchsorted(-p_fa, -grid[::-1]))))
    kept = kept[kept < p_miss.size]
    return p_miss[kept], p_fa[kept]


def map_panels(maps: Sequence[EmbeddingMap]) -> list[Panel]:
    """Return one panel per map: filled points are clean recordings, rings noisy ones, numbers mark the speakers.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    panels = []
    for number, chart in enumerate(maps):
        with drawing(f"map{number}", f"Map of the embeddings of {chart.system}", (4.0, 3.8)) as canvas:
            axes = canvas.axes
            labels = np.empty((0, 2))
            for index, speaker in enumerate(np.unique(chart.speakers)):
                own = chart.speakers == speaker
                spot = _speaker_points(axes, chart.points, own, chart.noisy, index, labels)
                labels = np.vstack((labels, spot))
            axes.set_axis_off()
            axes.set_aspect("equal", adjustable="datalim")
        panels.append(Panel(chart.system, canvas.svg))
    return panels


_LABEL_ROOM = 0.07
"""Of the width of a map, what a speaker's number needs to itself."""


def _speaker_points(
    axes: "Axes", points: FloatArray, own: BoolArray, noisy: BoolArray, index: int, labels: FloatArray
) -> FloatArray:
    """Draw a speaker's points and number, and return where the number stands: away from `labels`, the (L, 2) others."""
    colour = SPEAKER_COLOURS[index % SPEAKERS]
    for mask, size, fill in ((own & noisy, 14, "none"), (own & ~noisy, 20, colour)):
        axes.scatter(points[mask, 0], points[mask, 1], s=size, facecolors=fill, edgecolors=colour, linewidths=0.9)
    anchor = own & ~noisy if (own & ~noisy).any() else own
    centre = np.median(points[anchor], axis=0)
    spots = points[anchor]
    middle = np.linalg.norm(spots - centre, axis=1)
    room = np.linalg.norm(spots[:, None] - labels[None], axis=2).min(axis=1, initial=np.inf)
    needed = _LABEL_ROOM * float(np.ptp(points, axis=0).max())
    # the nearest to the centre with room around it, or where there is most room
    chosen = np.where(room >= needed, middle, np.inf).argmin() if (room >= needed).any() else room.argmax()
    x, y = spots[chosen].tolist()
    axes.annotate(str(index + 1), (x, y), xytext=(4, 4), textcoords="offset points", weight="bold", fontsize=10)
    return np.asarray(spots[chosen])


_GEOMETRY = {
    "compactness": "compactness (higher is better)",
    "separation_mean": "separation (lower is better)",
    "drift": "drift from the clean embedding (lower is better)",
}


def geometry_panels(compared: ComparedSystems) -> list[Panel]:
    """Return compactness, separation and drift against SNR, each the mean over the kinds of noise of the main suite.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    main = compared.suites[0]
    kinds = compared.systems[compared.base].suites[main].curves
    levels = sorted({float(level) for curve in kinds.values() for level in curve.snr_db})
    if not levels or not all(main in system.geometry for system in compared.systems.values()):
        return []
    panels = []
    for number, (measure, title) in enumerate(_GEOMETRY.items()):
        with drawing(f"geometry{number}", f"{title} against SNR", (4.0, 3.1)) as canvas:
            for index, system in enumerate(compared.systems.values()):
                geometry = system.geometry[main]
                values = [_mean_at(geometry, level, measure, kinds) for level in levels]
                clean = geometry[CLEAN][measure].value if CLEAN in geometry else None
                _snr_curve(canvas.axes, levels, values, clean, index)
            _snr_axis(canvas.axes, levels, clean=CLEAN in compared.systems[compared.base].geometry[main])
        panels.append(Panel(title, canvas.svg))
    return panels


def _mean_at(
    geometry: Mapping[str, Mapping[str, SeededEstimate]], level: float, measure: str, kinds: Iterable[str]
) -> float:
    names = [f"{kind}_{level:g}db" for kind in kinds]
    return float(np.mean([geometry[name][measure].value for name in names if name in geometry]))


_LOSS_POINTS = 150
"""Of a loss curve: a drawing needs no more."""


def validation_panels(systems: Sequence[str], curves: Sequence[TrainingCurve]) -> list[Panel]:
    """Return EER on the validation speakers against the step, a panel per system; the stages stand end to end.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    shown = [curve for curve in curves if curve.validation]
    top = 1.05 * max((eer for curve in shown for _, *eers in curve.validation for eer in eers), default=1.0)

    def draw(axes: "Axes", curve: TrainingCurve, begin: int, colour: str) -> None:
        steps = [begin + step for step, _, _ in curve.validation]
        axes.plot(steps, [noisy for _, _, noisy in curve.validation], color=colour, linewidth=1.5)
        axes.plot(steps, [clean for _, clean, _ in curve.validation], ":", color=colour, linewidth=1.5)
        axes.set_ylim(0, top)

    return _training_panels(systems, shown, "validation", "Validation error of {} during training", "EER (%)", draw)


def loss_panels(systems: Sequence[str], curves: Sequence[TrainingCurve]) -> list[Panel]:
    """Return the training loss against the step, a panel per system; the stages stand end to end.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def draw(axes: "Axes", curve: TrainingCurve, begin: int, colour: str) -> None:
        every = max(1, len(curve.steps) // _LOSS_POINTS)
        steps = [begin + step for step in curve.steps[::every]]
        axes.plot(steps, curve.losses[::every], color=colour, linewidth=1.0, alpha=0.75)
        axes.set_ylim(bottom=0)

    return _training_panels(
        systems, [curve for curve in curves if curve.steps], "loss", "Training loss of {}", "loss", draw
    )


def _training_panels(
    systems: Sequence[str],
    curves: Sequence[TrainingCurve],
    name: str,
    description: str,
    label: str,
    draw: Callable[["Axes", TrainingCurve, int, str], None],
) -> list[Panel]:
    """Return a panel for each system that has curves; ``draw`` takes axes, a curve, its first step and a colour."""
    panels: list[Panel] = []
    for index, system in enumerate(systems):
        own = [curve for curve in curves if curve.system == system]
        if own:
            size = (4.0, 3.1 if name == "validation" else 2.6)
            with drawing(f"{name}{len(panels)}", description.format(system), size) as canvas:
                begin = _mark_stages(canvas.axes, own)
                for curve in own:
                    draw(canvas.axes, curve, begin[curve.stage], SERIES_COLOURS[index % SERIES])
                canvas.axes.set_xlabel("step")
                canvas.axes.set_ylabel(label)
            panels.append(Panel(system, canvas.svg))
    return panels


def _mark_stages(axes: "Axes", curves: Sequence[TrainingCurve]) -> Mapping[str, int]:
    """Draw where stages meet, and return at which step of the whole training each begins."""
    begin: dict[str, int] = {}
    at = 0
    for stage in dict.fromkeys(curve.stage for curve in curves):
        begin[stage] = at
        own = [curve for curve in curves if curve.stage == stage]
        at += max(max((*curve.steps, *(step for step, _, _ in curve.validation))) for curve in own)
    for stage, step in list(begin.items())[1:]:
        axes.axvline(step, color=MUTED, linewidth=0.8, linestyle="--")
        axes.annotate(
            stage,
            (step, 1),
            xytext=(4, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=9,
        )
    return begin
