import tracemalloc

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from voxanchor.scoring import scores
from voxanchor.scoring.scores import score_blocks, trial_scores


@pytest.mark.parametrize("trials", [7, 5000])  # few trials are gathered, many read from a product
def test_scores_are_the_cosines_of_the_named_rows(trials: int) -> None:
    generator = np.random.default_rng(0)
    enrol = generator.standard_normal((30, 16)).astype(np.float32)
    test = 3 * generator.standard_normal((40, 16)).astype(np.float32)
    left, right = generator.integers(0, 30, trials), generator.integers(0, 40, trials)
    result = trial_scores(enrol, test, left, right)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, cosine_similarity(enrol, test)[left, right], atol=1e-6)


@pytest.mark.parametrize("trials", [9, 300])
def test_small_blocks_give_the_same_scores(trials: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    enrol, test = generator.standard_normal((20, 8)), generator.standard_normal((25, 8))
    left, right = generator.integers(0, 20, trials), generator.integers(0, 25, trials)
    whole = trial_scores(enrol, test, left, right)
    monkeypatch.setattr(scores, "_BLOCK_SIDE", 7)
    monkeypatch.setattr(scores, "_GATHER_ROWS", 4)
    np.testing.assert_allclose(trial_scores(enrol, test, left, right), whole, atol=1e-12)


def test_blocks_make_up_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "_BLOCK_SIDE", 8)
    generator = np.random.default_rng(3)
    enrol, test = generator.standard_normal((20, 6)), 5 * generator.standard_normal((13, 6))
    whole = np.full((20, 13), np.nan, np.float32)
    for rows, columns, block in score_blocks(enrol, test):
        assert block.dtype == np.float32
        assert block.size <= 64
        assert np.isnan(whole[rows, columns]).all()
        whole[rows, columns] = block
    np.testing.assert_allclose(whole, cosine_similarity(enrol, test), atol=1e-6)


def test_a_matrix_larger_than_memory_begins_at_once() -> None:
    rows = np.broadcast_to(np.eye(4, dtype=np.float32)[0], (500_000, 4))  # 250 thousand million scores
    tracemalloc.start()
    try:
        first = next(score_blocks(rows, rows))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert first.scores.shape == (2048, 2048)
    assert (first.scores == 1).all()
    assert peak < 50e6


def test_scores_stay_within_one() -> None:
    rows = np.random.default_rng(2).standard_normal((50, 192)).astype(np.float32)
    index = np.arange(50)
    result = trial_scores(rows, rows, index, index)
    assert result.max() <= 1.0
    np.testing.assert_allclose(result, 1.0, atol=1e-12)


def test_bad_input_is_named() -> None:
    rows = np.eye(3)
    index = np.arange(3)
    with pytest.raises(ValueError, match=r"first in row 1"):
        trial_scores(np.diag([1.0, 0.0, 1.0]), rows, index, index)
    with pytest.raises(ValueError, match="not finite"):
        trial_scores(rows, np.full((3, 3), np.nan), index, index)
    with pytest.raises(ValueError, match="outside the 3 test"):
        trial_scores(rows, rows, index, index + 1)
    with pytest.raises(ValueError, match="outside the 3 enrol"):
        trial_scores(rows, rows, index - 1, index)
    with pytest.raises(ValueError, match="one D"):
        trial_scores(rows, np.eye(4), index, index)
    with pytest.raises(ValueError, match="index"):
        trial_scores(rows, rows, index, index[:2])
