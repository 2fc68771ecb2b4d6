import numpy as np
import pytest

from voxanchor.models.mapping import RIDGE, carried, fit_map


def unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture
def old() -> np.ndarray:
    return unit(np.random.default_rng(0).standard_normal((400, 12)))


def test_a_rotation_is_found(old: np.ndarray) -> None:
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0]
    new = unit(old @ turn)
    others = unit(np.random.default_rng(2).standard_normal((50, 12)))
    cosines = (carried(others, fit_map(old, new)) * unit(others @ turn)).sum(axis=1)
    assert cosines.min() > 0.9999


def test_models_that_agree_are_left_alone(old: np.ndarray) -> None:
    np.testing.assert_allclose(fit_map(old, old), np.eye(12), atol=1e-6)


def test_little_data_leaves_the_map_near_the_identity() -> None:
    draw = np.random.default_rng(3)
    one, other = unit(draw.standard_normal((1, 12))), unit(draw.standard_normal((1, 12)))
    found = fit_map(one, other)
    # the one direction that was seen goes where it should, the eleven others stay
    assert np.linalg.matrix_rank(found - np.eye(12), tol=1e-6) == 1
    np.testing.assert_allclose(carried(one, found), other, atol=1e-3)


def test_other_dimensions_are_bridged(old: np.ndarray) -> None:
    wide = np.random.default_rng(4).standard_normal((12, 20))
    new = unit(old @ wide)
    found = fit_map(old, new)
    assert found.shape == (12, 20)
    assert ((carried(old, found) * new).sum(axis=1)).min() > 0.99


def test_it_is_ridge_regression(old: np.ndarray) -> None:
    from sklearn.linear_model import Ridge

    new = unit(old + 0.3 * np.random.default_rng(5).standard_normal(old.shape))
    oracle = Ridge(alpha=RIDGE * len(old), fit_intercept=False).fit(old.astype(float), new.astype(float) - old)
    np.testing.assert_allclose(fit_map(old, new), np.eye(12) + oracle.coef_.T, atol=1e-6)


def test_rows_that_do_not_belong_together_are_refused(old: np.ndarray) -> None:
    with pytest.raises(ValueError, match="same recordings"):
        fit_map(old, old[:-1])
