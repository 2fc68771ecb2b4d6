import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from voxanchor.evaluation.compare import (
    compare_systems,
    contrast,
    geometry_rows,
    over_seeds,
    p_value,
    results_rows,
    run_name,
    seed_weights,
    split_name,
    write_compared_summary,
)
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.results import SeededGeometryRow, SeededResultRow, read_csv, write_csv
from voxanchor.types import FloatArray

MakeOutcome = Callable[..., Outcome]


def both(make: MakeOutcome, **changes: object) -> dict[str, Outcome]:
    return {suite: make(suite, with_curves=False, **changes) for suite in ("noise", "unseen-noise")}


def turned(found: Outcome) -> Outcome:
    """The same numbers in the opposite order."""
    return Outcome(
        found.rows[::-1],
        found.geometry[::-1],
        dict(reversed(found.det.items())),
        dict(reversed(found.replicates.items())),
    )


@pytest.mark.parametrize("system", ["joint", "a#b", "x#1", "#"])
def test_a_run_is_named_by_system_and_seed(system: str) -> None:
    assert split_name(run_name(system, 12)) == (system, 12)
    assert split_name("ge2e") == ("ge2e", 0)
    assert split_name("a#b") == ("a#b", 0)


def test_figures_are_what_plain_arithmetic_gives(made_up_outcome: MakeOutcome) -> None:
    outcomes = both(made_up_outcome, noise_seeds=(0, 1))
    found = compare_systems(outcomes, base="base", ours="anchored")
    assert found.suites == ("noise", "unseen-noise")
    assert found.draws == 200
    for suite, figure in (("noise", "noisy"), ("unseen-noise", "unseen-noise")):
        rows = [row for row in outcomes[suite].rows if row.condition != "clean"]
        by_seed = [np.mean([row.eer for row in rows if row.system == f"joint#{seed}"]) for seed in (1, 2, 3)]
        estimate = found.systems["joint"].figures[figure]
        assert estimate.seeds == pytest.approx(by_seed)
        assert estimate.value == pytest.approx(np.mean(by_seed))
        assert estimate.spread == pytest.approx((min(by_seed), max(by_seed)))
        assert estimate.deviation == pytest.approx(np.std(by_seed, ddof=1))
        names = sorted({row.condition for row in rows})
        mean = sum(
            outcomes[suite].replicates[f"joint#{seed}", name, noise] / (3 * len(names) * 2)
            for seed in (1, 2, 3)
            for name in names
            for noise in (0, 1)
        )
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.percentile(mean, [2.5, 97.5])))
    clean = [row.eer for row in outcomes["noise"].rows if row.condition == "clean" and row.system.startswith("joint#")]
    assert found.systems["joint"].figures["clean"].value == pytest.approx(np.mean(clean))
    assert found.mean_of("noisy") == 15
    assert found.mean_of("unseen-noise") == 10
    summary = found.systems["joint"].suites["noise"]
    assert summary.figures["overall"].value == pytest.approx(found.systems["joint"].figures["overall"].value)
    assert summary.figures["overall"].low == pytest.approx(found.systems["joint"].figures["overall"].low)


def test_differences_draw_speakers_and_seeds_alike_for_both(made_up_outcome: MakeOutcome) -> None:
    outcomes = both(made_up_outcome)
    found = compare_systems(outcomes, base="base", ours="anchored").against["finetune"]["unseen-noise"]
    weights = seed_weights((1, 2, 3), 200)
    names = [f"{kind}_{level}db" for kind in ("traffic", "wind") for level in (0, 5, 10, 15, 20)]
    differences = np.zeros(200)
    for replicate in range(200):
        for place, seed in enumerate((1, 2, 3)):
            for name in names:
                ours, theirs = (
                    outcomes["unseen-noise"].replicates[f"{system}#{seed}", name, 0][replicate]
                    for system in ("anchored", "finetune")
                )
                differences[replicate] += weights[place, replicate] * (ours - theirs) / len(names)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))
    assert found.p == pytest.approx(min(1, 2 * ((differences >= 0).sum() + 1) / 201))
    assert found.value < 0
    assert found.settled


def test_gains_are_read_off_the_mean_curves(made_up_outcome: MakeOutcome) -> None:
    found = compare_systems(both(made_up_outcome), base="base", ours="anchored")
    for name, system in found.systems.items():
        if name == "base":
            assert system.gain is None
            assert "db_gained" not in system.figures
            continue
        gain = system.figures["db_gained"]
        assert system.gain is not None
        assert gain.value == system.gain.db
        assert gain.low is not None
        assert gain.high is not None
        assert gain.low <= gain.value <= gain.high
        assert min(gain.seeds) <= gain.value <= max(gain.seeds)
        assert system.minus["base"]["db_gained"].value == gain.value
        assert found.systems["base"].minus[name]["db_gained"].value == -gain.value


