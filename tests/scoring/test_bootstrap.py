import numpy as np
import pytest

from voxanchor.scoring.bootstrap import TrialBootstrap, interval
from voxanchor.scoring.metrics import eer
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


@pytest.mark.parametrize("ties", [False, True])
def test_every_replicate_is_the_weighted_eer(ties: bool) -> None:
    scores, targets, enrol, test = pairs(12, 4, 0, ties)
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(1), replicates=20)
    assert bootstrap.unit == "speaker"
    assert (bootstrap.multiplicities.sum(axis=1) == 12).all()
    for drawn, rate in zip(bootstrap.multiplicities, bootstrap.eer(scores), strict=True):
        weights = np.where(enrol == test, drawn[enrol], drawn[enrol] * drawn[test])
        assert rate == pytest.approx(eer(scores, targets, weights).eer, abs=1e-12)


def test_names_and_numbers_and_order_of_trials_do_not_matter() -> None:
    scores, targets, enrol, test = pairs(10, 3, 2)
    numbers = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(5))
    order = np.random.default_rng(0).permutation(scores.size)
    names = np.array([f"s{n:02d}" for n in range(10)])
    named = TrialBootstrap.draw(targets[order], names[enrol][order], names[test][order], np.random.default_rng(5))
    np.testing.assert_allclose(named.eer(scores[order]), numbers.eer(scores), atol=1e-12)


def test_without_speakers_single_trials_are_resampled() -> None:
    scores, targets, _, _ = pairs(10, 4, 3)
    bootstrap = TrialBootstrap.draw(targets, None, None, np.random.default_rng(0))
    assert bootstrap.unit == "trial"
    rates = bootstrap.eer(scores)
    np.testing.assert_array_equal(rates, bootstrap.eer(scores))
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
