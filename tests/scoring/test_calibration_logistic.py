"""Logistic regression against scikit-learn, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from voxanchor.scoring.calibration import RIDGE, fit_logistic
from voxanchor.types import BoolArray, FloatArray


def problem(seed: int, count: int = 300, width: int = 3) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Overlapping classes, features of different scales, and weights."""
    draw = np.random.default_rng(seed)
    targets = draw.random(count) < 0.3
    features = draw.standard_normal((count, width)) + targets[:, None] * draw.uniform(-1, 1.5, width)
    features = features * draw.uniform(0.1, 20, width) + draw.uniform(-5, 5, width)
    return features, targets, draw.uniform(0.1, 2, count)


def by_sklearn(features: FloatArray, targets: BoolArray, weights: FloatArray) -> FloatArray:
    share = weights / weights.sum()
    mean = share @ features
    scale = np.sqrt(share @ (features - mean) ** 2)
    # its loss is C times the sum of weighted losses, and half the squared coefficients
    model = LogisticRegression(C=1 / RIDGE, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    model.fit((features - mean) / scale, targets, sample_weight=share)
    coefficients = model.coef_[0] / scale
    return np.concatenate((model.intercept_ - coefficients @ mean, coefficients))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("width", [1, 3, 8])
def test_the_coefficients_are_those_of_scikit_learn(seed: int, width: int) -> None:
    features, targets, weights = problem(seed, width=width)
    expected = by_sklearn(features, targets, weights)
    np.testing.assert_allclose(fit_logistic(features, targets, weights), expected, rtol=2e-4, atol=2e-4)


def test_the_offset_is_taken_out_of_the_constant() -> None:
    features, targets, weights = problem(3)
    plain, moved = fit_logistic(features, targets, weights), fit_logistic(features, targets, weights, -2.5)
    np.testing.assert_allclose(moved[1:], plain[1:], rtol=1e-4)
    assert moved[0] == pytest.approx(plain[0] + 2.5, abs=1e-3)


def test_a_weight_of_two_is_the_trial_twice_and_of_zero_none() -> None:
    features, targets, _ = problem(4, 60)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    np.testing.assert_allclose(
        fit_logistic(features, targets, weights.astype(np.float64)),
        fit_logistic(features[repeated], targets[repeated], np.ones(len(repeated))),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("gap", [0.0, 1e-6, 1.0, 1e6])
def test_classes_without_overlap_give_finite_coefficients(gap: float) -> None:
    features = np.concatenate((np.linspace(-1, 0, 50), np.linspace(0, 1, 50) + gap))[:, None]
    targets = np.arange(100) >= 50
    found = fit_logistic(features, targets, np.ones(100))
    assert np.isfinite(found).all()
    assert found[1] > 0


def test_a_feature_that_never_changes_gets_no_coefficient() -> None:
    features, targets, weights = problem(5)
    for constant in (0.0, 0.1, 3.0, 1e4, -123_456.789):
        found = fit_logistic(np.column_stack((features, np.full(len(features), constant))), targets, weights)
        assert abs(found[-1]) < 1e-12
        np.testing.assert_allclose(found[:-1], fit_logistic(features, targets, weights), atol=1e-6)


def test_a_feature_given_twice_is_shared_out() -> None:
    features, targets, weights = problem(6, width=1)
    (_, alone), (_, one, other) = (
        fit_logistic(np.tile(features, times), targets, weights).tolist() for times in (1, 2)
    )
    assert one == pytest.approx(other)
    assert one + other == pytest.approx(alone, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_neither_the_order_of_trials_nor_of_features_matters(seed: int) -> None:
    features, targets, weights = problem(seed, 100)
    draw = np.random.default_rng(seed + 1)
    rows, columns = draw.permutation(100), draw.permutation(3)
    found = fit_logistic(features[rows][:, columns], targets[rows], weights[rows])
    expected = fit_logistic(features, targets, weights)
    assert found[0] == pytest.approx(expected[0], rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(found[1:], expected[1:][columns], rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 100),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
    weight=st.floats(1e-3, 1e3),
    negative=st.booleans(),
)
def test_scaled_and_shifted_features_give_the_same_odds(
    seed: int, scale: float, shift: float, weight: float, negative: bool
) -> None:
    features, targets, weights = problem(seed, 100)
    factor = -scale if negative else scale
    moved = features * factor + shift
    found, expected = fit_logistic(moved, targets, weights * weight), fit_logistic(features, targets, weights)
    np.testing.assert_allclose(found[0] + moved @ found[1:], expected[0] + features @ expected[1:], atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 100), offset=st.floats(-8, 8))
def test_no_neighbour_has_a_lower_loss(seed: int, offset: float) -> None:
    features, targets, weights = problem(seed, 80)
    found = fit_logistic(features, targets, weights, offset)
    mean = np.average(features, axis=0, weights=weights)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))

    def loss(coefficients: FloatArray) -> float:
        odds = coefficients[0] + features @ coefficients[1:] + offset
        losses = np.logaddexp(0, np.where(targets, -odds, odds))
        return float(np.average(losses, weights=weights) + RIDGE / 2 * np.sum((coefficients[1:] * scale) ** 2))

    for place in range(len(found)):
        for step in (-0.02, 0.02):
            other = found.copy()
            other[place] += step / (1 if place == 0 else scale[place - 1])
            assert loss(other) > loss(found) - 1e-9


def test_what_cannot_be_fitted_is_an_error() -> None:
    features, targets, weights = problem(7, 20)
    with pytest.raises(ValueError, match="Expected"):
        fit_logistic(features[:, 0], targets, weights)
    with pytest.raises(ValueError, match="Expected"):
        fit_logistic(features, targets[:-1], weights)
    with pytest.raises(ValueError, match="Expected"):
        fit_logistic(features, targets, weights[:-1])
    with pytest.raises(ValueError, match="finite"):
        fit_logistic(np.where(features > 0, np.nan, features), targets, weights)
    for only in (np.ones(20, dtype=np.bool_), np.zeros(20, dtype=np.bool_)):
        with pytest.raises(ValueError, match="Both classes"):
            fit_logistic(features, only, weights)
    with pytest.raises(ValueError, match="Both classes"):
        fit_logistic(features, targets, np.where(targets, 0.0, 1.0))
