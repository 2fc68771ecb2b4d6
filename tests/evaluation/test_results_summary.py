import json
from pathlib import Path

import numpy as np
import pytest

from voxanchor.evaluation.results import ResultRow, summarise, write_summary
from voxanchor.types import FloatArray

CONDITIONS = [("clean", "", None)] + [
    (f"{noise}_{snr}db", noise, float(snr)) for noise in ("noise", "music", "babble") for snr in (0, 5, 10, 15, 20)
]


def rows(system: str, scale: float, seeds: tuple[int, ...] = (0,), suite: str = "noise") -> list[ResultRow]:
    """Errors that fall with the SNR, differ between seeds, and are `scale` times as many as another system's."""
    return [
        ResultRow(
            system,
            "clean-enrol",
            suite,
            condition,
            noise,
            snr,
            seed,
            1000,
            100,
            eer,
            eer - 0.5,
            eer + 0.5,
            0.5,
            0.4,
            None,
            0.1,
        )
        for seed in seeds
        for condition, noise, snr in CONDITIONS
        for eer in [1.0 if snr is None else scale * (25 - snr + seed)]
    ]


def replicates(table: list[ResultRow], spread: float = 1.0) -> dict[tuple[str, str, int], FloatArray]:
    """Samples that move all conditions and systems together, as resampled speakers do."""
    shared = np.random.default_rng(0).standard_normal(200) * spread
    return {(row.system, row.condition, row.noise_seed): row.eer + shared for row in table}


def test_averages_are_over_conditions_and_seeds() -> None:
    table = rows("base", 1.0, seeds=(0, 2)) + rows("anchored", 0.5, seeds=(0, 2))
    result = summarise(table)
    assert list(result) == ["base", "anchored"]
    base = result["base"]
    assert base.figures["clean"].value == 1.0
    assert base.figures["noisy"].value == pytest.approx(16.0)  # 15 on average at seed 0, 17 at seed 2
    assert base.figures["overall"].value == pytest.approx((15 * 16 + 1) / 16)
    assert base.conditions["babble_5db"].value == pytest.approx(21.0)
    assert (base.conditions["babble_5db"].low, base.conditions["babble_5db"].high) == pytest.approx((20.5, 21.5))
    assert base.figures["noisy"].low is None
    assert base.curves["music"].eer.tolist() == pytest.approx([26, 21, 16, 11, 6])
    assert base.gain is None
    gain = result["anchored"].gain
    assert gain is not None
    assert gain.db > 5
    assert result["anchored"].minus["base"]["noisy"].value == pytest.approx(-8.0)


def test_replicates_give_intervals_of_averages_and_paired_differences() -> None:
    table = rows("base", 1.0) + rows("anchored", 0.5)
    result = summarise(table, replicates(table, spread=3.0))
    noisy = result["base"].figures["noisy"]
    assert noisy.low is not None
    assert noisy.high is not None
    assert noisy.low < 15 - 4 < 15 + 4 < noisy.high
    difference = result["anchored"].minus["base"]["noisy"]
    assert difference.low == pytest.approx(-7.5)  # the shared movement cancels
    assert difference.high == pytest.approx(-7.5)
    assert result["base"].minus["anchored"]["noisy"].value == pytest.approx(7.5)


def test_summary_json_has_the_agreed_keys(tmp_path: Path) -> None:
    table = rows("base", 1.0) + rows("anchored", 0.5)
    write_summary(tmp_path / "summary.json", summarise(table, replicates(table)))
    content = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert set(content) == {"base", "anchored"}
    for figure in ("clean", "avg15", "avg16", "avg_noisy", "avg_all"):
        assert content["base"][f"{figure}_low"] <= content["base"][figure] <= content["base"][f"{figure}_high"]
    assert content["base"]["avg15"] == content["base"]["avg_noisy"] == pytest.approx(15.0)
    assert content["base"]["conditions"]["noise_0db"] == 25.0
    assert len(content["base"]["conditions"]) == 16
    assert "db_gained" not in content["base"]
    assert content["anchored"]["db_gained_bound"] == "exact"
    assert content["anchored"]["minus"]["base"]["avg15"] == pytest.approx(-7.5)


def test_other_suites_have_no_avg15(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.json", summarise(rows("base", 1.0, suite="unseen")))
    content = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["base"]
    assert "avg15" not in content
    assert {"clean", "avg_noisy", "avg_all"} <= set(content)
    assert "clean_low" in content
    assert "avg_noisy_low" not in content


def test_a_suite_may_lack_clean_or_noise(tmp_path: Path) -> None:
    clean = summarise(rows("base", 1.0)[:1] + rows("other", 1.0)[:1])
    assert set(clean["base"].figures) == {"clean", "overall"}
    assert clean["other"].gain is None
    noisy = summarise(rows("base", 1.0)[1:])
    assert set(noisy["base"].figures) == {"noisy", "overall"}
    write_summary(tmp_path / "summary.json", noisy)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="one protocol"):
        summarise([])
    with pytest.raises(ValueError, match="one protocol"):
        summarise(rows("base", 1.0) + rows("base", 1.0, suite="unseen"))
    with pytest.raises(ValueError, match="different conditions"):
        summarise(rows("base", 1.0) + rows("anchored", 1.0)[:-1])
