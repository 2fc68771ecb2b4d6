import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxanchor.errors import MissingExtraError
from voxanchor.evaluation import report
from voxanchor.evaluation.plots import EmbeddingMap
from voxanchor.evaluation.report import ReportData, render, write_report
from voxanchor.evaluation.results import GeometryRow, ResultRow
from voxanchor.types import FloatArray

EVIL = '<script>alert("x")</script>'
OpenPage = Callable[[str], Any]


def table(**systems: tuple[float, float]) -> list[ResultRow]:
    """Rows of systems given by their EER on clean speech and at 0 dB."""
    rows = []
    for system, (clean, loud) in systems.items():
        for condition, noise, snr, eer in (
            ("clean", "", None, clean),
            ("babble_0db", "babble", 0.0, loud),
            ("babble_10db", "babble", 10.0, (clean + loud) / 2),
        ):
            rows.append(
                ResultRow(
                    system,
                    "clean-enrol",
                    "mini",
                    condition,
                    noise,
                    snr,
                    0,
                    12345,
                    678,
                    eer,
                    None,
                    None,
                    0.5,
                    0.4,
                    None,
                    0.1,
                )
            )
    return rows


def samples(rows: list[ResultRow], spread: float) -> dict[tuple[str, str, int], FloatArray]:
    generator = np.random.default_rng(0)
    return {
        (row.system, row.condition, row.noise_seed): row.eer + spread * generator.standard_normal(200) for row in rows
    }


def full(rows: list[ResultRow]) -> ReportData:
    names = list(dict.fromkeys(row.system for row in rows))
    curve = (np.linspace(0, 1, 50), np.linspace(1, 0, 50) ** 2)
    points = np.random.default_rng(0).standard_normal((20, 2))
    return ReportData(
        title=f"Report {EVIL}",
        rows=rows,
        geometry=[
            GeometryRow(name, "mini", condition, "", None, 0, 5, 20, 0.8, -0.1, 0.3, float("inf"), 0.0)
            for name in names
            for condition in ("clean", "babble_0db")
        ],
        det={(name, condition): curve for name in names for condition in ("clean", EVIL)},
        maps=[EmbeddingMap(name, points, np.arange(20) % 5, np.arange(20) > 9) for name in names],
        facts=[("Seeds", EVIL)],
        notes=[EVIL],
        enrol_model=EVIL,
        replicates=samples(rows, 0.1),
    )


def test_the_page_is_whole_self_contained_and_safe(tmp_path: Path, open_page: OpenPage) -> None:
    rows = table(base=(2.0, 20.0)) + [replace(row, system=EVIL) for row in table(x=(1.0, 8.0))]
    write_report(tmp_path / "report.html", full(rows))
    document = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = open_page(document)  # fails on any element from a name that was not escaped
    assert page.tags.count("h1") == 1
    assert {"results", "conditions", "snr", "det", "maps", "geometry", "facts"} <= set(page.ids)
    assert page.tags.count("svg") == 1 + 2 + 2
    assert EVIL in page.text
    for words in ("12,345 per condition", "mean of 2", "20.00", "∞", "\N{MINUS SIGN}0.100"):
        assert words in page.text


def test_a_report_of_one_system_without_extras_is_short(open_page: OpenPage) -> None:
    page = open_page(render(ReportData("One", table(base=(2.0, 20.0)))))
    assert "base has an equal error rate of 15.50 % in noise and 2.00 % on clean speech." in page.text
    assert "dB gained" not in page.text
    assert not {"det", "maps", "geometry", "facts"} & set(page.ids)


def test_the_lead_says_what_was_gained(open_page: OpenPage) -> None:
    rows = table(base=(2.0, 20.0), anchored=(1.0, 8.0))
    text = open_page(render(ReportData("Two", rows))).text
    assert "anchored cuts the equal error rate in noise from 15.50 % to 6.25 %, that is by 60 %, against base." in text
    assert "On clean speech it goes from 2.00 % to 1.00 %." in text
    assert "dB more noise" in text
    assert "a clear improvement" in open_page(render(ReportData("Two", rows, replicates=samples(rows, 0.1)))).text


