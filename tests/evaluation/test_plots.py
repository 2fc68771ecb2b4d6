import re
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest

from voxanchor.evaluation.plots import (
    MARKER_SIGNS,
    MARKERS,
    SERIES,
    EmbeddingMap,
    Panel,
    det_labels,
    det_panels,
    det_ticks,
    error_panels,
    map_panels,
    thin,
)
from voxanchor.evaluation.results import ResultRow, summarise
from voxanchor.scoring.metrics import det_curve
from voxanchor.types import FloatArray


def rates(seed: int) -> tuple[FloatArray, FloatArray]:
    generator = np.random.default_rng(seed)
    targets = generator.random(5000) < 0.2
    curve = det_curve(generator.standard_normal(5000) + 2 * targets, targets)
    return curve.p_miss, curve.p_fa


def check(panels: list[Panel]) -> None:
    names: list[str] = []
    for panel in panels:
        root = ElementTree.fromstring(panel.svg)
        assert root.tag.endswith("svg")
        assert root.get("width") is None  # the page decides
        assert root.get("viewBox")
        assert root.get("aria-label")
        assert not re.search(r"#0102|#01030|#01040", panel.svg)  # every placeholder became a colour of the page
        assert "DejaVu" not in panel.svg
        names += [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        for target in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', panel.svg):
            assert f'id="{"".join(target)}"' in panel.svg
    assert len(names) == len(set(names))  # ids of several pictures on one page do not meet


def row(system: str, condition: str, noise: str, snr: float | None, eer: float) -> ResultRow:
    low, high = (None, None) if system == "plain" else (eer - 1, eer + 1)
    return ResultRow(system, "both-noisy", "s", condition, noise, snr, 0, 10, 5, eer, low, high, 0.5, 0.5, None, None)


def test_one_panel_per_kind_of_noise() -> None:
    table = [
        row(system, f"{noise}_{snr}db", noise, float(snr), 20.0 - snr / 2)
        for system in ("plain", "banded")
        for noise in ("babble", "music")
        for snr in (-5, 0, 10)
    ]
    panels = error_panels(summarise(table))
    assert [panel.title for panel in panels] == ["babble", "music"]
    assert panels[0].svg.count("fill-opacity: 0.14") + panels[0].svg.count("opacity: 0.14") >= 1  # one band only
    assert ">clean<" not in panels[0].svg
    check(panels)
    table += [row(system, "clean", "", None, 2.0) for system in ("plain", "banded")]
    assert ">clean<" in error_panels(summarise(table))[0].svg


def test_one_det_panel_per_condition() -> None:
    panels = det_panels(
        {("a", "clean"): rates(0), ("b & c", "clean"): rates(1), ("a", "0 dB <loud>"): rates(2)}, ["a", "b & c"]
    )
    assert [panel.title for panel in panels] == ["clean", "0 dB <loud>"]
    assert "var(--series-1)" in panels[0].svg
    assert "var(--series-1)" not in panels[1].svg
    check(panels)
    perfect = det_panels({("a", "clean"): (np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]))}, ["a"])
    check(perfect)


@pytest.mark.parametrize(
    ("equal", "marked"),
    [
        ((0.02, 0.15), (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)),
        ((0.3, 0.4), (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)),  # bad systems do not end in a corner
        ((0.0, 0.0), (0.001, 0.005, 0.01)),
        ((0.5,), (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)),
    ],
)
def test_det_axes_fit_the_errors(equal: tuple[float, ...], marked: tuple[float, ...]) -> None:
    curves = [(np.array([0.0, rate, 1.0]), np.array([1.0, rate, 0.0])) for rate in equal]
    assert det_ticks(curves) == marked


def test_det_labels_do_not_touch() -> None:
    wide = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
    assert det_labels(wide) == ["0.5", "", "2", "5", "10", "20", "40", "60", "80", "90"]
    assert det_labels(wide[:4]) == ["0.5", "1", "2", "5"]


