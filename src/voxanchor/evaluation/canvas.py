"""Inline SVG panels that take their colours from the page, so light and dark both work."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from voxanchor.evaluation.markup import text
from voxanchor.extras import missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES, SPEAKERS = 8, 10
"""Number of colours for systems and for speakers; they repeat beyond that."""

# Colours no figure uses by chance; `_Panel` replaces them by the page's own.
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


def panel_grid(panels: Sequence[Panel]) -> str:
    """Return panels side by side, as many as the page is wide enough for."""
    figures = "".join(f"<figure><figcaption>{text(panel.title)}</figcaption>{panel.svg}</figure>" for panel in panels)
    return f'<div class="panels">{figures}</div>'