def test_the_lead_does_not_pretend(open_page: OpenPage) -> None:
    rows = table(base=(2.0, 20.0), joint=(2.02, 8.1), anchored=(2.05, 8.0))
    text = open_page(render(ReportData("Tie", rows, replicates=samples(rows, 0.3)))).text
    assert "joint (6.58 %) cannot be told apart from it in noise by these trials" in text
    assert "a difference too small for these trials to settle" in text
    worse = open_page(render(ReportData("Worse", table(base=(2.0, 8.0), other=(2.0, 20.0))))).text
    assert "No other system here does better in noise." in worse


@pytest.mark.parametrize(
    ("joint", "said"),
    [
        (8.1, "joint (6.58 %) cannot be told apart from it in noise by these trials."),
        (4.1, "joint (3.58 %) has fewer errors than it in noise."),
        (16.1, "joint (12.58 %) has more errors than it."),
    ],
)
def test_the_lead_is_about_the_method_where_there_is_one(joint: float, said: str, open_page: OpenPage) -> None:
    rows = table(base=(2.0, 20.0), joint=(2.02, joint), anchored=(2.05, 8.0))
    data = ReportData("Method", rows, replicates=samples(rows, 0.3), ours="anchored", remark="Made up.\nDo better.")
    text = open_page(render(data)).text
    assert "anchored cuts the equal error rate in noise from 15.50 % to 6.51 %" in text
    assert said in text
    assert text.index("Made up.") < text.index("anchored cuts") < text.index("Results")
    lost = table(base=(2.0, 8.0), anchored=(2.0, 20.0))
    worse = open_page(render(ReportData("Worse", lost, ours="anchored"))).text
    assert "anchored takes the equal error rate in noise from 6.50 % to 15.50 %, against base: no gain." in worse


def test_bold_is_what_is_settled() -> None:
    def bold(joint: float, spread: float) -> list[str]:
        rows = table(base=(2.0, 20.0), joint=(2.0, joint), anchored=(2.0, 8.0))
        page = render(ReportData("Bold", rows, replicates=samples(rows, spread) if spread else None))
        return re.findall(r'class="number best"><span[^>]*>\w+</span>([\d.]+)', page)

    assert bold(16.0, 0.1) == ["6.50", "5.00"]  # noisy and all; on clean speech all are alike
    assert bold(8.1, 0.3) == []
    assert bold(16.0, 0) == []  # without intervals nothing is settled


def test_without_matplotlib_the_tables_remain(
    monkeypatch: pytest.MonkeyPatch, open_page: OpenPage, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = open_page(render(full(table(base=(2.0, 20.0), anchored=(1.0, 8.0)))))
    assert "pip install 'voxanchor[report]'" in page.text
    assert "the report has no figures: Drawing curves and maps needs" in capsys.readouterr().err
    assert "svg" not in page.tags
    assert {"results", "conditions", "geometry"} <= set(page.ids)


def test_without_jinja_there_is_no_page_and_a_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    data = ReportData("None", table(base=(2.0, 20.0)))
    write_report(tmp_path / "report.html", data)
    assert list(tmp_path.iterdir()) == []
    said = capsys.readouterr().err
    assert "report.html is not written: Writing a report as a page needs the package 'Jinja2'" in said
    assert "pip install Jinja2" in said
    with pytest.raises(MissingExtraError, match="Jinja2"):
        render(data)
    with pytest.raises(ValueError, match="exactly one protocol"):  # wrong data are no missing package
        write_report(tmp_path / "report.html", replace(data, rows=()))


def test_the_same_data_give_the_same_bytes() -> None:
    data = full(table(base=(2.0, 20.0), anchored=(1.0, 8.0)))
    assert render(data) == render(data)
