"""Thresholds and rates against counting every trial anew."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.scoring import bootstrap as bootstrap_module
from voxanchor.scoring.bootstrap import TrialBootstrap, error_rates, heaviest_threshold, interval, threshold_at
from voxanchor.scoring.metrics import RankedTrials, rank_trials
from voxanchor.types import BoolArray, FloatArray

Rows = list[tuple[int, bool, int, int]]
"""Score, whether one speaker, and the speakers of either side."""

ROWS = st.lists(
    st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60
).filter(lambda rows: len({target for _, target, *_ in rows}) == 2)
SHARE = st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.99])


def lowest_that_holds(scores: FloatArray, weights: FloatArray, share: float) -> tuple[float, float]:
    """The scores between which the threshold must lie, one threshold after another; `scores` of different speakers."""
    known = np.unique(scores)
    for place in range(len(known) - 1, -1, -1):
        accepted = weights[scores >= known[place]].sum()
        if accepted > share * weights.sum() + 1e-9:
            return known[place], known[place + 1] if place + 1 < len(known) else np.inf
    raise AssertionError("accepting everything is more than any share below 1")


def weights_of(bootstrap: TrialBootstrap, replicate: int) -> FloatArray:
    assert bootstrap.enrol is not None
    assert bootstrap.test is not None
    drawn = bootstrap.multiplicities[replicate].astype(np.float64)
    apart = bootstrap.enrol != bootstrap.test
    weights: FloatArray = drawn[bootstrap.enrol] * np.where(apart, drawn[bootstrap.test], 1.0)
    return weights


def arrays(rows: Rows) -> tuple[FloatArray, BoolArray, np.ndarray, np.ndarray]:
    scores, targets, enrol, test = (np.array(column) for column in zip(*rows, strict=True))
    return scores.astype(np.float64), targets, enrol, test


@given(ROWS, SHARE)
@settings(max_examples=200, deadline=None)
def test_a_threshold_is_the_lowest_that_lets_no_more_than_its_share_pass(rows: Rows, share: float) -> None:
    scores, targets, *_ = arrays(rows)
    ranked = rank_trials(scores, targets)
    found = threshold_at(ranked, share)
    others = scores[~targets]
    below, above = lowest_that_holds(others, np.ones(len(others)), share)
    assert below < found <= above
    assert found == (below + above) / 2 or np.isinf(above)
    assert (others >= found).mean() <= share + 1e-9


@settings(deadline=None)
@given(
    trials=st.lists(
        st.tuples(st.integers(-4, 4), st.sampled_from([0.0, 0.5, 1.0, 3.0])), min_size=1, max_size=40
    ).filter(lambda trials: any(weight for _, weight in trials)),
    share=SHARE,
)
def test_the_heaviest_trials_that_pass_are_no_heavier_than_asked(trials: list[tuple[int, float]], share: float) -> None:
    scores, weights = (np.array(column, dtype=np.float64) for column in zip(*trials, strict=True))
    below, above = lowest_that_holds(scores, weights, share)
    assert below < heaviest_threshold(scores, weights, share * weights.sum()) <= above
    for weight in (-0.1, weights.sum(), float("nan")):
        with pytest.raises(ValueError, match="below that of all"):
            heaviest_threshold(scores, weights, weight)


@given(ROWS, st.floats(-5, 5))
@settings(max_examples=200, deadline=None)
def test_rates_count_trials(rows: Rows, threshold: float) -> None:
    scores, targets, *_ = arrays(rows)
    rates = error_rates(rank_trials(scores, targets), threshold)
    assert rates.false_acceptance == pytest.approx((scores[~targets] >= threshold).mean())
    assert rates.false_rejection == pytest.approx((scores[targets] < threshold).mean())


@given(ROWS, st.lists(SHARE, min_size=1, max_size=3), st.integers(0, 100), st.sampled_from([3, 1024]))
@settings(max_examples=100, deadline=None)
def test_every_replicate_has_the_threshold_and_the_rates_of_its_weights(
    rows: Rows, shares: list[float], seed: int, chunk: int
) -> None:
    scores, targets, enrol, test = arrays(rows)
    bootstrap = TrialBootstrap.draw(targets, enrol, test, np.random.default_rng(seed), replicates=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap_module, "_SCANNED", chunk)
        patch.setattr(bootstrap_module, "_CHUNK", chunk)
        found = bootstrap.thresholds(scores, shares)
        false_acceptance, false_rejection = bootstrap.error_rates(scores, found)
    for replicate in range(12):
        weights = weights_of(bootstrap, replicate)
        same, other = weights * targets, weights * ~targets
        for place, share in enumerate(shares):
            threshold = found[place, replicate]
            if not other.sum():
                assert np.isnan(threshold)
                assert np.isnan(false_acceptance[place, replicate])
                continue
            below, above = lowest_that_holds(scores[~targets], other[~targets], share)
            assert below < threshold <= above
            accepted = other[scores >= threshold].sum() / other.sum()
            assert false_acceptance[place, replicate] == pytest.approx(accepted, abs=1e-12)
            assert accepted <= share + 1e-9
            if same.sum():
                missed = same[scores < threshold].sum() / same.sum()
                assert false_rejection[place, replicate] == pytest.approx(missed, abs=1e-12)
            else:
                assert np.isnan(false_rejection[place, replicate])


def test_without_speakers_single_trials_are_drawn() -> None:
    draw = np.random.default_rng(0)
    targets = np.arange(4000) < 400
    scores = draw.standard_normal(4000) + 2 * targets
    bootstrap = TrialBootstrap.draw(targets, None, None, draw, replicates=50)
    found = bootstrap.thresholds(scores, [0.01])
    false_acceptance, false_rejection = bootstrap.error_rates(scores, found)
    assert (false_acceptance <= 0.01).all()
    assert false_acceptance == pytest.approx(0.01, abs=0.001)
    at = threshold_at(rank_trials(scores, targets), 0.01)
    assert found.mean() == pytest.approx(at, abs=0.05)
    assert false_rejection.std() > 0


def test_a_batch_of_replicates_meets_its_own_thresholds(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    speakers = np.repeat(np.arange(8), 4)
    enrol, test = np.triu_indices(32, 1)
    targets = speakers[enrol] == speakers[test]
    scores = draw.standard_normal(len(enrol)) + 2 * targets
    bootstrap = TrialBootstrap.draw(targets, speakers[enrol], speakers[test], draw, replicates=20)
    whole = bootstrap.error_rates(scores, bootstrap.thresholds(scores, [0.1, 0.01]))
    monkeypatch.setattr("voxanchor.scoring.bootstrap._BATCH", 7)
    parts = bootstrap.error_rates(scores, bootstrap.thresholds(scores, [0.1, 0.01]))
    np.testing.assert_array_equal(whole, parts)
    assert whole[0].shape == (2, 20)


def test_ties_fall_together_and_neighbours_in_float_are_told_apart() -> None:
    tied = RankedTrials(np.array([1.0]), np.zeros(100))
    at = threshold_at(tied, 0.5)
    assert at > 0
    assert error_rates(tied, at) == (0.0, 0.0)
    next_to_it = np.nextafter(1.0, 2.0)
    close = RankedTrials(np.array([1.0]), np.array([1.0, next_to_it]))
    at = threshold_at(close, 0.5)
    assert error_rates(close, at).false_acceptance == 0.5
    single = RankedTrials(np.ones(1, np.float32), np.array([0.5, np.nextafter(np.float32(0.5), np.float32(1))]))
    assert error_rates(single, threshold_at(single, 0.5)).false_acceptance == 0.5


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_shares_that_make_no_sense_are_refused(share: float) -> None:
    ranked = rank_trials([0.0, 1.0], [False, True])
    with pytest.raises(ValueError, match="share"):
        threshold_at(ranked, share)
    bootstrap = TrialBootstrap.draw([False, True], None, None, np.random.default_rng(0), replicates=2)
    with pytest.raises(ValueError, match="share"):
        bootstrap.thresholds([0.0, 1.0], [share])
    with pytest.raises(ValueError, match="Thresholds must be"):
        bootstrap.error_rates([0.0, 1.0], np.zeros((1, 3)))


def _scores(
    speakers: int, draw: np.random.Generator
) -> tuple[FloatArray, FloatArray, BoolArray, np.ndarray, np.ndarray]:
    """Old and mixed scores of all pairs of four utterances of made-up speakers, of whom some scatter more."""
    owners = np.repeat(np.arange(speakers), 4)
    scatter = np.exp(0.25 * draw.standard_normal(speakers))[owners, None]
    old = draw.standard_normal((speakers, 24))[owners] + 0.6 * scatter * draw.standard_normal((len(owners), 24))
    new = old + 0.25 * draw.standard_normal(old.shape) + 0.4 * np.eye(24)[0]
    old, new = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (old, new))
    enrol, test = np.triu_indices(len(owners), 1)
    targets = owners[enrol] == owners[test]
    scores = (np.einsum("kd,kd->k", old[enrol], rows[test]) for rows in (old, new))
    return (*scores, targets, owners[enrol], owners[test])


@pytest.mark.slow
def test_intervals_hold_what_many_more_speakers_give() -> None:
    """In 19 of 20 draws they should, and do in all or nearly all: they are wider than need be."""
    old, mixed, targets, *_ = _scores(1000, np.random.default_rng(0))
    ranked = rank_trials(old, targets), rank_trials(mixed, targets)
    threshold = threshold_at(ranked[0], 0.01)
    before, after = (error_rates(part, threshold) for part in ranked)
    truth = {
        "threshold": threshold,
        "moved": threshold_at(ranked[1], 0.01) - threshold,
        "times accepted": after.false_acceptance / before.false_acceptance,
        "more rejected": after.false_rejection - before.false_rejection,
    }
    held = dict.fromkeys(truth, 0)
    draws = 60
    for seed in range(draws):
        draw = np.random.default_rng([1, seed])
        old, mixed, targets, enrol, test = _scores(50, draw)
        bootstrap = TrialBootstrap.draw(targets, enrol, test, draw, replicates=200)
        at_old, at_mixed = (bootstrap.thresholds(scores, [0.01]) for scores in (old, mixed))
        (accepted, rejected), (accepted_now, rejected_now) = (
            bootstrap.error_rates(scores, at_old) for scores in (old, mixed)
        )
        found = {
            "threshold": at_old,
            "moved": at_mixed - at_old,
            "times accepted": accepted_now / accepted,
            "more rejected": rejected_now - rejected,
        }
        for name, samples in found.items():
            low, high = interval(samples[0])
            held[name] += low <= truth[name] <= high
    assert all(count >= 0.88 * draws for count in held.values()), held
