"""Calibration on synthetic scores whose likelihood ratio is known, and the record it is kept in."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.errors import ModelError, RecipeError
from voxanchor.scoring.calibration import (
    FORMAT,
    LARGEST_COSINE,
    LEAST_SPEECH_S,
    Calibration,
    CalibrationRecord,
    ConditionFigures,
    MeasureName,
    QualityMeasures,
    ScoredTrials,
    SearchFigures,
    SearchRate,
    Threshold,
    fisher_z,
    fit_calibration,
    log_odds,
)
from voxanchor.scoring.metrics import cllr
from voxanchor.types import BoolArray


def gaussian(count: int, seed: int = 0, apart: float = 2.0, shift: float = 0.0) -> tuple[ScoredTrials, BoolArray]:
    """Scores of variance 1 whose means lie `apart`: the log-likelihood ratio is linear in them."""
    draw = np.random.default_rng(seed)
    same = draw.random(count) < 0.3
    scores = draw.standard_normal(count) + np.where(same, apart, 0.0) + shift
    sides = QualityMeasures(np.full(count, 5.0), np.full(count, 20.0))
    return ScoredTrials(scores, sides, sides, np.arange(count), np.arange(count)), same


def noisy(count: int, seed: int = 0, normalised: bool = False) -> tuple[ScoredTrials, BoolArray]:
    """Trials in which noise moves the scores of both classes, and those of one speaker a little more."""
    draw = np.random.default_rng(seed)
    same = draw.random(count) < 0.4
    enrol, test = (
        QualityMeasures(draw.uniform(0.5, 8, count), draw.uniform(0, 30, count), draw.random(count)) for _ in "ab"
    )
    worse = np.minimum(enrol.snr_db, test.snr_db) / 30
    scores = 0.12 * draw.standard_normal(count) + 0.4 * worse + np.where(same, 0.2 + 0.1 * worse, -0.1)
    scores = scores * 5 if normalised else np.clip(scores, -0.99, 0.99)
    return ScoredTrials(scores, enrol, test, np.arange(count), np.arange(count)), same


def swapped(trials: ScoredTrials) -> ScoredTrials:
    return ScoredTrials(trials.scores, trials.test, trials.enrol, trials.test_index, trials.enrol_index)


def one_trial(score: float, enrol: tuple[float, float, float], test: tuple[float, float, float]) -> ScoredTrials:
    left, right = (
        QualityMeasures(*(np.array([value]) for value in values))  # seconds of speech, ratio, cohort mean
        for values in (enrol, test)
    )
    return ScoredTrials(np.array([score]), left, right, np.zeros(1, np.int64), np.zeros(1, np.int64))


def test_ratios_of_gaussian_scores_approach_the_analytic_ones() -> None:
    for seed, (apart, shift) in enumerate(((2.0, 0.0), (1.0, 3.0), (3.0, -5.0))):
        fitted = fit_calibration([gaussian(200_000, seed, apart, shift)], "as-norm")
        scores = np.linspace(-1, apart + 1, 9)
        sides = QualityMeasures(np.full(9, 5.0), np.full(9, 20.0))
        found = fitted.llr(ScoredTrials(scores + shift, sides, sides, np.arange(9), np.arange(9)))
        np.testing.assert_allclose(found, apart * scores - apart**2 / 2, atol=0.15)


def test_the_share_of_one_speaker_trials_does_not_move_the_ratios() -> None:
    trials, same = gaussian(100_000, 1)
    kept = ~same | (np.arange(len(same)) % 10 == 0)
    fewer = replace(
        trials, scores=trials.scores[kept], enrol_index=trials.enrol_index[kept], test_index=trials.test_index[kept]
    )
    all_of_them, a_tenth = (fit_calibration([group], "as-norm") for group in ((trials, same), (fewer, same[kept])))
    assert a_tenth.slope == pytest.approx(all_of_them.slope, rel=0.06)
    assert a_tenth.offset == pytest.approx(all_of_them.offset, abs=0.15)


def test_every_condition_weighs_the_same_however_many_its_trials() -> None:
    small, large = gaussian(2000, 1), gaussian(2000, 2, shift=1.0)
    trials, same = large
    times = np.tile(np.arange(2000), 5)
    repeated = (
        replace(trials, scores=trials.scores[times], enrol_index=times.astype(np.int64), test_index=times),
        same[times],
    )
    one, other = (fit_calibration([small, group], "as-norm") for group in (large, repeated))
    assert one.offset == pytest.approx(other.offset, rel=1e-6)
    assert one.slope == pytest.approx(other.slope, rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 1000),
    normalised=st.booleans(),
    measures=st.lists(st.sampled_from(get_args(MeasureName)), unique=True).map(tuple),
)
def test_the_sides_are_exchangeable_and_higher_scores_never_lose(
    seed: int, normalised: bool, measures: tuple[MeasureName, ...]
) -> None:
    group = noisy(400, seed, normalised)
    fitted = fit_calibration([group], "as-norm" if normalised else "cosine", measures)
    trials = group[0]
    np.testing.assert_array_equal(fitted.llr(trials), fitted.llr(swapped(trials)))
    assert fitted.least_slope() > 0
    higher = replace(trials, scores=trials.scores + 0.01)
    assert (fitted.llr(higher) > fitted.llr(trials)).all()


def test_the_least_slope_is_that_of_the_worst_quality() -> None:
    fitted = fit_calibration([noisy(2000)], "cosine", get_args(MeasureName))
    draw = np.random.default_rng(0)
    count = 20_000
    lows, highs = zip(*(fitted.ranges[name] for name in get_args(MeasureName)), strict=True)
    enrol, test = (
        QualityMeasures(
            np.exp(draw.choice([lows[0], highs[0]], count)),
            10 * draw.choice([lows[1], highs[1]], count),
            draw.choice([lows[2], highs[2]], count),
        )
        for _ in "ab"
    )
    flat, steep = (
        fitted.llr(ScoredTrials(np.full(count, score), enrol, test, np.arange(count), np.arange(count)))
        for score in (0.0, float(np.tanh(1.0)))
    )
    assert (steep - flat).min() == pytest.approx(fitted.least_slope())


def test_qualities_beyond_the_ranges_count_as_their_ends() -> None:
    fitted = fit_calibration([noisy(2000)], "cosine", get_args(MeasureName))
    (fewest, most), (noisiest, cleanest), (strange, like) = (fitted.ranges[name] for name in get_args(MeasureName))
    worst, best = (np.exp(fewest), 10 * noisiest, strange), (np.exp(most), 10 * cleanest, like)
    inside = fitted.llr(one_trial(0.5, worst, best))[0]
    outside = fitted.llr(one_trial(0.5, (0.0, -90.0, -5.0), (1e6, 900.0, 5.0)))[0]
    assert outside == pytest.approx(inside)


def test_only_what_is_worse_than_all_that_was_heard_is_outside() -> None:
    fitted = fit_calibration([noisy(2000)], "cosine", ("speech", "snr"))
    worse, fewer = (np.exp(fitted.ranges["speech"][0]) * factor for factor in (1.01, 0.8))
    assert fitted.outside(QualityMeasures(np.array([worse]), np.array([15.0]))) == ()
    assert fitted.outside(QualityMeasures(np.array([1e6]), np.array([900.0]))) == ()
    assert fitted.outside(QualityMeasures(np.array([fewer]), np.array([15.0]))) == ("speech",)
    assert fitted.outside(QualityMeasures(np.array([fewer]), np.array([-9.0]))) == ("speech", "snr")
    assert fit_calibration([noisy(200)]).outside(QualityMeasures(np.zeros(1), np.full(1, -90.0))) == ()


def test_quality_lowers_the_cost_on_trials_that_were_not_fitted() -> None:
    training, (trials, same) = noisy(6000, 1), noisy(6000, 2)
    by_score = fit_calibration([training]).llr(trials)
    with_quality = fit_calibration([training], "cosine", ("speech", "snr")).llr(trials)
    assert cllr(with_quality, same) < cllr(by_score, same) - 0.05
    assert cllr(by_score, same) < cllr(trials.scores, same)


def test_too_few_trials_that_turn_the_slope_round_leave_it_untilted() -> None:
    fallen_back = 0
    for seed in range(40):
        trials, same = noisy(14, seed)
        if trials.scores[same].mean() <= trials.scores[~same].mean():
            continue  # the wrong way round, by chance
        fitted = fit_calibration([(trials, same)], "cosine", ("speech", "snr"))
        assert fitted.least_slope() > 0
        if not any(any(pair) for pair in fitted.slope_weights.values()):
            fallen_back += 1
            assert fitted.least_slope() == fitted.slope
    assert fallen_back


def test_scores_the_wrong_way_round_cannot_be_calibrated() -> None:
    trials, same = noisy(200, 0)
    with pytest.raises(ValueError, match="do not score higher"):
        fit_calibration([(trials, ~same)])


def test_cosines_are_spread_without_a_bound_being_infinite() -> None:
    found = fisher_z([-1.0, 0.0, 0.5, 1.0], "cosine")
    assert np.isfinite(found).all()
    assert found.tolist() == pytest.approx(
        [-np.arctanh(LARGEST_COSINE), 0, np.arctanh(0.5), np.arctanh(LARGEST_COSINE)]
    )
    assert fisher_z([-3.0, 7.0], "as-norm").tolist() == [-3.0, 7.0]


def test_measures_are_in_the_scale_of_the_fit() -> None:
    sides = QualityMeasures(np.array([0.0, 1.0, np.e]), np.array([-10.0, 0.0, 25.0]), np.array([0.1, 0.2, 0.3]))
    assert sides.measure("speech").tolist() == pytest.approx([np.log(LEAST_SPEECH_S), 0, 1])
    assert sides.measure("snr").tolist() == [-1, 0, 2.5]
    assert sides.measure("cohort_mean").tolist() == [0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="cohort"):
        QualityMeasures(np.ones(1), np.ones(1)).measure("cohort_mean")


def test_what_cannot_be_fitted_is_an_error() -> None:
    trials, same = gaussian(20)
    with pytest.raises(ValueError, match="one speaker and of two"):
        fit_calibration([(trials, np.ones(20, dtype=np.bool_))])
    with pytest.raises(ValueError, match="one speaker and of two"):
        fit_calibration([(trials, same), (trials, np.zeros(20, dtype=np.bool_))])
    with pytest.raises(ValueError, match="concatenate"):
        fit_calibration([])
    with pytest.raises(ValueError, match="cohort"):
        fit_calibration([(trials, same)], "cosine", ("cohort_mean",))
    with pytest.raises(ValueError, match="finite"):
        fit_calibration([(replace(trials, scores=np.full(20, np.nan)), same)])
    with pytest.raises(ValueError, match="Scores"):
        replace(trials, scores=trials.scores[:-1])
    with pytest.raises(ValueError, match="outside"):
        replace(trials, test_index=trials.test_index + 1)


def test_log_odds_are_the_threshold_of_a_prior() -> None:
    assert log_odds(0.5) == 0
    assert log_odds(0.01) == pytest.approx(4.595, abs=1e-3)
    assert log_odds(0.99) == pytest.approx(-log_odds(0.01))
    assert np.isfinite(log_odds(1e-300))
    for prior in (0.0, 1.0, -0.5, 2.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            log_odds(prior)


NUMBER = st.floats(allow_nan=False, allow_infinity=False)
SHARE = st.floats(0, 100)
PAIR = st.tuples(NUMBER, NUMBER)
RISING = PAIR.map(lambda pair: (min(pair), max(pair)))
TEXT = st.text(max_size=10)
RATES = st.dictionaries(st.sampled_from(["1", "0.1", "0.01"]), SHARE)


@st.composite
def records(draw: st.DrawFn) -> CalibrationRecord:
    measures: tuple[MeasureName, ...] = draw(st.lists(st.sampled_from(get_args(MeasureName)), unique=True).map(tuple))
    offset_weights, slope_weights, ranges = (
        {str(name): draw(kind) for name in measures} for kind in (PAIR, PAIR, RISING)
    )
    calibration = Calibration(
        draw(st.sampled_from(["cosine", "as-norm"])),
        draw(NUMBER),
        draw(NUMBER),
        measures,
        offset_weights,
        slope_weights,
        ranges,
    )
    number = st.integers(0, 10**9)
    maybe = st.none() | NUMBER
    threshold = st.builds(Threshold, SHARE, maybe, number, number, number, maybe, maybe, maybe, TEXT)
    figures = st.builds(ConditionFigures, TEXT, number, number, *[NUMBER] * 5, RATES, RATES, RATES, RATES)
    purpose = st.sampled_from(["prior", "comparison", "list"])
    searches = st.builds(
        SearchFigures,
        *(
            st.integers(1, 1000),
            purpose,
            SHARE,
            maybe,
            number,
            number,
            number,
            st.none() | SHARE,
            maybe,
            maybe,
            maybe,
            TEXT,
        ),
        *(maybe, maybe, maybe, TEXT),
    )
    return CalibrationRecord(
        draw(TEXT),
        calibration,
        tuple(draw(st.lists(threshold, max_size=3))),
        tuple(draw(st.lists(figures, max_size=3))),
        draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        draw(st.integers(0, 300)),
        draw(TEXT),
        tuple(draw(st.lists(searches, max_size=3))),
    )


@settings(deadline=None, max_examples=60)
@given(record=records())
def test_a_record_is_the_same_after_writing_and_reading(record: CalibrationRecord) -> None:
    assert CalibrationRecord.parse(record.text(), "here") == record
    assert json.loads(record.text())["format"] == FORMAT


def example() -> CalibrationRecord:
    calibration = fit_calibration([noisy(400)], "cosine", ("speech", "snr"))
    thresholds = (Threshold(1.0, 4.5, 5000, 50, 20, 3.0, 0.5, 2.0), Threshold(0.1, None, 5000, 5, 3, remark="too few"))
    figures = (ConditionFigures("all", 6000, 1000, 3.0, 0.9, 0.3, 0.2, 0.15, {"1": 1.0}, {"1": 1.0}),)
    return CalibrationRecord("abc", calibration, thresholds, figures, {"speech": "twelve voices"})


def test_a_fitted_record_gives_the_same_ratios_after_reading() -> None:
    record = example()
    trials = noisy(100, 9)[0]
    again = CalibrationRecord.parse(record.text(), "here").calibration
    np.testing.assert_array_equal(again.llr(trials), record.calibration.llr(trials))


def test_a_file_of_before_searches_were_measured_is_read_and_states_no_measured_rate() -> None:
    path = Path(__file__).parents[1] / "golden" / "calibration_without_searches.json"
    record = CalibrationRecord.parse(path.read_text(), "here")
    assert record.searches == ()
    words = (("-calibration-1", "-calibration-2"), ('"shifts"', '"offset_weights"'), ('"tilts"', '"slope_weights"'))
    expected = path.read_text()
    for former, present in words:
        assert former in expected
        expected = expected.replace(former, present)
    assert record.text() == expected
    # of single comparisons its thresholds know the rate, from which a bound follows
    assert record.search_rate(4.5, 1) == SearchRate(
        1.0, "measured", 0.5, 2.0, remark="measured with one person at a threshold of 4.50"
    )
    assert record.search_rate(5.0, 7) == SearchRate(
        7.0, "extrapolated", remark="extrapolated, not measured: 7 times the 1 % of one person"
    )
    assert record.search_rate(5.0, 100).kind == "not stated"
    assert record.search_rate(4.4, 1).kind == "not stated"
    assert record.search_threshold(20.0, 12) == 4.5
    with pytest.raises(RecipeError, match="the lowest rate that it supports is 12 %"):
        record.search_threshold(1.0, 12)


def with_searches() -> CalibrationRecord:
    """Rates as a model may have them: a tenth of a percent a comparison at 4, a hundredth at 6."""
    found = []
    for people, low, high in ((1, 0.1, 0.01), (10, 0.8, 0.09), (50, 3.0, 0.4)):
        found.append(SearchFigures(people, "prior", 0.02, 4.0, 900, 99, 20, low, low / 2, 2 * low, 4 * low, "clean"))
        found.append(
            SearchFigures(people, "comparison", 0.01, 6.0, 900, 40, 20, high, high / 2, 2 * high, 4 * high, "clean")
        )
        found.append(SearchFigures(people, "list", 0.1, None, 900, 3, 2, remark="too few"))
        found.append(SearchFigures(people, "comparison", 0.001, 8.0, 900, 3, 2, false_negative=50.0, remark="too few"))
    return replace(example(), thresholds=(), searches=tuple(found))


def test_a_rate_is_that_of_as_many_people_or_a_bound_from_fewer() -> None:
    record = with_searches()
    assert record.search_rate(4.0, 10) == SearchRate(
        0.8, "measured", 0.4, 1.6, 3.2, "clean", "measured with 10 people at a threshold of 4.00"
    )
    # seven people are no worse than ten
    assert record.search_rate(4.0, 7) == record.search_rate(4.0, 10)
    # a threshold between two is at least as good as the lower one
    assert record.search_rate(5.9, 50).rate == 3.0
    assert record.search_rate(7.0, 50).rate == 0.4
    beyond = record.search_rate(6.0, 120)
    assert beyond.rate == pytest.approx(12 * 0.09)
    assert (beyond.kind, beyond.low, beyond.condition) == ("extrapolated", None, "clean")
    assert beyond.highest == pytest.approx(4 * 12 * 0.09)
    assert beyond.remark == "extrapolated, not measured: 12 times the 0.09 % of 10 people"
    assert record.search_rate(3.9, 1).kind == "not stated"
    assert "more speakers" in record.search_rate(4.0, 5000).remark


def test_a_threshold_for_a_list_is_the_lowest_that_keeps_the_rate() -> None:
    record = with_searches()
    assert record.search_threshold(1.0, 10) == 4.0
    assert record.search_threshold(0.5, 10) == 6.0
    assert record.search_threshold(1.2, 120) == 6.0
    for rate, people in ((0.05, 10), (1.0, 5000)):
        with pytest.raises(RecipeError, match=f"among {people} people: "):
            record.search_threshold(rate, people)


def test_a_threshold_for_a_list_holds_above_it_too() -> None:
    found = [
        SearchFigures(people, "comparison", 0.01, llr, 900, 9, 20, rate, rate, rate)
        for people, llr, rate in ((1, -1.0, 0.0), (3, 0.0, 2.0))
    ]
    record = replace(with_searches(), searches=tuple(found))
    assert record.search_rate(-1.0, 2).rate == 0.0  # extrapolated; what was measured above says more
    assert record.search_rate(0.0, 2).rate == 2.0
    with pytest.raises(RecipeError, match="lowest rate that it supports is 2 %"):
        record.search_threshold(1.0, 2)


@settings(deadline=None, max_examples=50)
@given(record=records(), llr=st.floats(-20, 20), people=st.integers(1, 10**6), rate=st.floats(0.001, 99))
def test_a_rate_is_stated_as_a_share_and_its_threshold_keeps_it(
    record: CalibrationRecord, llr: float, people: int, rate: float
) -> None:
    found = record.search_rate(llr, people)
    assert (found.rate is None) == (found.kind == "not stated")
    assert found.rate is None or found.rate < 100
    assert found.remark
    try:
        threshold = record.search_threshold(rate, people)
    except RecipeError:
        return
    kept = record.search_rate(max(threshold, llr), people).rate
    assert kept is not None
    assert kept <= rate + 1e-6


@given(records())
@settings(max_examples=30, deadline=None)
def test_a_file_of_before_the_present_words_is_read(record: CalibrationRecord) -> None:
    values = json.loads(record.text())
    assert values["format"] == "voxanchor-calibration-2"
    words = {"offset_weights": "shifts", "slope_weights": "tilts", "cohort_mean": "likeness"}

    def former(value: Any) -> Any:
        if isinstance(value, dict):
            return {words.get(key, key): former(item) for key, item in value.items()}
        if isinstance(value, list):
            return [former(item) for item in value]
        return words.get(value, value) if isinstance(value, str) else value

    old = {**values, "calibration": former(values["calibration"]), "format": "voxanchor-calibration-1"}
    assert "shifts" in old["calibration"]
    assert "offset_weights" not in old["calibration"]
    assert CalibrationRecord.parse(json.dumps(old), "x") == record
    with pytest.raises(ModelError, match="not a calibration that this program reads"):
        CalibrationRecord.parse(json.dumps({**values, "format": "voxanchor-calibration-1"}), "x")


def damaged() -> list[Any]:
    """Whole files, each with one thing wrong."""
    good = json.loads(example().text())
    found: list[Any] = []
    for path, value in (
        (("model",), 5),
        (("cohort_top",), "many"),
        (("thresholds",), {"1": 4.5}),
        (("thresholds", 0, "llr"), "high"),
        (("figures", 0, "eer"), None),
        (("calibration", "kind"), "euclidean"),
        (("calibration", "slope"), [1.0]),
        (("calibration", "offset"), float("nan")),
        (("calibration", "slope"), float("inf")),
        (("calibration", "measures"), ["speech", "loudness"]),
        (("calibration", "offset_weights"), {"speech": [0.1, 0.2]}),
        (("calibration", "slope_weights", "snr"), [0.1, 0.2, 0.3]),
        (("calibration", "slope_weights", "snr"), [0.1, float("nan")]),
        (("calibration", "ranges"), {}),
        (("calibration", "ranges", "snr"), [2.0, 1.0]),
        (("thresholds", 0, "llr"), float("nan")),
        (("surprise",), 1),
        (("searches",), [{"people": 0, "purpose": "prior", "value": 0.01, "llr": 4.6, "searches": 5}]),
        (("searches",), [{"people": 5, "purpose": "luck", "value": 0.01, "llr": 4.6, "searches": 5}]),
    ):
        values = json.loads(json.dumps(good))
        target = values
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value
        found.append(pytest.param(values, id=".".join(map(str, path)) + f"={value}"))
    found += [
        pytest.param({name: value for name, value in good.items() if name != key}, id=f"no {key}")
        for key in ("model", "calibration", "thresholds", "figures", "material")
    ]
    return found


@pytest.mark.parametrize("values", damaged())
def test_a_damaged_file_is_an_error_that_says_so(values: Any) -> None:
    with pytest.raises(ModelError, match=r"^m/calibration\.json: damaged"):
        CalibrationRecord.parse(json.dumps(values), "m/calibration.json")


@pytest.mark.parametrize("text", ["[]", "null", "5", "{}", '{"format": "voxanchor-calibration-9"}'])
def test_another_format_is_an_error_that_says_what_to_do(text: str) -> None:
    with pytest.raises(ModelError, match="calibrate again"):
        CalibrationRecord.parse(text, "here")


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0, 0.999))
def test_a_file_cut_short_is_an_error(share: float) -> None:
    text = example().text().rstrip()
    with pytest.raises(ModelError):
        CalibrationRecord.parse(text[: int(share * len(text))], "here")


def test_a_threshold_is_looked_up_by_its_rate() -> None:
    record = example()
    assert record.threshold(1.0).llr == record.threshold(0.1 * 10).llr == 4.5
    assert record.threshold(0.3 - 0.2).remark == "too few"
    for rate in (0.5, 0.0, float("nan")):
        with pytest.raises(RecipeError, match=r"there is one for 1, 0\.1 %"):
            record.threshold(rate)


def test_a_range_is_that_of_the_trials_and_not_of_others_in_their_group() -> None:
    trials, same = noisy(4000, 3)
    trials.enrol.snr_db[7], trials.test.speech_s[8] = -10, 90
    rows = (trials.enrol_index != 7) & (trials.test_index != 8)
    known = replace(
        trials, scores=trials.scores[rows], enrol_index=trials.enrol_index[rows], test_index=trials.test_index[rows]
    )
    ranges = fit_calibration([(known, same[rows])], "cosine", ("speech", "snr")).ranges
    assert ranges["snr"][0] >= 0
    assert ranges["speech"][1] <= np.log(8)
