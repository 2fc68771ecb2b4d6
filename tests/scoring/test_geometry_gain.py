import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.scoring.geometry import ErrorCurve, Gain, db_gained, mean_db_gained

LEVELS = [0.0, 5.0, 10.0, 15.0, 20.0]
FALLING = [32.0, 16.0, 8.0, 4.0, 2.0]


def test_a_curve_moved_by_some_db_gains_that_many() -> None:
    base = ErrorCurve.of(LEVELS, FALLING)
    moved = ErrorCurve.of([level - 5 for level in LEVELS], FALLING)
    assert db_gained(base, moved) == Gain(pytest.approx(5.0))  # type: ignore[arg-type]
    linear = ErrorCurve.of(LEVELS, [20.0, 15.0, 10.0, 5.0, 0.0])
    assert db_gained(linear, ErrorCurve.of(LEVELS, [17.0, 12.0, 7.0, 2.0, 0.0])).db == pytest.approx(2.8, abs=0.5)


def test_rates_are_interpolated_linearly() -> None:
    base, robust = ErrorCurve.of([0, 10], [20, 10]), ErrorCurve.of([0, 10], [10, 5])
    assert db_gained(base, robust) == Gain(10.0)
    curve = ErrorCurve.of(LEVELS, FALLING)
    assert curve.lowest_snr_db(12.0) == pytest.approx(7.5)
    assert curve.lowest_snr_db(32.0) == 0.0
    assert curve.lowest_snr_db(40.0) == -np.inf
    assert curve.lowest_snr_db(1.0) == np.inf


def test_a_bump_counts_until_it_is_over() -> None:
    assert ErrorCurve.of([0, 5, 10], [3.0, 9.0, 1.0]).lowest_snr_db(5.0) == pytest.approx(7.5)


@given(
    st.lists(st.floats(0, 50), min_size=5, max_size=5),
    st.lists(st.floats(0, 50), min_size=5, max_size=5),
)
@settings(max_examples=80, deadline=None)
def test_swapping_the_models_changes_the_sign(one: list[float], other: list[float]) -> None:
    first, second = ErrorCurve.of(LEVELS, one), ErrorCurve.of(LEVELS, other)
    forward, backward = db_gained(first, second), db_gained(second, first)
    assert forward.db == pytest.approx(-backward.db)
    assert abs(forward.db) <= 20
    assert {forward.bound, backward.bound} in ({"exact"}, {"at_least", "at_most"})
    assert db_gained(first, first) == Gain(0.0)


def test_curves_without_a_shared_rate_give_a_bound() -> None:
    base, robust = ErrorCurve.of(LEVELS, [30, 25, 20, 15, 10]), ErrorCurve.of(LEVELS, [5, 4, 3, 2, 1])
    assert db_gained(base, robust) == Gain(20.0, "at_least")
    assert db_gained(robust, base) == Gain(-20.0, "at_most")
    assert str(db_gained(base, robust)) == "≥ +20.0"
    assert str(Gain(-1.25)) == "\N{MINUS SIGN}1.2"


def test_the_mean_over_kinds_keeps_the_bound() -> None:
    base = ErrorCurve.of(LEVELS, FALLING)
    moved = ErrorCurve.of([level - 5 for level in LEVELS], FALLING)
    best = ErrorCurve.of(LEVELS, [1, 1, 1, 1, 1])
    worst = ErrorCurve.of(LEVELS, [40, 40, 40, 40, 40])
    assert mean_db_gained({"a": base, "b": base}, {"a": moved, "b": base}) == Gain(2.5)
    assert mean_db_gained({"a": base, "b": base}, {"a": moved, "b": best}) == Gain(12.5, "at_least")
    assert mean_db_gained({"a": base, "b": base}, {"a": moved, "b": worst}) == Gain(-7.5, "at_most")
    assert mean_db_gained({"a": base, "b": base, "c": base}, {"a": best, "b": worst, "c": moved}) == Gain(5.0)
    assert mean_db_gained({"a": base, "b": base}, {"a": best, "b": worst}) is None
    assert mean_db_gained({"a": base}, {"b": moved}) is None


def test_bad_curves_are_refused() -> None:
    with pytest.raises(ValueError, match="as many"):
        ErrorCurve.of([0, 5], [1])
    with pytest.raises(ValueError, match="once"):
        ErrorCurve.of([0, 0], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        ErrorCurve.of([0, 1], [1, float("nan")])
