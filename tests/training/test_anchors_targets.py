"""What the anchor of an utterance is, beside the same written out speaker by speaker."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.training.anchors import AnchorTable, same_speaker_cosine, static_targets


def table(speakers: list[str], seed: int = 0, dimension: int = 6) -> AnchorTable:
    drawn = np.random.default_rng(seed).standard_normal((len(speakers), dimension)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return AnchorTable(tuple(map(str, range(len(speakers)))), tuple(speakers), drawn, "m", "c")


def unit(vector: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = vector / np.linalg.norm(vector)
    return scaled


@pytest.mark.parametrize("kind", ["utterance", "crop"])
def test_most_kinds_leave_the_table_as_it_is(kind: str) -> None:
    anchors = table(["a", "b", "a"])
    assert static_targets(anchors, kind) is anchors.embeddings  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12), st.integers(0, 100))
def test_an_anchor_is_weighed_by_its_agreement_with_the_others_of_the_speaker(speakers: list[str], seed: int) -> None:
    anchors = table(speakers, seed)
    weighed = static_targets(anchors, "agreement")
    for row, speaker in enumerate(speakers):
        own = anchors.embeddings[row].astype(np.float64)
        alike = [k for k, other in enumerate(speakers) if other == speaker]
        if len(alike) == 1:
            np.testing.assert_allclose(weighed[row], own, atol=1e-6)
            continue
        others = unit(anchors.embeddings[[k for k in alike if k != row]].astype(np.float64).sum(0))
        weight = max(0.0, float(own @ others))
        np.testing.assert_allclose(weighed[row], unit(weight * own + (1 - weight) * others), atol=1e-4)


def test_a_recording_that_disagrees_with_its_speaker_is_trusted_less() -> None:
    good = np.array([1.0, 0.1, 0, 0, 0, 0])
    rows = np.array([good, [1.0, 0.15, 0, 0, 0, 0], [0.05, 0, 1.0, 0, 0, 0]], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    anchors = AnchorTable(("0", "1", "2"), ("a", "a", "a"), rows, "m", "c")
    weighed = static_targets(anchors, "agreement")
    moved = 1 - np.sum(weighed * rows, axis=1)
    assert moved[2] > 0.5
    assert moved[:2].max() < 0.15


@given(st.integers(2, 9), st.floats(0.05, 1.0), st.integers(0, 100))
def test_alike_is_a_share_of_the_way_from_the_mean_cosine_to_one(count: int, share: float, seed: int) -> None:
    embeddings = table(["a"] * count, seed).embeddings
    cosines = embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
    mean = cosines[np.triu_indices(count, 1)].mean()
    assert same_speaker_cosine(embeddings, share) == pytest.approx(mean + share * (1 - mean), abs=1e-6)
