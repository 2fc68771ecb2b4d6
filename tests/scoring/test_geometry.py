import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from voxanchor.scoring.geometry import geometry
from voxanchor.types import FloatArray


def unit(rows: FloatArray) -> FloatArray:
    scaled: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def test_agrees_with_sums_written_out() -> None:
    generator = np.random.default_rng(0)
    labels = np.array(["b", "a", "c", "a", "b", "c", "a"])
    clean, noisy = unit(generator.standard_normal((7, 5))), unit(generator.standard_normal((7, 5)))
    result = geometry(noisy, clean, labels)
    centres = {name: clean[labels == name].mean(axis=0) for name in "abc"}
    own = [cosine_similarity([row], [centres[name]])[0, 0] for row, name in zip(noisy, labels, strict=True)]
    noisy_centres = np.stack([noisy[labels == name].mean(axis=0) for name in "abc"])
    between = cosine_similarity(noisy_centres)[[0, 0, 1], [1, 2, 2]]
    assert (result.speakers, result.utterances) == (3, 7)
    assert result.compactness == pytest.approx(np.mean(own))
    assert result.separation_mean == pytest.approx(between.mean())
    assert result.separation_p95 == pytest.approx(np.percentile(between, 95))
    assert result.ratio == pytest.approx((1 - between.mean()) / (1 - np.mean(own)))
    assert result.drift == pytest.approx(np.mean([1 - a @ b for a, b in zip(noisy, clean, strict=True)]))


def test_clean_speech_does_not_drift_and_noise_loosens() -> None:
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(8), 10)
    clean = unit(generator.standard_normal((8, 32))[labels] + 0.3 * generator.standard_normal((80, 32)))
    noisy = unit(clean + 0.15 * generator.standard_normal((80, 32)))
    before, after = geometry(clean, clean, labels), geometry(noisy, clean, labels)
    assert before.drift == pytest.approx(0, abs=1e-12)
    assert after.drift > 0.1
    assert after.compactness < before.compactness
    assert after.ratio < before.ratio


def test_embeddings_on_their_centres_have_no_finite_ratio() -> None:
    assert geometry(np.eye(3), np.eye(3), np.arange(3)).ratio == np.inf


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="at least two"):
        geometry(np.eye(2), np.eye(2), ["a", "a"])
    with pytest.raises(ValueError, match="needs"):
        geometry(np.eye(2), np.eye(3), ["a", "b"])
    with pytest.raises(ValueError, match="finite"):
        geometry(np.full((2, 2), np.nan), np.eye(2), ["a", "b"])
