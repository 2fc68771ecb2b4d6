import numpy as np
import pytest

from voxanchor.scoring import cohort as module
from voxanchor.scoring.cohort import Cohort, CohortStatistics, as_norm
from voxanchor.scoring.metrics import eer
from voxanchor.scoring.scores import trial_scores
from voxanchor.types import FloatArray


def unit(rows: FloatArray) -> FloatArray:
    scaled: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


@pytest.mark.parametrize("small_blocks", [False, True])
def test_agrees_with_two_plain_loops(small_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small_blocks:
        monkeypatch.setattr(module, "_BLOCK_VALUES", 100)
        monkeypatch.setattr(module, "_BLOCK_TRIALS", 7)
    generator = np.random.default_rng(0)
    strangers = unit(generator.standard_normal((40, 12))).astype(np.float32)
    enrol, test = generator.standard_normal((9, 12)), 4 * generator.standard_normal((11, 12))
    left, right = generator.integers(0, 9, 50), generator.integers(0, 11, 50)
    cohort = Cohort(strangers, top=10)
    raw = trial_scores(enrol, test, left, right)
    result = as_norm(raw, cohort.statistics(enrol), cohort.statistics(test), left, right)
    assert result.dtype == np.float64
    for trial in range(50):
        sides = []
        for side in (unit(enrol)[left[trial]], unit(test)[right[trial]]):
            nearest = sorted((float(side @ stranger) for stranger in strangers), reverse=True)[:10]
            mean = sum(nearest) / 10
            std = (sum((score - mean) ** 2 for score in nearest) / 10) ** 0.5
            sides.append((raw[trial] - mean) / std)
        assert result[trial] == pytest.approx(sum(sides) / 2, rel=1e-4, abs=1e-4)


def test_recordings_that_score_high_with_everybody_are_brought_into_line() -> None:
    generator = np.random.default_rng(1)
    common = generator.standard_normal(32)  # in every voice, and more of it in some recordings than in others
    speakers, strangers = generator.standard_normal((60, 32)) + common, generator.standard_normal((400, 32)) + common
    owner = np.repeat(np.arange(60), 4)
    share = generator.uniform(-1, 1, (240, 1))
    test = speakers[owner] + generator.standard_normal((240, 32)) + share * common
    left, right = (index.ravel() for index in np.indices((60, 240)))
    targets = left == owner[right]
    raw = trial_scores(speakers, test, left, right)
    assert np.corrcoef(raw.reshape(60, 240).mean(axis=0), share[:, 0])[0, 1] > 0.7
    cohort = Cohort(unit(strangers).astype(np.float32), top=60)
    normalised = as_norm(raw, cohort.statistics(speakers), cohort.statistics(test), left, right)
    assert eer(normalised, targets).eer < 0.8 * eer(raw, targets).eer


def test_a_speaker_counts_once_however_much_there_is_of_them() -> None:
    generator = np.random.default_rng(2)
    embeddings, speakers = generator.standard_normal((12, 5)), np.array(list("aabbbcabcddd"))
    cohort = Cohort.of_speakers(embeddings, speakers, top=2)
    assert cohort.embeddings.dtype == np.float32
    expected = unit(np.stack([unit(embeddings)[speakers == name].mean(axis=0) for name in "abcd"]))
    np.testing.assert_allclose(cohort.embeddings, expected, atol=1e-6)


def test_bad_input_is_named() -> None:
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="no more than there are"):
        Cohort(rows, top=4)
    with pytest.raises(ValueError, match="at least 2"):
        Cohort(rows, top=1)
    with pytest.raises(ValueError, match=r"\(N,\)"):
        Cohort.of_speakers(rows, ["a", "b"], top=2)
    with pytest.raises(ValueError, match="dimension 3"):
        Cohort(rows, top=2).statistics(np.eye(4))
    with pytest.raises(ValueError, match="different speakers"):
        Cohort(np.repeat(rows[:1], 5, axis=0), top=3).statistics(np.ones((2, 3)))
    statistics = CohortStatistics(np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="outside the 2 test"):
        as_norm([0.5], statistics, statistics, np.array([0]), np.array([2]))
    with pytest.raises(ValueError, match="Scores must be"):
        as_norm([0.5, 0.1], statistics, statistics, np.array([0]), np.array([1]))
