import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from voxanchor.scoring import scores
from voxanchor.scoring.scores import trial_scores


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
    monkeypatch.setattr(scores, "_BLOCK_VALUES", 64)
    np.testing.assert_allclose(trial_scores(enrol, test, left, right), whole, atol=1e-12)


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
