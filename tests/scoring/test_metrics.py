import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.spatial import ConvexHull
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import auc, roc_curve

from voxanchor.scoring import metrics
from voxanchor.scoring.metrics import (
    cllr,
    det_curve,
    eer,
    min_cllr,
    min_dcf,
    pool_adjacent_violators,
    rank_trials,
    ranked_eer,
    ranked_min_cllr,
    ranked_min_dcf,
)
from voxanchor.types import BoolArray, FloatArray

PRIORS = (0.01, 0.05, 0.5, 0.9)


def sample(seed: int, trials: int = 400, ties: bool = False, shift: float = 1.5) -> tuple[FloatArray, BoolArray]:
    generator = np.random.default_rng(seed)
    targets = generator.random(trials) < 0.3
    targets[:2] = True, False
    scores = np.asarray(generator.standard_normal(trials) + shift * targets, dtype=np.float64)
    return (np.round(scores, 1) if ties else scores), targets


def sklearn_eer(scores: FloatArray, targets: BoolArray) -> float:
    false_alarms, hits, _ = roc_curve(targets, scores, drop_intermediate=False)
    return float(brentq(lambda x: 1.0 - x - np.interp(x, false_alarms, hits), 0.0, 1.0, xtol=1e-14))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_eer_and_min_dcf_agree_with_sklearn(seed: int, ties: bool) -> None:
    scores, targets = sample(seed, ties=ties)
    assert eer(scores, targets).eer == pytest.approx(sklearn_eer(scores, targets), abs=1e-9)
    false_alarms, hits, _ = roc_curve(targets, scores, drop_intermediate=False)
    for prior in PRIORS:
        for c_miss, c_fa in ((1, 1), (10, 2)):
            cost = c_miss * prior * (1 - hits) + c_fa * (1 - prior) * false_alarms
            expected = cost.min() / min(c_miss * prior, c_fa * (1 - prior))
            assert min_dcf(scores, targets, prior, c_miss, c_fa) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_convex_hull_eer_is_where_scipys_hull_meets_the_diagonal(seed: int, ties: bool) -> None:
    scores, targets = sample(seed, ties=ties)
    curve = det_curve(scores, targets)
    points = np.column_stack((curve.p_fa, curve.p_miss))
    hull = ConvexHull(np.vstack((points, [[1.0, 1.0]])))
    # on the diagonal, the hull begins at the smallest x with normal . (x, x) + offset <= 0 for every facet
    slopes, offsets = hull.equations[:, :2].sum(axis=1), hull.equations[:, 2]
    expected = max(-offset / slope for slope, offset in zip(slopes, offsets, strict=True) if slope < 0)
    result = eer(scores, targets, method="convex_hull").eer
    assert result == pytest.approx(expected, abs=1e-9)
    assert result <= eer(scores, targets).eer + 1e-12


@pytest.mark.parametrize("method", ["linear", "convex_hull"])
def test_hand_made_cases(method: Any) -> None:
    apart = eer([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], method=method)
    assert apart.eer == 0.0
    assert 0.2 < apart.threshold < 0.8
    assert eer([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1]).eer == 1.0
    assert eer([0.3] * 6, [0, 0, 1, 1, 1, 1], method=method).eer == pytest.approx(0.5)
    assert eer([1, 2, 3, 4], [0, 1, 0, 1], method=method).eer == pytest.approx(1 / 2 if method == "linear" else 1 / 4)


def test_threshold_separates_at_the_equal_error_rate() -> None:
    scores, targets = sample(3, trials=20_000)
    rate, threshold = eer(scores, targets)
    assert np.mean(scores[targets] < threshold) == pytest.approx(rate, abs=1e-3)
    assert np.mean(scores[~targets] >= threshold) == pytest.approx(rate, abs=1e-3)


def test_curve_counts_errors_at_its_thresholds() -> None:
    scores, targets = sample(4, ties=True)
    curve = det_curve(scores, targets)
    for p_miss, p_fa, threshold in zip(*curve, strict=True):
        assert p_miss == pytest.approx(np.mean(scores[targets] < threshold))
        assert p_fa == pytest.approx(np.mean(scores[~targets] >= threshold))
    assert (curve.p_miss[0], curve.p_fa[0], curve.p_miss[-1], curve.p_fa[-1]) == (0, 1, 1, 0)
    assert (np.diff(curve.thresholds) > 0).all()


@given(
    data=st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=40).filter(
        lambda rows: len({label for _, label in rows}) == 2
    ),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_order_and_rising_maps_change_nothing(data: list[tuple[int, bool]], seed: int) -> None:
    scores = np.array([float(score) for score, _ in data])
    targets = np.array([label for _, label in data])
    order = np.random.default_rng(seed).permutation(len(data))
    for metric in (
        lambda s, t: eer(s, t).eer,
        lambda s, t: eer(s, t, method="convex_hull").eer,
        lambda s, t: min_dcf(s, t, 0.05),
        min_cllr,
    ):
        value = metric(scores, targets)
        assert metric(scores[order], targets[order]) == value
        assert metric(np.exp(scores) + scores**3, targets) == value
    assert eer(-scores, ~targets).eer == pytest.approx(eer(scores, targets).eer, abs=1e-12)
    assert eer(scores, targets).eer == pytest.approx(sklearn_eer(scores, targets), abs=1e-9)