def test_numbers_of_speakers_stand_apart() -> None:
    generator = np.random.default_rng(1)
    points = 0.4 * generator.standard_normal((80, 2))  # eight speakers on one heap
    chart = EmbeddingMap("x", points, np.repeat(np.arange(8), 10), np.zeros(80, dtype=bool))
    svg = map_panels([chart])[0].svg
    spots = re.findall(r'<text[^>]*font-weight: 700[^>]*x="([\d.-]+)" y="([\d.-]+)"[^>]*>\d+<', svg)
    places = np.array(spots, dtype=float)
    assert len(places) == 8
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(8, 1)]
    assert apart.min() > 10  # points, of a font of 10


@pytest.mark.parametrize("points", [50, 200])
def test_thinning_keeps_the_shape(points: int) -> None:
    p_miss, p_fa = rates(3)
    kept_miss, kept_fa = thin(p_miss, p_fa, points)
    assert 10 < kept_miss.size <= 2 * points
    inside = (p_fa > 0.01) & (p_fa < 0.5)
    drawn = np.interp(p_fa[inside], kept_fa[::-1], kept_miss[::-1])
    assert np.abs(drawn - p_miss[inside]).max() < 0.03
    assert (np.diff(kept_miss) >= 0).all()


def test_maps_number_their_speakers() -> None:
    generator = np.random.default_rng(0)
    chart = EmbeddingMap(
        "ge2e", generator.standard_normal((48, 2)), np.tile(np.repeat(np.arange(12), 2), 2), np.arange(48) >= 24
    )
    panels = map_panels([chart, chart])
    assert [panel.title for panel in panels] == ["ge2e", "ge2e"]
    assert all(f">{number}<" in panels[0].svg for number in range(1, 13))
    check(panels)


def test_every_colour_of_a_system_is_one_of_the_page_and_has_its_own_marker() -> None:
    css = resources.files("voxanchor.evaluation").joinpath("templates/report.css").read_text(encoding="utf-8")
    assert len(set(MARKERS)) == len(set(MARKER_SIGNS)) == len(MARKERS) == SERIES
    for index in range(SERIES):
        assert css.count(f"--series-{index}: #") == 2, "one for light and one for dark"
        assert f".series-{index} {{" in css


def _theme(css: str, dark: bool) -> dict[str, str]:
    light, _, other = css.partition("@media (prefers-color-scheme: dark)")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", other if dark else light))


def _linear(colour: str) -> FloatArray:
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


# Ottosson's Oklab, in which browsers mix the colours of the page
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)


def _mixed(one: str, other: str, share: float) -> FloatArray:
    """Linear RGB of a mix: the steps from cube roots to Oklab are linear, so mixing the roots is the same."""
    roots = [np.cbrt(_LMS @ _linear(colour)) for colour in (one, other)]
    return np.linalg.solve(_LMS, (share * roots[0] + (1 - share) * roots[1]) ** 3)


def _luminance(linear: FloatArray) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear.clip(0, 1))


@pytest.mark.parametrize("dark", [False, True])
def test_words_and_lines_stand_out_from_the_page(dark: bool) -> None:
    css = resources.files("voxanchor.evaluation").joinpath("templates/report.css").read_text(encoding="utf-8")
    theme = _theme(css, dark)
    page = _luminance(_linear(theme["page"]))
    needed = {"ink": 4.5, "muted": 4.5, "lost": 4.5}  # WCAG 2, level AA: words, and what is no word
    needed |= {name: 3.0 for name in theme if name.startswith(("series-", "speaker-"))}
    for name, least in needed.items():
        bright, faint = sorted((_luminance(_linear(theme[name])), page), reverse=True)
        assert (bright + 0.05) / (faint + 0.05) >= least, (dark, name)


@pytest.mark.parametrize("dark", [False, True])
def test_every_cell_of_the_heat_map_can_be_read(dark: bool) -> None:
    css = resources.files("voxanchor.evaluation").joinpath("templates/report.css").read_text(encoding="utf-8")
    theme = _theme(css, dark)

    for low, high, ink in (("heat-faint", "heat-middle", "lower-ink"), ("heat-middle", "heat-strong", "upper-ink")):
        letters = _luminance(_linear(theme[ink]))
        for share in np.linspace(0, 1, 101):
            ground = _luminance(_mixed(theme[high], theme[low], share))
            bright, faint = max(ground, letters), min(ground, letters)
            assert (bright + 0.05) / (faint + 0.05) >= 4.5, (dark, low, share)  # WCAG 2, level AA