def test_the_order_of_rows_changes_nothing(made_up_outcome: MakeOutcome) -> None:
    outcomes = both(made_up_outcome)
    one = compare_systems(outcomes, base="base", ours="anchored")
    other = compare_systems({suite: turned(o) for suite, o in outcomes.items()}, base="base", ours="anchored")
    assert next(iter(other.systems)) == "base"
    for system in one.systems:
        for figure, estimate in one.systems[system].figures.items():
            again = other.systems[system].figures[figure]
            assert (again.value, again.low, again.high) == pytest.approx((estimate.value, estimate.low, estimate.high))
            assert again.seeds == pytest.approx(estimate.seeds)
    for opponent, figures in one.against.items():
        for figure, difference in figures.items():
            assert other.against[opponent][figure].p == difference.p
            assert other.against[opponent][figure].low == pytest.approx(difference.low)


def test_a_published_base_stands_against_every_seed(made_up_outcome: MakeOutcome) -> None:
    outcomes = both(made_up_outcome, single=["base"])
    for row in outcomes["noise"].rows:
        assert row.system != "base#1"
    found = compare_systems(outcomes, base="base", ours="anchored")
    assert found.systems["base"].seeds == (0,)
    assert found.systems["base"].figures["noisy"].spread is None
    weights = seed_weights((1, 2, 3), 200)
    ours = sum(outcomes["noise"].replicates[f"anchored#{seed}", "clean", 0] * weights[seed - 1] for seed in (1, 2, 3))
    differences = ours - outcomes["noise"].replicates["base#0", "clean", 0]
    difference = found.against["base"]["clean"]
    assert (difference.low, difference.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))


def test_a_system_does_not_differ_from_itself(made_up_outcome: MakeOutcome) -> None:
    found = made_up_outcome(errors={"base": (2.0, 1.0), "twin": (2.0, 1.0)}, with_curves=False)
    for name, condition, seed in list(found.replicates):
        found.replicates[name, condition, seed] = found.replicates[name.replace("twin", "base"), condition, seed]
    values = {(row.system, row.condition): row.eer for row in found.rows}
    found.rows = [replace(row, eer=values[row.system.replace("twin", "base"), row.condition]) for row in found.rows]
    same = compare_systems({"noise": found}, base="base", ours="twin").against["base"]
    assert list(same) == ["clean", "noisy", "overall", "db_gained"]
    assert {(difference.value, difference.p) for difference in same.values()} == {(0.0, 1.0)}
    assert not any(difference.settled for difference in same.values())


def test_p_values_by_hand() -> None:
    assert p_value(np.array([-1.0] * 99)) == pytest.approx(2 / 100)
    assert p_value(np.array([-1.0] * 97 + [1.0, np.nan, 1.0])) == pytest.approx(2 * 3 / 100)
    assert p_value(np.array([1.0, -1.0, 0.0])) == 1.0
    assert p_value(np.full(5, np.nan)) is None
    assert contrast(1.0, np.full(5, np.nan)).low is None
    assert not contrast(1.0, np.full(5, np.nan)).settled


def test_seeds_are_drawn_so_that_a_mean_has_its_true_variance() -> None:
    values = np.array([1.0, 2.0, 6.0])
    weights = seed_weights((1, 2, 3), 40_000)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    means = values @ weights
    assert means.mean() == pytest.approx(values.mean(), abs=0.05)
    assert means.var() == pytest.approx(values.var(ddof=1) / 3, rel=0.03)
    np.testing.assert_array_equal(seed_weights((1, 2, 3), 50), seed_weights((1, 2, 3), 50))
    assert (seed_weights((4,), 7) == 1).all()


def null_samples(draw: np.random.Generator, seeds: int, ratio: float, replicates: int) -> FloatArray:
    """(K, 1, R) replicates of a difference that is zero in truth; 40 speakers and the trainings differ by chance.

    The standard error of the mean over seeds is `ratio` times that of the mean over speakers.
    """
    error = draw.standard_normal(40) + ratio * np.sqrt(seeds / 40) * draw.standard_normal((seeds, 1))
    drawn = draw.multinomial(40, np.full(40, 1 / 40), size=replicates) / 40
    samples: FloatArray = (error @ drawn.T)[:, None, :]
    return samples


@pytest.mark.parametrize(("seeds", "ratio"), [(1, 0.0), (3, 0.5), (5, 1.0)])
def test_p_values_are_about_uniform_where_there_is_no_difference(seeds: int, ratio: float) -> None:
    draw = np.random.default_rng(11)
    weights = seed_weights(range(seeds), 300)
    values = np.array(
        [
            p_value(over_seeds(null_samples(draw, seeds, ratio, 300), weights[:, draw.permutation(300)])[0])
            for _ in range(500)
        ],
        dtype=np.float64,
    )
    assert 0.02 < (values < 0.05).mean() < 0.10
    assert 0.15 < (values < 0.2).mean() < 0.27
    assert 0.4 < np.median(values) < 0.6