@pytest.mark.parametrize("majority", ["targets", "nontargets"])
def test_curve_leaves_out_only_what_lies_on_straight_lines(majority: str) -> None:
    scores, targets = sample(6, trials=2000, ties=True)
    scores[::3] += np.arange(len(scores[::3])) * 1e-6  # ties and single scores
    if majority == "targets":
        scores, targets = -scores, ~targets
    curve = det_curve(scores, targets)
    few = min(np.count_nonzero(targets), np.count_nonzero(~targets))
    assert len(curve.p_miss) <= 2 * few + 2
    false_alarms, hits, _ = roc_curve(targets, scores, drop_intermediate=False)
    whole = set(zip(np.round(1 - hits, 12), np.round(false_alarms, 12), strict=True))
    assert set(zip(np.round(curve.p_miss, 12), np.round(curve.p_fa, 12), strict=True)) <= whole
    area = -np.trapezoid(1 - curve.p_miss, curve.p_fa)
    assert area == pytest.approx(auc(false_alarms, hits), abs=1e-12)


@pytest.mark.parametrize("majority", ["targets", "nontargets"])
def test_float32_scores_keep_their_ranks(majority: str) -> None:
    scores, targets = sample(8, trials=5000)
    narrow = scores.astype(np.float32)
    if majority == "targets":
        narrow, targets = -narrow, ~targets
    ranked = rank_trials(narrow, targets)
    assert {part.dtype for part in ranked} == {np.dtype(np.float32)}
    wide = narrow.astype(np.float64)
    assert ranked_eer(ranked).eer == eer(wide, targets).eer
    assert ranked_eer(ranked, "convex_hull").eer == eer(wide, targets, "convex_hull").eer
    assert ranked_min_dcf(ranked, 0.05) == min_dcf(wide, targets, 0.05)
    assert ranked_min_cllr(ranked) == min_cllr(wide, targets)


def test_thresholds_in_small_blocks_give_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, targets = sample(9, ties=True)
    whole = min_dcf(scores, targets, 0.05)
    monkeypatch.setattr(metrics, "_BLOCK", 7)
    assert min_dcf(scores, targets, 0.05) == whole


@pytest.mark.parametrize(("dtype", "most"), [(np.float64, 10.0), (np.float32, 6.0)])
def test_memory_is_the_sorted_scores(dtype: type, most: float) -> None:
    scores, targets = sample(0, trials=1_000_000)
    scores = scores.astype(dtype)
    tracemalloc.start()
    try:
        ranked = rank_trials(scores, targets)
        sorting = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        ranked_eer(ranked)
        ranked_min_dcf(ranked, 0.01)
        reading = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sorting < most * len(scores)
    assert reading < np.dtype(dtype).itemsize * len(scores) + 32e6


@pytest.mark.parametrize("seed", range(6))
def test_pooling_agrees_with_sklearns_isotonic_regression(seed: int) -> None:
    generator = np.random.default_rng(seed)
    totals = generator.integers(1, 5, 300).astype(np.float64)
    hits = np.round(totals * generator.random(300))
    if seed == 5:  # one merge a pass: the way to the one-by-one finish
        totals, hits = np.ones(300), np.append(np.linspace(0.1, 0.9, 299), 0.0)
    starts = pool_adjacent_violators(hits, totals)
    sizes = np.diff(np.append(starts, 300))
    fitted = np.repeat(np.add.reduceat(hits, starts) / np.add.reduceat(totals, starts), sizes)
    expected = IsotonicRegression().fit_transform(np.arange(300), hits / totals, sample_weight=totals)
    np.testing.assert_allclose(fitted, expected, atol=1e-9)


def test_cllr_of_known_ratios() -> None:
    assert cllr([0.0, 0.0, 0.0], [1, 0, 0]) == pytest.approx(1.0)
    assert cllr([np.inf, -np.inf], [1, 0]) == 0.0
    assert cllr([np.log(3), -np.log(3)], [1, 0]) == pytest.approx(np.log2(4 / 3))
    assert cllr([-5.0, 5.0], [1, 0]) > 1


def test_cllr_of_true_likelihood_ratios_is_close_to_its_minimum() -> None:
    generator = np.random.default_rng(0)
    targets = generator.random(40_000) < 0.5
    scores = generator.standard_normal(40_000) + 2 * targets
    llr = 2 * scores - 2  # log N(x; 2, 1) - log N(x; 0, 1)
    assert min_cllr(scores, targets) <= cllr(llr, targets)
    assert cllr(llr, targets) == pytest.approx(min_cllr(scores, targets), abs=0.01)
    assert cllr(3 * llr + 2, targets) > cllr(llr, targets) + 0.1


def test_min_cllr_agrees_with_isotonic_probabilities() -> None:
    scores, targets = sample(7, ties=True)
    share = IsotonicRegression().fit_transform(scores, targets)
    prior = targets.mean()
    with np.errstate(divide="ignore"):
        llr = np.log(share) - np.log1p(-share) - np.log(prior / (1 - prior))
    assert min_cllr(scores, targets) == pytest.approx(cllr(llr, targets), abs=1e-9)
    assert min_cllr([0, 1], [0, 1]) == 0.0


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"first \(nan\) at trial 1"):
        eer([0.1, np.nan], [1, 0])
    with pytest.raises(ValueError, match="not finite"):
        min_dcf([np.inf, 0.0], [1, 0], 0.01)
    with pytest.raises(ValueError, match="0 target and 2 non-target"):
        eer([0.1, 0.2], [0, 0])
    with pytest.raises(ValueError, match="must both be"):
        eer([0.1, 0.2], [0])
    with pytest.raises(ValueError, match="true or false"):
        eer([0.1, 0.2], [1, 2])
    with pytest.raises(ValueError, match="between 0 and 1"):
        min_dcf([0.1, 0.2], [1, 0], 1.0)
    with pytest.raises(ValueError, match="above 0"):
        min_dcf([0.1, 0.2], [1, 0], 0.1, c_miss=0)
    with pytest.raises(ValueError, match="Unknown EER method"):
        eer([0.1, 0.2], [1, 0], method="folklore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a number"):
        cllr([0.0, np.nan], [1, 0])
