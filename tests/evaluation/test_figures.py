import re
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pytest

from voxanchor.evaluation.canvas import MARKER_SIGNS, MARKERS, SERIES, Panel
from voxanchor.evaluation.figures import det_panels, error_panels, map_panels, thin
from voxanchor.evaluation.projection import EmbeddingMap
from voxanchor.evaluation.results import ResultRow
from voxanchor.evaluation.summary import summarise
from voxanchor.scoring.det import det_curve
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
    css = resources.files("voxanchor.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    assert len(set(MARKERS)) == len(set(MARKER_SIGNS)) == len(MARKERS) == SERIES
    for index in range(SERIES):
        assert css.count(f"--series-{index}: #") == 2, "one for light and one for dark"
        assert f".series-{index} {{" in css
