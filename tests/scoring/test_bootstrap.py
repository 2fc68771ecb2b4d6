import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.scoring import bootstrap as bootstrap_module
from voxanchor.scoring.bootstrap import TrialBootstrap, interval
from voxanchor.scoring.metrics import crossing, eer
from voxanchor.types import BoolArray, FloatArray, IntArray


def pairs(
    speakers: int, utterances: int, seed: int, ties: bool = False
) -> tuple[FloatArray, BoolArray, IntArray, IntArray]:
    """All pairs of utterances that carry a speaker effect, so that trials of one speaker hang together."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(speakers), utterances)
    left, right = np.triu_indices(labels.size, 1)
    targets = labels[left] == labels[right]
    effect = generator.standard_normal(speakers)
    scores = 2.0 * targets + 0.7 * (effect[labels[left]] + effect[labels[right]]) + generator.standard_normal(left.size)
    return (np.round(scores, 1) if ties else scores), targets, labels[left], labels[right]


def plain_eer(scores: FloatArray, targets: BoolArray, weights: FloatArray) -> float:
    """The weighted EER, one threshold after another."""
    if not (weights[targets].sum() and weights[~targets].sum()):
        return float("nan")
    before = 0.0, 1.0
    for threshold in [*np.unique(scores), np.inf]:
        miss = float(weights[targets & (scores < threshold)].sum() / weights[targets].sum())
        false_alarm = float(weights[~targets & (scores >= threshold)].sum() / weights[~targets].sum())
        if miss >= false_alarm:
            return crossing(before[0] - before[1], miss - false_alarm, before[0], miss)
        before = miss, false_alarm
    raise AssertionError("rejecting everything misses everything")


def weights_of(bootstrap: TrialBootstrap, replicate: int) -> FloatArray:
    assert bootstrap.enrol is not None
    assert bootstrap.test is not None
    drawn = bootstrap.multiplicities[replicate]
    weights: FloatArray = drawn[bootstrap.enrol].astype(np.float64)
    weights[bootstrap.enrol != bootstrap.test] *= drawn[bootstrap.test[bootstrap.enrol != bootstrap.test]]
    return weights


@pytest.fixture(params=["as it is", "small bins"])
def bins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "small bins":
        monkeypatch.setattr(bootstrap_module, "_BIN", 5)
        monkeypatch.setattr(bootstrap_module, "_CHUNK", 3)


@pytest.mark.usefixtures("bins")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("ties", [False, True])
def test_every_replicate_is_the_weighted_eer(ties: bool, dtype: type) -> None:
    scores, targets, enrol, test = pairs(12, 4, 0, ties)
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(1), replicates=20)
    assert bootstrap.unit == "speaker"
    assert (bootstrap.multiplicities.sum(axis=1) == 12).all()
    scores = scores.astype(dtype)
    expected = [plain_eer(scores, targets, weights_of(bootstrap, replicate)) for replicate in range(20)]
    np.testing.assert_allclose(bootstrap.eer(scores), expected, rtol=0, atol=1e-12)


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60
    ).filter(lambda rows: len({target for _, target, *_ in rows}) == 2),
    st.integers(0, 100),
)
@settings(max_examples=50, deadline=None)
def test_any_trials_agree_with_the_plain_way(rows: list[tuple[int, bool, int, int]], seed: int) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    scores, targets, enrol, test = columns[0].astype(np.float64), *columns[1:]
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(seed), replicates=12)
    expected = [plain_eer(scores, targets, weights_of(bootstrap, replicate)) for replicate in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap_module, "_BIN", 4)
        np.testing.assert_allclose(bootstrap.eer(scores), expected, rtol=0, atol=1e-12)


def test_many_tied_trials_need_no_weighing_one_by_one() -> None:
    generator = np.random.default_rng(0)
    scores, targets = generator.integers(0, 3, 20_000).astype(np.float64), generator.random(20_000) < 0.2
    enrol, test = generator.integers(0, 30, (2, 20_000))
    bootstrap = TrialBootstrap.draw(targets, enrol, test, generator, replicates=5)
    expected = [plain_eer(scores, targets, weights_of(bootstrap, replicate)) for replicate in range(5)]
    np.testing.assert_allclose(bootstrap.eer(scores), expected, rtol=0, atol=1e-12)


def test_copies_of_a_trial_weigh_as_much() -> None:
    scores, targets, enrol, test = pairs(15, 4, 7)
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(3), replicates=10)
    for replicate, rate in enumerate(bootstrap.eer(scores)):
        copies = weights_of(bootstrap, replicate).astype(np.int64)
        assert rate == pytest.approx(eer(np.repeat(scores, copies), np.repeat(targets, copies)).eer, abs=1e-12)


@pytest.mark.parametrize("block", [1, 5_000, 1 << 23])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("ties", [False, True])
def test_on_the_hull_a_replicate_is_the_hull_of_its_copies(
    ties: bool, dtype: type, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap_module, "_HULL_VALUES", block)
    scores, targets, enrol, test = pairs(12, 4, 5, ties)
    scores = scores.astype(dtype)
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(3), replicates=30)
    rates = bootstrap.eer(scores, "convex_hull")
    for replicate, rate in enumerate(rates):
        copies = weights_of(bootstrap, replicate).astype(np.int64)
        direct = eer(np.repeat(scores, copies), np.repeat(targets, copies), "convex_hull").eer
        assert rate == pytest.approx(direct, abs=1e-12)
    linear = bootstrap.eer(scores)
    assert (rates <= linear + 1e-12).all()
    assert not np.allclose(rates, linear, atol=1e-6)


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60
    ).filter(lambda rows: len({target for _, target, *_ in rows}) == 2),
    st.integers(0, 100),
)
@settings(max_examples=50, deadline=None)
def test_any_trials_have_the_hull_of_their_copies(rows: list[tuple[int, bool, int, int]], seed: int) -> None:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    scores, targets, enrol, test = columns[0].astype(np.float64), *columns[1:]
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(seed), replicates=12)
    for replicate, rate in enumerate(bootstrap.eer(scores, "convex_hull")):
        copies = weights_of(bootstrap, replicate).astype(np.int64)
        if copies[targets].sum() and copies[~targets].sum():
            direct = eer(np.repeat(scores, copies), np.repeat(targets, copies), "convex_hull").eer
            assert rate == pytest.approx(direct, abs=1e-12)
        else:
            assert np.isnan(rate)


def test_an_unknown_way_to_join_points_is_refused() -> None:
    scores, targets, enrol, test = pairs(5, 2, 0)
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(0), replicates=2)
    with pytest.raises(ValueError, match="Unknown EER method 'hull'"):
        bootstrap.eer(scores, "hull")  # type: ignore[arg-type]


def test_large_weights_are_summed_exactly() -> None:
    generator = np.random.default_rng(2)
    scores, targets = generator.standard_normal(3000), generator.random(3000) < 0.3
    first, second = generator.integers(0, 10, (2, 3000))
    table = generator.integers(1_000, 20_000, (10, 4))  # products beyond what float32 counts
    classes = []
    for label in (True, False):
        order = np.flatnonzero(targets == label)[np.argsort(scores[targets == label])]
        classes.append(bootstrap_module.WeightedClass(scores[order], first[order], second[order]))
    expected = [plain_eer(scores, targets, (table[first] * table[second])[:, k].astype(np.float64)) for k in range(4)]
    result = bootstrap_module.weighted_eers(classes[0], classes[1], table)
    np.testing.assert_allclose(result, np.array(expected), rtol=0, atol=1e-12)


def test_batches_of_replicates_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, targets, enrol, test = pairs(10, 3, 2)
    for known in (True, False):
        first, second = (enrol, test) if known else (None, None)
        bootstrap = TrialBootstrap.draw(targets, first, second, np.random.default_rng(5), replicates=30)
        with monkeypatch.context() as patch:
            whole = bootstrap.eer(scores)
            patch.setattr("voxanchor.scoring.bootstrap._BATCH", 7)
            np.testing.assert_array_equal(bootstrap.eer(scores), whole)


def test_names_and_numbers_and_order_of_trials_do_not_matter() -> None:
    scores, targets, enrol, test = pairs(10, 3, 2)
    numbers = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(5))
    order = np.random.default_rng(0).permutation(scores.size)
    names = np.array([f"s{n:02d}" for n in range(10)])
    named = TrialBootstrap.draw(targets[order], names[enrol][order], names[test][order], np.random.default_rng(5))
    np.testing.assert_allclose(named.eer(scores[order]), numbers.eer(scores), atol=1e-12)
    for spread in (7 * np.arange(10) + 3, 10**12 * np.arange(10) - 5):  # gaps between the numbers, and huge ones
        other = TrialBootstrap.draw(targets, spread[enrol], spread[test], np.random.default_rng(5))
        np.testing.assert_array_equal(other.eer(scores), numbers.eer(scores))


def test_without_speakers_single_trials_are_resampled() -> None:
    scores, targets, _, _ = pairs(10, 4, 3)
    bootstrap = TrialBootstrap.draw(targets, None, None, np.random.default_rng(0))
    assert bootstrap.unit == "trial"
    rates = bootstrap.eer(scores)
    np.testing.assert_array_equal(rates, bootstrap.eer(scores))
    for seed, rate in zip(bootstrap.seeds[:5], rates[:5], strict=True):
        draws = np.random.Generator(np.random.Philox(int(seed))).integers(0, scores.size, size=scores.size)
        assert rate == pytest.approx(eer(scores[draws], targets[draws]).eer, abs=1e-12)
    assert rates.mean() == pytest.approx(eer(scores, targets).eer, abs=0.02)
    assert len(np.unique(rates)) > 50


def test_speakers_give_honest_intervals_where_trials_do_not() -> None:
    covered_by_speakers = covered_by_trials = 0
    truth = float(np.mean([eer(*pairs(60, 5, 1000 + seed)[:2]).eer for seed in range(20)]))
    for seed in range(40):
        scores, targets, enrol, test = pairs(20, 4, seed)
        over_speakers = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(seed), 100)
        over_trials = TrialBootstrap.draw(targets, None, None, np.random.default_rng(seed), 100)
        low, high = interval(over_speakers.eer(scores))
        covered_by_speakers += low <= truth <= high
        low, high = interval(over_trials.eer(scores))
        covered_by_trials += low <= truth <= high
    assert covered_by_speakers >= 33  # 95 % nominal, 40 attempts
    assert covered_by_trials < covered_by_speakers


def test_differences_are_paired() -> None:
    scores, targets, enrol, test = pairs(25, 4, 4)
    better = scores + 0.3 * targets
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(0))
    base, improved = bootstrap.eer(scores), bootstrap.eer(better)
    difference = interval(improved - base)
    assert difference.high < 0
    assert interval(improved).high > interval(base).low  # the single intervals overlap


def test_memory_does_not_grow_with_the_replicates() -> None:
    generator = np.random.default_rng(0)
    targets = generator.random(100_000) < 0.1
    scores = generator.standard_normal(100_000) + 2 * targets
    enrol, test = generator.integers(0, 200, (2, 100_000))
    peaks = []
    for replicates in (256, 1024):
        bootstrap = TrialBootstrap.draw(targets, enrol, test, generator, replicates)
        tracemalloc.start()
        try:
            bootstrap.eer(scores)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


def test_replicates_without_a_class_are_left_out() -> None:
    scores = np.array([0.9, 0.1, 0.8, 0.3])
    targets = np.array([True, False, True, False])
    enrol, test = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    rates = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(0)).eer(scores)
    assert np.isnan(rates).any()
    assert not np.isnan(rates).all()
    assert interval(rates) == (0.0, 0.0)


def test_interval_is_the_central_share() -> None:
    assert interval(np.arange(1001), 0.9) == pytest.approx((50.0, 950.0))
    with pytest.raises(ValueError, match="more speakers"):
        interval([np.nan, np.nan])
    with pytest.raises(ValueError, match="level"):
        interval([1.0], 1.0)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="Speakers must be"):
        TrialBootstrap.draw([True, False], [0], [0, 1], np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one replicate"):
        TrialBootstrap.draw([True, False], [0, 0], [0, 1], np.random.default_rng(0), replicates=0)
    bootstrap = TrialBootstrap.draw([True, False], [0, 0], [0, 1], np.random.default_rng(0))
    with pytest.raises(ValueError, match="must both be"):
        bootstrap.eer([0.1])
