"""Rates of searches among many, against all lists written out."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from voxanchor.scoring.searches import MOST_GROUPS, Searches, jackknife_interval, left_out

SPEAKERS = 6


@st.composite
def searches(draw: st.DrawFn) -> Searches:
    count = draw(st.integers(1, 5))
    # whole numbers, so that ratios tie
    rows = draw(st.lists(st.lists(st.integers(-4, 8), min_size=6, max_size=6), min_size=count, max_size=count))
    speaker = draw(st.lists(st.integers(0, SPEAKERS - 1), min_size=count, max_size=count))
    mated = draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(any))
    return Searches(np.array(rows, np.float64), np.array(speaker), np.array(mated))


def pool_of(owner: int, weights: np.ndarray) -> list[int]:
    """The other speakers, each as often as it was drawn."""
    return [other for other in range(SPEAKERS) if other != owner for _ in range(int(weights[other]))]


def by_hand(found: Searches, people: int, threshold: float, weights: np.ndarray) -> tuple[float, float]:
    """FPIR and FNIR by writing out every list."""
    wrong, missed, strangers, known = 0.0, 0.0, 0, 0
    for ratios, owner, mated in zip(found.llrs, found.speaker, found.mated, strict=True):
        pool, weight = pool_of(int(owner), weights), int(weights[owner])
        lists = list(combinations(pool, min(people, len(pool))))
        wrong += weight * np.mean([max(ratios[list(one)]) >= threshold for one in lists])
        strangers += weight
        if mated:
            lists = list(combinations(pool, min(people - 1, len(pool))))
            right = [
                ratios[owner] >= threshold and all(ratios[other] < ratios[owner] for other in one) for one in lists
            ]
            missed += weight * (1 - np.mean(right))
            known += weight
    return wrong / strangers, missed / known


@settings(deadline=None, max_examples=50)
@given(found=searches(), people=st.integers(1, SPEAKERS - 1), threshold=st.integers(-4, 9))
def test_rates_are_the_means_over_all_lists(found: Searches, people: int, threshold: int) -> None:
    expected = by_hand(found, people, threshold, np.ones(SPEAKERS))
    assert found.false_positive(people, threshold) == pytest.approx(expected[0])
    assert found.false_negative(people, threshold) == pytest.approx(expected[1])


@settings(deadline=None, max_examples=30)
@given(
    found=searches(),
    people=st.integers(1, 4),
    threshold=st.integers(-4, 9),
    drawn=st.lists(st.integers(1, 2), min_size=SPEAKERS, max_size=SPEAKERS),
)
def test_speakers_stand_on_lists_as_often_as_they_are_there(
    found: Searches, people: int, threshold: int, drawn: list[int]
) -> None:
    weights = np.array([np.ones(SPEAKERS, np.int64), drawn])
    expected = [by_hand(found, people, threshold, row) for row in weights]
    np.testing.assert_allclose(
        found.false_positive(people, threshold, weights), [rate for rate, _ in expected], atol=1e-9
    )
    np.testing.assert_allclose(
        found.false_negative(people, threshold, weights), [rate for _, rate in expected], atol=1e-9
    )


@settings(deadline=None, max_examples=50)
@given(found=searches(), people=st.integers(1, SPEAKERS - 2), threshold=st.integers(-4, 9))
def test_a_speaker_left_out_is_neither_looked_for_nor_on_a_list(found: Searches, people: int, threshold: int) -> None:
    weights = left_out(SPEAKERS)
    wrong, missed = found.false_positive(people, threshold, weights), found.false_negative(people, threshold, weights)
    for gone, row in enumerate(weights):
        assert row.tolist() == [int(place != gone) for place in range(SPEAKERS)]
        kept = found.selected(found.speaker != gone)
        without = Searches(np.delete(kept.llrs, gone, axis=1), kept.speaker - (kept.speaker > gone), kept.mated)
        if len(kept.llrs):
            assert wrong[gone] == pytest.approx(without.false_positive(people, threshold)[0])
        if kept.mated.any():
            assert missed[gone] == pytest.approx(without.false_negative(people, threshold)[0])


def test_of_very_many_speakers_parts_are_left_out() -> None:
    weights = left_out(3 * MOST_GROUPS - 1)
    assert weights.shape == (MOST_GROUPS, 3 * MOST_GROUPS - 1)
    assert ((weights == 0).sum(axis=0) == 1).all()
    assert set((weights == 0).sum(axis=1)) == {2, 3}


def test_an_interval_holds_the_rate_of_other_speakers() -> None:
    draw = np.random.default_rng(0)
    truth, inside = [], []
    for _ in range(60):
        # strangers differ in how much they are like others, and so do those on the list
        alike = draw.normal(0, 0.7, 40)
        owners = np.repeat(np.arange(40), 3)
        made = Searches(
            alike[owners][:, None] + alike[None] + draw.normal(0, 1, (120, 40)), owners, np.ones(120, np.bool_)
        )
        rate = float(made.false_positive(10, 3.0)[0])
        low, high = jackknife_interval(rate, made.false_positive(10, 3.0, left_out(40)))
        truth.append(rate)
        inside.append((low, high))
    mean = np.mean(truth)
    assert np.mean([low <= mean <= high for low, high in inside]) > 0.85
    assert max(high for _, high in inside) < 0.9


@pytest.mark.parametrize("speakers", [1, 5, 40])
def test_a_rate_of_nothing_or_everything_is_as_sure_as_its_speakers_are_many(speakers: int) -> None:
    exact = binomtest(0, speakers).proportion_ci(0.95, method="exact")
    low, high = jackknife_interval(0.0, np.zeros(speakers))
    assert low == 0.0
    assert high == pytest.approx(exact.high)
    low, full = jackknife_interval(1.0, np.ones(speakers))
    assert low == pytest.approx(1 - high)
    assert full == 1.0


@settings(deadline=None, max_examples=50)
@given(found=searches(), threshold=st.integers(-4, 9))
def test_more_people_and_lower_thresholds_find_more_strangers(found: Searches, threshold: int) -> None:
    rates = [found.false_positive(people, threshold)[0] for people in range(1, SPEAKERS)]
    assert (np.diff(rates) >= -1e-12).all()
    assert all(rate <= place * rates[0] + 1e-12 for place, rate in enumerate(rates, 1))  # the bound of single ones
    assert found.false_positive(2, threshold + 1) <= found.false_positive(2, threshold)


@settings(deadline=None, max_examples=50)
@given(found=searches(), people=st.integers(1, SPEAKERS - 1), rate=st.floats(0, 0.99))
def test_a_threshold_keeps_its_rate_and_is_the_lowest_that_does(found: Searches, people: int, rate: float) -> None:
    threshold = found.threshold_at(people, rate)
    assert found.false_positive(people, threshold) <= rate + 1e-6
    strangers = np.ones(found.llrs.shape, np.bool_)
    strangers[np.arange(len(strangers)), found.speaker] = False
    lower = found.llrs[strangers & (found.llrs < threshold)]
    assert not lower.size or found.false_positive(people, lower.max()) > rate - 1e-6


def test_a_speaker_of_one_recording_is_looked_for_in_vain_by_nobody() -> None:
    found = Searches(np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]]), np.array([0, 1]), np.array([False, True]))
    assert found.false_negative(2, 5.0) == pytest.approx(0)
    assert found.false_positive(2, 5.0) == pytest.approx(0)  # its own column is no stranger's
    with np.errstate(all="raise"):
        weights = np.array([[3, 0, 0]])
        assert np.isnan(found.false_negative(2, 5.0, weights)).all()  # nobody is left to look for


def test_a_rate_that_cannot_be_is_an_error() -> None:
    found = Searches(np.zeros((2, 3)), np.array([0, 1]), np.array([True, True]))
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="weight"):
            found.threshold_at(1, rate)