def test_tables_have_a_column_for_the_training_seed(made_up_outcome: MakeOutcome, tmp_path: Path) -> None:
    outcomes = both(made_up_outcome)
    write_csv(tmp_path / "results.csv", results_rows(outcomes))
    write_csv(tmp_path / "geometry.csv", geometry_rows(outcomes))
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 6 * 3 * (16 + 11)
    assert {row["system"] for row in table} == set(compare_systems(outcomes, base="base", ours="joint").systems)
    assert {row["suite"] for row in table} == {"noise", "unseen-noise"}
    assert list(table[0])[-1] == "training_seed"
    assert [row.training_seed for row in read_csv(tmp_path / "results.csv", SeededResultRow)][::27] != []
    assert len(read_csv(tmp_path / "geometry.csv", SeededGeometryRow)) == len(table)


def test_summary_json_reads_like_that_of_evaluate(made_up_outcome: MakeOutcome, tmp_path: Path) -> None:
    outcomes = both(made_up_outcome)
    outcomes["noise"].geometry[0] = replace(outcomes["noise"].geometry[0], ratio=float("inf"))
    found = compare_systems(outcomes, base="base", ours="anchored")
    write_compared_summary(tmp_path / "summary.json", found)
    content = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert list(content) == list(found.systems)
    ours = content["anchored"]
    for key in ("clean", "avg15", "avg16", "avg_noisy", "avg_all", "unseen", "db_gained"):
        assert ours[f"{key}_low"] <= ours[key] <= ours[f"{key}_high"]
        assert len(ours[f"{key}_seeds"]) == 3
        assert 0 < ours["minus"]["joint"][f"{key}_p"] <= 1
    assert ours["avg15"] == ours["avg_noisy"] == found.systems["anchored"].figures["noisy"].value
    assert ours["minus"]["joint"]["avg15"] == pytest.approx(ours["avg15"] - content["joint"]["avg15"])
    assert ours["training_seeds"] == [1, 2, 3]
    assert ours["db_gained_bound"] == "exact"
    assert "db_gained" not in content["base"]
    assert len(ours["conditions"]) == 16
    assert len(ours["suites"]["unseen-noise"]) == 11
    assert content["base"]["geometry"]["noise"]["clean"]["ratio"] is None
    assert ours["geometry"]["unseen-noise"]["noisy"]["compactness"] < ours["geometry"]["noise"]["clean"]["compactness"]


def test_geometry_is_averaged_by_seed(made_up_outcome: MakeOutcome) -> None:
    outcomes = both(made_up_outcome)
    measured = compare_systems(outcomes, base="base", ours="anchored").systems["joint"].geometry["noise"]
    rows = [row for row in outcomes["noise"].geometry if row.system == "joint#2" and row.condition != "clean"]
    assert measured["noisy"]["drift"].seeds[1] == pytest.approx(np.mean([row.drift for row in rows]))
    assert measured["noisy"]["drift"].value == pytest.approx(np.mean(measured["noisy"]["drift"].seeds))
    assert measured["clean"]["drift"].value == 0


def test_what_cannot_be_compared_is_refused(made_up_outcome: MakeOutcome) -> None:
    outcomes = both(made_up_outcome)
    with pytest.raises(ValueError, match="at least one suite"):
        compare_systems({}, base="base", ours="anchored")
    with pytest.raises(ValueError, match="no result of 'ge2e'"):
        compare_systems(outcomes, base="ge2e", ours="anchored")
    with pytest.raises(ValueError, match="'nobody' must be one of"):
        compare_systems(outcomes, base="base", ours="nobody")
    with pytest.raises(ValueError, match="'base' must be one of"):
        compare_systems(outcomes, base="base", ours="base")
    with pytest.raises(ValueError, match="a figure has that name"):
        compare_systems({"noise": outcomes["noise"], "clean": outcomes["unseen-noise"]}, base="base", ours="anchored")
    fewer = Outcome([row for row in outcomes["unseen-noise"].rows if row.system != "joint#3"])
    with pytest.raises(ValueError, match="not measured on the same systems"):
        compare_systems({"noise": outcomes["noise"], "unseen-noise": fewer}, base="base", ours="anchored")
    holes = Outcome([row for row in outcomes["noise"].rows if (row.system, row.condition) != ("joint#3", "music_5db")])
    with pytest.raises(ValueError, match="joint#3 in music_5db"):
        compare_systems({"noise": holes}, base="base", ours="anchored")
